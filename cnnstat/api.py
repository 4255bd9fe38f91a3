"""The Python interface: load a model, analyze it, build it, export it, measure it, compare several."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.analysis.comparison import Comparison, compare_analyses
from cnnstat.errors import SourceError
from cnnstat.ir.graph import Graph
from cnnstat.sources.load import load_source
from cnnstat.sources.request import InputShape, Request, RequestError, input_shape, parse_input
from cnnstat.units import check_dtype

if TYPE_CHECKING:
    import torch

    from cnnstat.profile.result import Profile
    from cnnstat.verify.findings import Verification

Shape = str | Sequence[int]
Source = str | os.PathLike[str] | Graph | Any
"""A name, a path, a graph, or a torch.nn.Module (which mypy must not need to know)."""


def load(
    source: Source,
    input: Any = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: str = "eval",
) -> Graph:
    """Return the layer graph of a model.

    source: a zoo name (`"vgg16"`), the path of a .yaml spec, a PyTorch model by name (`"torchvision:resnet50"`,
        `"file.py:Class"`) or itself, which is left as it was, or a graph, which is returned as it is.
    input: sizes of the only input, with or without the batch: `(3, 224, 224)` or `"3x224x224"`; for a PyTorch model
        also a tensor, or any nesting of sizes and tensors; a tuple of several is several arguments.
    inputs: the same by input name, for networks with several; values that are no sizes are passed on as they are.
    batch, dtype: batch size and dtype (`"float16"`) of weights and activations.
    variables: values for the spec's `let:` variables.
    arguments: arguments for the class or function that builds a PyTorch model.
    mode: whether a PyTorch model runs in `"eval"` or `"train"` mode.
    Raises SourceError, SpecError, RequestError, or ModelError for a PyTorch model that cannot be built or run; all of
    them are CnnstatError.
    """
    return _load(source, input, inputs, batch, dtype, variables, arguments, mode, keeps_values=False)


def _load(
    source: Source,
    input: Any,
    inputs: Any,
    batch: int | None,
    dtype: str | None,
    variables: Mapping[str, Any] | None,
    arguments: Mapping[str, Any] | None,
    mode: str,
    *,
    keeps_values: bool,
) -> Graph:
    """Return the layer graph of a model, see `load` and `Request.keeps_values`."""
    _check_mode(mode)
    if isinstance(source, Graph):
        if any(change is not None for change in (input, inputs, batch, dtype, variables)):
            raise RequestError("a Graph is analyzed as it is; load it again with the changes")
        return source
    if not isinstance(source, (str, os.PathLike)):
        return _load_module(source, input, inputs, batch, dtype, variables, arguments, mode)
    request = _request(input, inputs, batch, dtype, variables, arguments, mode)
    return load_source(os.fspath(source), replace(request, keeps_values=keeps_values))


def _check_mode(mode: str) -> None:
    """Raise RequestError if there is no such mode."""
    if mode not in ("eval", "train"):
        raise RequestError(f"mode={mode!r}: write eval or train")


def _request(
    input: Any,
    inputs: Any,
    batch: int | None,
    dtype: str | None,
    variables: Mapping[str, Any] | None,
    arguments: Mapping[str, Any] | None,
    mode: str,
) -> Request:
    """Return the changes that are asked for of a source by name."""
    _check_mode(mode)
    if inputs is not None and not isinstance(inputs, Mapping):
        raise RequestError(
            "inputs= takes sizes by name, as in inputs={'image': (3, 224, 224)}; input= takes sizes alone"
        )
    shapes = {name: _shape(shape) for name, shape in (inputs or {}).items()}
    if input is not None:
        shapes[""] = _shape(input)
    return Request(
        inputs=shapes, batch=batch, dtype=dtype, variables=variables or {}, arguments=arguments or {}, mode=mode
    )


def _load_module(
    model: Any,
    input: Any,
    inputs: Any,
    batch: int | None,
    dtype: str | None,
    variables: Mapping[str, Any] | None,
    arguments: Mapping[str, Any] | None,
    mode: str,
) -> Graph:
    """Return the graph of a torch.nn.Module; raises SourceError for anything else."""
    if "torch" not in sys.modules:
        said = f"a model is a name, a path, a Graph or a torch.nn.Module, not {type(model).__name__}"
        raise SourceError(said)
    if variables or arguments:
        raise RequestError("variables and arguments go with a source by name; this model is built already")
    from cnnstat.pytorch.load import load_module

    return load_module(
        model, input, inputs, batch=batch, dtype=None if dtype is None else check_dtype(dtype), mode=mode
    )


def _shape(shape: Shape) -> InputShape:
    """Return a shape given as text or numbers."""
    return parse_input(shape)[1] if isinstance(shape, str) else input_shape(tuple(shape))


def analyze(
    source: Source,
    input: Any = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: str = "eval",
    optimizer: str = "sgd",
    strict_receptive_field: bool = False,
) -> Analysis:
    """Return everything cnnstat can tell about a model: `analyze("vgg16").totals.macs`.

    optimizer: `sgd`, `momentum` or `adam`; decides the optimizer state in training memory.
    strict_receptive_field: let a squeeze-excite gate make everything behind it see the whole input.
    The other arguments and the errors are those of `load`.
    """
    graph = load(
        source, input, inputs=inputs, batch=batch, dtype=dtype, variables=variables, arguments=arguments, mode=mode
    )
    return analyze_graph(graph, optimizer=optimizer, strict=strict_receptive_field)


def build(
    source: Source,
    input: Any = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: str = "eval",
    device: str | torch.device | None = None,
) -> torch.nn.Module:
    """Return a model as a working PyTorch module, with fresh weights that are called as the layers are.

    device: where it is built; on `"meta"` nothing is allocated.
    The other arguments and the errors are those of `load`. Raises CnnstatError too where PyTorch is missing, or has
    nothing to build a layer from.
    """
    from cnnstat.pytorch.build import build as build_module

    graph = _load(source, input, inputs, batch, dtype, variables, arguments, mode, keeps_values=True)
    return build_module(graph, device=device)


def export(
    source: Source,
    input: Any = None,
    *,
    to: str = "yaml",
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: str = "eval",
) -> str:
    """Return a model as text: a spec that analyzes to the same figures, or a PyTorch file that needs nothing else.

    to: `"yaml"` or `"json"` for a spec, `"torch"` for PyTorch.
    The other arguments and the errors are those of `load`. Raises CnnstatError too for a layer that the format cannot
    have.
    """
    from cnnstat.export import export_graph

    keeps_values = to == "torch"
    graph = _load(source, input, inputs, batch, dtype, variables, arguments, mode, keeps_values=keeps_values)
    return export_graph(graph, to)


def profile(
    source: Source,
    input: Any = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: str = "eval",
    device: str | None = None,
    channels_last: bool = False,
    backward: bool = False,
    tf32: bool = False,
    isolate: bool = False,
    energy: bool = False,
    samples: int = 30,
    threads: int | None = None,
    trace: str | os.PathLike[str] | None = None,
) -> Profile:
    """Return the measured times of a model, layer by layer: `profile("alexnet").whole.plain.median` seconds.

    device: `"cuda"`, `"cpu"` or `"mps"`; CUDA where there is a GPU, else the CPU.
    channels_last, backward, tf32, isolate, energy, threads, trace: as the options of `cnnstat profile`.
    samples: measurements of everything, at least.
    The other arguments and the errors are those of `load`; a module is copied and left as it was. Raises CnnstatError
    too where PyTorch or the device is missing.
    """
    from cnnstat.profile.choices import make_options, need_torch

    _check_mode(mode)
    options = make_options(
        device=device, dtype=dtype, channels_last=channels_last, backward=backward, tf32=tf32, isolate=isolate,
        energy=energy, samples=samples, threads=threads, trace=None if trace is None else Path(trace),
    )  # fmt: skip
    need_torch()
    from cnnstat.profile import profile as measure
    from cnnstat.profile.progress import Silent

    if isinstance(source, (str, os.PathLike)):
        request = _request(input, inputs, batch, dtype, variables, arguments, mode)
        return measure(os.fspath(source), request, options, Silent())
    if variables or arguments:
        raise RequestError("variables and arguments go with a source by name; this model is built already")
    request = Request(batch=batch, dtype=dtype, mode=mode)
    return measure(source, request, options, Silent(), input=input, inputs=inputs)


def compare(*sources: Source | Analysis, **options: Any) -> Comparison:
    """Return several models side by side, with ratios to the first; `options` are those of `analyze`."""
    if not sources:
        raise RequestError("compare needs at least one model")
    return compare_analyses([s if isinstance(s, Analysis) else analyze(s, **options) for s in sources])


def verify(
    source: Source,
    input: Any = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: str = "eval",
    run: bool = True,
) -> Verification:
    """Return a model's counts, shapes and receptive fields beside those of independent witnesses.

    run: whether the model may be run for real; otherwise PyTorch's meta kernels say the shapes, without fvcore.
    `verify(…).exit_code` is 0 where every difference is explained, else 3. The other arguments and the errors are those
    of `load`. Raises CnnstatError too where PyTorch is missing, or no module can be built from a spec.
    """
    from cnnstat.verify import verify_graph, verify_module, verify_source

    if isinstance(source, (str, os.PathLike)):
        request = _request(input, inputs, batch, dtype, variables, arguments, mode)
        return verify_source(os.fspath(source), request, may_run=run)
    graph = load(
        source, input, inputs=inputs, batch=batch, dtype=dtype, variables=variables, arguments=arguments, mode=mode
    )
    if isinstance(source, Graph):
        return verify_graph(graph, mode=mode, may_run=run)
    return verify_module(source, graph, input, inputs, dtype=dtype, mode=mode, may_run=run)

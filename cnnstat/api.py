"""The Python interface: load a model, analyze it, build it, export it, measure it, compare several."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.analysis.comparison import Comparison, Networks, compare_analyses
from cnnstat.choices import Device, DrawShare, DrawStyle, ExportFormat, Mode, Optimizer
from cnnstat.errors import RequestError
from cnnstat.ir.graph import Graph
from cnnstat.python_options import in_python_terms, takes_options_of
from cnnstat.sources.load import model_reference
from cnnstat.sources.request import Request, check_seed

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack  # known to every type checker; not needed when the program runs

    from cnnstat.analysis.explanation import Explanation
    from cnnstat.draw.drawing import Drawing
    from cnnstat.profile.profile_result import Profile
    from cnnstat.report.op_reference import Ops
    from cnnstat.sources.request import ModelOptions
    from cnnstat.sweep.sweep import Sweep
    from cnnstat.verify.findings import Verification

    Source = str | os.PathLike[str] | Graph | torch.nn.Module

    class AnalysisOptions(ModelOptions, total=False):
        """The options of `analyze`."""

        input: Any
        optimizer: Optimizer
        strict_receptive_field: bool


Values = Any
"""One value, or several in a list, tuple or range."""


@takes_options_of(model_reference)
def load(source: Source, input: Any = None, **options: Unpack[ModelOptions]) -> Graph:
    """Return the layer graph of a model.

    source: a zoo name (`"vgg16"`), the path of a .yaml spec, a PyTorch model by name (`"torchvision:resnet50"`,
        `"file.py:Class"`) or itself, which is left as it was, the path of an .onnx file, or a graph, which is returned
        as it is.
    input: sizes of the only input, with or without the batch: `(3, 224, 224)`, a list of them, or `"3x224x224"`; for a
        PyTorch model also a tensor, or any nesting of sizes and tensors; a tuple of several is several arguments.
    inputs: the same by input name, for networks with several. Values that are no sizes are passed on as they are, and
        so are all values beside a tensor; `cnnstat.literal` says so elsewhere.
    batch, dtype: batch size and dtype (`"float16"`) of weights and activations.
    variables: values for the spec's `let:` variables.
    arguments: arguments for the class or function that builds a PyTorch model.
    values: numbers of an ONNX model's inputs that decide sizes or branches: `{"sr": 16000}`.
    mode: whether a PyTorch model runs in `"eval"` or `"train"` mode.
    seed: what random generators start from where a PyTorch model draws numbers; the caller's are left as they were.
    deploy: `"float32"`, `"float16"` or `"int8"` for the network as it is shipped: batch norm folded, element-wise
        layers in place, in that precision; `graph.deployment` says what was done.
    Raises SourceError, SpecError, RequestError, or ModelError for a PyTorch model that cannot be built or run; all of
    them are CnnstatError.
    """
    return model_reference(source, input, **options).load()


@takes_options_of(model_reference)
def analyze(
    source: Source,
    input: Any = None,
    *,
    optimizer: Optimizer = "sgd",
    strict_receptive_field: bool = False,
    **options: Unpack[ModelOptions],
) -> Analysis:
    """Return everything cnnstat can tell about a model: `analyze("vgg16").totals.macs`.

    optimizer: `sgd`, `momentum` or `adam`; decides the optimizer state in training memory.
    strict_receptive_field: let a squeeze-excite gate make everything behind it see the whole input.
    The other arguments and the errors are those of `load`.
    """
    graph = model_reference(source, input, **options).load()
    return analyze_graph(graph, optimizer=optimizer, strict=strict_receptive_field)


@takes_options_of(analyze)
def explain(source: Source | Analysis, layer: str | int, **options: Unpack[AnalysisOptions]) -> Explanation:
    """Return the arithmetic of one layer: `explain("vgg16", "conv1_2").formulas`; shown, it is written out.

    layer: its name, the end or the beginning of it, `"Conv2d#3"` for the third of a kind, or the number of a row.
    The other arguments and the errors are those of `analyze`; CnnstatError too where there is no such layer.
    """
    from cnnstat.analysis.explanation import Explanation

    if isinstance(layer, bool) or not isinstance(layer, (str, int)):
        raise RequestError(f"layer={layer!r:.60}: write a name, as in 'conv1', or the number of a row")
    return Explanation(source if isinstance(source, Analysis) else analyze(source, **options), str(layer))


@takes_options_of(analyze)
def draw(
    source: Source | Analysis,
    *,
    style: DrawStyle = "blocks",
    by: DrawShare | None = None,
    depth: int | None = None,
    expand: str | Iterable[str] = (),
    full: bool = False,
    profile: Profile | str | os.PathLike[str] | None = None,
    field: str | Iterable[str] = (),
    image: str | os.PathLike[str] | None = None,
    **options: Unpack[AnalysisOptions],
) -> Drawing:
    """Return a model as a picture: `draw("resnet50").save("resnet50.svg")`; shown in a notebook, it is drawn.

    style: `"blocks"`, folded by structure, or `"volumes"`, tensors as planes and boxes of their size.
    by: the figure whose share each box shows: `"macs"`, `"params"`, `"memory"`, or `"time"` with `profile`.
    depth: components of names that are shown; as much as fits on a page unless given.
    expand: blocks that are opened with all that is in them. full: draw every layer by itself.
    profile: measured times, or the JSON file that has them.
    field: layers whose receptive field is drawn instead, on the input or on the photo `image`, a PNG or JPEG.
    The other arguments and the errors are those of `analyze`; CnnstatError too where a block is not there, or there is
    too much to draw.
    """
    from cnnstat.draw import draw_analysis

    analysis = source if isinstance(source, Analysis) else analyze(source, **options)
    return draw_analysis(
        analysis, style=style, by=by, depth=depth, expand=expand, full=full, times=_seconds(profile), field=field,
        image=None if image is None else Path(image),
    )  # fmt: skip


def _seconds(profile: Profile | str | os.PathLike[str] | None) -> dict[str, float] | None:
    """Return the measured seconds of each layer by its name."""
    if isinstance(profile, (str, os.PathLike)):
        from cnnstat.profile.profile_json import read_profile

        profile = read_profile(Path(profile))
    return None if profile is None else {layer.name: layer.forward.median for layer in profile.layers}


def networks() -> Networks:
    """Return the networks of the zoo, analyzed; shown, they are the table of `cnnstat list`, and `.names` its names."""
    from cnnstat.sources import zoo

    return Networks(map(analyze, zoo.names()))


@in_python_terms
def op_reference(*names: str) -> Ops:
    """Return the ops that names or parts of names mean, all without any; one is shown as its page, several as a list.

    Raises CnnstatError where a name means none.
    """
    from cnnstat import ops
    from cnnstat.report.op_reference import Ops

    if wrong := [name for name in names if not isinstance(name, str)]:
        raise RequestError(f"{wrong[0]!r:.60} is no name of an op; write it as text, as in 'Conv2d'")
    return Ops(dict.fromkeys(op for name in names for op in ops.search(name)) if names else ops.names())


@takes_options_of(model_reference)
def build(
    source: Source, input: Any = None, *, device: str | torch.device | None = None, **options: Unpack[ModelOptions]
) -> torch.nn.Module:
    """Return a model as a working PyTorch module, with fresh weights that are called as the layers are.

    device: where it is built; on `"meta"` nothing is allocated.
    The other arguments and the errors are those of `load`. Raises CnnstatError too where PyTorch is missing, or has
    nothing to build a layer from.
    """
    from cnnstat.pytorch.modules import build as build_module

    model = model_reference(source, input, **options).with_request(keeps_values=True)
    return build_module(model.load(), device=device)


@takes_options_of(model_reference)
def export(source: Source, input: Any = None, *, to: ExportFormat = "yaml", **options: Unpack[ModelOptions]) -> str:
    """Return a model as text: a spec that analyzes to the same figures, or a PyTorch file that needs nothing else.

    to: `"yaml"` or `"json"` for a spec, `"torch"` for PyTorch, `"model-explorer"` for the MACs of each layer as Model
        Explorer's node data.
    The other arguments and the errors are those of `load`. Raises CnnstatError too for a layer that the format cannot
    have.
    """
    from cnnstat.export import export_graph

    model = model_reference(source, input, **options).with_request(keeps_values=to == "torch")
    return export_graph(model.load(), to)


@takes_options_of(model_reference, without="deploy")
def profile(
    source: Source,
    input: Any = None,
    *,
    device: Device | None = None,
    channels_last: bool = False,
    backward: bool = False,
    tf32: bool = False,
    isolate: bool = False,
    energy: bool = False,
    autocast: str | None = None,
    compiled: bool = False,
    ops: bool = False,
    step: str | None = None,
    samples: int = 30,
    threads: int | None = None,
    trace: str | os.PathLike[str] | None = None,
    **options: Unpack[ModelOptions],
) -> Profile:
    """Return the measured times of a model, layer by layer: `profile("alexnet").whole.plain.median` seconds.

    device: `"cuda"`, `"cpu"` or `"mps"`; CUDA where there is a GPU, else the CPU.
    channels_last, backward, tf32, isolate, energy, autocast, compiled (`--compile`), ops, step, threads, trace: as the
        options of `cnnstat profile`.
    samples: measurements of everything, at least.
    The other arguments and the errors are those of `load`; a module is copied and left as it was. Raises CnnstatError
    too where PyTorch or the device is missing.
    """
    from cnnstat.profile import need_torch
    from cnnstat.profile.profile_options import make_options

    measurement = make_options(
        device=device, dtype=options.get("dtype"), channels_last=channels_last, backward=backward, tf32=tf32,
        isolate=isolate, energy=energy, autocast=autocast, compiled=compiled, ops=ops, step=step, samples=samples,
        threads=threads, trace=None if trace is None else Path(trace),
    )  # fmt: skip
    model = model_reference(source, input, **options)
    need_torch()
    from cnnstat.profile import profile as measure
    from cnnstat.profile.profile_options import Silent

    return measure(model, measurement, Silent())


@in_python_terms
def sweep(
    *sources: str | os.PathLike[str],
    input: Values = None,
    batch: Values = None,
    dtype: Values = None,
    deploy: Values = None,
    variables: Mapping[str, Values] | None = None,
    arguments: Mapping[str, Values] | None = None,
    mode: Mode = "eval",
    seed: int = 0,
    optimizer: Optimizer = "sgd",
    strict_receptive_field: bool = False,
    where: str = "",
    pareto: Sequence[str] = (),
    sort: str = "",
    top: int | None = None,
    sample: int | None = None,
    jobs: int | None = None,
    executor: Any = None,
) -> Sweep:
    """Return the totals of all combinations of values: `sweep("net.yaml", variables={"width": range(16, 64, 8)})`.

    sources: models by name, or patterns such as `"torchvision:resnet*"`.
    input, batch, dtype, deploy, variables, arguments: the values of each, one or several, as in
        `input=["3x160x160", "3x224x224"]`.
    where, pareto, sort, top, sample: as the options of `cnnstat sweep`; what is selected of all points.
    jobs: processes, one a core unless given; with more than one, a script needs `if __name__ == "__main__":`.
    executor: runs the points instead: one of concurrent.futures or submitit, a client of dask, anything with `submit`.
    The other arguments are those of `analyze`. A point that cannot be analyzed is a record with its error. Raises
    RequestError where a value cannot be read, CnnstatError for an unknown name in where, pareto or sort.
    """
    from cnnstat.sweep.grid import Grid, axes_of_values, expanded_sources
    from cnnstat.sweep.selection import Selection
    from cnnstat.sweep.sweep import Plan, Sweep, collected

    if not sources or not all(isinstance(source, (str, os.PathLike)) for source in sources):
        raise RequestError("sweep takes models by name, which other processes can load; give a name or file.py:Class")
    check_seed(seed)
    if jobs is not None and jobs < 1:
        raise RequestError(f"--jobs {jobs}: write how many processes, at least 1")
    axes = axes_of_values(
        variables or {}, arguments or {}, {"input": input, "batch": batch, "dtype": dtype, "deploy": deploy}
    )
    grid = Grid(expanded_sources([os.fspath(source) for source in sources]), axes)
    grid = grid if sample is None else grid.sampled(sample, seed)
    selection = Selection(where, (pareto,) if isinstance(pareto, str) else tuple(pareto), sort, top)
    settings = tuple(axis.key for axis in axes)
    selection.check(settings)
    plan = Plan(
        grid=grid, base=Request(mode=mode, seed=seed), optimizer=optimizer, strict=strict_receptive_field, jobs=jobs,
        executor=executor,
    )  # fmt: skip
    return Sweep.of(collected(plan), settings).select(selection)


@takes_options_of(analyze)
def compare(*sources: Source | Analysis, **options: Unpack[AnalysisOptions]) -> Comparison:
    """Return several models side by side, with ratios to the first; the options are those of `analyze`."""
    if not sources:
        raise RequestError("compare needs at least one model")
    return compare_analyses([s if isinstance(s, Analysis) else analyze(s, **options) for s in sources])


@takes_options_of(model_reference, without="deploy")
def verify(source: Source, input: Any = None, *, run: bool = True, **options: Unpack[ModelOptions]) -> Verification:
    """Return a model's counts, shapes and receptive fields beside those of independent tools.

    run: whether the model may be run for real; otherwise PyTorch's meta kernels say the shapes, without fvcore.
    `verify(…).exit_code` is 0 where every difference is explained, else 3. The other arguments and the errors are those
    of `load`. Raises CnnstatError too where PyTorch is missing, or no module can be built from a spec.
    """
    from cnnstat.verify import verify as verify_model

    return verify_model(model_reference(source, input, **options), may_run=run)

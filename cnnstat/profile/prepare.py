"""From a source to a subject: built, filled with random numbers, moved to the device, and held against its graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph
from cnnstat.ir.op import Family
from cnnstat.profile.call_alignment import CallAlignment
from cnnstat.profile.call_instrumentation import CallInstrumentation, align_run
from cnnstat.profile.instrumentation import NetworkInstrumentation
from cnnstat.profile.options import Options
from cnnstat.profile.random_weights import SEED, fill_randomly
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.profile.torch_settings import fused_attention
from cnnstat.pytorch.model_isolation import same_random_numbers
from cnnstat.pytorch.modules.network import build_network
from cnnstat.pytorch.runnable import Runnable
from cnnstat.sources.model import ModelReference, ModuleReference
from cnnstat.units import check_dtype


def prepare_model(model: ModelReference, options: Options, device: torch.device) -> RunnableModel:
    """Return a model that is ready to be measured on a device; one that is handed over is left as it was.

    The dtype is that of the options, else of the request, else the model's own.
    Raises CnnstatError where the model cannot be built, run or followed.
    """
    model = model.with_dtype(_checked(options.dtype or model.request.dtype))
    with same_random_numbers():
        torch.manual_seed(SEED)
        if isinstance(model, ModuleReference):
            return _of_runnable(model.runnable(fill_randomly), options, device)
        return _of_graph(model.load(), model.request.mode, options, device)


def _checked(dtype: str | None) -> str | None:
    """Return a dtype's name; raises CnnstatError where there is none, or models cannot compute in it."""
    if dtype is not None and not getattr(torch, check_dtype(dtype)).is_floating_point:
        raise CnnstatError(f"--dtype {dtype}: models compute with floating-point numbers; use float32 or bfloat16")
    return dtype


def _of_graph(graph: Graph, mode: str, options: Options, device: torch.device) -> RunnableModel:
    """Return the module that is built from a layer graph."""
    analysis = analyze_graph(graph)
    network = build_network(graph, None, graph.dtype)
    fill_randomly(network)
    network.train(mode == "train")
    _place(network, device, options)
    sizes = _table_sizes(graph)
    tensors = [_input(each.shape, each.dtype, sizes.get(number)) for number, each in enumerate(graph.inputs)]
    model = RunnableModel(
        module=network,
        arguments=tuple(_moved(tensor, device, options) for tensor in tensors),
        keywords={},
        analysis=analysis,
        instrumentation=NetworkInstrumentation(network),
        device=device,
        backward=options.backward,
    )
    with explained_failure(graph.name):
        _try(model)
    return model


def _of_runnable(runnable: Runnable, options: Options, device: torch.device) -> RunnableModel:
    """Return a subject of a PyTorch model, after a first run that is held against the trace."""
    notes: list[str] = []
    name = runnable.graph.name
    alignment, below = _aligned_run(runnable, options, device)
    if not alignment.is_exact and not runnable.for_real:
        # The trace on shapes alone took another path, or assumed upper bounds.
        runnable.model.cpu()
        runnable = runnable.traced_for_real()
        alignment, below = _aligned_run(runnable, options, device)
        notes.append("layers are those of a real run on this input: the trace on shapes alone has others")
    notes += _mismatches(alignment, runnable.graph)
    if below:
        notes.append("some ops run below Python and are followed there, which makes every op slower")
    arguments, keywords = _moved((runnable.arguments, runnable.keywords), device, options)
    instrumentation = CallInstrumentation(runnable.model, alignment, below)
    model = RunnableModel(
        module=runnable.model,
        arguments=arguments,
        keywords=keywords,
        analysis=analyze_graph(runnable.graph),
        instrumentation=instrumentation,
        device=device,
        backward=options.backward,
        notes=tuple(notes),
    )
    with explained_failure(name):
        _try(model)
    return model


def _aligned_run(runnable: Runnable, options: Options, device: torch.device) -> tuple[CallAlignment, bool]:
    """Return the plan of a model's runs on a device."""
    _place(runnable.model, device, options)
    arguments, keywords = _moved((runnable.arguments, runnable.keywords), device, options)
    runnable.model.train(runnable.mode == "train")

    def run() -> Any:
        with torch.set_grad_enabled(options.backward):
            return runnable.model(*arguments, **keywords)

    with explained_failure(runnable.graph.name), fused_attention(False):
        return align_run(runnable.model, run, runnable.calls)


def _try(model: RunnableModel) -> None:
    """Run once; raises whatever the model raises."""
    result = model.run()
    if model.backward:
        model.run_backward(result)
        model.clear_gradients()


@contextmanager
def explained_failure(name: str, errors: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Turn an error of the model into one line."""
    try:
        yield
    except CnnstatError:
        raise
    except errors as error:
        text = " ".join(str(error).split())[:300]
        raise CnnstatError(f"{name} does not run: {type(error).__name__}: {text}") from error


def _mismatches(alignment: CallAlignment, graph: Graph) -> Iterator[str]:
    """Yield what of a run does not fit the graph."""
    if alignment.missed:
        paths = sorted({path or graph.name for path in alignment.missed})
        yield f"{len(alignment.missed)} op calls are not in the graph and count as unattributed: in {_some(paths)}"
    if alignment.lost:
        yield f"the graph has layers that did not run: {_some([graph.nodes[row].name for row in alignment.lost])}"
    if alignment.resized:
        yield f"layers ran on other sizes than counted: {_some([graph.nodes[row].name for row in alignment.resized])}"


def _some(names: list[str]) -> str:
    """Return the first few of many names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _place(model: nn.Module, device: torch.device, options: Options) -> None:
    """Move a model to the device, in the memory format asked for."""
    if options.channels_last:
        # Stubs of PyTorch disagree from release to release on whether a module can be moved to a memory format.
        to: Any = model.to
        to(memory_format=torch.channels_last)
    model.to(device)


def _moved(value: Any, device: torch.device, options: Options) -> Any:
    """Return nested inputs on the device."""
    if isinstance(value, Tensor):
        is_image = options.channels_last and value.dim() == 4
        return value.to(device, memory_format=torch.channels_last if is_image else torch.preserve_format)
    if isinstance(value, dict):
        return {name: _moved(item, device, options) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_moved(item, device, options) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _table_sizes(graph: Graph) -> dict[int, int]:
    """Return how many places the table has that an input is looked up in, by the input's number."""
    sizes: dict[int, int] = {}
    for node in graph.nodes:
        if node.op.family is Family.EMBEDDING:
            (length, *_), *_ = node.op.weights(()).values()
            for edge in node.inputs:
                sizes[edge.value] = min(length, sizes.get(edge.value, length))
    return sizes


def _input(shape: tuple[int, ...], dtype: str, table: int | None) -> Tensor:
    """Return a random input: between 0 and 1, or a place of a table; other whole numbers are zeros."""
    kind: torch.dtype = getattr(torch, dtype)
    if kind.is_floating_point:
        return torch.rand(shape).to(kind)
    return torch.randint(0, table, shape, dtype=kind) if table else torch.zeros(shape, dtype=kind)

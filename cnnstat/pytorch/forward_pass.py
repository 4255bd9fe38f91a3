"""One forward pass with ears: how a pass is made, who listens, and the graph that comes of it."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from cnnstat.ir.graph import Edge, Graph
from cnnstat.pytorch.assemble import UNUSED, assemble
from cnnstat.pytorch.builder import Builder
from cnnstat.pytorch.calls import Heard
from cnnstat.pytorch.data_dependent_shapes import TracerError
from cnnstat.pytorch.example import Example, Made
from cnnstat.pytorch.fake import Faker, unlogged
from cnnstat.pytorch.module_stack import CallStack
from cnnstat.pytorch.modules import Modules, modules_of, passing_buffers, tensors_of
from cnnstat.pytorch.origin import Origin
from cnnstat.pytorch.recorder import DispatchMode, FunctionMode, Recorder
from cnnstat.pytorch.state import preserved
from cnnstat.pytorch.swap import swapped
from cnnstat.pytorch.tensors import results_in
from cnnstat.pytorch.torchvision_detection import without_loops_over_boxes

Listen = Callable[[Builder, CallStack, "Faker | None", list[torch.Tensor]], Recorder]
"""What makes the recorder of a pass, from the builder, the call stack, the faker and the input tensors."""


def _plain_recorder(builder: Builder, stack: CallStack, faker: Faker | None, inputs: list[torch.Tensor]) -> Recorder:
    """Return the recorder that only makes a graph."""
    return Recorder(builder, stack, faker)


def keeping(calls: list[Heard] | None) -> Listen:
    """Return what makes recorders that put every call of their own pass, and of none before it, into a list."""
    if calls is None:
        return _plain_recorder
    kept = calls

    def make(builder: Builder, stack: CallStack, faker: Faker | None, inputs: list[torch.Tensor]) -> Recorder:
        kept.clear()
        return Recorder(builder, stack, faker, kept)

    return make


@dataclass(frozen=True, slots=True)
class Way:
    """How a pass is made; dtype: of the model, its own if None; gradients: whether autograd follows it."""

    dtype: torch.dtype | None
    name: str
    source: str
    mode: str
    listen: Listen = _plain_recorder
    gradients: bool = False


def traced(model: nn.Module, example: Example, faker: Faker | None, way: Way) -> Graph:
    """Return the graph of one pass, on fake tensors if there is a faker."""
    had_compiler = "torch._dynamo" in sys.modules
    try:
        return _pass(model, example, faker, way)
    except TracerError:
        raise
    except Exception:
        if had_compiler or "torch._dynamo" not in sys.modules:
            raise
        # torch.cond and FlexAttention load the compiler and compile themselves; it can be held back from now on.
        return _pass(model, example, faker, way)


def _pass(model: nn.Module, example: Example, faker: Faker | None, way: Way) -> Graph:
    """Return the graph of one pass, whatever PyTorch's compiler does."""
    modules = modules_of(model)
    dtype = way.dtype or main_dtype(modules)
    with preserved(modules), torch.set_grad_enabled(way.gradients), _quiet(), swapped(modules, faker) as pairs:
        has_mode = _set_mode(modules, way.mode == "train")
        made = Made(example, model, dtype, faker)
        builder = Builder(len(made.tensors), str(dtype).removeprefix("torch."))
        _store(builder, modules, pairs)
        for number, tensor in enumerate(made.tensors):
            builder.origins.note(Origin(tensor, Edge(number)))
        stack = CallStack(modules)
        recorder = way.listen(builder, stack, faker, made.tensors)
        on_shapes = contextlib.nullcontext() if faker is None else without_loops_over_boxes()
        with on_shapes, stack.following(), DispatchMode(recorder), FunctionMode(recorder):
            result = model(*made.arguments, **made.keywords)
            if isinstance(result, Iterator):
                result = tuple(result)
        outputs = tuple(_output_edges(builder, result, stack))
        graph = assemble(builder, modules, tuple(made.inputs), outputs, name=way.name, source=way.source)
    said = (*_bound_notes(recorder), *_unused_notes(graph))
    if not has_mode:
        said = (*said, f"the model cannot be set to {way.mode} mode: it is counted as it was exported")
    return replace(graph, about={"notes_torch": said} if said else {})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep models' warnings and PyTorch's logs off the terminal, and compiled parts from being compiled."""
    stance = getattr(torch.compiler, "set_stance", None) if "torch._dynamo" in sys.modules else None
    with warnings.catch_warnings(), unlogged(), stance("force_eager") if stance else contextlib.nullcontext():
        warnings.simplefilter("ignore")
        yield


def main_dtype(modules: Modules) -> torch.dtype:
    """Return the dtype that most of a model's numbers have."""
    floats = [t for _, t, is_parameter in tensors_of(modules) if is_parameter and t.dtype.is_floating_point]
    if len({tensor.dtype for tensor in floats}) == 1:
        return floats[0].dtype
    counts: Counter[torch.dtype] = Counter()
    for tensor in floats:
        if not nn.parameter.is_lazy(tensor):
            counts[tensor.dtype] += tensor.numel()
    return counts.most_common(1)[0][0] if counts else torch.get_default_dtype()


def _set_mode(modules: Modules, training: bool) -> bool:
    """Set a model to training or evaluation; False for exported and frozen ones, which have one fixed mode."""
    if all(_is_in_mode(module, training) for _, module in modules):
        return True
    try:
        modules[0][1].train(training)
    except (NotImplementedError, AttributeError):
        return False
    return True


def _is_in_mode(module: nn.Module, training: bool) -> bool:
    """Whether a module is in a mode already, and does nothing of its own to get there."""
    attributes = vars(module)
    return (
        attributes.get("training") is training and "train" not in attributes and type(module).train is nn.Module.train
    )


def _store(builder: Builder, modules: Modules, pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Make all parameters and buffers known to the builder; pairs: real tensors and what stands for them."""
    real = {id(stand_in): tensor for tensor, stand_in in pairs}
    seen: set[int] = set()
    passing = passing_buffers(modules)
    for name, stand_in, is_parameter in tensors_of(modules):
        if id(stand_in) not in seen:
            seen.add(id(stand_in))
            builder.store(name, real.get(id(stand_in), stand_in), stand_in, is_parameter, name not in passing)


def _output_edges(builder: Builder, result: Any, stack: CallStack) -> Iterator[Edge]:
    """Yield where the tensors of a result come from; constants are left out."""
    for tensor in results_in(result):
        edge = builder.result(tensor, stack.calls[0])
        if edge is not None:
            yield edge


def _bound_notes(recorder: Recorder) -> list[str]:
    """Return what was assumed where values decide how much there is, and what work on weights is not counted."""
    said = []
    if recorder.bounded:
        names = ", ".join(sorted(recorder.bounded))
        said.append(f"how much is kept by {names} depends on values; counted as if all were kept: an upper bound")
    if recorder.builder.uncounted:
        said.append(f"work on weights by {', '.join(sorted(recorder.builder.uncounted))} is not counted")
    return said


def _unused_notes(graph: Graph) -> list[str]:
    """Return which modules this forward pass does not use."""
    names = [node.name for node in graph.nodes if node.op.kind == UNUSED and node.op.weights(())]
    if not names:
        return []
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [f"this forward pass does not use the parameters of {shown}"]

"""One forward pass of a model, recorded as a layer graph."""

from __future__ import annotations

import contextlib
import copy
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cnnstat.errors import CnnstatError
from cnnstat.frontends.torch.assemble import UNUSED, assemble
from cnnstat.frontends.torch.bounds import TracerError, ValueNeededError
from cnnstat.frontends.torch.builder import Builder
from cnnstat.frontends.torch.example import Example, Made
from cnnstat.frontends.torch.fake import Faker
from cnnstat.frontends.torch.guard import ModelError, told
from cnnstat.frontends.torch.origin import Origin
from cnnstat.frontends.torch.paths import CallStack
from cnnstat.frontends.torch.recorder import DispatchMode, FunctionMode, Recorder
from cnnstat.frontends.torch.state import preserved
from cnnstat.frontends.torch.swap import swapped
from cnnstat.frontends.torch.tensors import tensors_in
from cnnstat.frontends.torch.vision import without_loops_over_boxes
from cnnstat.ir.graph import Edge, Graph

MAX_REAL_BYTES = 4 * 2**30
"""Models larger than this are not run for real."""


def trace(
    model: nn.Module, example: Example, *, name: str, source: str, dtype: str | None, mode: str, may_run: bool = True
) -> Graph:
    """Return the layer graph of one forward pass.

    The pass runs on fake tensors, which have shapes only; where the model needs values, it runs for real, on random
    ones. `Graph.about` says under `notes_torch` what the result rests on. The model is left as it was.
    mode: `eval` or `train`; may_run: whether it may be run for real. Raises ModelError.
    """
    model = getattr(model, "_orig_mod", model)
    if any(map(nn.parameter.is_lazy, (*model.parameters(), *model.buffers()))):
        model = _lazy_copy(model)
    kind = None if dtype is None else getattr(torch, dtype)
    try:
        return _traced(model, example, Faker(kind), kind, name, source, mode)
    except TracerError:
        raise
    except Exception as error:
        if isinstance(error, CnnstatError) or not may_run or not _can_run(model):
            raise _failed(error, name) from error
        reason = error
    try:
        real = copy.deepcopy(model).to(kind) if kind is not None else model
        graph = _traced(real, example, None, kind, name, source, mode)
    except Exception as error:
        raise _failed(error if not isinstance(reason, ValueNeededError) else error, name) from error
    return replace(graph, about={"notes_torch": (_real_note(reason), *notes(graph))})


def _lazy_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose tensors get their shapes in the first pass."""
    lazy = [buffer for buffer in model.buffers() if nn.parameter.is_lazy(buffer)]
    return copy.deepcopy(model, {id(buffer): nn.parameter.UninitializedBuffer() for buffer in lazy})


def _real_note(reason: Exception) -> str:
    """Return what to say of a result that comes from a real forward pass."""
    said = "its path depends on values" if isinstance(reason, ValueNeededError) else "it does not run on shapes alone"
    return f"the model was run for real on random values, because {said}: the result holds for this input"


def _can_run(model: nn.Module) -> bool:
    """Whether a model has its memory, and little enough of it, to be run for real."""
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.device.type == "meta" for tensor in tensors if not nn.parameter.is_lazy(tensor)):
        return False
    sizes = (tensor.numel() * tensor.element_size() for tensor in tensors if not nn.parameter.is_lazy(tensor))
    return sum(sizes) <= MAX_REAL_BYTES


def _failed(error: Exception, name: str) -> CnnstatError:
    """Return the one line about a model that did not run."""
    if isinstance(error, CnnstatError):
        return error
    if isinstance(error, ValueNeededError):
        limit = MAX_REAL_BYTES // 2**30
        return ModelError(
            f"{name}: the path through the model depends on the values of a tensor, and it cannot be run for real: it "
            f"has no weights (meta device), or more than {limit} GiB of them"
        )
    return ModelError(f"{name} does not run on this input: {told(error)}{_remedy(error)}")


def _remedy(error: Exception) -> str:
    """Return what to write instead, where the model's own error does not say it."""
    said = str(error)
    if "indices" in said and "Float" in said:
        return "; numbers of words or classes are integers: write --input 1x128:int64"
    return ""


def _traced(
    model: nn.Module, example: Example, faker: Faker | None, kind: torch.dtype | None, name: str, source: str, mode: str
) -> Graph:
    """Return the graph of one pass, on fake tensors if there is a faker."""
    had_compiler = "torch._dynamo" in sys.modules
    try:
        return _pass(model, example, faker, kind, name, source, mode)
    except TracerError:
        raise
    except Exception:
        if had_compiler or "torch._dynamo" not in sys.modules:
            raise
        # torch.cond and FlexAttention load the compiler and compile themselves; it can be held back from now on.
        return _pass(model, example, faker, kind, name, source, mode)


def _pass(
    model: nn.Module, example: Example, faker: Faker | None, kind: torch.dtype | None, name: str, source: str, mode: str
) -> Graph:
    """Return the graph of one pass, whatever PyTorch's compiler does."""
    model_dtype = kind or _dtype(model)
    with preserved(model), torch.no_grad(), _quiet(), swapped(model, faker) as pairs:
        has_mode = _set_mode(model, mode == "train")
        made = Made(example, model, model_dtype, faker)
        builder = Builder(len(made.tensors), str(model_dtype).removeprefix("torch."))
        _store(builder, model, {id(stand_in): real for real, stand_in in pairs})
        for number, tensor in enumerate(made.tensors):
            builder.origins.note(Origin(tensor, Edge(number)))
        stack = CallStack(model)
        recorder = Recorder(builder, stack, faker)
        on_shapes = contextlib.nullcontext() if faker is None else without_loops_over_boxes()
        with on_shapes, stack.following(), DispatchMode(recorder), FunctionMode(recorder):
            result = model(*made.arguments, **made.keywords)
            if isinstance(result, Iterator):
                result = tuple(result)
        outputs = tuple(_output_edges(builder, result, stack))
        graph = assemble(builder, model, tuple(made.inputs), outputs, name=name, source=source)
    said = (*_bound_notes(recorder), *_unused_notes(graph))
    if not has_mode:
        said = (*said, f"the model cannot be set to {mode} mode: it is counted as it was exported")
    return replace(graph, about={"notes_torch": said} if said else {})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep models' warnings off the terminal, and compiled parts from being compiled."""
    stance = getattr(torch.compiler, "set_stance", None) if "torch._dynamo" in sys.modules else None
    with warnings.catch_warnings(), stance("force_eager") if stance else contextlib.nullcontext():
        warnings.simplefilter("ignore")
        yield


def _dtype(model: nn.Module) -> torch.dtype:
    """Return the dtype that most of a model's numbers have."""
    counts: Counter[torch.dtype] = Counter()
    for parameter in model.parameters():
        if not nn.parameter.is_lazy(parameter) and parameter.is_floating_point():
            counts[parameter.dtype] += parameter.numel()
    return counts.most_common(1)[0][0] if counts else torch.get_default_dtype()


def _set_mode(model: nn.Module, training: bool) -> bool:
    """Set a model to training or evaluation; False for exported and frozen ones, which have one fixed mode."""
    try:
        model.train(training)
    except (NotImplementedError, AttributeError):
        return False
    return True


def _store(builder: Builder, model: nn.Module, real: dict[int, torch.Tensor]) -> None:
    """Make all parameters and buffers known to the builder."""
    seen: set[int] = set()
    named = (
        *((name, tensor, True) for name, tensor in model.named_parameters()),
        *((name, tensor, False) for name, tensor in model.named_buffers()),
    )
    for name, stand_in, is_parameter in named:
        if id(stand_in) not in seen:
            seen.add(id(stand_in))
            builder.store(name, real.get(id(stand_in), stand_in), stand_in, is_parameter)


def _output_edges(builder: Builder, result: Any, stack: CallStack) -> Iterator[Edge]:
    """Yield where the tensors of a result come from; constants are left out."""
    for tensor in tensors_in(result):
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


def notes(graph: Graph) -> tuple[str, ...]:
    """Return what the result of a trace rests on."""
    return tuple(graph.about.get("notes_torch", ()))

"""One forward pass of a model, recorded as a layer graph."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph
from cnnstat.pytorch.calls import Heard
from cnnstat.pytorch.data_dependent_shapes import TracerError, ValueNeededError
from cnnstat.pytorch.example import Example, misnamed
from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.forward_pass import Listen, Way, keeping, traced
from cnnstat.pytorch.guard import ModelError, told
from cnnstat.pytorch.modules import modules_of, tensors_of

MAX_REAL_BYTES = 4 * 2**30
"""Models larger than this are not run for real."""


def trace(
    model: nn.Module,
    example: Example,
    *,
    name: str,
    source: str,
    dtype: str | None,
    mode: str,
    may_run: bool = True,
    calls: list[Heard] | None = None,
) -> Graph:
    """Return the layer graph of one forward pass.

    The pass runs on fake tensors, which have shapes only; where the model needs values, it runs for real, on random
    ones. `Graph.about` says under `notes_torch` what the result rests on. The model is left as it was.
    mode: `eval` or `train`; may_run: whether it may be run for real; calls: gets every call, if given.
    Raises ModelError.
    """
    model = getattr(model, "_orig_mod", model)
    if any(nn.parameter.is_lazy(tensor) for _, tensor, _ in tensors_of(modules_of(model))):
        model = _lazy_copy(model)
    kind = None if dtype is None else getattr(torch, dtype)
    way = Way(kind, name, source, mode, keeping(calls))
    try:
        return traced(model, example, Faker(kind), way)
    except TracerError:
        raise
    except Exception as error:
        if isinstance(error, CnnstatError) or not may_run or not _can_run(model):
            raise _failed(error, name, misnamed(model, example)) from error
        reason = error
    try:
        real = copy.deepcopy(model).to(kind) if kind is not None else model
        graph = traced(real, example, None, way)
    except Exception as error:
        raise _failed(error, name, misnamed(model, example)) from error
    return replace(graph, about={"notes_torch": (_real_note(reason), *notes(graph))})


def trace_for_real(
    model: nn.Module, example: Example, *, name: str, source: str, mode: str, calls: list[Heard] | None = None
) -> Graph:
    """Return the layer graph of a forward pass that is run for real: it holds for the values of this input.

    The arguments are those of `trace`; the model has its memory. Raises ModelError.
    """
    try:
        return traced(model, example, None, Way(None, name, source, mode, keeping(calls)))
    except Exception as error:
        raise _failed(error, name) from error


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


def _failed(error: Exception, name: str, hint: str = "") -> CnnstatError:
    """Return the one line about a model that did not run; hint: what may be wrong with its input."""
    if isinstance(error, CnnstatError):
        return error
    if isinstance(error, ValueNeededError):
        limit = MAX_REAL_BYTES // 2**30
        return ModelError(
            f"{name}: the path through the model depends on the values of a tensor, and it cannot be run for real: it "
            f"has no weights (meta device), or more than {limit} GiB of them"
        )
    return ModelError(f"{name} does not run on this input: {told(error)}{_remedy(error) or hint}")


def _remedy(error: Exception) -> str:
    """Return what to write instead, where the model's own error does not say it."""
    said = str(error)
    if "indices" in said and "Float" in said:
        return "; numbers of words or classes are integers: write --input 1x128:int64"
    if "more than 1 value per channel" in said:
        return "; batch norm in training needs several numbers for each channel: write --batch 2, or --mode eval"
    return ""


def replay(
    model: nn.Module,
    example: Example,
    listen: Listen,
    *,
    dtype: str | None,
    mode: str,
    real: bool,
    gradients: bool = False,
) -> Graph:
    """Trace a model once more with a recorder of the caller's, who wants to see what each node came from.

    listen: makes the recorder from the builder, the call stack, the faker and the input tensors.
    real: whether on random values instead of fake tensors; gradients: whether autograd follows the pass.
    The model's own errors come through as they are; a lazy model must have been run before.
    """
    model = getattr(model, "_orig_mod", model)
    kind = None if dtype is None else getattr(torch, dtype)
    if real and kind is not None and any(p.is_floating_point() and p.dtype != kind for p in model.parameters()):
        model = copy.deepcopy(model).to(kind)
    return traced(model, example, None if real else Faker(kind), Way(kind, "", "", mode, listen, gradients))


def notes(graph: Graph) -> tuple[str, ...]:
    """Return what the result of a trace rests on."""
    return tuple(graph.about.get("notes_torch", ()))

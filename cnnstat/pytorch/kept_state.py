"""Kept state: what a model keeps in attributes from one pass to the next, so that the next computes something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from cnnstat.ir.graph import Graph
from cnnstat.ir.recorded_call import NotRecorded
from cnnstat.pytorch.calls import CallRecord
from cnnstat.pytorch.module_stack import OWN_ATTRIBUTES, Modules
from cnnstat.pytorch.parameter_ownership import StoredTensor
from cnnstat.pytorch.recorded_calls import ConstantCalls
from cnnstat.pytorch.tensor_origins import OriginTable, TensorOrigins
from cnnstat.pytorch.tensors import tensors_in

_NUMBERS = (int, float)


class Attributes:
    """The attributes and buffers of a model's modules before a pass."""

    def __init__(self, modules: Modules) -> None:
        self._attributes = [(path, module, vars(module).copy()) for path, module in modules]
        self._buffers = [(path, module, own) for path, module in modules if (own := _own_buffers(module))]
        self._containers = [
            (f"{path}.{name}" if path else name, value)
            for path, module, further in modules.further_attributes
            for name in further
            if isinstance(value := vars(module)[name], (list, dict))
        ]

    def replaced_buffers(self) -> Iterator[str]:
        """Yield the names of buffers for which there is another tensor by now."""
        for path, module, before in self._buffers:
            now = _own_buffers(module)
            for name, tensor in before.items():
                if tensor is not None and now.get(name, tensor) is not tensor:
                    yield f"{path}.{name}" if path else name

    def changed(self, origins: OriginTable) -> tuple[dict[int, str], str]:
        """Return the tensors kept by now that follow from an input, by id with their attributes, and a changed number.

        The number is an attribute's name, empty if there is none; that it was changed does not mean that it is read.
        """
        kept: list[tuple[str, Any]] = [*self._containers]
        numbers: list[str] = []
        for path, module, before in self._attributes:
            if _is_equal(vars(module), before):
                continue
            for name, value in vars(module).items():
                old = before.get(name)
                if value is old or name in OWN_ATTRIBUTES:
                    continue
                full = f"{path}.{name}" if path else name
                if type(value) in _NUMBERS and (old is None or type(old) in _NUMBERS):  # None where there was none
                    numbers += [full] * (value != old)
                else:
                    kept.append((full, value))
        tensors = [(tensor, name) for name, value in kept for tensor in tensors_in(value)]
        return {id(tensor): name for tensor, name in tensors if _is_computed(tensor, origins)}, "".join(numbers[:1])


def _is_equal(now: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether attributes are the same; what cannot be compared is not."""
    try:
        return now == before
    except Exception:  # tensors, and whatever a model's author compares
        return False


def _is_computed(tensor: torch.Tensor, origins: OriginTable) -> bool:
    origin = origins.known(tensor)
    return origin is not None and origin.edge is not None


def what_is_read(
    kept: dict[int, str], number: str, first: TensorOrigins, again: TensorOrigins, records: list[CallRecord]
) -> str:
    """Return the attribute by which a second pass differs from the first, empty if there is none.

    records: the calls of the second pass, with what they were given. A pass that finds a table ready which the first
    had to make has fewer nodes and is the same.
    """
    for record in records:
        for tensor in record.operands:
            if id(tensor) in kept:
                return kept[id(tensor)]
    passes: list[list[Any]] = [[(node.op, node.inputs) for node in builder.nodes] for builder in (first, again)]
    is_alike = len(passes[0]) == len(passes[1]) and all(a.kind == b.kind for (a, _), (b, _) in zip(*passes))
    return number if number and is_alike and passes[0] != passes[1] else ""


def changed_behind(log: ConstantCalls, read: Iterable[tuple[StoredTensor, int]], graph: Graph) -> Iterator[str]:
    """Yield the stored tensors that the pass changes once they are read; read: tensors with the nodes that have them.

    A layer that reads what is changed before says so itself, and the module of a norm counts its batches.
    """
    if any(isinstance(node.recorded, NotRecorded) for node in graph.nodes):
        return
    if log.is_constant_changed:
        yield "a tensor that it holds"
    for tensor, owner in read:
        counts = tensor.name.endswith("num_batches_tracked") and graph.nodes[owner].recorded is None
        if not counts and log.is_left_changed(tensor):
            yield tensor.name


def _own_buffers(module: nn.Module) -> dict[str, torch.Tensor | None]:
    # Scripted modules have something else than a dictionary there.
    return dict(module._buffers.items())

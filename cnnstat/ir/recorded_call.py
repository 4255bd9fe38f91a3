"""Recorded calls: what a node computes, as the calls that were recorded of it, so that they can be made again.

A call's arguments are plain values and references: to what the node reads, to stored tensors, to results of earlier
calls, and to what only PyTorch has a value of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class InputNumber:
    """Refers to an input of the node."""

    number: int


@dataclass(frozen=True, slots=True)
class ResultOf:
    """Refers to a result of an earlier call; path: where in what it returned, empty for a single tensor."""

    call: int
    path: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredName:
    """Refers to a parameter or buffer, by its full name."""

    name: str


@dataclass(frozen=True, slots=True)
class ConstantNumber:
    """Refers to a constant of the recorded calls."""

    number: int


@dataclass(frozen=True, slots=True)
class SliceOf:
    """A slice, whose bounds may be references."""

    start: Any
    stop: Any
    step: Any


@dataclass(frozen=True, slots=True)
class TorchName:
    """Refers to something that PyTorch calls so: a dtype, a layout, a memory format."""

    name: str


@dataclass(frozen=True, slots=True)
class OwnDevice:
    """Refers to the device that the computation runs on."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call: `Tensor.add`, `Tensor.mT.get`, `torch.linalg.norm`, `F.pad` or `ops.torchvision.nms.default`."""

    function: str
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A parameter or buffer that recorded calls read.

    value: the tensor itself where it is no parameter and has memory; dtype: as PyTorch calls it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_parameter: bool
    is_learnt: bool = True
    is_persistent: bool = True
    value: Any = field(default=None, compare=False, repr=False)  # tensors compare element by element


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that the model neither stores under a name nor computes."""

    shape: tuple[int, ...]
    dtype: str
    value: Any = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RecordedCalls:
    """The calls of a node in order, the tensors that are its outputs, and what the calls read beside its inputs."""

    calls: tuple[RecordedCall, ...]
    results: tuple[Any, ...]
    stored: tuple[Stored, ...] = ()
    constants: tuple[Constant, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether it only stores tensors: it makes nothing and changes nothing."""
        return not self.results and not self.calls


@dataclass(frozen=True, slots=True)
class NotRecorded:
    """Why it is not known how to make the calls of a node again, and what to do; for the end of a sentence."""

    reason: str


def leaves(value: Any) -> Iterator[Any]:
    """Yield the plain values and references of an argument."""
    if isinstance(value, SliceOf):
        yield from leaves((value.start, value.stop, value.step))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def values_of(call: RecordedCall) -> Iterator[Any]:
    """Yield the plain values and references of a call."""
    yield from leaves(call.arguments)
    yield from leaves(tuple(value for _, value in call.keywords))

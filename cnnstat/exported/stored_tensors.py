"""Stored tensors of an exported model: which of them are parameters, which buffers, and which layer has each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from cnnstat.ir.op import Shape, numel
from cnnstat.ops.traced import Tensors


class Role(Enum):
    """What an operation reads a tensor as.

    WEIGHT is a weight or bias, whatever its dtype and size; DATA takes part in the arithmetic, QUANTIZED too, as whole
    numbers that stand for others; SCALE is a scale or zero point of quantized numbers, STATISTIC a running mean or
    variance, SETTING a shape, a limit or another argument.
    """

    WEIGHT = "weight"
    DATA = "data"
    QUANTIZED = "quantized"
    SCALE = "scale"
    STATISTIC = "statistic"
    SETTING = "setting"


@dataclass(slots=True, eq=False)
class StoredTensor:
    """A constant of the file.

    is_generated: whether the file has a rule that makes it (ConstantOfShape) instead of its numbers.
    own_name: what the layer that has it calls it.
    readers: the modules of the layers that read it.
    kind: what it was found to be when the first operation read it; owner: the number of the layer that has it.
    """

    name: str
    shape: Shape
    dtype: str
    is_generated: bool = False
    own_name: str = ""
    kind: str = "unused"
    owner: int | None = None
    readers: set[str] = field(default_factory=set)

    @property
    def is_float(self) -> bool:
        """Whether its numbers are floating-point."""
        return self.dtype.startswith(("float", "bfloat", "complex"))

    def kind_as(self, role: Role) -> str:
        """Return what it is where an operation reads it in a role: a parameter, a buffer, or neither.

        Floating-point constants of more than one element are learnt as far as a file tells; single numbers and whole
        numbers only where they are a weight or bias.
        """
        if role is Role.STATISTIC:
            return "running statistics"
        if role is Role.SCALE:
            return "scales and zero points"
        if role is Role.WEIGHT:
            return "parameters"
        is_number = self.is_float or role is Role.QUANTIZED
        if role is Role.SETTING or not is_number or self.is_generated or "anchor" in self.name.lower():
            return "other constants"
        return "parameters" if numel(self.shape) > 1 else "single numbers"


def main_dtype(sizes: Iterable[tuple[str, int]]) -> str | None:
    """Return the floating-point dtype of most elements, from the dtypes and sizes of tensors; None for none."""
    counts: Counter[str] = Counter()
    for dtype, size in sizes:
        if dtype.startswith(("float", "bfloat", "complex")):
            counts[dtype] += size
    return counts.most_common(1)[0][0] if counts else None


class Source(NamedTuple):
    """A stored tensor that a constant is made of.

    role: what it was read as on the way, None where that is not decided yet.
    is_moved: whether its numbers were only moved, cast or dequantized; is_dequantized: whether they were dequantized.
    """

    stored: StoredTensor
    role: Role | None = None
    is_moved: bool = True
    is_dequantized: bool = False

    def as_read(self, role: Role) -> Use:
        """Return it as what an operation reads that reads the constant in a role."""
        if self.role is not None:
            return self.stored, self.role
        role = role if self.is_moved or role not in (Role.WEIGHT, Role.STATISTIC) else Role.DATA
        return self.stored, Role.QUANTIZED if role is Role.DATA and self.is_dequantized else role


Use = tuple[StoredTensor, Role]
"""A stored tensor, and what it is read as."""


BUFFERS = ("running statistics", "scales and zero points")
"""The kinds of stored tensors that are counted as buffers."""


@dataclass(slots=True)
class Owned:
    """The stored tensors that a layer takes: parameters and buffers with their shapes, and the dtype of each."""

    tensors: Tensors = ()
    stored: Tensors = ()
    dtypes: dict[str, str] = field(default_factory=dict)
    taken: tuple[StoredTensor, ...] = ()


def take(uses: Iterable[Use], names: dict[int, str] | None = None) -> Owned:
    """Return what a layer takes of the tensors that it reads: those that no layer before it has.

    names: what it calls them, by their identity; others keep the last part of the file's names.
    """
    parameters: dict[str, Shape] = {}
    buffers: dict[str, Shape] = {}
    dtypes: dict[str, str] = {}
    taken = []
    for stored, role in uses:
        kind = stored.kind_as(role)
        # A tensor that was read as an argument first, and as a weight now, is a weight.
        if stored.owner is not None or (stored.kind not in ("unused", "other constants", "single numbers")):
            continue
        stored.kind = kind
        if kind != "parameters" and kind not in BUFFERS:
            continue
        name = (names or {}).get(id(stored)) or stored.name.rpartition(".")[2] or "constant"
        while name in dtypes:
            name += "_"
        (parameters if kind == "parameters" else buffers)[name] = stored.shape
        dtypes[name] = stored.dtype
        stored.own_name = name
        taken.append(stored)
    return Owned(tuple(parameters.items()), tuple(buffers.items()), dtypes, tuple(taken))

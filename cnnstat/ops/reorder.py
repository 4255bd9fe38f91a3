"""Ops that put axes in another order, drop those of size one, or put one in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnstat.errors import OpError
from cnnstat.ir.argument import argument, list_of
from cnnstat.ir.formula import Formula
from cnnstat.ir.op import Example, Shape, Shapes, register
from cnnstat.ir.window import IDENTITY, Reads
from cnnstat.ops.view import AXES, AXIS, View, axis_index, axis_indices, method_code, rearranged


class _Reordering(View):
    """What all ops share whose output axes are input axes in another order, or axes of size one."""

    def sources(self, shape: Shape) -> tuple[int, ...]:
        """Return for each output axis the input axis that it is."""
        raise AssertionError(f"{self.kind} states no sources")

    def output(self, inputs: Shapes) -> Shapes:
        """Return the sizes in their new order."""
        (shape,) = inputs
        return (tuple(shape[axis] for axis in self.sources(shape)),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity with the axis that each output axis comes from."""
        return (tuple((axis, IDENTITY) for axis in self.sources(inputs[0])),)

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        """Return a method of the input."""
        return method_code(callee, operands[0], arguments.values())


@register
@dataclass(frozen=True, repr=False)
class Permute(_Reordering):
    """Puts all axes, the batch among them, in another order."""

    torch = "torch.permute"
    dims: tuple[int, ...] = argument(list_of(AXIS), "the input axis that each output axis is, the batch's 0 included")

    def sources(self, shape: Shape) -> tuple[int, ...]:
        """Return `dims` as numbers from 0."""
        rank = len(shape)
        order = tuple(axis + rank if axis < 0 else axis for axis in self.dims)
        if sorted(order) != list(range(rank)):
            raise OpError(f"dims={list(self.dims)} must name each of the {rank} axes 0 to {rank - 1} once")
        return order

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        """Return a method of the input."""
        return method_code(callee, operands[0], self.dims)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the shapes before and after."""
        return rearranged(f"axes in the order {list(self.dims)}", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return channels last, and a sequence with its batch in second place."""
        return (Example(cls((0, 2, 3, 1)), ((2, 6, 5, 4),)), Example(cls((1, 0, -1)), ((2, 7, 3),)))


@register
@dataclass(frozen=True, repr=False)
class Transpose(_Reordering):
    """Lets two axes change places."""

    torch = "torch.transpose"
    dim0: int = argument(AXIS, "one axis")
    dim1: int = argument(AXIS, "the other axis")

    def sources(self, shape: Shape) -> tuple[int, ...]:
        """Return all axes with the two swapped."""
        rank = len(shape)
        first, second = axis_index(self.dim0, rank, "dim0"), axis_index(self.dim1, rank, "dim1")
        swapped = {first: second, second: first}
        return tuple(swapped.get(axis, axis) for axis in range(rank))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the shapes before and after."""
        return rearranged(f"axes {self.dim0} and {self.dim1} swapped", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return tokens made from channels, and the last two axes swapped."""
        return (Example(cls(1, 2), ((2, 6, 20),)), Example(cls(-1, -2), ((1, 3, 5, 4),)))


@register
@dataclass(frozen=True, repr=False)
class Squeeze(_Reordering):
    """Drops axes of size one; as in PyTorch an axis of another size stays."""

    torch = "torch.squeeze"
    dim: int | tuple[int, ...] = argument(AXES, "the axis or axes to drop")

    def sources(self, shape: Shape) -> tuple[int, ...]:
        """Return the axes that stay."""
        dropped = axis_indices(self.dim, len(shape))
        return tuple(axis for axis, size in enumerate(shape) if size != 1 or axis not in dropped)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the shapes before and after."""
        return rearranged("without the axes of size 1", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return one axis, two axes, and an axis that is longer than one."""
        return (
            Example(cls(-1), ((2, 6, 5, 1),)),
            Example(cls((2, 3)), ((2, 6, 1, 1),)),
            Example(cls(1), ((2, 6, 5, 1),)),
        )


@register
@dataclass(frozen=True, repr=False)
class Unsqueeze(View):
    """Puts in an axis of size one."""

    torch = "torch.unsqueeze"
    dim: int = argument(AXIS, "the place of the new axis")

    def output(self, inputs: Shapes) -> Shapes:
        """Return the input's sizes with a 1 among them."""
        (shape,) = inputs
        axis = axis_index(self.dim, len(shape) + 1)
        return ((*shape[:axis], 1, *shape[axis:]),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity on all but the new axis."""
        new = axis_index(self.dim, len(outputs[0]))
        return (tuple(None if a == new else (a - (a > new), IDENTITY) for a in range(len(outputs[0]))),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the shapes before and after."""
        return rearranged(f"a new axis {self.dim}", inputs, outputs)

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        """Return a method of the input."""
        return method_code(callee, operands[0], arguments.values())

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return a new last axis and a new axis in front of the channels."""
        return (Example(cls(-1), ((2, 6, 5),)), Example(cls(1), ((2, 5, 4),)))

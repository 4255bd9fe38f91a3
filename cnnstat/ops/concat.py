"""Ops that put branches side by side: along an axis they have, or along a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.argument import argument
from cnnstat.ir.facets import NoArithmetic, NothingSaved, Weightless
from cnnstat.ir.formula import Formula
from cnnstat.ir.op import Example, Family, Op, Shape, Shapes, register
from cnnstat.ir.window import IDENTITY, Piece, Reads
from cnnstat.ops.join import without_batch
from cnnstat.ops.shape import AXIS, axis_index

AXIS_NAMES = {2: ("batch", "features"), 3: ("batch", "channels", "length"), 4: ("batch", "channels", "height", "width")}


@dataclass(frozen=True, repr=False)
class _SideBySide(Weightless, NoArithmetic, NothingSaved, Op):
    """What both share: every input is copied into its place of the output."""

    family: ClassVar[Family] = Family.LAYOUT
    input_count: ClassVar[tuple[int, int | None]] = (1, None)

    dim: int = argument(AXIS, "the axis along which the inputs follow one another", 1)

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        """Return a call with all inputs as one tuple."""
        inputs = f"({', '.join(operands)}{',' * (len(operands) == 1)})"
        return super().torch_code(callee, (inputs,), arguments)


@register
class Concat(_SideBySide):
    """Puts its inputs one behind another along an axis they have; DenseNet, Inception and U-Net join channels so."""

    torch = "torch.cat"

    def output(self, inputs: Shapes) -> Shapes:
        """Return the sum of the sizes along the axis; all other sizes must agree."""
        first, *others = inputs
        axis = axis_index(self.dim, len(first))
        for number, shape in enumerate(others, start=2):
            if len(shape) != len(first) or _without(shape, axis) != _without(first, axis):
                a, b = without_batch(first, shape)
                raise OpError(f"branch 1 gives {a}, branch {number} gives {b}; {_remedy(first, shape, axis)}")
        return ((*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :]),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity on all axes but that of the concatenation, where each input is one piece."""
        axis = axis_index(self.dim, len(inputs[0]))
        starts = accumulate((shape[axis] for shape in inputs[:-1]), initial=0)
        return tuple(
            tuple((a, Piece(start) if a == axis else IDENTITY) for a in range(len(inputs[0]))) for start in starts
        )

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the sum of the sizes."""
        axis = axis_index(self.dim, len(inputs[0]))
        name = _axis_name(axis, len(inputs[0]))
        numbers = " + ".join(str(shape[axis]) for shape in inputs)
        return (Formula(f"output {name}", "Σ size of the inputs", numbers, outputs[0][axis]),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return channels, one branch alone, rows, and tokens."""
        return (
            Example(cls(), ((2, 6, 5, 4), (2, 3, 5, 4), (2, 1, 5, 4))),
            Example(cls(), ((2, 6, 5, 4),)),
            Example(cls(-2), ((1, 3, 2, 4), (1, 3, 5, 4))),
            Example(cls(1), ((2, 1, 8), (2, 16, 8))),
        )


@register
class Stack(_SideBySide):
    """Puts its inputs one behind another along a new axis."""

    torch = "torch.stack"

    def output(self, inputs: Shapes) -> Shapes:
        """Return the shape of the inputs, which must be the same, with their number put in."""
        first, *others = inputs
        axis = axis_index(self.dim, len(first) + 1)
        for number, shape in enumerate(others, start=2):
            if shape != first:
                a, b = without_batch(first, shape)
                raise OpError(f"branch 1 gives {a}, branch {number} gives {b}; give them equal shapes, or use Concat")
        return ((*first[:axis], len(inputs), *first[axis:]),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity on all but the new axis."""
        new = axis_index(self.dim, len(outputs[0]))
        reads = tuple(None if a == new else (a - (a > new), IDENTITY) for a in range(len(outputs[0])))
        return (reads,) * len(inputs)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the number of inputs."""
        return (Formula(f"output axis {self.dim}", "number of inputs", f"{len(inputs)}", len(inputs)),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return maps stacked in front of the channels and behind the last axis."""
        return (Example(cls(), ((2, 6, 5), (2, 6, 5))), Example(cls(-1), ((1, 4), (1, 4), (1, 4))))


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _axis_name(axis: int, rank: int) -> str:
    return AXIS_NAMES[rank][axis] if rank in AXIS_NAMES else f"axis {axis}"


def _remedy(first: Shape, shape: Shape, axis: int) -> str:
    """Return what to change so that two branches fit side by side."""
    if len(first) != len(shape):
        return "give them equally many axes (Flatten, Reshape or Unsqueeze)"
    differing = [a for a, (one, other) in enumerate(zip(first, shape)) if one != other and a != axis]
    names = " and ".join(_axis_name(a, len(first)) for a in differing)
    if min(differing) < 2:
        return f"give them equal {names}, or concatenate along another axis than dim={axis}"
    return f"give them equal {names}: equal stride and padding, or CropLike or ResizeLike on one of them"

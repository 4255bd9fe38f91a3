"""Ops of elements, of several branches or one, and ops that set branches side by side along an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import FLAG, Formula, argument
from cnnstat.ir.facets import Activation, FloatOnly, NoArithmetic, NoMacs, NothingSaved, Weightless
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, Storage, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, Layer, Piece, Reads, aligned_reads, reads_along
from cnnstat.ops.shape import AXIS, axis_index

AXIS_NAMES = {2: ("batch", "features"), 3: ("batch", "channels", "length"), 4: ("batch", "channels", "height", "width")}


def broadcast(first: Shape, second: Shape) -> Shape | None:
    """Return the shape two tensors broadcast to as in PyTorch (aligned at the last axis), or None if they do not."""
    rank = max(len(first), len(second))
    pairs = list(zip((1,) * (rank - len(first)) + first, (1,) * (rank - len(second)) + second))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        return None
    return tuple(b if a == 1 else a for a, b in pairs)


def without_batch(first: Shape, second: Shape) -> tuple[str, str]:
    """Return two shapes in words, without the batch if both have the same."""
    skipped = 1 if len(first) == len(second) > 1 and first[0] == second[0] else 0
    return shape_text(first[skipped:]), shape_text(second[skipped:])


def _remedy(first: Shape, second: Shape) -> str:
    """Return what to change so that two branches fit."""
    if len(first) != len(second):
        return "give them equally many axes (Flatten, Reshape or Unsqueeze)"
    if first[0] != second[0]:
        return "give them the same batch"
    if len(first) == 2:
        return f"give both {first[1]} features"
    if broadcast(first[1:2], second[1:2]) is not None:
        return "give them equal stride and padding, or resize one with ResizeLike"
    if broadcast(first[2:], second[2:]) is not None:
        return f"give both {first[1]} channels, or project the shortcut with a 1×1 convolution"
    return "give them equal channels and stride, or project the shortcut"


@dataclass(frozen=True, repr=False)
class _ElementWise(Weightless, NoMacs, Op):
    """What joins share: inputs broadcast as in PyTorch and are taken from left to right, two at a time."""

    family: ClassVar[Family] = Family.ELEMENTWISE
    input_count: ClassVar[tuple[int, int | None]] = (2, None)
    takes_two: ClassVar[bool] = True
    operation: ClassVar[str]

    def output(self, inputs: Shapes) -> Shapes:
        """Return the shape that all inputs broadcast to; names the branches that do not fit."""
        joined = inputs[0]
        for number, shape in enumerate(inputs[1:], start=2):
            wider = broadcast(joined, shape)
            if wider is None:
                earlier = next(i for i, other in enumerate(inputs, start=1) if broadcast(other, shape) is None)
                a, b = without_batch(inputs[earlier - 1], shape)
                remedy = _remedy(inputs[earlier - 1], shape)
                raise OpError(f"branch {earlier} gives {a}, branch {number} gives {b}; {remedy}")
            joined = wider
        return (joined,)

    def partial_results(self, inputs: Shapes) -> Shapes:
        """Return the shapes after two inputs, after three, …, the output last."""
        return tuple(accumulate(inputs, lambda a, b: broadcast(a, b) or ()))[1:]

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return one operation for every element of every partial result: n − 1 an output."""
        return {"element-wise": sum(map(numel, self.partial_results(inputs)))}

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity, aligned at the last axis; an axis that is broadcast reads no axis of its own."""
        return tuple(aligned_reads(shape, outputs[0]) for shape in inputs)

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        return {}

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        """Return all inputs with the operator between them; without one, a call of each with the result before it."""
        if self.operator:
            return f" {self.operator} ".join(operands)
        return reduce(lambda before, operand: f"{callee}({before}, {operand})", operands)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        partial = [numel(shape) for shape in self.partial_results(inputs)]
        if len(set(partial)) == 1:
            symbols, numbers = "(n − 1) · outputs", f"{len(partial)} · {partial[0]}"
        else:
            symbols, numbers = "Σ elements of the partial results", " + ".join(map(str, partial))
        return (Formula(self.operation, symbols, numbers, sum(partial)),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        image = (2, 6, 5, 4)
        two = (
            Example(cls(), (image, image)),
            Example(cls(), (image, (2, 6, 1, 1))),
            Example(cls(), ((1, 1, 5, 1), (1, 6, 1, 4))),
            Example(cls(), (image, (5, 4))),
        )
        return two if cls.input_count[1] == 2 else (*two, Example(cls(), (image, (2, 1, 5, 4), image)))


@dataclass(frozen=True, repr=False)
class _Arithmetic(_ElementWise):
    """What joins share that PyTorch can do in place."""

    inplace: bool = argument(FLAG, "whether the result overwrites the first input", False)

    @property
    def storage(self) -> Storage:
        return Storage.IN_PLACE if self.inplace else Storage.FRESH

    def output(self, inputs: Shapes) -> Shapes:
        outputs = super().output(inputs)
        if self.inplace and outputs[0] != inputs[0]:
            first, result = without_batch(inputs[0], outputs[0])
            raise OpError(f"inplace=true cannot write {result} into the first input's {first}; use inplace=false")
        return outputs

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        if not self.inplace:
            return super().torch_code(callee, operands, arguments)
        return operands[0] + "".join(f".{callee.removeprefix('torch.')}_({other})" for other in operands[1:])

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (*super().examples(), Example(cls(inplace=True), ((2, 6, 5, 4), (2, 6, 5, 4))))


class _SavesFactors(_ElementWise):
    """What joins share whose gradient needs the values that were joined."""

    def kept_of_two(self, left: bool, right: bool) -> tuple[bool, bool]:
        """Return which of two values is kept, from which of them needs a gradient: both."""
        return left or right, left or right

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return all inputs and all partial results but the last; in place the values overwritten are copied first."""
        return self.saved_for(inputs, outputs, (True,) * len(inputs), True)

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return the same, less what no gradient needs."""
        saved_inputs: list[int] = []
        extra: list[tuple[int, str | None]] = []
        lefts = (inputs[0], *self.partial_results(inputs))
        needs_left = needs[0]
        for number, needs_right in enumerate(needs[1:], start=1):
            keeps_left, keeps_right = self.kept_of_two(needs_left, needs_right)
            if keeps_left and number == 1 and self.storage is Storage.FRESH:
                saved_inputs.append(0)
            elif keeps_left:
                extra.append((numel(lefts[number - 1]), None))
            saved_inputs += [number] * keeps_right
            needs_left = needs_left or needs_right
        return Saved(inputs=tuple(saved_inputs), extra=tuple(extra))


@register
class Add(NothingSaved, _Arithmetic):
    """The sum of all inputs: residual connections (arXiv:1512.03385). One addition for each further input."""

    torch = "torch.add"
    operation = "additions"
    operator = "+"
    scaled_operands = (0, 1)


@register
class Subtract(NothingSaved, _Arithmetic):
    """The first input minus the second. One subtraction an output."""

    torch = "torch.sub"
    input_count = (2, 2)
    operation = "subtractions"
    operator = "-"
    scaled_operands = (0, 1)


@register
class Multiply(_SavesFactors, _Arithmetic):
    """The product of all inputs: gates (arXiv:1709.01507). One multiplication for each further input."""

    torch = "torch.mul"
    complex_cost = 6  # four multiplications, two additions
    operation = "multiplications"
    operator = "*"
    scaled_operands = (0, 1)

    def kept_of_two(self, left: bool, right: bool) -> tuple[bool, bool]:
        """Return that each factor is kept for the gradient of the other."""
        return right, left


@register
class Divide(FloatOnly, _SavesFactors, _Arithmetic):
    """The first input divided by the second. One division an output."""

    torch = "torch.div"
    complex_cost = 11  # times the conjugate (6), by its square (3), twice
    input_count = (2, 2)
    operation = "divisions"
    operator = "/"
    scaled_operands = (0,)

    def kept_of_two(self, left: bool, right: bool) -> tuple[bool, bool]:
        """Return that the dividend is kept for the divisor's gradient, the divisor for both."""
        return right, left or right


@register
class Maximum(_SavesFactors):
    """The largest of all inputs (maxout). One comparison for each further input."""

    torch = "torch.maximum"
    operation = "comparisons"


@register
class Minimum(_SavesFactors):
    """The smallest of all inputs. One comparison for each further input."""

    torch = "torch.minimum"
    operation = "comparisons"


@dataclass(frozen=True, repr=False)
class _SideBySide(Weightless, NoArithmetic, NothingSaved, Op):
    """What both share: every input is copied into its place of the output."""

    family: ClassVar[Family] = Family.LAYOUT
    input_count: ClassVar[tuple[int, int | None]] = (1, None)
    takes_list: ClassVar[bool] = True

    dim: int = argument(AXIS, "the axis along which the inputs follow one another", 1)

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
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
                raise OpError(f"branch 1 gives {a}, branch {number} gives {b}; {_remedy_along(first, shape, axis)}")
        return ((*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :]),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity on all axes but that of the concatenation, where each input is one piece."""
        axis = axis_index(self.dim, len(inputs[0]))
        starts = accumulate((shape[axis] for shape in inputs[:-1]), initial=0)
        return tuple(reads_along(axis, Piece(start), len(inputs[0])) for start in starts)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        axis = axis_index(self.dim, len(inputs[0]))
        name = _axis_name(axis, len(inputs[0]))
        numbers = " + ".join(str(shape[axis]) for shape in inputs)
        return (Formula(f"output {name}", "Σ size of the inputs", numbers, outputs[0][axis]),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
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
        first, *others = inputs
        axis = axis_index(self.dim, len(first) + 1)
        for number, shape in enumerate(others, start=2):
            if shape != first:
                a, b = without_batch(first, shape)
                raise OpError(f"branch 1 gives {a}, branch {number} gives {b}; give them equal shapes, or use Concat")
        return ((*first[:axis], len(inputs), *first[axis:]),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        new = axis_index(self.dim, len(outputs[0]))
        reads = tuple(None if a == new else (a - (a > new), IDENTITY) for a in range(len(outputs[0])))
        return tuple(Layer.at(new, number, reads) for number in range(len(inputs)))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return (Formula(f"output axis {self.dim}", "number of inputs", f"{len(inputs)}", len(inputs)),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls(), ((2, 6, 5), (2, 6, 5))), Example(cls(-1), ((1, 4), (1, 4), (1, 4))))


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _axis_name(axis: int, rank: int) -> str:
    return AXIS_NAMES[rank][axis] if rank in AXIS_NAMES else f"axis {axis}"


def _remedy_along(first: Shape, shape: Shape, axis: int) -> str:
    """Return what to change so that two branches fit side by side."""
    if len(first) != len(shape):
        return "give them equally many axes (Flatten, Reshape or Unsqueeze)"
    differing = [a for a, (one, other) in enumerate(zip(first, shape)) if one != other and a != axis]
    names = " and ".join(_axis_name(a, len(first)) for a in differing)
    if min(differing) < 2:
        return f"give them equal {names}, or concatenate along another axis than dim={axis}"
    return f"give them equal {names}: equal stride and padding, or CropLike or ResizeLike on one of them"


@register
class Abs(Activation):
    """Absolute value of each element: clear the sign."""

    family = Family.ELEMENTWISE
    flop_part = "element-wise"
    torch = "torch.abs"
    equation = "f(x) = |x|"
    derivative = "f′(x) = 1 if x > 0, −1 if x < 0, and 0 at x = 0"
    steps = ("absolute",)

    def curve(self, x: float) -> float:
        """Return f(x)."""
        return abs(x)

"""Ops that give the same elements, in the same order, another shape; and what all ops share that rearrange axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, Kind, any_of, argument, integer, list_of
from cnnstat.ir.facets import NoArithmetic, NothingSaved, Pointwise, SameShape, Weightless
from cnnstat.ir.op import Example, Family, Linearity, Op, Shape, Shapes, Storage, register, shape_text
from cnnstat.ir.window import IDENTITY, Reads, RowMajor, regrouped_axes

AXIS_LETTERS = {2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}
"""What the axes of a tensor are called, by their number."""

AXIS = integer()
"""One axis by number; negative numbers count from the last."""

AXES: Kind = any_of(AXIS, list_of(AXIS))
"""One axis or a list of axes."""


def axis_index(dim: int, rank: int, name: str = "dim") -> int:
    """Return axis `dim` of `rank` axes as a number from 0; raises OpError if there is no such axis."""
    if not -rank <= dim < rank:
        raise OpError(f"{name}={dim} is no axis of a tensor of {rank} axes; use {-rank} to {rank - 1}")
    return dim % rank


def axis_indices(dim: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Return one or more axes as numbers from 0; raises OpError if one does not exist or is named twice."""
    dims = (dim,) if isinstance(dim, int) else dim
    indices = tuple(axis_index(d, rank) for d in dims)
    if len(set(indices)) < len(indices):
        raise OpError(f"dim={list(dims)} names an axis twice; name each once")
    return indices


def rearranged(symbols: str, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
    """Return the one line that explains an op that only rearranges: what it does, from which shape, to which."""
    return (Formula("output shape", symbols, shape_text(inputs[0]), shape_text(outputs[0])),)


def method_code(callee: str, operand: str, arguments: Iterable[Any]) -> str:
    """Return Python code of a function that reads better as a method of its one operand."""
    return f"{operand}.{callee.removeprefix('torch.')}({', '.join(map(repr, arguments))})"


@dataclass(frozen=True, repr=False)
class View(Weightless, NoArithmetic, NothingSaved, Op):
    """An op that reads its input's memory under another shape: no arithmetic, no copy, nothing saved.

    PyTorch must copy where the memory order does not allow the new shape (a flatten after a permute); whether it does
    depends on the ops before, so the copy is not counted.
    """

    family: ClassVar[Family] = Family.LAYOUT

    @property
    def storage(self) -> Storage:
        return Storage.VIEW


SIZES = list_of(integer(-1))
"""Sizes of axes, one of which may be −1: whatever is left."""


def filled(sizes: Shape, elements: int, name: str, source: Shape) -> Shape:
    """Return `sizes` with its −1 worked out; raises OpError unless they hold exactly the elements of `source`."""
    if sizes.count(-1) > 1 or 0 in sizes:
        raise OpError(f"{name}={list(sizes)} must be sizes of at least 1, and -1 at most once")
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and elements % known == 0:
        return tuple(elements // known if size == -1 else size for size in sizes)
    if -1 not in sizes and known == elements:
        return sizes
    verb = "does not divide into" if -1 in sizes else f"holds {known} elements, not"
    raise OpError(f"{name}={list(sizes)} {verb} the {elements} of {shape_text(source)}; write -1 for one size")


def regrouped(source: Shape, target: Shape) -> Reads:
    """Return how the axes of a reshaped tensor read those of the original: one that stays as it is names itself."""
    reads: list[tuple[int, Any] | None] = [None] * len(target)
    for sources, targets in regrouped_axes(source, target):
        if len(sources) == len(targets) == 1:
            reads[targets[0]] = (sources[0], IDENTITY)
    return RowMajor(reads)


@register
class Identity(SameShape, Pointwise, View):
    """Passes its input on unchanged: f(x) = x."""

    torch = "torch.nn.Identity"
    equation = "f(x) = x"
    derivative = "f′(x) = 1"
    passes_through = True

    def curve(self, x: float) -> float:
        return x

    @property
    def linearity(self) -> Linearity:
        return Linearity.AFFINE

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return rearranged("the input's", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls(), ((2, 3, 5, 4),)), Example(cls(), ((1, 10),)))


class _Reshaping(View):
    """What all ops share whose output is the input's elements, in order, under another shape."""

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        return (regrouped(inputs[0], outputs[0]),)


@register
@dataclass(frozen=True, repr=False)
class Flatten(_Reshaping):
    """Merges axes into one, all but the batch unless told otherwise. Counted as a view, see `View`."""

    torch = "torch.nn.Flatten"
    calls = {"flatten": "input, start_dim=0, end_dim", "ravel": "input, start_dim=0"}
    start_dim: int = argument(AXIS, "first axis that is merged", 1)
    end_dim: int = argument(AXIS, "last axis that is merged", -1)

    def _span(self, rank: int) -> tuple[int, int]:
        start = axis_index(self.start_dim, rank, "start_dim")
        end = axis_index(self.end_dim, rank, "end_dim")
        if start > end:
            raise OpError(f"start_dim={self.start_dim} lies behind end_dim={self.end_dim}; swap them")
        return start, end + 1

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        start, end = self._span(len(shape))
        return ((*shape[:start], math.prod(shape[start:end]), *shape[end:]),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        (shape,) = inputs
        start, end = self._span(len(shape))
        letters = AXIS_LETTERS.get(len(shape), "")[start:end]
        symbols = "·".join(letters) or "product of the merged axes"
        return (Formula("features", symbols, "·".join(map(str, shape[start:end])), outputs[0][start]),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(), ((2, 6, 5, 4),)),
            Example(cls(2), ((2, 6, 5, 4),)),
            Example(cls(0, 1), ((2, 6, 5, 4),)),
            Example(cls(-2), ((1, 3, 4, 5, 6),)),
            Example(cls(), ((3, 7),)),
        )


@register
@dataclass(frozen=True, repr=False)
class Unflatten(_Reshaping):
    """Splits one axis into several."""

    torch = "torch.nn.Unflatten"
    dim: int = argument(AXIS, "the axis that is split")
    unflattened_size: tuple[int, ...] = argument(SIZES, "the sizes it is split into; one may be -1")

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        axis = axis_index(self.dim, len(shape))
        sizes = filled(self.unflattened_size, shape[axis], "unflattened_size", (shape[axis],))
        return ((*shape[:axis], *sizes, *shape[axis + 1 :]),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return rearranged(f"axis {self.dim} split into {list(self.unflattened_size)}", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(1, (8, 4, 4)), ((2, 128),)),
            Example(cls(1, (2, -1)), ((1, 6, 5, 4),)),
            Example(cls(-1, (-1, 3)), ((2, 5, 12),)),
        )


@register
@dataclass(frozen=True, repr=False)
class Reshape(_Reshaping):
    """Gives the elements of each batch entry another shape; the batch stays. Counted as a view, see `View`."""

    torch = "torch.reshape"
    shape: tuple[int, ...] = argument(SIZES, "the new sizes, without the batch; one may be -1")

    def output(self, inputs: Shapes) -> Shapes:
        batch, *rest = inputs[0]
        return ((batch, *filled(self.shape, math.prod(rest), "shape", tuple(rest))),)

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        return {"shape": (inputs[0][0], *self.shape)}

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        """Return a method that keeps the batch, whatever its size."""
        return f"{operands[0]}.reshape({', '.join((f'{operands[0]}.shape[0]', *map(str, self.shape)))})"

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return rearranged(f"N × {shape_text(self.shape)}", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls((8, 4, 4)), ((2, 128),)),
            Example(cls((2, 3, 5, 4)), ((2, 6, 5, 4),)),
            Example(cls((-1,)), ((2, 6, 5, 4),)),
            Example(cls((6, -1)), ((1, 6, 5, 4),)),
        )

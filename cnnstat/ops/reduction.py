"""Ops that reduce axes to one number each: mean, sum and maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnstat.ir.declaration import FLAG, Factor, Formula, Terms, Written, argument, product
from cnnstat.ir.facets import NoMacs, NothingSaved, Weightless
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register
from cnnstat.ir.window import IDENTITY, WHOLE, Reads
from cnnstat.ops.shape import AXES, axis_indices


@dataclass(frozen=True, repr=False)
class _Reduction(Weightless, NoMacs, Op):
    """What reductions share: one number for all that lies along the reduced axes."""

    family: ClassVar[Family] = Family.POOLING
    flop_part: ClassVar[str] = "pooling"
    divides: ClassVar[bool] = False

    dim: int | tuple[int, ...] = argument(AXES, "the axis or axes that are reduced")
    keepdim: bool = argument(FLAG, "whether reduced axes stay, with size 1", False)

    def _reduced(self, shape: Shape) -> tuple[int, ...]:
        return axis_indices(self.dim, len(shape))

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        reduced = self._reduced(shape)
        sizes = ((axis, 1 if axis in reduced else size) for axis, size in enumerate(shape))
        return (tuple(size for axis, size in sizes if self.keepdim or axis not in reduced),)

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs · (n − 1): n numbers take n − 1 additions or comparisons; a mean one division more."""
        n = numel(inputs[0]) // numel(outputs[0])
        each: Factor = ("n", n) if self.divides else ("(n − 1)", Written(n - 1, f"({n} − 1)"))
        return product(("outputs", numel(outputs[0])), each)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        reduced = self._reduced(inputs[0])
        axes = (axis for axis in range(len(inputs[0])) if self.keepdim or axis not in reduced)
        return (tuple((axis, WHOLE if axis in reduced else IDENTITY) for axis in axes),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        sizes = tuple(inputs[0][axis] for axis in self._reduced(inputs[0]))
        return (
            Formula.of("numbers that become one", product(("n = Π reduced sizes", sizes))),
            Formula.of("FLOPs", self.flop_terms(inputs, outputs)),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls((2, 3)), ((2, 6, 5, 4),)),
            Example(cls((-2, -1), keepdim=True), ((2, 6, 5, 4),)),
            Example(cls(1), ((2, 7, 3),)),
        )


@register
class Mean(NothingSaved, _Reduction):
    """The mean over axes (global average pooling): n − 1 additions and a division for each output."""

    torch = "torch.mean"
    divides = True


@register
class Sum(NothingSaved, _Reduction):
    """The sum over axes: n − 1 additions for each output."""

    torch = "torch.sum"


@register
class Max(_Reduction):
    """The largest number along axes (global max pooling): n − 1 comparisons for each output."""

    torch = "torch.amax"

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return input and output: the gradient goes to the inputs that equal the maximum."""
        return Saved(inputs=(0,), outputs=(0,))

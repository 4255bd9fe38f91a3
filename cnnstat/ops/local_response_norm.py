"""Local response normalization: every channel is damped by its neighbours (AlexNet)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.argument import argument, integer, number
from cnnstat.ir.facets import NoMacs, SameShape, Weightless
from cnnstat.ir.formula import Formula, Terms, Written, product
from cnnstat.ir.op import Example, Family, Op, Saved, Shapes, numel, register
from cnnstat.ir.window import IDENTITY, Reads, sliding


@register
@dataclass(frozen=True, repr=False)
class LocalResponseNorm(Weightless, NoMacs, SameShape, Op):
    """x / (k + alpha/size · Σ x²)^beta, summed over `size` channels (Krizhevsky et al. 2012, section 3.3).

    PyTorch divides alpha by size and the paper does not: the paper's 10⁻⁴ over 5 channels is alpha=5e-4 here.
    """

    family: ClassVar[Family] = Family.NORMALIZATION
    torch: ClassVar[str] = "torch.nn.LocalResponseNorm"
    short_name: ClassVar[str] = "norm"
    flop_part: ClassVar[str] = "normalization"

    size: int = argument(integer(1), "neighbouring channels in the sum, itself included")
    alpha: float = argument(number(), "weight of their mean square", 1e-4)
    beta: float = argument(number(), "exponent", 0.75)
    k: float = argument(number(), "added to the weighted mean square", 1.0)

    def output(self, inputs: Shapes) -> Shapes:
        """Return the input's shape."""
        if len(inputs[0]) < 3:
            sizes = "×".join(map(str, inputs[0]))
            raise OpError(
                f"LocalResponseNorm takes batch×channels×space, but its input is {sizes}; put it before Flatten"
            )
        return inputs

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs × (size + 6).

        Each takes a square, size − 1 additions, a multiplication by alpha/size, the addition of k, a power (log,
        multiply, exp) and a division.
        """
        return product(("(size + 6)", Written(self.size + 6, f"({self.size} + 6)")), ("outputs", outputs[0]))

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return `size` neighbours on the channel axis and the identity in space."""
        neighbours = sliding(self.size, padding=self.size // 2)
        return (tuple((axis, neighbours if axis == 1 else IDENTITY) for axis in range(len(inputs[0]))),)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, its padded squares, the base of the power, and the power."""
        elements = numel(inputs[0])
        padding = elements // inputs[0][1] * (self.size - 1)
        return Saved(inputs=(0,), extra=((elements + padding, None), (elements, None), (elements, None)))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the operations."""
        note = "square, size − 1 additions, multiply, add k, power (3), divide"
        return (Formula.of("normalization FLOPs", self.flop_terms(inputs, outputs), note),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return odd and even neighbourhoods of images, and of a sequence."""
        return (
            Example(cls(5, 5e-4, 0.75, 2.0), ((2, 6, 5, 4),)),
            Example(cls(2), ((1, 6, 5),)),
            Example(cls(1), ((1, 3, 4, 3, 2),)),
        )

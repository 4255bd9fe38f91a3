"""Scale and shift: what is left of a norm by stored statistics when a network is deployed, and layer scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import FLAG, Formula, Terms, argument, product
from cnnstat.ir.facets import NoBuffers, NoMacs, Pointwise, SameShape, SavesInput
from cnnstat.ir.op import NOTHING_SAVED, Example, Family, Linearity, Op, Saved, Shape, Shapes, register, shape_text


@register
@dataclass(frozen=True, repr=False)
class ScaleShift(SavesInput, NoBuffers, NoMacs, Pointwise, SameShape, Op):
    """One scale and one shift a channel, y = w·x + b: a batch norm that no layer before it could take in, deployed.

    Without the shift it is the layer scale of Touvron et al. 2021 (arXiv:2103.17239), as ConvNeXt has it.
    """

    family: ClassVar[Family] = Family.NORMALIZATION
    torch: ClassVar[str] = ""
    inferred: ClassVar[tuple[str, ...]] = ("num_features",)
    flop_part: ClassVar[str] = "normalization"

    shift: bool = argument(FLAG, "whether one number a channel is added", True)

    @property
    def linearity(self) -> Linearity:
        return Linearity.AFFINE

    def output(self, inputs: Shapes) -> Shapes:
        if len(inputs[0]) < 2:
            raise OpError(
                f"ScaleShift takes batch×channels×…, but its input is {shape_text(inputs[0])}; reshape it first"
            )
        return inputs

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return one scale a channel, and one shift."""
        channels = (inputs[0][1],)
        return {"weight": channels, "bias": channels} if self.shift else {"weight": channels}

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return one multiplication an element, and one addition."""
        steps = 1 + self.shift
        return product((f"{steps}", steps), ("outputs", outputs[0]))

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        # The input is kept for the gradient of the scales alone.
        return self.saved(inputs, outputs) if learns else NOTHING_SAVED

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        channels = inputs[0][1]
        return (
            Formula("weights", "C", f"{channels}", channels),
            *((Formula("bias", "C", f"{channels}", channels),) if self.shift else ()),
            Formula.of(
                "normalization FLOPs", self.flop_terms(inputs, outputs), "y = w·x + b" if self.shift else "y = w·x"
            ),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example(cls(), ((2, 6, 5, 4),)), Example(cls(), ((3, 7),)), Example(cls(False), ((2, 6, 5, 4),))

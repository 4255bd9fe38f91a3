"""Fully connected maps of the last axis: y = Wx + b and its form with two inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import FLAG, Factor, Formula, Terms, argument, integer, product
from cnnstat.ir.facets import Biased
from cnnstat.ir.op import Example, Family, Linearity, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, Reads


def leading(shape: Shape) -> Reads:
    """Return the reads of a map of the last axis: the identity on all others."""
    return (*((axis, IDENTITY) for axis in range(len(shape) - 1)), None)


@dataclass(frozen=True, repr=False)
class _FullyConnected(Biased, Op):
    """What fully connected maps share: features are the last axis, all axes before it are positions."""

    family: ClassVar[Family] = Family.LINEAR
    counted_as_weighted: ClassVar[bool] = True
    scales_by_channel: ClassVar[bool] = True
    feature_axis: ClassVar[int] = -1
    short_name: ClassVar[str] = "fc"

    out_features: int = argument(integer(1), "number of outputs at each position")
    bias: bool = argument(FLAG, "whether one number an output feature is added", True)

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"out_features": weights["weight"][0]}

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return the additions of the bias, one an output."""
        return super().other_flops(inputs, outputs)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        return tuple(map(leading, inputs))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the inputs, which the gradient of the weight multiplies."""
        return Saved(inputs=tuple(range(len(inputs))))


@register
class Linear(_FullyConnected):
    """Fully connected layer y = Wx + b of the last axis, at every position of the axes before it."""

    torch = "torch.nn.Linear"
    calls = {"linear": "input, weight, bias"}
    inferred = ("in_features",)

    @property
    def linearity(self) -> Linearity:
        """Dense: a second one right behind it could be multiplied into it."""
        return Linearity.DENSE

    def with_bias(self, inputs: Shapes) -> Op | None:
        """Return the layer with its bias where features are axis 1; more axes have positions there."""
        return replace(self, bias=True) if len(inputs[0]) == 2 else None

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        if len(shape) < 2:
            raise OpError(f"Linear takes batch×features, but its input has one axis of {shape[0]}; reshape it first")
        return ((*shape[:-1], self.out_features),)

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return the input if the weight is learnt; frozen, only the weight is needed."""
        return self.saved(inputs, outputs) if learns else Saved()

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return F_out × F_in, and the bias."""
        return self._with_bias((self.out_features, inputs[0][-1]), self.out_features)

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs × in_features: every output is one dot product with its input."""
        return product(("positions", inputs[0][:-1]), *self._weight_factors(inputs))

    def _weight_factors(self, inputs: Shapes) -> tuple[Factor, Factor]:
        return ("F_out", self.out_features), ("F_in", inputs[0][-1])

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return (
            Formula.of("weights", product(*self._weight_factors(inputs))),
            *self._bias_formula("F_out", self.out_features),
            Formula.of("MACs", self.mac_terms(inputs, outputs), "y = Wx + b" if self.bias else "y = Wx"),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(10), ((2, 84),)),
            Example(cls(5, bias=False), ((3, 7),)),
            Example(cls(12), ((2, 9, 8),)),
            Example(cls(4), ((2, 3, 5, 6),)),
        )


@register
class Bilinear(_FullyConnected):
    """Linear map of all products of two inputs, yₒ = x₁ᵀ Wₒ x₂ + bₒ.

    The products x₁ᵢ·x₂ⱼ are counted once, as element-wise FLOPs; the map of them takes one MAC a weight.
    """

    torch = "torch.nn.Bilinear"
    calls = {"bilinear": "input1, input2, weight, bias"}
    inferred = ("in1_features", "in2_features")
    input_count = (2, 2)
    short_name = ""

    def output(self, inputs: Shapes) -> Shapes:
        first, second = inputs
        if len(first) < 2 or first[:-1] != second[:-1]:
            raise OpError(
                f"Bilinear takes two inputs that differ in the last axis only, but gets {shape_text(first)} "
                f"and {shape_text(second)}; reshape them first"
            )
        return ((*first[:-1], self.out_features),)

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return F_out × F₁ × F₂, and the bias."""
        return self._with_bias((self.out_features, inputs[0][-1], inputs[1][-1]), self.out_features)

    def _products(self, inputs: Shapes) -> int:
        return numel(inputs[0]) * inputs[1][-1]

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs × F₁·F₂."""
        return product(("products", self._products(inputs)), ("F_out", self.out_features))

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return positions · F₁·F₂ products of the inputs, and the additions of the bias."""
        return {"element-wise": self._products(inputs), **super().other_flops(inputs, outputs)}

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return each input if the weight is learnt, or the other input needs a gradient."""
        return Saved(inputs=tuple(i for i, other in ((0, needs[1]), (1, needs[0])) if learns or other))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        pairs: Factor = ("F₁·F₂", (inputs[0][-1], inputs[1][-1]))
        return (
            Formula.of("weights", product(("F_out", self.out_features), pairs)),
            *self._bias_formula("F_out", self.out_features),
            Formula.of("products", product(("positions", inputs[0][:-1]), pairs), "x₁ᵢ·x₂ⱼ"),
            Formula.of("MACs", self.mac_terms(inputs, outputs)),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example(cls(5), ((3, 4), (3, 6))), Example(cls(2, bias=False), ((2, 7, 4), (2, 7, 3)))

"""Families of facets, to be mixed into ops: each states outright what many ops share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnstat.ir.declaration import FLAG, Formula, Terms, argument, product
from cnnstat.ir.op import NOTHING_SAVED, Example, Family, Int8, Op, Saved, Shape, Shapes, Storage, numel
from cnnstat.ir.window import IDENTITY, Reads


class Weightless:
    """Mixin for ops that own no tensors."""

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return no tensors."""
        return {}

    def buffers(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return no tensors."""
        return {}


class NoBuffers:
    """Mixin for ops that have weights but no buffers."""

    def buffers(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return no tensors."""
        return {}


class Biased(NoBuffers):
    """Mixin for ops that map features linearly and, with `bias`, add a learnt number to each output."""

    bias: bool

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return one addition an output for the bias."""
        return {"bias": numel(outputs[0])} if self.bias else {}

    def _with_bias(self, weight: Shape, features: int) -> Mapping[str, Shape]:
        return {"weight": weight, "bias": (features,)} if self.bias else {"weight": weight}

    def _bias_formula(self, symbol: str, features: int) -> tuple[Formula, ...]:
        return (Formula("bias", symbol, f"{features}", features),) if self.bias else ()


class NoMacs:
    """Mixin for ops without convolutions, linear maps or matrix products."""

    def macs(self, inputs: Shapes, outputs: Shapes) -> int:
        """Return 0."""
        return 0


class NoArithmetic(NoMacs):
    """Mixin for ops that move or rename data and compute nothing."""

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return no operations."""
        return {}


class NothingSaved:
    """Mixin for ops whose backward pass needs none of their tensors."""

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return nothing."""
        return NOTHING_SAVED


class SavesInput:
    """Mixin for ops whose backward pass reads their one input again."""

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input."""
        return Saved(inputs=(0,))


class FloatOnly:
    """Mixin for ops that the usual runtimes have no kernel for on 8-bit integers."""

    @property
    def int8(self) -> Int8:
        """Return that it runs in float32."""
        return Int8.FLOAT


class MixedPrecision:
    """Mixin for attention: matrix products that have a kernel on 8-bit integers, and a softmax that has none."""

    @property
    def int8(self) -> Int8:
        """Return that its softmax runs in float32."""
        return Int8.MIXED


class Pointwise:
    """Mixin for ops whose output element depends on the input element at the same place only."""

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity on every axis."""
        return tuple(tuple((axis, IDENTITY) for axis in range(len(shape))) for shape in inputs)


class SameShape:
    """Mixin for ops of one input whose output has the same shape."""

    def output(self, inputs: Shapes) -> Shapes:
        """Return the input's shape."""
        return inputs


# Activations ---------------------------------------------------------------------------------------------------------


def inplace_argument() -> Any:
    """Declare PyTorch's `inplace`."""
    return argument(FLAG, "whether the input is overwritten with the result", False)


@dataclass(frozen=True, repr=False)
class Activation(Weightless, NoMacs, Pointwise, SameShape, Op):
    """A function of each element; its class lists the elementary operations that one element takes."""

    family: ClassVar[Family] = Family.ACTIVATION
    flop_part: ClassVar[str] = "activation"
    steps: ClassVar[tuple[str, ...]]
    """The elementary operations of one output element, in order; each counts 1."""

    def element_steps(self) -> tuple[str, ...]:
        """Return the elementary operations of one output element with the arguments given."""
        return self.steps

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return output elements × elementary operations of one element."""
        count = len(self.element_steps())
        return product((f"{count}", count), ("outputs", outputs[0]))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, from which the backward pass computes the derivative."""
        return Saved(inputs=(0,))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        note = f"{self.equation}: {', '.join(self.element_steps())}"
        return (Formula.of("activation FLOPs", self.flop_terms(inputs, outputs), note),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example(cls(), ((2, 6, 5, 4),)), Example(cls(), ((3, 7),))


class KeepsOutput(Activation):
    """Activation whose derivative is a function of its own output."""

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the output."""
        return Saved(outputs=(0,))


class MayOverwrite(Activation):
    """Activation that may work in place, though its derivative is a function of the input."""

    inplace: bool

    @property
    def storage(self) -> Storage:
        return Storage.IN_PLACE if self.inplace else Storage.FRESH

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input; in place it is overwritten, and PyTorch keeps a copy."""
        return Saved(extra=((numel(inputs[0]), None),)) if self.inplace else Saved(inputs=(0,))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        overwriting: Any = cls
        return *super().examples(), Example(overwriting(inplace=True), ((2, 6, 5, 4),))


@dataclass(frozen=True, repr=False)
class OnlyInplace(MayOverwrite):
    """Activation with `inplace` as its one argument."""

    inplace: bool = inplace_argument()


def logistic(x: float) -> float:
    """Return 1/(1 + e⁻ˣ) without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))


def softplus(x: float) -> float:
    """Return ln(1 + eˣ) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))

"""Families of facets, to be mixed into ops: each states outright what many ops share."""

from __future__ import annotations

from collections.abc import Mapping

from cnnstat.ir.formula import Formula
from cnnstat.ir.op import NOTHING_SAVED, Saved, Shape, Shapes, numel
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

"""Normalizations by statistics of each example: over layers, groups or neighbours of channels, by root mean square."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import (
    FLAG,
    Formula,
    Terms,
    Written,
    any_of,
    argument,
    integer,
    list_of,
    number,
    optional,
    product,
)
from cnnstat.ir.facets import FloatOnly, NoMacs, SameShape, Weightless
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import Reads, reads_along, sliding
from cnnstat.ops.norm import Normalization, learnt, scale_and_shift, without_default_bias

SHAPE = any_of(integer(1), list_of(integer(1)))
"""The sizes of the last axes: one number, or a list."""
NEAR = 1000
"""How far from a number of groups that does not divide the channels one is looked for that does."""


def _shape_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    sizes = tuple(arguments["normalized_shape"])
    return {"normalized_shape": sizes[0] if len(sizes) == 1 else sizes}


@dataclass(frozen=True, repr=False)
class _ByLastAxes(Normalization):
    """Normalization over the last axes, whose sizes are written out as in PyTorch."""

    normalized_shape: int | tuple[int, ...] = argument(SHAPE, "sizes of the last axes, over which is normalized")

    @property
    def sizes(self) -> Shape:
        return (self.normalized_shape,) if isinstance(self.normalized_shape, int) else self.normalized_shape

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        count = len(self.sizes)
        if shape[-count:] == self.sizes:
            return inputs
        last = shape[-count:]
        right = str(last[0]) if len(last) == 1 else str(list(last))
        raise OpError(
            f"normalized_shape={shape_text(self.sizes)} is not how {shape_text(shape)} ends; use {right}, or move the "
            "axes to normalize to the end"
        )

    def statistics(self, shape: Shape) -> int:
        return numel(shape) // numel(self.sizes)

    def normalized_axes(self, shape: Shape) -> tuple[int, ...]:
        return tuple(range(len(shape) - len(self.sizes), len(shape)))


@register
@dataclass(frozen=True, repr=False)
class LayerNorm(_ByLastAxes):
    """Layer norm (Ba et al. 2016, arXiv:1607.06450) over the last axes."""

    torch = "torch.nn.LayerNorm"
    calls = {"layer_norm": "input, normalized_shape, weight, bias, eps"}

    eps: float = argument(number(0), "added to the variance", 1e-5)
    elementwise_affine: bool = argument(FLAG, "whether a scale and a shift an element are learnt", True)
    bias: bool = argument(FLAG, "whether elementwise_affine learns the shift too", True)

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {**_shape_of(arguments), **learnt("elementwise_affine", weights)}

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return one scale and one shift for each normalized element."""
        return scale_and_shift(self.sizes, self.elementwise_affine, self.bias)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(8), ((2, 5, 8),)),
            Example(cls((4,), 1e-6), ((2, 6, 5, 4),)),
            Example(cls((6, 5, 4), bias=False), ((2, 6, 5, 4),)),
            Example(cls((5, 4), elementwise_affine=False), ((2, 6, 5, 4),)),
        )


@register
@dataclass(frozen=True, repr=False)
class RMSNorm(_ByLastAxes):
    """Division by the root mean square over the last axes (Zhang & Sennrich 2019, arXiv:1910.07467).

    Work for each element: multiply, add (mean square), multiply, and one step for the weight; for each root mean
    square: divide, add eps, sqrt, divide.
    """

    torch = "torch.nn.RMSNorm"
    calls = {"rms_norm": "input, normalized_shape, weight, eps"}
    element_steps = ("multiply", "add", "multiply")
    statistic_steps = ("divide", "add", "sqrt", "divide")
    statistic_numbers = 1

    eps: float | None = argument(optional(number(0)), "added to the mean square; null for the dtype's own", None)
    elementwise_affine: bool = argument(FLAG, "whether a scale an element is learnt", True)

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {**_shape_of(arguments), "elementwise_affine": "weight" in weights}

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return one scale for each normalized element."""
        return scale_and_shift(self.sizes, self.elementwise_affine, bias=False)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, 1/RMS, and what the weight scales (PyTorch's fused kernel on a GPU computes that again)."""
        return self.saved_for(inputs, outputs, (True,), True)

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return the first two if the input needs a gradient, and the last if the weight is learnt."""
        saved = super().saved(inputs, outputs) if needs[0] else Saved()
        scaled = ((numel(inputs[0]), None),) if self.elementwise_affine and learns else ()
        return Saved(inputs=saved.inputs, extra=(*saved.extra, *scaled))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(8), ((2, 5, 8),)),
            Example(cls((6, 5, 4), 1e-6), ((2, 6, 5, 4),)),
            Example(cls((5, 4), elementwise_affine=False), ((2, 6, 5, 4),)),
        )


@register
@dataclass(frozen=True, repr=False)
class GroupNorm(Normalization):
    """Group norm (Wu & He 2018, arXiv:1803.08494) over space and a group of channels."""

    torch = "torch.nn.GroupNorm"
    calls = {"group_norm": "input, num_groups, weight, bias, eps"}
    inferred = ("num_channels",)

    num_groups: int = argument(integer(1), "groups that the channels are split into")
    eps: float = argument(number(0), "added to the variance", 1e-5)
    affine: bool = argument(FLAG, "whether a scale and a shift a channel are learnt", True)
    bias: bool = argument(FLAG, "whether affine learns the shift too", True, keyword_only=True)

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        return learnt("affine", weights)

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        sizes = shape_text(shape)
        if len(shape) < 2:
            raise OpError(f"GroupNorm takes batch×channels×…, but its input is {sizes}; reshape the input first")
        channels = shape[1]
        if channels % self.num_groups:
            raise OpError(
                f"num_groups={self.num_groups} does not divide {channels} channels; {self._nearest(channels)}"
            )
        if numel(shape) == self.num_groups:
            raise OpError(f"num_groups={self.num_groups} leaves one value a group of {sizes}; use fewer groups")
        return inputs

    def _nearest(self, channels: int) -> str:
        """Return which numbers at most NEAR away from `num_groups` divide `channels`; 1 always does."""
        first = min(self.num_groups, channels)
        below = next((d for d in range(first, max(0, first - NEAR), -1) if channels % d == 0), 1)
        reached = min(channels, self.num_groups + NEAR)
        above = next((d for d in range(self.num_groups, reached + 1) if channels % d == 0), None)
        return f"use {below}" + (f" or {above}" if above else "")

    def statistics(self, shape: Shape) -> int:
        return shape[0] * self.num_groups

    def normalized_axes(self, shape: Shape) -> tuple[int, ...]:
        return tuple(range(1, len(shape)))

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return one scale and one shift a channel."""
        return scale_and_shift((inputs[0][1],), self.affine, self.bias)

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        return without_default_bias(super().torch_arguments(inputs))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(3), ((2, 6, 5, 4),)),
            Example(cls(1, 1e-6, False), ((2, 6, 5),)),
            Example(cls(6), ((1, 6, 5, 4, 3),)),
            Example(cls(2), ((3, 8),)),
        )


@register
@dataclass(frozen=True, repr=False)
class LocalResponseNorm(FloatOnly, Weightless, NoMacs, SameShape, Op):
    """x / (k + alpha/size · Σ x²)^beta, summed over `size` channels (Krizhevsky et al. 2012, section 3.3).

    PyTorch divides alpha by size and the paper does not: the paper's 10⁻⁴ over 5 channels is alpha=5e-4 here.
    """

    family: ClassVar[Family] = Family.NORMALIZATION
    torch: ClassVar[str] = "torch.nn.LocalResponseNorm"
    calls = {"F.local_response_norm": "input, size, alpha, beta, k"}
    short_name: ClassVar[str] = "norm"
    flop_part: ClassVar[str] = "normalization"

    size: int = argument(integer(1), "neighbouring channels in the sum, itself included")
    alpha: float = argument(number(), "weight of their mean square", 1e-4)
    beta: float = argument(number(), "exponent", 0.75)
    k: float = argument(number(), "added to the weighted mean square", 1.0)

    def output(self, inputs: Shapes) -> Shapes:
        if len(inputs[0]) < 3:
            raise OpError(
                f"LocalResponseNorm takes batch×channels×space, but its input is {shape_text(inputs[0])}; "
                "put it before Flatten"
            )
        return inputs

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs × (size + 6).

        Each takes a square, size − 1 additions, a multiplication by alpha/size, the addition of k, a power (log,
        multiply, exp) and a division.
        """
        return product(("(size + 6)", Written(self.size + 6, f"({self.size} + 6)")), ("outputs", outputs[0]))

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        neighbours = sliding(self.size, padding=self.size // 2)
        return (reads_along(1, neighbours, len(inputs[0])),)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, its padded squares, the base of the power, and the power."""
        elements = numel(inputs[0])
        padding = elements // inputs[0][1] * (self.size - 1)
        return Saved(inputs=(0,), extra=((elements + padding, None), (elements, None), (elements, None)))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        note = "square, size − 1 additions, multiply, add k, power (3), divide"
        return (Formula.of("normalization FLOPs", self.flop_terms(inputs, outputs), note),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(5, 5e-4, 0.75, 2.0), ((2, 6, 5, 4),)),
            Example(cls(2), ((1, 6, 5),)),
            Example(cls(1), ((1, 3, 4, 3, 2),)),
        )

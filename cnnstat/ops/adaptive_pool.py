"""Pooling to a fixed output size: adaptive pooling, and global pooling, which leaves one number a channel."""

from __future__ import annotations

import math
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
    axes,
    integer,
    list_of,
    optional,
    product,
)
from cnnstat.ir.facets import NoMacs, NothingSaved, Weightless
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, WHOLE, Reads, adaptive
from cnnstat.ops.pool import NO_WEIGHTS, MaybeIndices
from cnnstat.ops.spatial import AXIS_NAMES, Spatial, channels_and_space, spatial_ops, spatial_reads


def taps_of_bins(size: int, bins: int) -> int:
    """Return the sizes of all bins of adaptive pooling along one axis, added up: I + O − gcd(I, O).

    Bin o reads ⌊o·I/O⌋ to ⌈(o + 1)·I/O⌉ − 1. By symmetry Σ⌈·⌉ = I·O − Σ⌊·⌋, and Σ⌊o·I/O⌋ over 0 ≤ o < O is
    ((I − 1)(O − 1) + gcd(I, O) − 1) / 2 (Graham, Knuth & Patashnik, Concrete Mathematics, eq. 3.32).
    """
    return size + bins - math.gcd(size, bins)


@dataclass(frozen=True, repr=False)
class _AdaptivePool(Spatial, Weightless, NoMacs, Op):
    """Pool whose windows are cut so that a given number of outputs covers the input; windows may overlap by one."""

    family: ClassVar[Family] = Family.POOLING
    short_name: ClassVar[str] = "pool"

    output_size: int | tuple[int | None, ...] = argument(
        any_of(integer(1), list_of(optional(integer(1)))),
        "size of the output, one number or one for each axis; null keeps an axis as it is",
    )

    def _sizes(self, space: Shape) -> Shape:
        wanted: tuple[int | None, ...] = axes(self.output_size, self.spatial, "output_size")
        return tuple(length if size is None else size for size, length in zip(wanted, space))

    def output(self, inputs: Shapes) -> Shapes:
        batch, channels, space = channels_and_space(inputs[0], self.spatial, self.kind)
        return ((batch, channels, *self._sizes(space)),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the bins of each axis: bin o reads ⌊o·I/O⌋ to ⌈(o + 1)·I/O⌉ − 1."""
        return spatial_reads([adaptive(i, o) for i, o in zip(inputs[0][2:], outputs[0][2:])])

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        """Return the fields; in one dimension PyTorch takes no null."""
        if self.spatial > 1:
            return super().torch_arguments(inputs)
        return {**super().torch_arguments(inputs), "output_size": self._sizes(inputs[0][2:])[0]}

    def _taps(self, inputs: Shapes, outputs: Shapes) -> int:
        along = (taps_of_bins(i, o) for i, o in zip(inputs[0][2:], outputs[0][2:]))
        return math.prod(outputs[0][:2]) * math.prod(along)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        bins = [(i, o, math.gcd(i, o)) for i, o in zip(inputs[0][2:], outputs[0][2:])]
        sizes = (
            Formula(f"output {name}", "output_size", f"{o}", o, f"{i} in {o} bins of up to {-(-(i + o - g) // o)}")
            for name, (i, o, g) in zip(AXIS_NAMES[self.spatial], bins)
        )
        factors = "·".join(f"({i} + {o} − {g})" for i, o, g in bins)
        channels = "·".join(map(str, outputs[0][:2]))
        taps, work = self._taps(inputs, outputs), sum(self.other_flops(inputs, outputs).values())
        flops = ("taps", f"{taps}") if work == taps else ("taps − outputs", f"{taps} − {numel(outputs[0])}")
        return (
            *sizes,
            NO_WEIGHTS,
            Formula("taps", "N·C · Π (I + O − gcd(I, O))", f"{channels} · {factors}", taps, "numbers read by all bins"),
            Formula("FLOPs", *flops, work),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        space = (12, 9, 7)[: cls.spatial]
        return (
            Example(cls(1), ((2, 6, *space),)),
            Example(cls((4, 3, 7)[: cls.spatial]), ((1, 4, *space),)),
            Example(cls(5), ((2, 3, *space),)),
            Example(cls((2, None, 3)[: cls.spatial]), ((2, 3, *space),)),
            Example(cls((None, 1, None)[: cls.spatial]), ((2, 3, *space),)),
            Example(cls(8), ((1, 2, *(5, 7, 8)[: cls.spatial]),)),
        )


@dataclass(frozen=True, repr=False)
class _AdaptiveAvgPool(_AdaptivePool):
    """Mean of each bin."""

    calls = {"adaptive_avg_pool{n}d": "input, output_size"}

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return one operation a number read: K − 1 additions and one division for a bin of K."""
        return {"pooling": self._taps(inputs, outputs)}

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input; nothing where every axis becomes 1, which PyTorch computes as a mean."""
        return Saved() if set(outputs[0][2:]) == {1} else Saved(inputs=(0,))


@dataclass(frozen=True, repr=False)
class _AdaptiveMaxPool(MaybeIndices, _AdaptivePool):
    """Largest number of each bin."""

    calls = dict.fromkeys(
        ("adaptive_max_pool{n}d", "adaptive_max_pool{n}d_with_indices"), "input, output_size, return_indices"
    )

    return_indices: bool = argument(FLAG, "whether a second output says where each maximum was", False)

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return K − 1 comparisons for a bin of K numbers."""
        return {"pooling": self._taps(inputs, outputs) - numel(outputs[0])}

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (*super().examples(), Example(cls(3, return_indices=True), ((1, 2, *(9, 8, 7)[: cls.spatial]),)))


AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = spatial_ops(
    _AdaptiveAvgPool, "Mean of each of output_size bins of {field}; one operation a number read."
)
AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = spatial_ops(
    _AdaptiveMaxPool, "Maximum of each of output_size bins of {field}; K − 1 comparisons for a bin of K."
)


@dataclass(frozen=True, repr=False)
class _GlobalPool(Weightless, NoMacs, Op):
    """One number a channel for all positions; every spatial axis stays, with size 1."""

    family: ClassVar[Family] = Family.POOLING
    flop_part: ClassVar[str] = "pooling"
    short_name: ClassVar[str] = "pool"

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        if len(shape) < 3:
            text = shape_text(shape)
            raise OpError(f"{self.kind} takes batch×channels×space, but its input is {text}; leave the layer out")
        return ((*shape[:2], *(1,) * (len(shape) - 2)),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        return spatial_reads([WHOLE if size > 1 else IDENTITY for size in inputs[0][2:]])

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        return {"dim": tuple(range(2, len(inputs[0]))), "keepdim": True}

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        positions = Formula.of("K", product(("positions", inputs[0][2:])))
        return positions, NO_WEIGHTS, Formula.of("FLOPs", self.flop_terms(inputs, outputs))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return tuple(Example(cls(), ((2, 6, *space),)) for space in ((9,), (7, 5), (4, 3, 5), (1, 1), (1, 4)))


@register
class GlobalAvgPool(NothingSaved, _GlobalPool):
    """Mean of all positions of a channel (Lin et al. 2013, Network in Network): one operation an input."""

    torch = "torch.mean"

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return inputs: K − 1 additions and one division for K positions."""
        return product(("inputs", numel(inputs[0])))


@register
class GlobalMaxPool(_GlobalPool):
    """Maximum of all positions of a channel: K − 1 comparisons for K positions."""

    torch = "torch.amax"

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return inputs − outputs comparisons."""
        count = math.prod(inputs[0][2:])
        return product(("outputs", numel(outputs[0])), ("(K − 1)", Written(count - 1, f"({count} − 1)")))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return input and output: the gradient goes to the inputs that equal the maximum."""
        return Saved(inputs=(0,), outputs=(0,))

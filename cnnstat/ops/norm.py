"""Normalizations: what all of them share, batch norm, and instance norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import FLAG, Factor, Formula, Terms, argument, number, number_text, optional, product
from cnnstat.ir.facets import FloatOnly, NoBuffers, NoMacs, SameShape
from cnnstat.ir.op import Example, Family, Linearity, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, STATISTIC, Reads
from cnnstat.ops.spatial import Spatial, channels_and_space, spatial_ops


@dataclass(frozen=True, repr=False)
class Normalization(FloatOnly, NoBuffers, NoMacs, SameShape, Op):
    """Subtracts a mean, divides by a deviation, then scales and shifts by what was learnt.

    With the input's own statistics the work is one operation for each of `element_steps`, the weight and the bias an
    element, and one for each of `statistic_steps` a statistic.
    """

    family: ClassVar[Family] = Family.NORMALIZATION
    short_name: ClassVar[str] = "norm"
    flop_part: ClassVar[str] = "normalization"
    element_steps: ClassVar[tuple[str, ...]] = ("add", "subtract", "multiply", "add", "multiply")
    """Sum for the mean; deviation, its square and their sum for the variance; division by the deviation."""
    statistic_steps: ClassVar[tuple[str, ...]] = ("divide", "divide", "add", "sqrt", "divide")
    """Mean and variance from their sums, eps, and 1/deviation."""
    statistic_numbers: ClassVar[int] = 2
    """Numbers that one statistic consists of: mean and variance."""

    @property
    def is_fixed(self) -> bool:
        """Whether inference uses stored statistics, so that scale and shift are all the work."""
        return False

    def statistics(self, shape: Shape) -> int:
        """Return how many statistics a pass over the input computes."""
        raise AssertionError(f"{self.kind} states no statistics")

    def normalized_axes(self, shape: Shape) -> tuple[int, ...]:
        """Return the axes that one statistic covers, be it in part."""
        raise AssertionError(f"{self.kind} states no normalized axes")

    @property
    def linearity(self) -> Linearity:
        return Linearity.AFFINE if self.is_fixed else Linearity.NONE

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return 2 an element (one scale, one shift, whatever is learnt) with fixed statistics.

        Else elements × (steps + weight + bias) + statistics × steps.
        """
        if self.is_fixed:
            return product(("2", 2), ("outputs", outputs[0]))
        per_element, per_statistic = len(self.element_steps) + len(self.weights(inputs)), len(self.statistic_steps)
        statistics: Factor = ("statistics", self.statistics(inputs[0]))
        return product((f"{per_element}", per_element), ("outputs", outputs[0])) + product(
            (f"{per_statistic}", per_statistic), statistics
        )

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        (shape,) = inputs
        covered = () if self.is_fixed else self.normalized_axes(shape)
        return (tuple((axis, STATISTIC if axis in covered else IDENTITY) for axis in range(len(shape))),)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input and its statistics, mean and 1/deviation each."""
        return Saved(inputs=(0,), extra=((self.statistic_numbers * self.statistics(inputs[0]), None),))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        terms = self.flop_terms(inputs, outputs)
        stored = tuple(self._stored(kind, named) for kind, named in self._tensors(inputs) if named)
        if self.is_fixed:
            note = "one scale and one shift, folded from the running statistics"
            return *stored, Formula.of("normalization FLOPs", terms, note)
        count = self.statistics(inputs[0])
        sizes = f"{number_text(outputs[0])} / {numel(outputs[0]) // count}"
        steps = (*self.element_steps, *self.weights(inputs))
        note = f"an element: {', '.join(steps)}; a statistic: {', '.join(self.statistic_steps)}"
        return (
            *stored,
            Formula("statistics", "elements / elements of each", sizes, count),
            Formula.of("normalization FLOPs", terms, note),
        )

    def _tensors(self, inputs: Shapes) -> tuple[tuple[str, Mapping[str, Shape]], ...]:
        return ("weights", self.weights(inputs)), ("buffers", self.buffers(inputs))

    @staticmethod
    def _stored(kind: str, tensors: Mapping[str, Shape]) -> Formula:
        sizes = [numel(shape) for shape in tensors.values()]
        return Formula(kind, " + ".join(tensors), " + ".join(map(str, sizes)), sum(sizes))


def scale_and_shift(shape: Shape, weight: bool, bias: bool) -> Mapping[str, Shape]:
    """Return one learnt scale and one shift for each element of `shape`; without the scale there is no shift."""
    if not weight:
        return {}
    return {"weight": shape, "bias": shape} if bias else {"weight": shape}


def learnt(switch: str, weights: Mapping[str, Shape]) -> dict[str, Any]:
    """Return which of scale and shift a norm has; raises OpError for a shift alone. switch: the argument for both."""
    if "bias" in weights and "weight" not in weights:
        raise OpError("no norm learns a shift without a scale")
    return {switch: "weight" in weights, "bias": "bias" in weights or "weight" not in weights}


def without_default_bias(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments less `bias` where it is true: older PyTorch does not know it."""
    return {name: value for name, value in arguments.items() if name != "bias" or not value}


@cache
def _scale_shift() -> Op:
    """Return the one op that all fixed norms become."""
    from cnnstat.ops.scale_shift import ScaleShift  # seldom asked for

    return ScaleShift()


@dataclass(frozen=True, repr=False)
class _ByChannel(Spatial, Normalization):
    """Normalization with one scale and one shift a channel, and perhaps running statistics."""

    inferred: ClassVar[tuple[str, ...]] = ("num_features",)

    eps: float = argument(number(0), "added to the variance", 1e-5, keyword_only=True)
    momentum: float | None = argument(
        optional(number()),
        "share of the new batch in the running statistics; null for their mean",
        0.1,
        keyword_only=True,
    )
    affine: bool = argument(FLAG, "whether a scale and a shift a channel are learnt", True, keyword_only=True)
    track_running_stats: bool = argument(
        FLAG, "whether inference uses statistics stored in training", True, keyword_only=True
    )
    bias: bool = argument(FLAG, "whether affine learns the shift too", True, keyword_only=True)

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {**learnt("affine", weights), "track_running_stats": {"running_mean", "running_var"} <= weights.keys()}

    @property
    def is_fixed(self) -> bool:
        return self.track_running_stats

    @property
    def uses_own_statistics(self) -> bool:  # type: ignore[override]  # a class variable of other ops
        return not self.track_running_stats

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        channels_and_space(shape, self.spatial, self.kind)
        if not self.is_fixed and numel(shape) == self.statistics(shape):
            raise OpError(
                f"track_running_stats=false needs more than one value for each statistic, but the input is "
                f"{shape_text(shape)}; write track_running_stats=true"
            )
        return inputs

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return one scale and one shift a channel."""
        return scale_and_shift((inputs[0][1],), self.affine, self.bias)

    def buffers(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return the running mean and variance a channel, and the number of batches they have seen."""
        if not self.track_running_stats:
            return {}
        channels = (inputs[0][1],)
        return {"running_mean": channels, "running_var": channels, "num_batches_tracked": ()}

    def as_scale_and_shift(self, inputs: Shapes) -> Op | None:
        """Return weight/√(variance + eps) as the scale, and bias − mean × scale as the shift."""
        return _scale_shift() if self.is_fixed else None

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        return without_default_bias(super().torch_arguments(inputs))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        shape = (2, 6, *(5, 4, 3)[: cls.spatial])
        return (
            Example(cls(), (shape,)),
            Example(cls(eps=1e-3, momentum=None, affine=False), (shape,)),
            Example(cls(affine=True, track_running_stats=False), (shape,)),
            Example(cls(affine=True, track_running_stats=True), (shape,)),
        )


class _BatchNorm(_ByChannel):
    """Normalization of a channel over batch and space, in inference by running statistics."""

    def output(self, inputs: Shapes) -> Shapes:
        if len(inputs[0]) == 2 and self.spatial > 1:
            raise OpError(f"{self.kind} takes feature maps, but its input is {shape_text(inputs[0])}; use BatchNorm1d")
        return super().output(inputs)

    def statistics(self, shape: Shape) -> int:
        return shape[1]

    def normalized_axes(self, shape: Shape) -> tuple[int, ...]:
        return 0, *range(2, len(shape))


@register
class BatchNorm1d(_BatchNorm, spatial=1):
    """Batch norm (Ioffe & Szegedy 2015, arXiv:1502.03167) of batch × channels, with or without a length."""

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        super().output((shape if len(shape) != 2 else (*shape, 1),))
        return inputs

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return *super().examples(), Example(cls(), ((3, 7),)), Example(cls(track_running_stats=False), ((3, 7),))


BatchNorm2d, BatchNorm3d = spatial_ops(
    _BatchNorm, "Batch norm (Ioffe & Szegedy 2015, arXiv:1502.03167) of {layout}.", (2, 3)
)


@dataclass(frozen=True, repr=False)
class _InstanceNorm(_ByChannel):
    """Normalization of a channel over its own space; it learns and stores nothing unless asked to."""

    affine: bool = argument(FLAG, "whether a scale and a shift a channel are learnt", False, keyword_only=True)
    track_running_stats: bool = argument(
        FLAG, "whether inference uses statistics stored in training", False, keyword_only=True
    )

    def statistics(self, shape: Shape) -> int:
        return shape[0] * shape[1]

    def normalized_axes(self, shape: Shape) -> tuple[int, ...]:
        return tuple(range(2, len(shape)))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, its statistics, and the weight and running statistics repeated for every image."""
        repeated = 2 + self.affine + 2 * self.track_running_stats
        return Saved(inputs=(0,), extra=((repeated * self.statistics(inputs[0]), None),))


InstanceNorm1d, InstanceNorm2d, InstanceNorm3d = spatial_ops(
    _InstanceNorm, "Instance norm (Ulyanov et al. 2016, arXiv:1607.08022) of {layout}."
)

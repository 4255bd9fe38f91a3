"""TimeRow: one line of a table of measured times, which is a layer, a block folded into one, or a rest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

from cnnstat.profile.result import LayerTime, Profile
from cnnstat.profile.samples import Samples
from cnnstat.report.table import block_of

Number = TypeVar("Number", int, float)


class TimeRow(NamedTuple):
    """Times of one or several layers, in seconds; rates and the floor are those of the forward pass.

    seconds: median, backward pass included where it was measured; share: of the whole model's time.
    samples: what `seconds` scatters by; None for sums and where the backward pass is included.
    bound: what sets the floor; a dash where nothing does, empty for sums.
    layers: how many it stands for; is_sum: whether they have nothing in common.
    """

    name: str
    kind: str
    calls: int
    kernels: int | None
    kernel_names: tuple[str, ...]
    seconds: float
    samples: Samples | None
    share: float
    forward: float
    backward: float | None
    forward_samples: Samples | None
    backward_samples: Samples | None
    macs: int
    flops: int
    moved: int
    floor: float
    bound: str
    warm: float | None
    cold: float | None
    counted: bool
    layers: int = 1
    is_sum: bool = False

    @property
    def spread(self) -> float | None:
        """Interquartile range of the time; None where it is a sum."""
        return self.samples.spread if self.samples else None

    @property
    def flops_per_second(self) -> float:
        """Floating-point operations per second of the forward pass; 0 where it took no time."""
        return self.flops / self.forward if self.forward else 0.0

    @property
    def bytes_per_second(self) -> float:
        """Bytes per second of the forward pass; 0 where it took no time."""
        return self.moved / self.forward if self.forward else 0.0

    @property
    def share_of_floor(self) -> float | None:
        """Floor divided by time; None where there is no floor, or the forward pass took no time."""
        return self.floor / self.forward if self.forward and self.floor else None


def time_rows(profile: Profile) -> tuple[TimeRow, ...]:
    """Return one row for each layer, in execution order."""
    return tuple(_row(layer, profile) for layer in profile.layers)


def _row(layer: LayerTime, profile: Profile) -> TimeRow:
    """Return the row of one layer."""
    return TimeRow(
        name=layer.name,
        kind=layer.kind,
        calls=layer.calls,
        kernels=layer.kernels,
        kernel_names=layer.kernel_names,
        seconds=layer.seconds,
        samples=layer.forward if layer.backward is None else None,
        share=profile.time_breakdown.share(layer.seconds),
        forward=layer.forward.median,
        backward=layer.backward.median if layer.backward else None,
        forward_samples=layer.forward,
        backward_samples=layer.backward,
        macs=layer.macs,
        flops=layer.flops,
        moved=layer.moved,
        floor=layer.bound_seconds if layer.forward.median else 0.0,
        bound=layer.bound if layer.bound and layer.forward.median else "–",
        warm=layer.warm.median if layer.warm else None,
        cold=layer.cold.median if layer.cold else None,
        counted=layer.counted,
    )


def fold_times(rows: Sequence[TimeRow], depth: int) -> tuple[TimeRow, ...]:
    """Return the rows with consecutive ones inside the same block summed up; `depth` components of a name stay."""
    folded: list[TimeRow] = []
    for (path, is_inside), inside in groupby(rows, lambda row: block_of(row.name, depth)):
        found = tuple(inside)
        folded += [time_sum(found, path)._replace(is_sum=False)] if is_inside else found
    return tuple(folded)


def time_sum(rows: Sequence[TimeRow], name: str) -> TimeRow:
    """Return one row of sums."""
    layers = sum(row.layers for row in rows)
    return TimeRow(
        name=name,
        kind=f"({layers:,} layer{'s' * (layers != 1)})",
        calls=1,
        kernels=_sum([row.kernels for row in rows]),
        kernel_names=(),
        seconds=sum(row.seconds for row in rows),
        samples=None,
        share=sum(row.share for row in rows),
        forward=sum(row.forward for row in rows),
        backward=_sum([row.backward for row in rows]),
        forward_samples=None,
        backward_samples=None,
        macs=sum(row.macs for row in rows),
        flops=sum(row.flops for row in rows),
        moved=sum(row.moved for row in rows),
        floor=sum(row.floor for row in rows),
        bound="",
        warm=_sum([row.warm for row in rows]),
        cold=_sum([row.cold for row in rows]),
        counted=all(row.counted for row in rows),
        layers=layers,
        is_sum=True,
    )


def _sum(values: Sequence[Number | None]) -> Number | None:
    """Return the sum of what is there; None if nothing is."""
    found = [value for value in values if value is not None]
    return sum(found) if found else None

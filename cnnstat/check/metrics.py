"""Metrics: the figures that a budget can limit, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from cnnstat.report.duration import seconds_text
from cnnstat.units import binary_bytes, count, decimal_bytes

CONVENTION = (
    "cnnstat counting 1: MACs of convolutions, linear layers and matrix products; FLOPs = 2 × MACs + everything else; "
    "bytes by dtype"
)
"""How every figure is counted; a baseline that was counted otherwise cannot be compared with."""


class Unit(Enum):
    """What a metric counts."""

    COUNT = "count"
    BYTES = "bytes"
    POSITIONS = "positions"
    TIME = "nanoseconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure of a model.

    flag: the option that limits it. column: the figure of a layer that explains it, empty where none does.
    by_coverage: whether it is only "at least" when the work of a layer could not be counted.
    """

    name: str
    unit: Unit
    flag: str
    column: str = ""
    bounds: tuple[str, ...] = ("max", "min", "max_increase")
    by_coverage: bool = False

    def show(self, value: int, like: str = "") -> str:
        """Return a value in its largest unit; sizes in the family of units (MB or MiB) that `like` is written in."""
        if self.unit is Unit.BYTES:
            is_decimal = like.rstrip("%").rstrip().endswith("B") and "iB" not in like
            return _trimmed(decimal_bytes(value) if is_decimal else binary_bytes(value))
        if self.unit is Unit.TIME:
            return _trimmed(seconds_text(value / 1e9))
        return f"{value:,}" if self.unit is Unit.POSITIONS else _trimmed(count(value))

    def show_exactly(self, value: int) -> str:
        """Return a value with all its digits."""
        units = {Unit.BYTES: " B", Unit.TIME: " ns"}
        return f"{value:,}{units.get(self.unit, '')}"

    def show_apart(self, values: Iterable[int], like: str = "") -> list[str]:
        """Return values in their largest unit, or with all digits if rounding would make different ones look equal."""
        listed = list(values)
        shown = [self.show(value, like) for value in listed]
        is_told_apart = len(set(shown)) == len(set(listed))
        return shown if is_told_apart else [self.show_exactly(value) for value in listed]


def _trimmed(text: str) -> str:
    """Return a number without decimals that say nothing."""
    return text.replace(".00 ", " ")


METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="params", unit=Unit.COUNT, flag="--max-params", column="params"),
        Metric(name="macs", unit=Unit.COUNT, flag="--max-macs", column="macs", by_coverage=True),
        Metric(name="flops", unit=Unit.COUNT, flag="--max-flops", column="flops", by_coverage=True),
        Metric(name="peak_inference_bytes", unit=Unit.BYTES, flag="--max-peak-memory", column="output_bytes"),
        Metric(
            name="training_bytes",
            unit=Unit.BYTES,
            flag="--max-training-memory",
            column="output_bytes",
            by_coverage=True,
        ),
        Metric(name="activation_bytes", unit=Unit.BYTES, flag="--max-activation-memory", column="output_bytes"),
        Metric(name="file_size", unit=Unit.BYTES, flag="--max-file-size", column="params"),
        Metric(name="receptive_field", unit=Unit.POSITIONS, flag="--min-receptive-field", bounds=("min",)),
        Metric(name="latency", unit=Unit.TIME, flag="--max-latency", bounds=("max", "max_increase")),
    )
}
"""Every metric by its name, in the order of reports."""

"""Measured times in a comparison, where models were profiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cnnstat import numbers
from cnnstat.analysis.comparison import Comparison
from cnnstat.numbers import binary_bytes
from cnnstat.profile.result import Profile
from cnnstat.report.bar_chart import Measure
from cnnstat.report.document import Fact
from cnnstat.report.profile_text import RATES, conditions_text, device_text, roofline_text
from cnnstat.report.subjects.profile_overview import floor_share, flops_per_second, inputs_per_second, residual_text
from cnnstat.report.table import Column


class Line(NamedTuple):
    """One measured figure: its raw value (None if it was not measured) and its text; drift has no ratio."""

    title: str
    value: Callable[[Profile], float | None]
    shown: Callable[[Profile], str]
    has_ratio: bool = True


def lines(profiles: Sequence[Profile]) -> dict[str, Line]:
    """Return the figures worth a line, by key."""
    scale, unit = RATES[profiles[0].environment.kind]
    found = {
        "seconds": Line(
            "time of a pass", lambda p: p.whole.plain.median, lambda p: numbers.samples_text(p.whole.plain)
        ),
        "eager_seconds": Line("as an ordinary call", _eager, lambda p: numbers.samples_text(p.whole.eager)),
        "inputs_per_second": Line(
            "inputs a second", inputs_per_second, lambda p: numbers.rate_text(inputs_per_second(p), 1)
        ),
        "flops_per_second": Line(unit, flops_per_second, lambda p: numbers.rate_text(flops_per_second(p), scale)),
        "share_of_floor": Line("% floor", floor_share, lambda p: numbers.whole_percent(floor_share(p))),
        "peak_bytes": Line("peak measured", lambda p: p.peak_bytes, lambda p: _bytes(p.peak_bytes)),
        "joules": Line(
            "energy of a pass", lambda p: p.joules, lambda p: "–" if p.joules is None else f"{p.joules:.3g} J"
        ),
        "drift": Line(
            "% drift", lambda p: p.time_breakdown.share(p.time_breakdown.residual), residual_text, has_ratio=False
        ),
    }
    return {key: line for key, line in found.items() if any(line.value(profile) is not None for profile in profiles)}


def _eager(profile: Profile) -> float | None:
    """Return the time of an ordinary call where it is another than what the identity explains."""
    whole = profile.whole
    return whole.eager.median if whole.replayed or whole.eager.median != whole.plain.median else None


def _bytes(number: int | None) -> str:
    """Return bytes, a dash where they were not measured."""
    return "–" if number is None else binary_bytes(number)


def ratios(profiles: Sequence[Profile]) -> list[dict[str, float | None]]:
    """Return each model's figures divided by the first one's; None where either is missing or 0."""
    rows = lines(profiles).items()
    return [{key: _ratio(line, each, profiles[0]) for key, line in rows if line.has_ratio} for each in profiles]


def texts(profiles: Sequence[Profile]) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Yield title, texts and ratios of each line of the table."""
    known = ratios(profiles)
    for key, line in lines(profiles).items():
        compared = (numbers.ratio_text(each[key]) if key in each else "" for each in known)
        yield line.title, tuple(map(line.shown, profiles)), tuple(compared)


def columns(profiles: Sequence[Profile]) -> list[Column]:
    """Return the columns for programs, whose rows are the numbers of models."""
    return [_column(key, line, profiles) for key, line in lines(profiles).items()]


def _column(key: str, line: Line, profiles: Sequence[Profile]) -> Column:
    return Column(key, key, lambda i: line.value(profiles[i]))


def values(profiles: Sequence[Profile]) -> dict[str, Any]:
    """Return the `cnnstat-profile/1` document of each model and the ratios of times."""
    return {"profiles": [profile.to_dict() for profile in profiles], "time_ratios": ratios(profiles)}


def _ratio(line: Line, profile: Profile, first: Profile) -> float | None:
    """Return one ratio."""
    value, base = line.value(profile), line.value(first)
    return value / base if value is not None and base else None


def facts(profiles: Sequence[Profile]) -> tuple[Fact, ...]:
    """Return where and how times were measured, and which do not add up."""
    _, _, rest = conditions_text(profiles[0]).partition(", ")
    wrong = ", ".join(profile.model for profile in profiles if not profile.adds_up)
    return (
        Fact(
            "times", f"on {device_text(profiles[0])}, {rest}: medians ± interquartile ranges, one model after the other"
        ),
        Fact("ceilings", roofline_text(profiles[0])),
        *([Fact("does not add up", f"{wrong}: see `cnnstat profile`", "bold red")] if wrong else []),
    )


def measures(comparison: Comparison) -> tuple[Measure, ...]:
    """Return the chart of times."""
    nanoseconds: Mapping[int, int] = {
        id(layer): round(1e9 * times.seconds)
        for analysis, profile in zip(comparison.analyses, comparison.profiles)
        for layer, times in zip(analysis.layers, profile.layers)
    }
    return (Measure("time", lambda layer: nanoseconds.get(id(layer), 0), ((10**6, "ms"), (10**3, "µs"))),)

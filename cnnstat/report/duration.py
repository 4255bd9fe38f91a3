"""Duration: times and rates as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.profile.samples import Samples

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
"""Units of time in seconds, largest first."""

SMALLEST = 1e-8
"""Seconds below which a time reads as 0 in microseconds with two decimals."""


def seconds_text(seconds: float) -> str:
    """Return a time with three significant digits in its own unit (`12.3 ms`); nothing is `0`."""
    if abs(seconds) < SMALLEST / 2:
        return "0"
    scale, unit = unit_of(seconds)
    return f"{_signed(seconds / scale, decimals_of(seconds / scale))} {unit}"


def samples_text(samples: Samples) -> str:
    """Return a median and its interquartile range in the same unit (`12.3 ± 0.4 ms`)."""
    return spread_text(samples.median, samples.spread)


def spread_text(seconds: float, spread: float) -> str:
    """Return a time and what it scatters by in the same unit; a scatter too small to show is `<0.1`."""
    if abs(seconds) < SMALLEST / 2:
        return "0"
    scale, unit = unit_of(seconds)
    decimals = decimals_of(seconds / scale)
    shown = f"{spread / scale:,.{decimals}f}"
    if spread and not float(shown.replace(",", "")):
        shown = f"<{10**-decimals:.{decimals}f}"
    return f"{_signed(seconds / scale, decimals)} ± {shown} {unit}"


def unit_of(seconds: float) -> tuple[float, str]:
    """Return the largest unit in which a time is at least 1 after rounding, microseconds at least."""
    return next((unit for unit in UNITS if abs(seconds) >= 0.9995 * unit[0]), UNITS[-1])


def decimals_of(value: float) -> int:
    """Return the decimals that leave three significant digits, two at most."""
    return 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2


def sum_texts(whole: float, parts: Sequence[float]) -> tuple[str, tuple[str, ...]]:
    """Return a sum and its parts in one unit, rounded so that the printed parts add up to the printed sum.

    The last part takes what rounding leaves over.
    """
    scale, unit = unit_of(whole)
    decimals = decimals_of(whole / scale) + 1
    factor = 10**decimals / scale
    total = round(whole * factor)
    numbers = [round(part * factor) for part in parts[:-1]]
    numbers.append(total - sum(numbers))
    return (
        f"{_signed(total / 10**decimals, decimals)} {unit}",
        tuple(f"{_signed(number / 10**decimals, decimals)} {unit}" for number in numbers),
    )


def rate_text(per_second: float, scale: float) -> str:
    """Return a rate in thousands, millions … (`scale`) with three significant digits; nothing is `–`."""
    value = per_second / scale
    if not value:
        return "–"
    return "<0.01" if value < 0.005 else f"{value:,.{decimals_of(value)}f}"


def percent_text(share: float) -> str:
    """Return a share in percent with one decimal and a real minus sign (`96.7`, `−0.4`)."""
    return _signed(100 * share, 1) if share else "0"


def floor_text(share: float) -> str:
    """Return a share of the floor in whole percent, with one decimal below ten."""
    return f"{100 * share:,.{0 if share >= 0.0995 else 1}f}"


def _signed(value: float, decimals: int) -> str:
    """Return a number with a real minus sign, and none before zero."""
    shown = f"{abs(value):,.{decimals}f}"
    is_zero = not float(shown.replace(",", ""))
    return shown if value >= 0 or is_zero else f"−{shown}"

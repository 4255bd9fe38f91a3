"""Numbers: counts, bytes, times, shares and ratios as text, and the numbers that people write read back.

Integers stay exact inside; rounding happens here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from fractions import Fraction
from typing import NamedTuple, Protocol, TypeVar

from cnnstat.errors import CnnstatError, printable

Value = TypeVar("Value")

_COUNTS = ("", "K", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


class Unit(Enum):
    """What a figure counts, which decides how it is printed."""

    COUNT = "count"
    ITEMS = "items"
    POSITIONS = "positions"
    BYTES = "bytes"
    TIME = "nanoseconds"
    RATIO = "ratio"

    def exact(self, number: int) -> str:
        """Return a number for a table with room: counts with all digits, bytes in powers of 1024."""
        if self is Unit.TIME:
            return seconds_text(number / 1e9)
        if self is Unit.RATIO:
            return f"{number:,.2f}"
        return binary_bytes(number) if self is Unit.BYTES else f"{number:,}"

    def brief(self, number: int) -> str:
        """Return a number for a narrow column, with three significant digits (`118 M`, `3.06 MiB`)."""
        if self is Unit.TIME:
            return seconds_text(number / 1e9)
        if self is Unit.RATIO:
            return f"{number:,.1f}"
        return brief_bytes(number) if self is Unit.BYTES else brief_count(number)

    def rounded(self, number: int) -> str:
        """Return a number for a list of totals, with two decimals (`138.36 M`); few items as they are."""
        if self is Unit.RATIO:
            return f"{number:,.2f}"
        if self is Unit.BYTES:
            return binary_bytes(number)
        if self is Unit.TIME:
            return seconds_text(number / 1e9)
        return count(number) if self is Unit.COUNT else f"{number:,}"


# Counts and bytes -----------------------------------------------------------------------------------------------------


def count(number: int) -> str:
    """Return a count in steps of 1000 with two decimals: `138.36 M`; below 1000 as it is."""
    return _scaled(number, 1000, _COUNTS)


def binary_bytes(number: int) -> str:
    """Return a size in steps of 1024 with two decimals: `527.79 MiB`."""
    return _scaled(number, 1024, _BINARY)


def decimal_bytes(number: int) -> str:
    """Return a size in steps of 1000 with two decimals: `553.43 MB`."""
    return _scaled(number, 1000, _DECIMAL)


def brief_count(number: int) -> str:
    """Return a count with three significant digits (`118 M`)."""
    return _brief(number, 1000, _COUNTS)


def brief_bytes(number: int) -> str:
    """Return bytes in powers of 1024 with three significant digits (`3.06 MiB`)."""
    return _brief(number, 1024, _BINARY)


def brief_decimal_bytes(number: int) -> str:
    """Return bytes in powers of 1000 with three significant digits (`1.61 MB`)."""
    return _brief(number, 1000, _DECIMAL)


MISALIGNED = "misaligned"
"""What stands for the stride of branches that have different ones."""


def number_text(number: Fraction | float | None) -> str:
    """Return an exact number with a real minus sign and thousands separators; None is `misaligned`."""
    if number is None:
        return MISALIGNED
    text = f"{number:,}" if isinstance(number, int) else str(number)
    return text.replace("-", "−")


def or_dash(value: Value | None, text: Callable[[Value], str]) -> str:
    """Return the text of a value, a dash where there is none."""
    return "–" if value is None else text(value)


def plural(number: int, noun: str) -> str:
    """Return a count with its noun (`1 layer`, `21 layers`)."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, printable, and how many more there are (`conv1, conv2 and 3 more`)."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def _scaled(number: int, step: int, units: Sequence[str]) -> str:
    """Return `number` in the largest unit that leaves at least 1 before the decimal point, after rounding."""
    power = 0
    while power < len(units) - 1 and round(abs(number) * 100 / step**power) >= 100 * step:
        power += 1
    if power == 0:
        return f"{number} {units[0]}".rstrip()
    return f"{number / step**power:.2f} {units[power]}"


def _brief(number: int, step: int, units: Sequence[str]) -> str:
    """Return a number in the smallest unit that leaves at most three digits before the point."""
    power = 0
    while power < len(units) - 1 and number >= 999.5 * step**power:
        power += 1
    value = number / step**power
    return f"{value:.{decimals_of(value) if power else 0}f} {units[power]}".rstrip()


# One unit for several -----------------------------------------------------------------------------------------------


class CommonUnit(NamedTuple):
    """The unit that several numbers are written in, so that they are plain decimals: `M` for 61.1, 138.4 and 0.062."""

    scale: int
    name: str
    decimals: int

    def text(self, number: float) -> str:
        """Return a number in the unit, without separators and without the unit's name."""
        return f"{number / self.scale:.{self.decimals}f}"


def common_unit(numbers: Sequence[int], unit: Unit) -> CommonUnit:
    """Return the largest unit in which the largest number is at least 1, with two digits of the smallest or more."""
    step, names = {Unit.COUNT: (1000, _COUNTS), Unit.BYTES: (1024, _BINARY)}.get(unit, (1, ("",)))
    sizes = [abs(number) for number in numbers if number]
    power = max((i for i in range(len(names)) if step**i <= max(sizes, default=0)), default=0)
    scale = step**power
    if power == 0 or not sizes:
        return CommonUnit(scale, names[power], 0)
    decimals = next((d for d in (2, 3) if min(sizes) * 10**d >= 10 * scale), 4)
    return CommonUnit(scale, names[power], decimals)


# Shares and ratios ----------------------------------------------------------------------------------------------------


def percent(share: float) -> str:
    """Return a share in percent with one decimal and a real minus sign (`96.7`, `−0.4`); nothing at all is `0`."""
    return _signed(100 * share, 1) if share else "0"


def whole_percent(share: float) -> str:
    """Return a share in whole percent, with one decimal below ten."""
    return f"{100 * share:,.{0 if share >= 0.0995 else 1}f}"


def exact_percent(share: Fraction) -> str:
    """Return a share in percent; `none` and `all` only if that is exactly so."""
    if share in (0, 1):
        return "all" if share else "none"
    return f"{min(99.9, max(0.1, float(100 * share))):.1f} %"


def ratio_text(ratio: float | None) -> str:
    """Return a ratio with three significant digits (`27.4×`); `1×` only if it is exactly so."""
    if ratio is None or ratio == 1:
        return "–" if ratio is None else "1×"
    decimals = 0 if ratio >= 100 else 1 if ratio >= 10 else 2
    return f"{ratio:,.{decimals}f}×" if ratio >= 1 else f"{ratio:.3g}×"


def rate_text(per_second: float, scale: float) -> str:
    """Return a rate in thousands, millions … (`scale`) with three significant digits; nothing is `–`."""
    value = per_second / scale
    if not value:
        return "–"
    return "<0.01" if value < 0.005 else f"{value:,.{decimals_of(value)}f}"


# Times ----------------------------------------------------------------------------------------------------------------

TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
"""Units of time in seconds, largest first."""

SMALLEST_TIME = 1e-8
"""Seconds below which a time reads as 0 in microseconds with two decimals."""


def seconds_text(seconds: float) -> str:
    """Return a time with three significant digits in its own unit (`12.3 ms`); nothing is `0`."""
    if abs(seconds) < SMALLEST_TIME / 2:
        return "0"
    scale, unit = unit_of(seconds)
    return f"{_signed(seconds / scale, decimals_of(seconds / scale))} {unit}"


class Spread(Protocol):
    """Several measurements of one time, in seconds."""

    @property
    def median(self) -> float:
        """The time in the middle."""

    @property
    def spread(self) -> float:
        """What the times scatter by."""

    @property
    def scatters(self) -> bool:
        """Whether there are measurements enough to tell what they scatter by."""


def samples_text(samples: Spread) -> str:
    """Return a median and its interquartile range in the same unit (`12.3 ± 0.4 ms`); of a few, the median alone."""
    return spread_text(samples.median, samples.spread) if samples.scatters else seconds_text(samples.median)


def spread_text(seconds: float, spread: float) -> str:
    """Return a time and what it scatters by in the same unit; a scatter too small to show is `<0.1`."""
    if abs(seconds) < SMALLEST_TIME / 2:
        return "0"
    scale, unit = unit_of(seconds)
    decimals = decimals_of(seconds / scale)
    text = f"{spread / scale:,.{decimals}f}"
    if spread and not float(text.replace(",", "")):
        text = f"<{10**-decimals:.{decimals}f}"
    return f"{_signed(seconds / scale, decimals)} ± {text} {unit}"


def unit_of(seconds: float) -> tuple[float, str]:
    """Return the largest unit in which a time is at least 1 after rounding, microseconds at least."""
    return next((unit for unit in TIME_UNITS if abs(seconds) >= 0.9995 * unit[0]), TIME_UNITS[-1])


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


def _signed(value: float, decimals: int) -> str:
    """Return a number with a real minus sign, and none before zero."""
    text = f"{abs(value):,.{decimals}f}"
    is_zero = not float(text.replace(",", ""))
    return text if value >= 0 or is_zero else f"−{text}"


# Numbers that people write --------------------------------------------------------------------------------------------

MAX_TEXT = 80
"""Longest text that is read as a number."""

# Patterns are text, which `re` compiles at first use: most runs read no number.
_NUMBER = (
    r"[~≈]?\s*(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:\s*[×x*·]\s*10(?:(?:\^|\*\*)(?P<exponent>\d{1,2})|(?P<superscript>[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))|e(?P<short>\d{1,2}))?"
    r"(?P<words>.*)\Z"
)
_BYTES = r"(?P<prefix>[kKMGTP]?)(?P<binary>i?)B\Z"
_WORK = r"(?P<prefix>[kKMGTP]?)(?:(?:flop|mac|madd|mult-?add)s?|ops)\Z"
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_POWERS = {0: "", 3: "K", 6: "M", 9: "G", 12: "T", 15: "P"}
_SCALES = {"k": 3, "K": 3, "M": 6, "G": 9, "B": 9, "T": 12, "P": 15}
_SCALE_WORDS = {"thousand": 3, "million": 6, "mio": 6, "billion": 9, "bn": 9, "trillion": 12}
_NOISE = {"weights", "biases", "neurons", "connections", "units", "outputs", "inputs", "pixels", "layers", "trainable"}
_NOISE |= {"parameters", "params", "multiply-adds", "multiply-accumulates", "free", "numbers", "values"}


class QuantityError(CnnstatError):
    """A text is no number, or its unit does not fit."""


class Quantity(NamedTuple):
    """A printed number.

    number: what is printed before the unit; decimals: its digits behind the point.
    scale: what the unit multiplies it by.
    unit: the unit under one name for each scale (`M`, `G`, `MiB`), empty for a plain number.
    """

    number: Fraction
    decimals: int
    scale: int
    unit: str

    @property
    def value(self) -> Fraction:
        """The number in ones, or in bytes."""
        return self.number * self.scale

    def is_rounded(self, exact: int | Fraction) -> bool:
        """Return whether rounding an exact value to as many digits as are printed gives the printed number."""
        return 2 * abs(exact - self.value) <= Fraction(self.scale, 10**self.decimals)

    def text_of(self, exact: int | Fraction) -> str:
        """Return an exact value in the same unit, with at least one digit more than is printed."""
        if self.scale == 1 and exact == int(exact):
            return f"{int(exact):,} {self.unit}".rstrip()
        return f"{float(exact / Fraction(self.scale)):,.{max(2, self.decimals + 1)}f} {self.unit}".rstrip()


def parse_quantity(text: str, *, is_bytes: bool = False) -> Quantity:
    """Return the number that a text prints; raises QuantityError.

    Words for what is counted (`FLOPs`, `parameters`) mean nothing; kB, MB, GB are powers of 1000, KiB, MiB of 1024.
    """
    match = re.match(_NUMBER, " ".join(text.split())) if len(text) <= MAX_TEXT else None
    if match is None:
        raise QuantityError(f"{text[:MAX_TEXT]!r} is not a number; write one as in 138 M, 3.6 × 10^9 or 48.6 MB")
    digits = match["number"].replace(",", "")
    exponent = match["exponent"] or match["short"] or (match["superscript"] or "").translate(_SUPERSCRIPT)
    scales = [(10 ** int(exponent), "")] if exponent else []
    for word in match["words"].split():
        scales += _scale(word.strip(".,;()"), text, is_bytes)
    if len([unit for _, unit in scales if unit]) + bool(exponent) > 1:
        raise QuantityError(f"{text[:MAX_TEXT]!r} has two units; keep one")
    scale, unit = scales[-1] if scales else (1, "")
    return Quantity(Fraction(digits), len(digits.partition(".")[2]), scale, unit or _unit(scale))


def _unit(scale: int) -> str:
    power = len(str(scale)) - 1
    return _POWERS.get(power, f"× 10^{power}")


def _scale(word: str, text: str, is_bytes: bool) -> list[tuple[int, str]]:
    """Return the scale and unit that one word behind a number stands for, none if it only says what is counted."""
    folded = word.lower()
    if folded in ("", "byte", "bytes") or folded in _NOISE:
        return []
    if is_bytes:
        if size := re.match(_BYTES, word):
            base = 1024 if size["binary"] else 1000
            return [(base ** (_SCALES.get(size["prefix"], 0) // 3), word)]
        raise QuantityError(f"{text[:MAX_TEXT]!r}: write the unit as B, MB (10^6) or MiB (2^20)")
    power = _SCALES.get(word, _SCALE_WORDS.get(folded))
    if power is None and (work := re.match(_WORK, word, re.IGNORECASE)):
        power = _SCALES.get(work["prefix"].upper(), 0)
    if power is None:
        raise QuantityError(f"{text[:MAX_TEXT]!r}: cannot read {word[:40]!r}; write K, M, G, million or billion")
    return [(10**power, _POWERS[power])] if power else []

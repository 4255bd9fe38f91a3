"""Amounts: the limits of a budget as people write them: `5 M`, `16 MiB`, `2%`, `600_000_000`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from cnnstat.check.metrics import Unit
from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.quantity import QuantityError, parse_quantity

_PERCENT = re.compile(r"\+?\s*(?P<number>\d{1,9}(?:\.\d{1,9})?)\s*%\Z")
_PLAIN = re.compile(r"\d[\d_]{0,30}\Z")
_UNIT = re.compile(r"[\d.,_\s]+(?P<unit>[^\d\s].*)\Z")
_TIME = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,9})?)\s*(?P<unit>\S+)\Z")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
_UNITS = {
    Unit.COUNT: ("k", "M", "G", "T", "million", "billion"),
    Unit.BYTES: ("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"),
    Unit.POSITIONS: (),
    Unit.TIME: tuple(_NANOSECONDS),
}
_EXAMPLES = {
    Unit.COUNT: "as in 5 M, 1 k or 600_000_000",
    Unit.BYTES: "as in 16 MiB (2^20), 20 MB (10^6) or a number of bytes",
    Unit.POSITIONS: "as a number of input positions, as in 200",
    Unit.TIME: "as in 12 ms or 800 us",
}
MAX_VALUE = 10**30
"""Largest amount that is taken for meant."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A number in base units or a share of a baseline, and the text it was written as."""

    number: Fraction
    is_share: bool
    text: str

    def of(self, baseline: int) -> Fraction:
        """Return the amount, a share being one of `baseline`."""
        return self.number * baseline if self.is_share else self.number


def parse_amount(written: Any, unit: Unit, *, may_be_share: bool = False) -> Amount:
    """Return the amount that a text or number means; raises CnnstatError with what to write instead.

    may_be_share: whether `2%` is allowed.
    """
    if isinstance(written, (int, float)) and not isinstance(written, bool):
        return _number(written, unit)
    if not isinstance(written, str) or not written.strip() or len(written) > 80:
        raise CnnstatError(f"{_shown(written)} is not an amount; write it {_EXAMPLES[unit]}")
    text = written.strip()
    if text.endswith("%"):
        match = _PERCENT.match(text)
        if match is None:
            raise CnnstatError(f"{_shown(text)} is not a percentage; write it as in 2% or 0.5%")
        if not may_be_share:
            raise CnnstatError(
                f"{_shown(text)} is relative; write it under max_increase, or an amount {_EXAMPLES[unit]}"
            )
        return Amount(Fraction(match["number"]) / 100, True, text)
    return Amount(_parsed(text, unit), False, text)


def _number(written: int | float, unit: Unit) -> Amount:
    """Return the amount of a number without a unit."""
    if not 0 <= written <= MAX_VALUE:
        is_long = isinstance(written, int) and abs(written) > MAX_VALUE  # Python refuses to print very long ones
        what = "so large a number" if is_long else f"{written}"
        raise CnnstatError(f"{what} is no amount; write a number of at least 0 {_EXAMPLES[unit]}")
    if unit is Unit.TIME and written:
        raise CnnstatError(f"{written} has no unit; write it {_EXAMPLES[unit]}")
    whole = int(written) if written == int(written) else None
    return Amount(Fraction(str(written)), False, f"{written}" if whole is None else f"{whole:,}")


def _parsed(text: str, unit: Unit) -> Fraction:
    """Return the value of a text with or without a unit."""
    if _PLAIN.match(text) and (unit is not Unit.TIME or not text.strip("0_")):
        return Fraction(text.replace("_", ""))
    if unit is Unit.TIME:
        match = _TIME.match(text)
        if match is None or match["unit"] not in _NANOSECONDS:
            raise CnnstatError(_refusal(text, unit))
        return Fraction(match["number"]) * _NANOSECONDS[match["unit"]]
    if text[:1] in "~≈" or unit is Unit.POSITIONS:
        raise CnnstatError(_refusal(text, unit))
    try:
        quantity = parse_quantity(re.sub(r"(?<=\d)_(?=\d)", "", text), is_bytes=unit is Unit.BYTES)
    except QuantityError:
        raise CnnstatError(_refusal(text, unit)) from None
    return quantity.value


def _refusal(text: str, unit: Unit) -> str:
    """Return what is wrong with a text, with the nearest unit if it has one."""
    match = _UNIT.match(text)
    if match is None or not _UNITS[unit]:
        return f"{_shown(text)} is not an amount; write it {_EXAMPLES[unit]}"
    hint = did_you_mean(match["unit"], _UNITS[unit]) or f"; write the amount {_EXAMPLES[unit]}"
    return f"{_shown(text)}: there is no unit {match['unit'][:20]} here{hint}"


def _shown(written: Any) -> str:
    """Return a value as an error quotes it."""
    return repr(written)[:60]

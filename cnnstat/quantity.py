"""Quantity: a number as papers print it (`138 M`, `3.6 × 10^9 FLOPs`, `48.6 MB`), with the precision it claims."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from cnnstat.errors import CnnstatError

MAX_TEXT = 80
"""Longest text that is read as a number."""

_NUMBER = re.compile(
    r"[~≈]?\s*(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:\s*[×x*·]\s*10(?:(?:\^|\*\*)(?P<exponent>\d{1,2})|(?P<superscript>[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))|e(?P<short>\d{1,2}))?"
    r"(?P<words>.*)\Z"
)
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_POWERS = {0: "", 3: "K", 6: "M", 9: "G", 12: "T", 15: "P"}
_SCALES = {"k": 3, "K": 3, "M": 6, "G": 9, "B": 9, "T": 12, "P": 15}
_SCALE_WORDS = {"thousand": 3, "million": 6, "mio": 6, "billion": 9, "bn": 9, "trillion": 12}
_BYTES = re.compile(r"(?P<prefix>[kKMGTP]?)(?P<binary>i?)B\Z")
_WORK = re.compile(r"(?P<prefix>[kKMGTP]?)(?:flops?|macs?|madds?|mult-?adds?|ops)\Z", re.IGNORECASE)
_NOISE = {"weights", "biases", "neurons", "connections", "units", "outputs", "inputs", "pixels", "layers", "trainable"}
_NOISE |= {"parameters", "params", "multiply-adds", "multiply-accumulates", "free", "numbers", "values"}


class QuantityError(CnnstatError):
    """A text is no number, or its unit does not fit."""


@dataclass(frozen=True, slots=True)
class Quantity:
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

    def shown(self, exact: int | Fraction) -> str:
        """Return an exact value in the same unit, with at least one digit more than is printed."""
        if self.scale == 1 and exact == int(exact):
            return f"{int(exact):,} {self.unit}".rstrip()
        return f"{float(exact / Fraction(self.scale)):,.{max(2, self.decimals + 1)}f} {self.unit}".rstrip()


def parse_quantity(text: str, *, is_bytes: bool = False) -> Quantity:
    """Return the number that a text prints; raises QuantityError.

    Words for what is counted (`FLOPs`, `parameters`) mean nothing; kB, MB, GB are powers of 1000, KiB, MiB of 1024.
    """
    match = _NUMBER.match(" ".join(text.split())) if len(text) <= MAX_TEXT else None
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
    """Return the letter of a power of ten, or the power itself."""
    power = len(str(scale)) - 1
    return _POWERS.get(power, f"× 10^{power}")


def _scale(word: str, text: str, is_bytes: bool) -> list[tuple[int, str]]:
    """Return the scale and unit that one word behind a number stands for, none if it only says what is counted."""
    folded = word.lower()
    if folded in ("", "byte", "bytes") or folded in _NOISE:
        return []
    if is_bytes:
        if found := _BYTES.match(word):
            base = 1024 if found["binary"] else 1000
            return [(base ** (_SCALES.get(found["prefix"], 0) // 3), word)]
        raise QuantityError(f"{text[:MAX_TEXT]!r}: write the unit as B, MB (10^6) or MiB (2^20)")
    power = _SCALES.get(word, _SCALE_WORDS.get(folded))
    if power is None and (found := _WORK.match(word)):
        power = _SCALES.get(found["prefix"].upper(), 0)
    if power is None:
        raise QuantityError(f"{text[:MAX_TEXT]!r}: cannot read {word[:40]!r}; write K, M, G, million or billion")
    return [(10**power, _POWERS[power])] if power else []

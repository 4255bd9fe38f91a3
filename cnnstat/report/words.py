"""Words: shapes, receptive fields and numbers as reports write them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from cnnstat.analysis.receptive_field.fields import ReceptiveField
from cnnstat.ir.op import Shape

MISALIGNED = "misaligned"
GLOBAL_CONTEXT = "global context"
NOT_CENTRED = "not centred"
BOUND = "bound"
WHOLE_INPUT = "whole input"

NOTES = {
    MISALIGNED: "branches of different stride meet; the size is that of the centre output",
    GLOBAL_CONTEXT: "a gate has seen the whole input beside it",
    NOT_CENTRED: "branches of different centre meet, their padding differs",
    BOUND: "at most this size",
}
"""What the notes on a receptive field mean."""


def shape_text(shape: Shape | None) -> str:
    """Return sizes joined by × (`64×55×55`)."""
    if shape is None:
        return ""
    return "×".join(map(str, shape)) or "scalar"


def shapes_text(shapes: Sequence[Shape]) -> str:
    """Return several shapes; equal ones once with their number (`2 of 64×56×56`)."""
    if len(shapes) > 1 and len(set(shapes)) == 1:
        return f"{len(shapes)} of {shape_text(shapes[0])}"
    return ", ".join(map(shape_text, shapes))


def number_text(number: Fraction | float | None) -> str:
    """Return an exact number with a real minus sign and thousands separators; None is `misaligned`."""
    if number is None:
        return MISALIGNED
    text = f"{number:,}" if isinstance(number, int) else str(number)
    return text.replace("-", "−")


def axes_text(numbers: Sequence[Fraction | int | None], joint: str = "×") -> str:
    """Return one number for each axis, or just one if all are equal."""
    shown = [number_text(number) for number in numbers]
    return shown[0] if len(set(shown)) == 1 else joint.join(shown)


def point_text(numbers: Sequence[int]) -> str:
    """Return a position, with one number where all are equal (`−3`, `(−3, 0)`)."""
    shown = axes_text(numbers, ", ")
    return f"({shown})" if ", " in shown else shown


def brief_count(number: int) -> str:
    """Return a count with three significant digits (`118 M`)."""
    return _brief(number, 1000, ("", "K", "M", "G", "T", "P", "E"))


def brief_bytes(number: int) -> str:
    """Return bytes in powers of 1024 with three significant digits (`3.06 MiB`)."""
    return _brief(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def brief_decimal_bytes(number: int) -> str:
    """Return bytes in powers of 1000 with three significant digits (`1.61 MB`)."""
    return _brief(number, 1000, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))


def _brief(number: int, step: int, units: Sequence[str]) -> str:
    """Return a number in the smallest unit that leaves at most three digits before the point."""
    power = 0
    while power < len(units) - 1 and number >= 999.5 * step**power:
        power += 1
    value = number / step**power
    decimals = 0 if power == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{decimals}f} {units[power]}".rstrip()


def field_notes(field: ReceptiveField | None) -> tuple[str, ...]:
    """Return the words that restrict what a receptive field's figures say."""
    if field is None:
        return ()
    return (
        *((MISALIGNED,) if not field.aligned else ()),
        *((GLOBAL_CONTEXT,) if field.global_context else ()),
        *((NOT_CENTRED,) if not field.centred else ()),
        *((BOUND,) if not field.exact else ()),
    )


def percent(share: float) -> str:
    """Return a share in percent with one decimal (`12.3`); what is not there at all is `0`."""
    return f"{100 * share:.1f}" if share else "0"


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


def plural(count: int, noun: str) -> str:
    """Return a count with its noun (`1 layer`, `21 layers`)."""
    return f"{count:,} {noun}{'s' * (count != 1)}"

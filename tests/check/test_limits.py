"""Amounts read as people write them, and what is no amount is refused with the nearest right unit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cnnstat.check.limits import distinct_texts, figure_text, parse_amount
from cnnstat.errors import CnnstatError
from cnnstat.numbers import Unit


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5 M", 5_000_000),
        ("5M", 5_000_000),
        ("1 k", 1000),
        ("1K", 1000),
        ("1.2 G", 1_200_000_000),
        ("600_000_000", 600_000_000),
        (600_000_000, 600_000_000),
        ("1,234,567", 1_234_567),
        ("2.5 million", 2_500_000),
        ("5e6", 5_000_000),
        (0, 0),
        (1.5e6, 1_500_000),
        ("600 MMACs", 600_000_000),
    ],
)
def test_counts(written: Any, value: int) -> None:
    assert parse_amount(written, Unit.COUNT).number == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("16 MiB", 16 * 2**20),
        ("16MiB", 16 * 2**20),
        ("20 MB", 20_000_000),
        ("1 kB", 1000),
        ("512", 512),
        ("512 B", 512),
    ],
)
def test_sizes(written: str, value: int) -> None:
    assert parse_amount(written, Unit.BYTES).number == value


@pytest.mark.parametrize(("written", "value"), [("2%", "0.02"), ("0.5 %", "0.005"), ("+0 %", "0"), ("150%", "1.5")])
def test_shares(written: str, value: str) -> None:
    amount = parse_amount(written, Unit.COUNT, may_be_share=True)
    assert amount.is_share and amount.number == Fraction(value)


def test_times() -> None:
    assert parse_amount("12 ms", Unit.TIME).number == 12_000_000
    assert parse_amount("1.5us", Unit.TIME).number == 1500


@pytest.mark.parametrize(
    ("written", "unit", "said"),
    [
        ("16 Mib", Unit.BYTES, "did you mean MiB?"),
        ("16 mb", Unit.BYTES, "did you mean MB?"),
        ("5 MB", Unit.COUNT, "did you mean M?"),
        ("5 m", Unit.COUNT, "did you mean M?"),
        ("5 milion", Unit.COUNT, "did you mean million?"),
        ("5 parsecs", Unit.COUNT, "no unit parsecs"),
        ("many", Unit.COUNT, "not an amount"),
        ("", Unit.COUNT, "not an amount"),
        ("-5", Unit.COUNT, "not an amount"),
        (-5, Unit.COUNT, "at least 0"),
        (float("nan"), Unit.COUNT, "no amount"),
        (float("inf"), Unit.COUNT, "inf is no amount"),
        (10**400, Unit.COUNT, "so large a number is no amount"),
        (-(10**400), Unit.BYTES, "so large a number is no amount"),
        (True, Unit.COUNT, "not an amount"),
        ([5], Unit.COUNT, "not an amount"),
        (None, Unit.COUNT, "not an amount"),
        ("2%", Unit.COUNT, "max_increase"),
        ("x%", Unit.COUNT, "not a percentage"),
        ("~5 M", Unit.COUNT, "not an amount"),
        ("2 k", Unit.POSITIONS, "input positions"),
        ("12", Unit.TIME, "12 ms"),
        (12, Unit.TIME, "no unit"),
        ("12 sec", Unit.TIME, "no unit sec"),
        ("9" * 200, Unit.COUNT, "not an amount"),
    ],
)
def test_what_is_no_amount_is_refused(written: Any, unit: Unit, said: str) -> None:
    with pytest.raises(CnnstatError) as caught:
        parse_amount(written, unit)
    assert said in str(caught.value)


def test_sizes_are_shown_in_the_family_they_are_written_in() -> None:
    assert figure_text(Unit.BYTES, 20_000_000, "20 MB") == "20 MB"
    assert figure_text(Unit.BYTES, 20 * 2**20, "20 MiB") == "20 MiB"
    assert distinct_texts(Unit.BYTES, (20_000_001, 20_000_000), "20 MB") == ["20,000,001 B", "20,000,000 B"]

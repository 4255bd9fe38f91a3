"""Limits: the figures that can be limited, amounts as people write them, and the bounds set on a figure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.figures import LIMITED_FIGURES, Figure
from cnnstat.check.check_result import LayerShare, Place, Status, Verdict
from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.numbers import QuantityError, Unit, decimal_bytes, parse_quantity

if TYPE_CHECKING:
    from cnnstat.check.configuration_file import ConfigurationReader, Keys

CONVENTION = (
    "cnnstat counting 1: MACs of convolutions, linear layers and matrix products; FLOPs = 2 × MACs + everything else; "
    "bytes by dtype"
)
"""How every figure is counted; a baseline that was counted otherwise cannot be compared with."""

LEVELS = ("fail", "warn")
_BOUNDS = {"max": False, "min": False, "max_increase": True, "min_delta": True}
"""The amounts of a budget, and whether each may be a share of the baseline."""
MAX_VALUE = 10**30
"""Largest amount that is accepted."""


METRICS = {figure.key: figure for figure in LIMITED_FIGURES}
"""The figures that can be limited by their keys, in the order of results."""

_SYMBOLS = {Unit.BYTES: " B", Unit.TIME: " ns"}
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
_UNITS = {
    Unit.COUNT: ("k", "M", "G", "T", "million", "billion"),
    Unit.BYTES: ("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"),
    Unit.TIME: tuple(_NANOSECONDS),
}
_EXAMPLES = {
    Unit.COUNT: "as in 5 M, 1 k or 600_000_000",
    Unit.BYTES: "as in 16 MiB (2^20), 20 MB (10^6) or a number of bytes",
    Unit.POSITIONS: "as a number of input positions, as in 200",
    Unit.ITEMS: "as a number, as in 50",
    Unit.RATIO: "as a number, as in 40 or 0.5",
    Unit.TIME: "as in 12 ms or 800 us",
}
_PERCENT = re.compile(r"\+?\s*(?P<number>\d{1,9}(?:\.\d{1,9})?)\s*%\Z")
_PLAIN = re.compile(r"\d[\d_]{0,30}\Z")
_UNIT = re.compile(r"[\d.,_\s]+(?P<unit>[^\d\s].*)\Z")
_TIME = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,9})?)\s*(?P<unit>\S+)\Z")


def column_of(metric: Figure) -> str:
    """Return the figure of a layer that explains a metric, empty where none does."""
    return metric.explained_by or metric.layer


def figure_text(unit: Unit, value: int, like: str = "") -> str:
    """Return a value in its largest unit; sizes in the family of units (MB or MiB) that `like` is written in."""
    is_decimal = unit is Unit.BYTES and like.rstrip("%").rstrip().endswith("B") and "iB" not in like
    return (decimal_bytes(value) if is_decimal else unit.rounded(value)).replace(".00 ", " ")


def exact_text(unit: Unit, value: int) -> str:
    """Return a value with all its digits."""
    return f"{value:,}{_SYMBOLS.get(unit, '')}"


def distinct_texts(unit: Unit, values: Iterable[int], like: str = "") -> list[str]:
    """Return values in their largest unit, or with all digits if rounding would make different ones look equal."""
    values = list(values)
    texts = [figure_text(unit, value, like) for value in values]
    are_distinct = len(set(texts)) == len(set(values))
    return texts if are_distinct else [exact_text(unit, value) for value in values]


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
        return _plain_amount(written, unit)
    if not isinstance(written, str) or not written.strip() or len(written) > 80:
        raise CnnstatError(f"{_quoted(written)} is not an amount; write it {_EXAMPLES[unit]}")
    text = written.strip()
    if text.endswith("%"):
        match = _PERCENT.match(text)
        if match is None:
            raise CnnstatError(f"{_quoted(text)} is not a percentage; write it as in 2% or 0.5%")
        if not may_be_share:
            raise CnnstatError(
                f"{_quoted(text)} is relative; write it under max_increase, or an amount {_EXAMPLES[unit]}"
            )
        return Amount(Fraction(match["number"]) / 100, True, text)
    return Amount(_value(text, unit), False, text)


def _plain_amount(number: int | float, unit: Unit) -> Amount:
    if not 0 <= number <= MAX_VALUE:
        is_long = isinstance(number, int) and abs(number) > MAX_VALUE  # Python refuses to print very long ones
        what = "so large a number" if is_long else f"{number}"
        raise CnnstatError(f"{what} is no amount; write a number of at least 0 {_EXAMPLES[unit]}")
    if unit is Unit.TIME and number:
        raise CnnstatError(f"{number} has no unit; write it {_EXAMPLES[unit]}")
    whole = int(number) if number == int(number) else None
    return Amount(Fraction(str(number)), False, f"{number}" if whole is None else f"{whole:,}")


def _value(text: str, unit: Unit) -> Fraction:
    if _PLAIN.match(text) and (unit is not Unit.TIME or not text.strip("0_")):
        return Fraction(text.replace("_", ""))
    if unit is Unit.TIME:
        match = _TIME.match(text)
        if match is None or match["unit"] not in _NANOSECONDS:
            raise CnnstatError(_not_an_amount(text, unit))
        return Fraction(match["number"]) * _NANOSECONDS[match["unit"]]
    if text[:1] in "~≈" or unit in (Unit.POSITIONS, Unit.ITEMS):
        raise CnnstatError(_not_an_amount(text, unit))
    try:
        quantity = parse_quantity(re.sub(r"(?<=\d)_(?=\d)", "", text), is_bytes=unit is Unit.BYTES)
    except QuantityError:
        raise CnnstatError(_not_an_amount(text, unit)) from None
    return quantity.value


def _not_an_amount(text: str, unit: Unit) -> str:
    match = _UNIT.match(text)
    if match is None or unit not in _UNITS:
        return f"{_quoted(text)} is not an amount; write it {_EXAMPLES[unit]}"
    hint = did_you_mean(match["unit"], _UNITS[unit]) or f"; write the amount {_EXAMPLES[unit]}"
    return f"{_quoted(text)}: there is no unit {match['unit'][:20]} here{hint}"


def _quoted(written: Any) -> str:
    return repr(written)[:60]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One bound of one metric, as `params = {max = "5 M"}` or `--max-params 5M` sets it.

    bound: `max`, `min` or `max_increase`. amount: how much. tolerated: growth that never counts (`min_delta`).
    is_blocking: whether breaking it fails the check. key: what to change in order to raise it, at `setting`.
    device, threads: where time is measured, CUDA where there is a GPU, else the CPU, if None; and on how many threads
        of a CPU, PyTorch's choice if None.
    """

    metric: Figure
    bound: str
    amount: Amount
    tolerated: Amount | None = None
    is_blocking: bool = True
    key: str
    setting: Place | None = None
    device: str | None = None
    threads: int | None = None

    def threshold(self, baseline: int | None) -> int:
        """Return the outermost value that keeps the limit; `max_increase` counts from the baseline."""
        is_ratio = self.metric.unit is Unit.RATIO  # every other figure is a whole number
        below: Callable[[Any], Any] = float if is_ratio else math.floor
        above: Callable[[Any], Any] = float if is_ratio else math.ceil
        if self.bound == "max_increase" and baseline is not None:
            growth = self.amount.of(baseline)
            if self.tolerated is not None:
                growth = max(growth, self.tolerated.of(baseline))
            return baseline + below(growth)  # type: ignore[no-any-return]
        return above(self.amount.number) if self.bound == "min" else below(self.amount.number)  # type: ignore[no-any-return]

    @property
    def where(self) -> str:
        """What to change, and where it is written."""
        return f"{self.key} at {self.setting}" if self.setting else self.key

    def verdict(
        self, status: Status, message: str, *, threshold: int | None, value: int | None, baseline: int | None,
        layers: tuple[LayerShare, ...] = (), bound: str = "", text: str = "",
    ) -> Verdict:  # fmt: skip
        """Return a verdict on this limit; bound, text: where it is not the limit itself that is judged."""
        return Verdict(
            metric=self.metric.key,
            bound=bound or self.bound,
            status=status,
            limit=threshold,
            limit_text=text or self.amount.text,
            value=value,
            baseline=baseline,
            message=message,
            layers=layers,
            setting=self.setting,
            blocking=self.is_blocking,
        )

    @property
    def broken(self) -> Status:
        """The status of a broken limit."""
        return Status.FAIL if self.is_blocking else Status.WARN


def read_limits(reader: ConfigurationReader, path: Keys) -> tuple[Limit, ...]:
    """Return the limits in a `budgets` table; faults are collected in `reader`."""
    limits: list[Limit] = []
    for name, budget in reader.table(path, tuple(METRICS)).items():
        limits += _read_budget(reader, (*path, name), METRICS[name], budget)
    return tuple(limits)


def _read_budget(reader: ConfigurationReader, path: Keys, metric: Figure, budget: Any) -> Iterator[Limit]:
    if not isinstance(budget, Mapping):
        bound = metric.bounds[0]
        reader.fault(path, f'{metric.key}: write {metric.key} = {{{bound} = "…"}}')
        return
    known = (*metric.bounds, *(("min_delta",) if "max_increase" in metric.bounds else ()), "level")
    budget = reader.table(path, (*known, "device", "threads") if metric.unit is Unit.TIME else known)
    device, threads = _read_device(reader, (*path, "device")), reader.integer((*path, "threads"))
    # times scatter from machine to machine, so that they only warn unless asked to fail
    default = "warn" if metric.unit is Unit.TIME else "fail"
    level = reader.choice((*path, "level"), LEVELS) if "level" in budget else default
    amounts = {}
    for key, is_relative in _BOUNDS.items():
        if key in budget:
            parse = partial(parse_amount, budget[key], metric.unit, may_be_share=is_relative)
            amounts[key] = reader.parsed((*path, key), parse, f"{metric.key}.{key}: ")
    if "min_delta" in budget and "max_increase" not in budget:
        reader.fault((*path, "min_delta"), "min_delta is the growth that max_increase overlooks; add max_increase")
    if not any(bound in budget for bound in metric.bounds):
        reader.fault(path, f"budgets.{metric.key} has no limit; write {' or '.join(metric.bounds)}")
    for bound in metric.bounds:
        amount = amounts.get(bound)
        if amount is not None:
            yield Limit(
                metric=metric,
                bound=bound,
                amount=amount,
                tolerated=amounts.get("min_delta") if bound == "max_increase" else None,
                is_blocking=level != "warn",
                key=f"budgets.{metric.key}.{bound}",
                setting=reader.place((*path, bound)) if reader.places else None,
                device=device,
                threads=threads,
            )


def _read_device(reader: ConfigurationReader, path: Keys) -> str | None:
    """Return the device that a table names, None if it names none; an unknown one is a fault."""
    device = reader.text(path)
    if device is not None:
        from cnnstat.profile.profile_options import check_device

        reader.parsed(path, lambda: check_device(device))
    return device


def flag_limit(name: str, bound: str, written: Any, flag: str = "") -> Limit:
    """Return the limit that an option such as `--max-params 5M` sets; raises CnnstatError."""
    metric = METRICS[name]
    flag = flag or f"--{metric.limit}"
    try:
        amount = parse_amount(written, metric.unit, may_be_share=bound == "max_increase")
    except CnnstatError as error:
        raise CnnstatError(f"{flag} {error}") from None
    return Limit(metric=metric, bound=bound, amount=amount, key=flag, is_blocking=metric.unit is not Unit.TIME)


def overridden(limits: Iterable[Limit], stronger: Iterable[Limit]) -> tuple[Limit, ...]:
    """Return limits in the order of the metrics; where both have the same bound, the stronger one holds."""
    by_bound = {(limit.metric.key, limit.bound): limit for limit in (*limits, *stronger)}
    order = list(METRICS)
    return tuple(sorted(by_bound.values(), key=lambda limit: order.index(limit.metric.key)))

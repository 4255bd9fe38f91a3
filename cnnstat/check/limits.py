"""Limits: what a budget says about one metric, as `params = {max = "5 M", max_increase = "2%", min_delta = "1 k"}`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cnnstat.check.amounts import Amount, parse_amount
from cnnstat.check.metrics import METRICS, Metric, Unit
from cnnstat.check.report import Place
from cnnstat.check.tables import Path, Tables
from cnnstat.errors import CnnstatError
from cnnstat.profile.choices import check_device

LEVELS = ("fail", "warn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One bound of one metric.

    bound: `max`, `min` or `max_increase`. amount: how much. tolerated: growth that never counts (`min_delta`).
    is_blocking: whether breaking it fails the check. key: what to change in order to raise it, at `setting`.
    device, threads: where time is measured, CUDA where there is a GPU, else the CPU, if None; and on how many threads
        of a CPU, PyTorch's choice if None.
    """

    metric: Metric
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
        if self.bound == "min":
            return math.ceil(self.amount.number)
        if self.bound == "max" or baseline is None:
            return math.floor(self.amount.number)
        growth = self.amount.of(baseline)
        if self.tolerated is not None:
            growth = max(growth, self.tolerated.of(baseline))
        return baseline + math.floor(growth)

    @property
    def where(self) -> str:
        """What to change, and where it is written."""
        return f"{self.key} at {self.setting}" if self.setting else self.key


def read_limits(tables: Tables, path: Path) -> tuple[Limit, ...]:
    """Return the limits in a `budgets` table; faults are collected in `tables`."""
    limits: list[Limit] = []
    for name, budget in tables.table(path, tuple(METRICS)).items():
        limits += _budget(tables, (*path, name), METRICS[name], budget)
    return tuple(limits)


def _budget(tables: Tables, path: Path, metric: Metric, budget: Any) -> Iterator[Limit]:
    """Yield the limits of one metric."""
    if not isinstance(budget, Mapping):
        bound = metric.bounds[0]
        tables.fault(path, f'{metric.name}: write {metric.name} = {{{bound} = "…"}}')
        return
    known = (*metric.bounds, *(("min_delta",) if "max_increase" in metric.bounds else ()), "level")
    budget = tables.table(path, (*known, "device", "threads") if metric.unit is Unit.TIME else known)
    device, threads = _device(tables, (*path, "device")), tables.whole((*path, "threads"))
    default = "warn" if metric.name == "latency" else "fail"
    level = tables.choice((*path, "level"), LEVELS) if "level" in budget else default
    tolerated = None
    if "min_delta" in budget:
        tolerated = _amount(tables, (*path, "min_delta"), metric, budget["min_delta"], may_be_share=True)
        if "max_increase" not in budget:
            tables.fault((*path, "min_delta"), "min_delta is the growth that max_increase overlooks; add max_increase")
    if not any(bound in budget for bound in metric.bounds):
        tables.fault(path, f"budgets.{metric.name} has no limit; write {' or '.join(metric.bounds)}")
    for bound in metric.bounds:
        place = (*path, bound)
        is_relative = bound == "max_increase"
        amount = _amount(tables, place, metric, budget[bound], may_be_share=is_relative) if bound in budget else None
        if amount is not None:
            yield Limit(
                metric=metric,
                bound=bound,
                amount=amount,
                tolerated=tolerated if is_relative else None,
                is_blocking=level != "warn",
                key=f"budgets.{metric.name}.{bound}",
                setting=tables.place(place) if tables.places else None,
                device=device,
                threads=threads,
            )


def _device(tables: Tables, path: Path) -> str | None:
    """Return the device a table names, None if it names none; a word that is none is noted."""
    device = tables.text(path)
    if device is not None:
        try:
            check_device(device)
        except CnnstatError as error:
            tables.fault(path, str(error).removeprefix("--"))
    return device


def _amount(tables: Tables, path: Path, metric: Metric, written: Any, *, may_be_share: bool) -> Amount | None:
    """Return one amount, or None after noting what is wrong with it."""
    try:
        return parse_amount(written, metric.unit, may_be_share=may_be_share)
    except CnnstatError as error:
        tables.fault(path, f"{metric.name}.{path[-1]}: {error}")
        return None


def flag_limit(name: str, bound: str, written: Any, flag: str = "") -> Limit:
    """Return the limit that an option such as `--max-params 5M` sets; raises CnnstatError."""
    metric = METRICS[name]
    flag = flag or metric.flag
    try:
        amount = parse_amount(written, metric.unit, may_be_share=bound == "max_increase")
    except CnnstatError as error:
        raise CnnstatError(f"{flag} {error}") from None
    return Limit(metric=metric, bound=bound, amount=amount, key=flag, is_blocking=metric.unit is not Unit.TIME)


def overridden(limits: Iterable[Limit], stronger: Iterable[Limit]) -> tuple[Limit, ...]:
    """Return limits in the order of the metrics; where both have the same bound, the stronger one holds."""
    found = {(limit.metric.name, limit.bound): limit for limit in (*limits, *stronger)}
    order = list(METRICS)
    return tuple(sorted(found.values(), key=lambda limit: order.index(limit.metric.name)))

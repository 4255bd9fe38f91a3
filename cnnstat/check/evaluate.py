"""Evaluation: the verdict on every limit, from the figures of a model and of its baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cnnstat.check import wording
from cnnstat.check.baseline import Missing
from cnnstat.check.difference import pairs
from cnnstat.check.limits import Limit
from cnnstat.check.measurement import Measurement
from cnnstat.check.report import LayerShare, Status, Verdict

LISTED = 3
"""Layers that a verdict names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The figures of a model beside those of its baseline.

    is_required: whether a relative limit without a baseline counts as not verified.
    """

    found: Measurement
    baseline: Measurement | Missing
    is_required: bool = False

    @property
    def before(self) -> Measurement | None:
        """The baseline, if there is one."""
        return self.baseline if isinstance(self.baseline, Measurement) else None


def verdict(limit: Limit, comparison: Comparison) -> Verdict:
    """Return what became of one limit."""
    metric = limit.metric
    before = comparison.before
    value = comparison.found.totals.get(metric.name)
    old = before.totals.get(metric.name) if before else None
    status, said = _unknown(limit, comparison, value, old)
    threshold = None if limit.bound == "max_increase" and old is None else limit.threshold(old)
    layers: tuple[LayerShare, ...] = ()
    if status is None and value is not None and threshold is not None:
        is_broken = value < threshold if limit.bound == "min" else value > threshold
        status = (Status.FAIL if limit.is_blocking else Status.WARN) if is_broken else _kept(limit, comparison)
        layers, is_growth = heaviest(limit, comparison) if is_broken else ((), False)
        if status is Status.UNVERIFIED:
            said = wording.incomplete(limit, value, comparison.found.uncounted)
        elif is_broken:
            detail = wording.layers_text(limit, layers, comparison.found, is_growth)
            said = wording.broken(limit, value, threshold, old, detail)
        else:
            said = wording.kept(limit, value, threshold, old)
    return Verdict(
        metric=metric.name,
        bound=limit.bound,
        status=status or Status.UNVERIFIED,
        limit=threshold,
        limit_text=limit.amount.text,
        value=value,
        baseline=old,
        message=said,
        layers=layers,
        setting=limit.setting,
        blocking=limit.is_blocking,
    )


def _unknown(limit: Limit, comparison: Comparison, value: int | None, old: int | None) -> tuple[Status | None, str]:
    """Return status and message where a figure is missing, None where both are there."""
    name = limit.metric.name
    if value is None:
        return Status.UNVERIFIED, f"{name}: {wording.NO_FIGURE.get(name, 'could not be measured')}"
    if limit.bound != "max_increase":
        return None, ""
    if isinstance(comparison.baseline, Missing):
        is_unverified = comparison.is_required or comparison.baseline.is_fault
        reason = comparison.baseline.reason
        return (Status.UNVERIFIED if is_unverified else Status.SKIPPED), f"{name}: {reason}"
    if old is None:
        return Status.UNVERIFIED, f"{name}: the baseline has no figure to compare with"
    if limit.metric.by_coverage and comparison.baseline.uncounted:
        return Status.UNVERIFIED, wording.incomplete_baseline(limit, comparison.baseline.uncounted)
    return None, ""


def _kept(limit: Limit, comparison: Comparison) -> Status:
    """Return the status of a limit that is not broken: a figure that is only "at least" may still break it."""
    is_open = limit.metric.by_coverage and limit.bound != "min" and bool(comparison.found.uncounted)
    return Status.UNVERIFIED if is_open else Status.PASS


def heaviest(limit: Limit, comparison: Comparison) -> tuple[tuple[LayerShare, ...], bool]:
    """Return the layers that grew most and True if there is a baseline and some did, else those that weigh most."""
    column = limit.metric.column
    if not column or limit.bound == "min":
        return (), False
    grown = _growth(column, comparison.found, comparison.before) if comparison.before else []
    if grown:
        return tuple(grown[:LISTED]), True
    weighing = shares(column, comparison.found)
    if limit.metric.name == "peak_inference_bytes":
        return tuple(share for share in weighing if share.name == comparison.found.peak_at), False
    return tuple(weighing[:LISTED]), False


def shares(column: str, found: Measurement) -> list[LayerShare]:
    """Return the layers that weigh anything, heaviest first."""
    listed = [LayerShare(name=row.name, value=getattr(row, column)) for row in found.layers]
    return sorted((share for share in listed if share.value), key=lambda share: -share.value)


def _growth(column: str, found: Measurement, before: Measurement) -> list[LayerShare]:
    """Return the layers that grew, most first."""
    listed = [
        LayerShare(name=new.name, value=getattr(new, column), baseline=None if old is None else getattr(old, column))
        for old, new in pairs(before.layers, found.layers)
        if new is not None
    ]
    return sorted((share for share in listed if share.growth > 0), key=lambda share: -share.growth)


def baseline_growth(
    limits: Iterable[Limit], now: Measurement | Missing, then: Measurement | Missing, shown: str
) -> list[Verdict]:
    """Return a verdict for each limited figure that the committed baseline raises, or drops, against an earlier one."""
    found = []
    for limit in limits:
        if limit.bound != "max_increase" or limit.metric.name == "latency":
            continue
        key = limit.metric.name
        before = then.totals.get(key) if isinstance(then, Measurement) else None
        after = now.totals.get(key) if isinstance(now, Measurement) else None
        if isinstance(then, Missing) and then.is_fault:
            status, said = Status.UNVERIFIED, f"{key}: {then.reason}"
        elif before is None or (after is not None and after <= before):
            continue
        else:
            status = Status.FAIL if limit.is_blocking else Status.WARN
            said = wording.grown_baseline(limit, before, after, shown)
        found.append(
            Verdict(
                metric=key,
                bound="baseline_growth",
                status=status,
                limit=before,
                limit_text="no growth",
                value=after,
                baseline=before,
                message=said,
                setting=limit.setting,
                blocking=limit.is_blocking,
            )
        )
    return found

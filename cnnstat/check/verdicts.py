"""Verdicts: what becomes of every limit, from the figures of a model and of its baseline, and the line that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cnnstat.check.baseline import layer_pairs
from cnnstat.check.check_result import LayerShare, Status, Verdict
from cnnstat.check.limits import Limit, column_of, distinct_texts, figure_text
from cnnstat.check.model_figures import COLUMNS, Missing, ModelFigures
from cnnstat.numbers import Unit, count, listed

MAX_LAYERS = 3
"""Layers that a verdict names."""
NO_FIGURE = {
    "receptive_field": "there is no exact one: the model has no feature map with spatial extent, or it is only bounded"
}
EARLIER = {"file_size": "an older version wrote the baseline and counted tensors only, without their names and records"}
"""How earlier versions counted what is counted otherwise now."""
_SIGNS = {"max": ">", "min": "<"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The figures of a model beside those of its baseline.

    is_required: whether a relative limit without a baseline counts as not verified.
    """

    figures: ModelFigures
    baseline: ModelFigures | Missing
    is_required: bool = False

    @property
    def before(self) -> ModelFigures | None:
        """The baseline, if there is one."""
        return self.baseline if isinstance(self.baseline, ModelFigures) else None

    @property
    def missing_status(self) -> Status:
        """The status of a relative limit if there is no baseline."""
        is_fault = isinstance(self.baseline, Missing) and self.baseline.is_fault
        return Status.UNVERIFIED if self.is_required or is_fault else Status.SKIPPED


def verdict(limit: Limit, comparison: Comparison) -> Verdict:
    """Return the verdict on one limit."""
    name, figures, before = limit.metric.key, comparison.figures, comparison.before
    value = figures.totals.get(name)
    old = before.comparable(name) if before else None
    threshold = None if limit.bound == "max_increase" and old is None else limit.threshold(old)
    layers: tuple[LayerShare, ...] = ()
    if value is None:
        status, message = Status.UNVERIFIED, f"{name}: {NO_FIGURE.get(name, 'could not be measured')}"
    elif threshold is not None and _is_crossed(limit, threshold, figures):
        status, message = Status.UNVERIFIED, _random_message(limit, figures)
    elif threshold is None or (limit.bound == "max_increase" and _uncounted_before(limit, comparison)):
        status, message = _without_baseline(limit, comparison)
    elif value < threshold if limit.bound == "min" else value > threshold:
        layers, is_growth = layers_to_change(limit, comparison)
        status = limit.broken
        message = _broken_message(limit, value, threshold, old, _layers_text(limit, layers, figures, is_growth))
    elif limit.metric.at_least and limit.bound != "min" and figures.uncounted:
        # a figure that is only "at least" may still break the limit
        status, message = Status.UNVERIFIED, _incomplete_message(limit, value, figures.uncounted)
    else:
        status, message = Status.PASS, _kept_message(limit, value, old)
    return limit.verdict(status, message, threshold=threshold, value=value, baseline=old, layers=layers)


def _is_crossed(limit: Limit, threshold: int, figures: ModelFigures) -> bool:
    """Whether random numbers decide if a limit holds."""
    if limit.metric.key not in figures.ranges:
        return False
    least, most = figures.ranges[limit.metric.key]
    if least is None or most is None:
        return True
    return least < threshold <= most if limit.bound == "min" else least <= threshold < most


def _random_message(limit: Limit, figures: ModelFigures) -> str:
    name, unit, like = limit.metric.key, limit.metric.unit, limit.amount.text
    ends = [end for end in figures.ranges[name] if end is not None]
    values = " to ".join(figure_text(unit, end, like) for end in ends) or "not always known"
    return f"{name}: the path is random: over several draws it is {values}, and the limit is {like}"


def _uncounted_before(limit: Limit, comparison: Comparison) -> tuple[str, ...]:
    return comparison.before.uncounted if comparison.before and limit.metric.at_least else ()


def _without_baseline(limit: Limit, comparison: Comparison) -> tuple[Status, str]:
    """Return status and message of a relative limit that has no complete figure to count from."""
    name = limit.metric.key
    if isinstance(comparison.baseline, Missing):
        return comparison.missing_status, f"{name}: {comparison.baseline.reason}"
    if name in comparison.baseline.counted_otherwise:
        return Status.UNVERIFIED, f"{name}: {EARLIER[name]}; `cnnstat check --update-baseline` writes it anew"
    if comparison.baseline.totals.get(name) is None:
        return Status.UNVERIFIED, f"{name}: the baseline has no figure to compare with"
    names = listed(comparison.baseline.uncounted, 3)
    return Status.UNVERIFIED, f"{name}: the work of {names} could not be counted in the baseline"


def layers_to_change(limit: Limit, comparison: Comparison) -> tuple[tuple[LayerShare, ...], bool]:
    """Return the layers that grew most and True if there is a baseline and some did, else the largest and False."""
    column = column_of(limit.metric)
    if not column or limit.bound == "min":
        return (), False
    figures, before = comparison.figures, comparison.before
    # a baseline file holds only some figures of each layer
    grown = _grown_layers(column, figures, before) if before and column in COLUMNS else []
    if grown:
        return tuple(grown[:MAX_LAYERS]), True
    shares = [LayerShare(name=row.name, value=value) for row, value in zip(figures.layers, figures.column(column))]
    # A peak is one moment: only the layer at which it occurs can lower it.
    if limit.metric.is_peak:
        return tuple(share for share in shares if share.value and share.name == figures.peak_at), False
    return tuple(sorted((s for s in shares if s.value), key=lambda share: -share.value)[:MAX_LAYERS]), False


def _grown_layers(column: str, figures: ModelFigures, before: ModelFigures) -> list[LayerShare]:
    shares = [
        LayerShare(name=new.name, value=new.figures[column], baseline=None if old is None else old.figures[column])
        for old, new in layer_pairs(before.layers, figures.layers)
        if new is not None
    ]
    return sorted((share for share in shares if share.growth > 0), key=lambda share: -share.growth)


def baseline_growth(
    limits: Iterable[Limit], now: ModelFigures | Missing, then: ModelFigures | Missing, label: str
) -> list[Verdict]:
    """Return a verdict for each limited figure that the committed baseline raises, or drops, against an earlier one."""
    verdicts = []
    for limit in limits:
        if limit.bound != "max_increase" or limit.metric.unit is Unit.TIME:
            continue
        name = limit.metric.key
        before = then.comparable(name) if isinstance(then, ModelFigures) else None
        after = now.totals.get(name) if isinstance(now, ModelFigures) else None
        if isinstance(then, Missing) and then.is_fault:
            status, message = Status.UNVERIFIED, f"{name}: {then.reason}"
        elif before is None or (after is not None and after <= before):
            continue
        else:
            status, message = limit.broken, _grown_baseline_message(limit, before, after, label)
        verdicts.append(
            limit.verdict(
                status,
                message,
                threshold=before,
                value=after,
                baseline=before,
                bound="baseline_growth",
                text="no growth",
            )
        )
    return verdicts


def _broken_message(limit: Limit, value: int, threshold: int, old: int | None, detail: str) -> str:
    """Return the line for a limit that is broken: by how much, where (`detail`), and what to do."""
    name, unit, like = limit.metric.key, limit.metric.unit, limit.amount.text
    if limit.bound == "max_increase" and old is not None:
        now, bound, before = distinct_texts(unit, (value, threshold, old), like)
        growth = f"+{figure_text(unit, value - old, like)}" + (f" ({_percent(value, old)})" if old else "")
        what = f"{name} {now} > {bound}: {growth} against the baseline's {before}, {_allowed(limit)} allowed"
    else:
        now, bound = distinct_texts(unit, (value, threshold), like)
        is_rounded = figure_text(unit, value, like) != figure_text(unit, threshold, like)
        share = f" ({_percent(value, threshold)})" if threshold else ""
        over = f"{figure_text(unit, abs(value - threshold), like)}{share}"
        what = f"{name} {now} {_SIGNS[limit.bound]} {like if is_rounded else bound} by {over}"
    return f"{what}{detail}. {_remedy(limit)}"


def _kept_message(limit: Limit, value: int, old: int | None) -> str:
    name, unit, like = limit.metric.key, limit.metric.unit, limit.amount.text
    if limit.bound == "max_increase" and old is not None:
        growth = "unchanged" if value == old else _growth(value, old)
        return f"{name} {figure_text(unit, value, like)}: {growth} against the baseline, {_allowed(limit)} allowed"
    sign = "≥" if limit.bound == "min" else "≤"
    return f"{name} {figure_text(unit, value, like)} {sign} {like}"


def _incomplete_message(limit: Limit, value: int, uncounted: Sequence[str]) -> str:
    return (
        f"{limit.metric.key} is at least {figure_text(limit.metric.unit, value, limit.amount.text)}, which keeps "
        f"{limit.amount.text}, but the work of {listed(uncounted, 3)} could not be counted"
    )


def _grown_baseline_message(limit: Limit, before: int, after: int | None, label: str) -> str:
    """Return the line for a baseline file that was raised in the change that it should judge."""
    name, unit = limit.metric.key, limit.metric.unit
    if after is None:
        return f"{name}: this change removes {figure_text(unit, before)} from {label}. Restore it"
    old, new = distinct_texts(unit, (before, after))
    return (
        f"{name}: this change raises the baseline itself, in {label}, from {old} to {new} "
        f"({_growth(after, before)}). Shrink the model, or raise the baseline in a change of its own"
    )


def _growth(value: int, old: int) -> str:
    return _percent(value, old) if old else f"{value - old:+,}"


def _percent(value: int, of: int) -> str:
    """Return a difference in percent, with more digits where it would look like none."""
    share = (value - of) / of * 100
    digits = ".0f" if abs(share) >= 100 else ".1f" if abs(share) >= 0.05 else ".1g"
    return f"{share:+{digits}} %"


def _allowed(limit: Limit) -> str:
    text = limit.amount.text
    return f"{'' if text.startswith('+') else '+'}{text}"


def _layers_text(limit: Limit, layers: Sequence[LayerShare], figures: ModelFigures, is_growth: bool) -> str:
    if not layers:
        return ""
    name, unit, like = limit.metric.key, limit.metric.unit, limit.amount.text

    def text(number: int) -> str:
        return f"{count(number)} parameters" if name == "file_size" else figure_text(unit, number, like)

    if is_growth:
        return f"; largest growth {', '.join(f'{share.name} +{text(share.growth)}' for share in layers)}"
    if limit.metric.is_peak:
        return f"; the peak is at {layers[0].name}"
    total = sum(figures.column(column_of(limit.metric)))
    names = ", ".join(f"{share.name} {text(share.value)} ({share.value / total:.0%})" for share in layers)
    return f"; heaviest {'layer' if len(layers) == 1 else 'layers'} {names}"


def _remedy(limit: Limit) -> str:
    if limit.bound == "min":
        return f"Widen it or lower {limit.where}" if limit.metric.key == "receptive_field" else f"Lower {limit.where}"
    return f"Shrink it or raise {limit.where}"

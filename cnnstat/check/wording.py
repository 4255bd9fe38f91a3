"""What verdicts say: one line each, with the layers to look at and what to change."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.check.limits import Limit
from cnnstat.check.measurement import Measurement
from cnnstat.check.report import LayerShare
from cnnstat.units import count

NO_FIGURE = {
    "receptive_field": "there is no exact one: the model has no feature map with spatial extent, or it is only bounded"
}
_SIGNS = {"max": ">", "min": "<"}


def broken(limit: Limit, value: int, threshold: int, old: int | None, detail: str) -> str:
    """Return the line for a limit that is broken: by how much, where (`detail`), and what to do."""
    metric, like = limit.metric, limit.amount.text
    if limit.bound == "max_increase" and old is not None:
        now, bound, before = metric.show_apart((value, threshold, old), like)
        growth = f"+{metric.show(value - old, like)}" + (f" ({_percent(value, old)})" if old else "")
        said = f"{metric.name} {now} > {bound}: {growth} against the baseline's {before}, {_allowed(limit)} allowed"
    else:
        now, bound = metric.show_apart((value, threshold), like)
        is_rounded = metric.show(value, like) != metric.show(threshold, like)
        over = f"{metric.show(abs(value - threshold), like)}{_share(value, threshold)}"
        said = f"{metric.name} {now} {_SIGNS[limit.bound]} {like if is_rounded else bound} by {over}"
    return f"{said}{detail}. {_remedy(limit)}"


def kept(limit: Limit, value: int, threshold: int, old: int | None) -> str:
    """Return the line for a limit that holds."""
    metric, like = limit.metric, limit.amount.text
    if limit.bound == "max_increase" and old is not None:
        growth = "unchanged" if value == old else _growth(value, old)
        return f"{metric.name} {metric.show(value, like)}: {growth} against the baseline, {_allowed(limit)} allowed"
    shown = metric.show(value, like)
    sign = "≥" if limit.bound == "min" else "≤"
    return f"{metric.name} {shown} {sign} {like}"


def incomplete(limit: Limit, value: int, uncounted: Sequence[str]) -> str:
    """Return the line for a figure that is only "at least"."""
    shown = limit.metric.show(value, limit.amount.text)
    return (
        f"{limit.metric.name} is at least {shown}, which keeps {limit.amount.text}, but the work of "
        f"{_names(uncounted)} could not be counted"
    )


def incomplete_baseline(limit: Limit, uncounted: Sequence[str]) -> str:
    """Return the line for a baseline that is only "at least"."""
    return f"{limit.metric.name}: the work of {_names(uncounted)} could not be counted in the baseline"


def grown_baseline(limit: Limit, before: int, after: int | None, shown: str) -> str:
    """Return the line for a baseline file that was raised in the change that it should judge."""
    metric = limit.metric
    if after is None:
        return f"{metric.name}: this change removes {metric.show(before)} from {shown}. Restore it"
    old, new = metric.show_apart((before, after))
    return (
        f"{metric.name}: this change raises the baseline itself, in {shown}, from {old} to {new} "
        f"({_growth(after, before)}). Shrink the model, or raise the baseline in a change of its own"
    )


def _share(value: int, threshold: int) -> str:
    """Return the distance from a limit in percent, in brackets."""
    return f" ({_percent(value, threshold)})" if threshold else ""


def _growth(value: int, old: int) -> str:
    """Return growth in percent, or in numbers where the baseline is 0."""
    return _percent(value, old) if old else f"{value - old:+,}"


def _percent(value: int, of: int) -> str:
    """Return a difference in percent, with more digits where it would look like none."""
    share = (value - of) / of * 100
    digits = ".0f" if abs(share) >= 100 else ".1f" if abs(share) >= 0.05 else ".1g"
    return f"{share:+{digits}} %"


def _allowed(limit: Limit) -> str:
    """Return the growth that a limit allows, as it is written."""
    text = limit.amount.text
    return f"{'' if text.startswith('+') else '+'}{text}"


def layers_text(limit: Limit, layers: Sequence[LayerShare], found: Measurement, is_growth: bool) -> str:
    """Return the layers to look at."""
    if not layers:
        return ""
    metric, like = limit.metric, limit.amount.text

    def show(number: int) -> str:
        return f"{count(number)} parameters" if metric.name == "file_size" else metric.show(number, like)

    if is_growth:
        return f"; largest growth {', '.join(f'{share.name} +{show(share.growth)}' for share in layers)}"
    if metric.name == "peak_inference_bytes":
        return f"; the peak is at {layers[0].name}"
    total = sum(getattr(row, metric.column) for row in found.layers)
    listed = ", ".join(f"{share.name} {show(share.value)} ({share.value / total:.0%})" for share in layers)
    return f"; heaviest {'layer' if len(layers) == 1 else 'layers'} {listed}"


def _remedy(limit: Limit) -> str:
    """Return what to do."""
    if limit.bound == "min":
        return f"Widen it or lower {limit.where}" if limit.metric.name == "receptive_field" else f"Lower {limit.where}"
    return f"Shrink it or raise {limit.where}"


def _names(names: Sequence[str]) -> str:
    """Return the first names of a list."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more

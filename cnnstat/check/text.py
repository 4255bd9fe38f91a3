"""Text of figures, limits, verdicts and places, the same in every format of a check's result."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from cnnstat.analysis.figures import LAYER_FIGURES
from cnnstat.check.check_result import CheckResult, ModelResult, Place, Status, Verdict
from cnnstat.check.limits import METRICS, column_of, distinct_texts
from cnnstat.errors import inert_line
from cnnstat.numbers import Unit
from cnnstat.report.terminal_text import printable

LAYER_TITLES = {"output_bytes": "output"}
"""Titles of the figures of layers that are no metrics; any other goes by its key."""

UNITS = {figure.layer: figure.unit for figure in LAYER_FIGURES} | {key: metric.unit for key, metric in METRICS.items()}
"""The units of metrics, and of the figures of layers that explain them."""

BOUNDS = {"max": "≤ ", "min": "≥ ", "max_increase": "≤ +", "baseline_growth": "baseline: "}
"""The sign of each kind of limit, put before the text that the user wrote."""


def title(metric: str) -> str:
    """Return the title of a metric."""
    return METRICS[metric].title if metric in METRICS else LAYER_TITLES.get(metric, printable(metric))


def column(metric: str) -> str:
    """Return the figure of a layer that explains a metric."""
    return (column_of(METRICS[metric]) if metric in METRICS else "") or metric


def figure(metric: str, value: int | None, apart_from: int | None = None, like: str = "") -> str:
    """Return a figure as people read it, `–` if it is not known.

    apart_from: a figure that this one must not read like, such as the limit that it breaks by very little.
    like: a text whose unit to use (MB or MiB).
    """
    if value is None:
        return "–"
    others = [] if apart_from is None else [abs(apart_from)]
    return "−" * (value < 0) + distinct_texts(UNITS.get(metric, Unit.COUNT), [abs(value), *others], like)[0]


def growth(metric: str, before: int | None, after: int | None) -> str:
    """Return a difference with its sign (`+290 K`); `–` where there is none or a side is missing."""
    if before is None or after is None or before == after:
        return "–"
    return ("+" if after > before else "") + figure(metric, after - before)


def growth_percent(before: int | None, after: int | None) -> str:
    """Return a relative difference (`+6.2 %`); a difference however small never reads as 0."""
    if before is None or after is None or before == after:
        return "–"
    if before == 0:
        return "new"
    share = abs(100 * (after - before) / before)
    return f"{'+' if after > before else '−'}{f'{share:,.1f}' if share >= 0.05 else '<0.1'} %"


def limit(verdict: Verdict) -> str:
    """Return a limit as its sign and the user's own words (`≤ 5 M`, `≤ +2%`)."""
    text = verdict.limit_text.strip()
    relative = text.removeprefix("+").lstrip() if verdict.bound == "max_increase" else text
    return printable(BOUNDS.get(verdict.bound, f"{verdict.bound} ") + relative)


def value(verdict: Verdict) -> str:
    """Return the figure of the model, in full if it would read like the limit that it breaks."""
    is_apart = verdict.status in (Status.FAIL, Status.WARN)
    return figure(verdict.metric, verdict.value, verdict.limit if is_apart else None, verdict.limit_text)


def location(model: ModelResult, verdict: Verdict) -> Place | None:
    """Return where a reader should look: the spec, or where the limit is written if the model has no file."""
    return model.place or verdict.setting


def located(model: ModelResult, verdict: Verdict) -> str:
    """Return the message on one printable line behind its place, or behind the model's name if there is none."""
    where = str(model.place) if model.place else model.name
    return inert_line(printable(f"{where}: {verdict.message}"))


def notes(result: CheckResult) -> list[str]:
    """Return the notes on the run, then those on each model behind its name."""
    return [*result.notes, *(f"{model.name}: {note}" for model in result.models for note in model.notes)]


def inputs(result: CheckResult) -> str:
    """Return the inputs that the figures are of as a sentence (`Input 1×3×224×224 float32.`), empty if not known."""
    texts = dict.fromkeys(", ".join(map(_input, model.inputs)) for model in result.models if model.inputs)
    return f"Input {'; '.join(texts)}. " if texts else ""


def _input(written: str) -> str:
    name, _, sizes = written.rpartition("=")
    shape, _, dtype = sizes.partition(":")
    return f"{f'{name} ' if name != 'input' else ''}{shape.replace('x', '×')} {dtype}"


OUTCOMES = {
    Status.FAIL: "broken",
    Status.WARN: "over (a warning)",
    Status.UNVERIFIED: "not verifiable",
    Status.SKIPPED: "skipped",
    Status.PASS: "kept",
}
"""The words for limits of each status, the most urgent first."""


def conclusion(result: CheckResult) -> str:
    """Return the outcome in one line."""
    numbers = Counter(verdict.status for verdict in result.verdicts)
    total = sum(numbers.values())
    if total < 2:
        return f"the limit is {OUTCOMES[next(iter(numbers))]}" if total else "no limits to check"
    if numbers[Status.PASS] == total:
        return f"all {total:,} limits are kept"
    parts = [f"{numbers[status]:,} {words}" for status, words in OUTCOMES.items() if numbers[status]]
    return f"{total:,} limits: {', '.join(parts)}"


def fingerprints(result: CheckResult) -> dict[int, str]:
    """Return a hash for each verdict by its position: file, model, heaviest layer and metric, but no line or value.

    So a finding stays the same one while lines move and figures change; equal ones differ by their order.
    """
    hashes: dict[int, str] = {}
    seen: Counter[str] = Counter()
    for position, (model, verdict) in enumerate(result.pairs):
        place = location(model, verdict)
        layer = verdict.layers[0].name if verdict.layers else ""
        key = "\0".join((place.file if place else model.source, model.name, layer, verdict.metric, verdict.bound))
        seen[key] += 1
        # surrogates of undecodable file names must not stop a report
        text = key if seen[key] == 1 else f"{key}\0{seen[key]}"
        hashes[position] = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return hashes

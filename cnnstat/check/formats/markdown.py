"""Markdown: a comment that a bot keeps up to date in a pull request, and the summary of a GitHub step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import NamedTuple

from cnnstat.check.formats import words
from cnnstat.check.report import CheckReport, LayerChange, ModelReport, Status, Verdict
from cnnstat.report import markdown
from cnnstat.report.glyphs import cut_end, cut_start, printable

MARKER = "<!-- cnnstat-check -->"
"""First line of the comment; who posts it finds the comment of the last run by it."""

COMMENT_BYTES = 60_000
"""GitHub takes comments of 65,536 characters."""

SUMMARY_BYTES = 1_000_000
"""GitHub takes step summaries of 1 MiB."""

MAX_ROWS = 200
"""Limits, messages and changed layers of a model that are listed."""

MAX_NOTES = 20

MAX_NAME, MAX_MESSAGE = 100, 1_000
"""Longest name and message that are shown whole."""

ICONS = {0: "✅", 1: "❌", 3: "❔"}
"""By exit code."""

SHOWN = {
    Status.PASS: "✅ ok",
    Status.FAIL: "❌ **broken**",
    Status.WARN: "⚠️ warning",
    Status.SKIPPED: "⏭️ skipped",
    Status.UNVERIFIED: "❔ not verifiable",
}

ORDER = (Status.FAIL, Status.UNVERIFIED, Status.WARN)
"""The statuses that are told in words, most urgent first."""

NO_MENTION = "@&#8203;"
"""An @ that GitHub takes for no one's name, so that a layer called `@team` calls nobody."""


class Found(NamedTuple):
    """A verdict with its model."""

    model: ModelReport
    verdict: Verdict


class Column(NamedTuple):
    """One column of the table of limits."""

    title: str
    align: str
    cell: Callable[[Found], str]


COLUMNS = (
    Column("model", "left", lambda found: name_of(found.model.name)),
    Column("what", "left", lambda found: text(words.title(found.verdict.metric))),
    Column("limit", "left", lambda found: text(words.limit(found.verdict))),
    Column("value", "right", lambda found: words.value(found.verdict)),
    Column("baseline", "right", lambda found: words.figure(found.verdict.metric, found.verdict.baseline)),
    Column("change", "right", lambda found: _percent(found.verdict.baseline, found.verdict.value)),
    Column("verdict", "left", lambda found: SHOWN[found.verdict.status]),
)

RELATIVE = ("baseline", "change")
"""Columns that are empty without a baseline."""


def render(report: CheckReport) -> str:
    """Return the comment: marker, conclusion, limits, differences and, folded, the layers that changed."""
    return f"{MARKER}\n{_fitted(report, COMMENT_BYTES)}"


def render_summary(report: CheckReport) -> str:
    """Return the same for `$GITHUB_STEP_SUMMARY`: without the marker, and with room for more."""
    return _fitted(report, SUMMARY_BYTES)


def name_of(name: str) -> str:
    """Return a name as code."""
    return markdown.code(cut_start(printable(name), MAX_NAME))


def text(line: str, length: int = MAX_NAME) -> str:
    """Return a line in which nothing is markup, a mention or more than so many columns."""
    return markdown.escaped(cut_end(printable(line), length)).replace("@", NO_MENTION)


def _fitted(report: CheckReport, size: int) -> str:
    """Return as many sections as there is room for, most important first; what is left out is said."""
    kept = f"### {_icon(report)} cnnstat: {words.conclusion(report)}\n"
    foot = _foot(report)
    left_out = 0
    for section in _sections(report):
        if _size(kept) + _size(section) + _size(foot) > size:
            left_out += 1
        else:
            kept += section
    more = _more(f"{left_out:,} part{'s' * (left_out != 1)} left out for want of room") if left_out else ""
    return f"{kept}{more}\n{foot}"


def _bold(name: str) -> str:
    """Return a name in running text, where code would show the bars that tables need escaped."""
    return f"**{text(name.strip()) or 'model'}**"


def _percent(before: int | None, after: int | None) -> str:
    """Return a relative difference."""
    return markdown.escaped(words.growth_percent(before, after))


def _icon(report: CheckReport) -> str:
    """Return a picture of the outcome."""
    is_warned = report.exit_code == 0 and any(verdict.status is Status.WARN for verdict in report.verdicts)
    return "⚠️" if is_warned else ICONS[report.exit_code]


def _size(markup: str) -> int:
    """Return bytes in UTF-8."""
    return len(markup.encode("utf-8", "replace"))


def _more(what: str) -> str:
    """Return a line that says what is not shown."""
    return f"\n*… {what}; `--format json` has everything.*\n"


def _sections(report: CheckReport) -> Iterator[str]:
    """Yield messages, the table of limits, the totals that differ and the layers that changed."""
    found = [Found(model, verdict) for model in report.models for verdict in model.verdicts]
    told = sorted((f for f in found if f.verdict.status in ORDER), key=lambda f: ORDER.index(f.verdict.status))
    if told:
        yield "\n" + "".join(f"- {text(words.located(*f), MAX_MESSAGE)}\n" for f in told[:MAX_ROWS])
    if found:
        yield f"\n{_limits(found if len(found) <= MAX_ROWS else told[:MAX_ROWS])}"
    if len(found) > MAX_ROWS:
        yield _more(f"limits that hold are not listed, there are {len(found):,} limits")
    for model in report.models:
        if model.baseline is not None:
            yield _differences(model, model.baseline)
    for model in report.models:
        if model.changed_layers:
            yield _changed(model)


def _limits(found: list[Found]) -> str:
    """Return the table of limits; the baseline only where there is one."""
    has_baseline = any(f.verdict.baseline is not None for f in found)
    columns = [column for column in COLUMNS if has_baseline or column.title not in RELATIVE]
    rows = [[column.cell(f) for column in columns] for f in found]
    return markdown.markdown_table([c.title for c in columns], [c.align for c in columns], rows)


def _differences(model: ModelReport, baseline: Mapping[str, int | None]) -> str:
    """Return the totals that differ from the baseline."""
    rows = [
        [
            text(words.title(metric)),
            words.figure(metric, baseline.get(metric), after),
            words.figure(metric, after, baseline.get(metric)),
            words.growth(metric, baseline.get(metric), after),
            _percent(baseline.get(metric), after),
        ]
        for metric, after in model.totals.items()
        if baseline.get(metric) != after
    ]
    if not rows:
        return f"\n{_bold(model.name)}: every total is that of the baseline.\n"
    titles = ["total", "before", "after", "change", "relative"]
    table = markdown.markdown_table(titles, ["left", *["right"] * 4], rows)
    return f"\n{_bold(model.name)} against the baseline:\n\n{table}"


def _changed(model: ModelReport) -> str:
    """Return the layers that changed, folded."""
    changes = model.changed_layers
    metrics = list(dict.fromkeys(m for change in changes for m in (*(change.before or ()), *(change.after or ()))))
    rows = [_change(change, metrics) for change in changes[:MAX_ROWS]]
    titles = ["layer", "op", *(words.title(metric) for metric in metrics)]
    table = markdown.markdown_table(titles, ["left", "left", *["right"] * len(metrics)], rows)
    more = _more(f"and {len(changes) - MAX_ROWS:,} more") if len(changes) > MAX_ROWS else ""
    # inside <summary> nothing is Markdown, only HTML
    name = escape(cut_start(printable(model.name), MAX_NAME)).replace("@", NO_MENTION)
    summary = f"{len(changes):,} changed layer{'s' * (len(changes) != 1)} of {name}"
    return f"\n<details><summary>{summary}</summary>\n\n{table}{more}\n</details>\n"


def _change(change: LayerChange, metrics: list[str]) -> list[str]:
    """Return the row of one layer."""
    kind = "new" if change.before is None else "removed" if change.after is None else ""
    op = f"{change.op}, {kind}" if kind else change.op
    return [name_of(change.name), text(op), *(_step(change, metric) for metric in metrics)]


def _step(change: LayerChange, metric: str) -> str:
    """Return one figure of a layer before and after; once if it is the same or the layer has one side only."""
    before, after = (None if side is None else side.get(metric) for side in (change.before, change.after))
    if before is None or after is None or before == after:
        return words.figure(metric, before if after is None else after)
    return f"{words.figure(metric, before, after)} → {words.figure(metric, after, before)}"


def _foot(report: CheckReport) -> str:
    """Return what the limits and figures rest on."""
    facts = [f"Limits from {text(report.configuration)}"]
    facts += [f"baseline {text(report.baseline)}"] if report.baseline is not None else []
    notes = [*report.notes, *(f"{model.name}: {note}" for model in report.models for note in model.notes)]
    shown = "".join(f"- {text(note, MAX_MESSAGE)}\n" for note in notes[:MAX_NOTES])
    said = f"{'; '.join(facts)}. {text(report.convention, MAX_MESSAGE)}"
    return f"<sub>{said}</sub>\n" + (f"\n{shown}" if shown else "")

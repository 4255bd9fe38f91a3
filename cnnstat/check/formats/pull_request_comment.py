"""Markdown: a comment that a bot keeps up to date in a pull request, and the summary of a GitHub step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from cnnstat.check import text
from cnnstat.check.check_result import CheckResult, LayerChange, ModelResult, Status, Verdict
from cnnstat.check.formats.changes_graph import changes_graph
from cnnstat.report.formats import markdown
from cnnstat.report.terminal_text import cut_end, cut_start, printable

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

STATUS_TEXTS = {
    Status.PASS: "✅ ok",
    Status.FAIL: "❌ **broken**",
    Status.WARN: "⚠️ warning",
    Status.SKIPPED: "⏭️ skipped",
    Status.UNVERIFIED: "❔ not verifiable",
}

ORDER = (Status.FAIL, Status.UNVERIFIED, Status.WARN)
"""The statuses whose messages are shown, most urgent first."""

NO_MENTION = "@&#8203;"
"""An @ that GitHub takes for no one's name, so that a layer called `@team` calls nobody."""


class Column(NamedTuple):
    """One column of the table of limits."""

    title: str
    align: str
    cell: Callable[[ModelResult, Verdict], str]


COLUMNS = (
    Column("model", "left", lambda model, verdict: name_of(model.name)),
    Column("what", "left", lambda model, verdict: markup(text.title(verdict.metric))),
    Column("limit", "left", lambda model, verdict: markup(text.limit(verdict))),
    Column("value", "right", lambda model, verdict: text.value(verdict)),
    Column("baseline", "right", lambda model, verdict: text.figure(verdict.metric, verdict.baseline)),
    Column("change", "right", lambda model, verdict: _percent(verdict.baseline, verdict.value)),
    Column("verdict", "left", lambda model, verdict: STATUS_TEXTS[verdict.status]),
)

RELATIVE = ("baseline", "change")
"""Columns that are empty without a baseline."""


def render(result: CheckResult) -> str:
    """Return the comment: marker, conclusion, limits, differences and, folded, the layers that changed."""
    return f"{MARKER}\n{_fitted(result, COMMENT_BYTES)}"


def render_summary(result: CheckResult) -> str:
    """Return the same for `$GITHUB_STEP_SUMMARY`: without the marker, and with room for more."""
    return _fitted(result, SUMMARY_BYTES)


def name_of(name: str) -> str:
    """Return a name as code."""
    return markdown.code(cut_start(printable(name), MAX_NAME))


def markup(line: str, length: int = MAX_NAME) -> str:
    """Return a line in which nothing is markup, a mention or more than so many columns."""
    return markdown.escaped(cut_end(printable(line), length))


def _fitted(result: CheckResult, size: int) -> str:
    """Return as many sections as there is room for, most important first; and a line on what is left out."""
    body = f"### {_icon(result)} cnnstat: {text.conclusion(result)}\n"
    foot = _foot(result)
    left_out = 0
    for section in _sections(result):
        if _size(body) + _size(section) + _size(foot) > size:
            left_out += 1
        else:
            body += section
    more = _more(f"{left_out:,} part{'s' * (left_out != 1)} left out for want of room") if left_out else ""
    return f"{body}{more}\n{foot}"


def _bold(name: str) -> str:
    """Return a name in running text, where code would show the bars that tables need escaped."""
    return f"**{markup(name.strip()) or 'model'}**"


def _percent(before: int | None, after: int | None) -> str:
    return markdown.escaped(text.growth_percent(before, after))


def _icon(result: CheckResult) -> str:
    is_warned = result.exit_code == 0 and any(verdict.status is Status.WARN for verdict in result.verdicts)
    return "⚠️" if is_warned else ICONS[result.exit_code]


def _size(markup: str) -> int:
    return len(markup.encode("utf-8", "replace"))


def _more(what: str) -> str:
    return f"\n*… {what}; `--format json` has everything.*\n"


def _sections(result: CheckResult) -> Iterator[str]:
    """Yield messages, the table of limits, the totals that differ and the layers that changed."""
    pairs = result.pairs
    urgent = sorted((pair for pair in pairs if pair[1].status in ORDER), key=lambda pair: ORDER.index(pair[1].status))
    if urgent:
        yield "\n" + "".join(f"- {markup(text.located(*pair), MAX_MESSAGE)}\n" for pair in urgent[:MAX_ROWS])
    if pairs:
        yield f"\n{_limits(pairs if len(pairs) <= MAX_ROWS else urgent[:MAX_ROWS])}"
    if len(pairs) > MAX_ROWS:
        yield _more(f"limits that hold are not listed, there are {len(pairs):,} limits")
    for model in result.models:
        if model.baseline is not None:
            yield _differences(model, model.baseline)
    for model in result.models:
        if model.changed_layers:
            yield _changed(model)
    # Pictures come last: where there is no room, it is they that are left out.
    for model in result.models:
        if model.changed_layers:
            yield _drawn(model)


def _limits(pairs: Sequence[tuple[ModelResult, Verdict]]) -> str:
    has_baseline = any(verdict.baseline is not None for _, verdict in pairs)
    columns = [column for column in COLUMNS if has_baseline or column.title not in RELATIVE]
    rows = [[column.cell(*pair) for column in columns] for pair in pairs]
    return markdown.markdown_table([c.title for c in columns], [c.align for c in columns], rows)


def _differences(model: ModelResult, baseline: Mapping[str, int | None]) -> str:
    rows = [
        [
            markup(text.title(metric)),
            text.figure(metric, baseline.get(metric), after),
            text.figure(metric, after, baseline.get(metric)),
            text.growth(metric, baseline.get(metric), after),
            _percent(baseline.get(metric), after),
        ]
        for metric, after in model.totals.items()
        if metric in baseline and baseline[metric] != after
    ]
    if not rows:
        return f"\n{_bold(model.name)}: every total is that of the baseline.\n"
    titles = ["total", "before", "after", "change", "relative"]
    table = markdown.markdown_table(titles, ["left", *["right"] * 4], rows)
    return f"\n{_bold(model.name)} against the baseline:\n\n{table}"


def _changed(model: ModelResult) -> str:
    changes = model.changed_layers
    metrics = list(dict.fromkeys(m for change in changes for m in (*(change.before or ()), *(change.after or ()))))
    rows = [_change(change, metrics) for change in changes[:MAX_ROWS]]
    titles = ["layer", "op", *(text.title(metric) for metric in metrics)]
    table = markdown.markdown_table(titles, ["left", "left", *["right"] * len(metrics)], rows)
    more = _more(f"and {len(changes) - MAX_ROWS:,} more") if len(changes) > MAX_ROWS else ""
    summary = f"{len(changes):,} changed layer{'s' * (len(changes) != 1)} of"
    return _folded(summary, model, f"{table}{more}")


def _drawn(model: ModelResult) -> str:
    """Return the layers that changed before and after, as a graph that GitHub draws, folded."""
    graph = f"```mermaid\n{changes_graph(model.changed_layers)}```"
    return _folded("before and after, changed layers of", model, f"{graph}\n")


def _folded(summary: str, model: ModelResult, content: str) -> str:
    # inside <summary> nothing is Markdown, only HTML
    name = escape(cut_start(printable(model.name), MAX_NAME)).replace("@", NO_MENTION)
    return f"\n<details><summary>{summary} {name}</summary>\n\n{content}\n</details>\n"


def _change(change: LayerChange, metrics: list[str]) -> list[str]:
    kind = "new" if change.before is None else "removed" if change.after is None else ""
    op = f"{change.op}, {kind}" if kind else change.op
    return [name_of(change.name), markup(op), *(_step(change, metric) for metric in metrics)]


def _step(change: LayerChange, metric: str) -> str:
    """Return one figure of a layer before and after; once if it is the same or the layer has one side only."""
    before, after = (None if side is None else side.get(metric) for side in (change.before, change.after))
    if before is None or after is None or before == after:
        return text.figure(metric, before if after is None else after)
    return f"{text.figure(metric, before, after)} → {text.figure(metric, after, before)}"


def _foot(result: CheckResult) -> str:
    facts = [f"Limits from {markup(result.configuration)}"]
    facts += [f"baseline {markup(result.baseline)}"] if result.baseline is not None else []
    notes = text.notes(result)
    lines = "".join(f"- {markup(note, MAX_MESSAGE)}\n" for note in notes[:MAX_NOTES])
    origin = f"{'; '.join(facts)}. {markup(result.convention, MAX_MESSAGE)}"
    return f"<sub>{origin}</sub>\n" + (f"\n{lines}" if lines else "")

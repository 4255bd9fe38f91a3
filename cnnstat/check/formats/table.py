"""Table: every limit with its figure, then what is broken and by which layers, then the origin of the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnstat.check.formats import text
from cnnstat.check.result import CheckResult, ModelResult, Status, Verdict
from cnnstat.report.document import Fact
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.grid import Track, grid
from cnnstat.report.terminal_text import BLANK, Line, Page, cut_start, plain, printable

WIDTH = 80
"""Columns of a table that goes into a file."""

SHOWN = {
    Status.PASS: ("ok", "green"),
    Status.FAIL: ("FAIL", "bold red"),
    Status.WARN: ("warn", "yellow"),
    Status.SKIPPED: ("skipped", "dim"),
    Status.UNVERIFIED: ("unverified", "bold magenta"),
}
"""The word and the style of each status."""

WORDS = dict(SHOWN.values())

INDENT = 2

MAX_SKIPPED = 3
"""Skipped limits whose messages are shown."""


def render(result: CheckResult) -> str:
    """Return the table as text without colour."""
    return str(page(result, WIDTH))


def page(result: CheckResult, width: int) -> Page:
    """Return the table, fitted to a width."""
    parts = [_limits(result, width), *_broken(result, width), _foot(result, width), _conclusion(result)]
    lines: list[Line] = []
    for part in parts:
        lines += [*([BLANK] if lines else []), *part.lines]
    return Page(lines)


def _limits(result: CheckResult, width: int) -> Page:
    """Return one line for each limit; a model is named once, and the change only where there is a baseline."""
    tracks = [Track(title="model", least=8, cut=cut_start), Track(title="what", least=8)]
    tracks += [Track(title="limit", least=9), Track(title="value", align="right")]
    has_change = any(verdict.baseline is not None for verdict in result.verdicts)
    tracks += [Track(title="change", align="right")] * has_change
    rows = []
    for model in result.models:
        name = printable(model.name)
        for verdict in model.verdicts:
            change = (text.growth_percent(verdict.baseline, verdict.value),) * has_change
            cells = (text.limit(verdict), text.value(verdict), *change, SHOWN[verdict.status][0])
            rows.append((name, text.title(verdict.metric), *cells))
            name = ""
        if not model.verdicts:
            rows.append((name, "no limits", "", "", *("",) * has_change, ""))
    return _coloured(grid([*tracks, Track(title="verdict")], rows, width))


def _coloured(table: Page) -> Page:
    """Return a grid with the verdicts of its last column in their colours."""
    return Page((*line[:-1], (line[-1][0], WORDS.get(line[-1][0].strip(), line[-1][1]))) for line in table.lines)


def _broken(result: CheckResult, width: int) -> Iterator[Page]:
    """Yield the message of each limit that does not hold, with the layers that weigh or grew most.

    Skipped limits come last and only so many of them: most often one missing baseline is the cause of all.
    """
    seen = set()
    for model, verdict in result.pairs:
        if verdict.status in (Status.PASS, Status.SKIPPED):
            continue
        message = facts_page([_message(model, verdict)], width)
        # two limits of one metric are broken by the same layers, which are shown once
        key = (model.name, text.column(verdict.metric), verdict.layers)
        yield message + _layers(verdict, width) if verdict.layers and key not in seen else message
        seen.add(key)
    skipped = [_message(model, verdict) for model, verdict in result.pairs if verdict.status is Status.SKIPPED]
    if skipped:
        more = [Fact("", f"… and {len(skipped) - MAX_SKIPPED:,} more")] * (len(skipped) > MAX_SKIPPED)
        yield facts_page([*skipped[:MAX_SKIPPED], *more], width)


def _message(model: ModelResult, verdict: Verdict) -> Fact:
    """Return the message on one limit behind its status."""
    word, style = SHOWN[verdict.status]
    return Fact(word, text.located(model, verdict), style)


def _layers(verdict: Verdict, width: int) -> Page:
    """Return the layers of one verdict, indented; the baseline only where there is one."""
    metric = text.column(verdict.metric)
    is_growth = any(share.baseline is not None for share in verdict.layers)
    titles = ("baseline", "growth") if is_growth else ()
    tracks = [Track(title="layer", least=12, cut=cut_start), Track(title=text.title(metric), align="right")]
    tracks += [Track(title=title, align="right") for title in titles]
    rows = []
    for share in verdict.layers:
        before = (text.figure(metric, share.baseline), text.growth(metric, share.baseline or 0, share.value))
        rows.append((printable(share.name), text.figure(metric, share.value), *before[: len(titles)]))
    return _indented(grid(tracks, rows, width - INDENT))


def _indented(table: Page) -> Page:
    """Return a page moved to the right."""
    return Page(((" " * INDENT, ""), *line) for line in table.lines)


def _foot(result: CheckResult, width: int) -> Page:
    """Return the origin of the limits and figures."""
    facts = [Fact("limits", f"from {printable(result.configuration)}")]
    if result.baseline is not None:
        facts.append(Fact("baseline", printable(result.baseline)))
    facts.append(Fact("counting", printable(result.convention)))
    return facts_page([*facts, *_notes("note", result.notes), *_model_notes(result.models)], width)


def _notes(label: str, notes: Sequence[str]) -> list[Fact]:
    """Return notes under a label."""
    return [Fact(label, printable(note)) for note in notes]


def _model_notes(models: Sequence[ModelResult]) -> Iterator[Fact]:
    """Yield the notes on each model behind its name."""
    for model in models:
        yield from _notes("note", [f"{model.name}: {note}" for note in model.notes])


def _conclusion(result: CheckResult) -> Page:
    """Return the last line, in the colour of the exit code."""
    styles = {0: "bold green", 1: "bold red", 3: "bold magenta"}
    return Page([plain(text.conclusion(result), styles[result.exit_code])])

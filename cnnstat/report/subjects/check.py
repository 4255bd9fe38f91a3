"""Check: every limit with its figure, then what is broken and by which layers, then the origin of the figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple

from cnnstat.check import text
from cnnstat.check.check_result import CheckResult, LayerShare, ModelResult, Status, Verdict, to_json
from cnnstat.numbers import plural
from cnnstat.report.document import Block, Document, Fact, Facts, KeyFigure, Text
from cnnstat.report.table import Column, Layout, Table
from cnnstat.report.terminal_text import cut_start, printable

STATUSES = {
    Status.PASS: ("ok", "green"),
    Status.FAIL: ("FAIL", "bold red"),
    Status.WARN: ("warn", "yellow"),
    Status.SKIPPED: ("skipped", "dim"),
    Status.UNVERIFIED: ("unverified", "bold magenta"),
}
"""The word and the style of each status."""

CONCLUSIONS = {0: "bold green", 1: "bold red", 3: "bold magenta"}
"""The style of the last line by exit code."""

RECORDS = (
    Column("model", "model", lambda pair: pair[0].name),
    *(
        Column(key, key, lambda pair, key=key: getattr(pair[1], key))  # type: ignore[misc]  # a default of a lambda
        for key in ("metric", "bound", "status", "limit", "limit_text", "value", "baseline", "message")
    ),
)
"""The columns for programs: one row a limit, in base units."""

MAX_SKIPPED = 3
"""Skipped limits whose messages are shown."""


class LimitRow(NamedTuple):
    """One limit, None for a model that has none; a model is named once."""

    model: str
    verdict: Verdict | None


def _cell(of: Callable[[Verdict], str], otherwise: str = " ") -> Callable[[LimitRow], str]:
    """Return what a column says of a limit; a column in which no cell has a text would be left out."""
    return lambda row: otherwise if row.verdict is None else of(row.verdict)


def document(result: CheckResult) -> Document:
    """Return the verdicts on all limits."""
    return Document(
        page_title=f"Check of {plural(len(result.models), 'model')}",
        blocks=lambda: _blocks(result),
        data=lambda: to_json(result),
        records=Table(RECORDS, result.pairs),
        caption=printable(f"{text.conclusion(result)}. {text.inputs(result)}{result.convention}"),
        key_figures=lambda: _key_figures(result),
    )


def _key_figures(result: CheckResult) -> Iterator[KeyFigure]:
    outcome = {0: "passed", 1: "failed", 3: "unverified"}[result.exit_code]
    yield KeyFigure("check", outcome, f"exit code {result.exit_code}", CONCLUSIONS[result.exit_code])
    yield KeyFigure("models", f"{len(result.models):,}")
    statuses = Counter(verdict.status for verdict in result.verdicts)
    yield from (KeyFigure(word, f"{statuses[s]:,}", "", style) for s, (word, style) in STATUSES.items() if statuses[s])


def _blocks(result: CheckResult) -> Iterator[Block]:
    yield _limits(result)
    yield from _broken(result)
    yield Facts(tuple(_origin(result)))
    yield Text(text.conclusion(result), CONCLUSIONS[result.exit_code])


def _limits(result: CheckResult) -> Table:
    has_change = any(verdict.baseline is not None for verdict in result.verdicts)
    columns = [
        Column("model", "model", attrgetter("model"), least=8, cut=cut_start),
        Column("what", "what", _cell(lambda v: text.title(v.metric), "no limits"), least=8),
        Column("limit", "limit", _cell(text.limit), least=9),
        Column("value", "value", _cell(text.value), align="right"),
        *[Column("change", "change", _cell(lambda v: text.growth_percent(v.baseline, v.value)), align="right")]
        * has_change,
        Column("verdict", "verdict", _cell(lambda v: STATUSES[v.status][0]), styles=dict(STATUSES.values())),
    ]
    rows = [
        LimitRow("" if number else model.name, verdict)
        for model in result.models
        for number, verdict in enumerate(model.verdicts or (None,))
    ]
    return Table(columns, rows, is_chosen=True)


def _broken(result: CheckResult) -> Iterator[Block]:
    """Yield the message of each limit that does not hold, with the layers that weigh or grew most.

    Skipped limits come last and only so many of them: most often one missing baseline is the cause of all.
    """
    seen = set()
    for model, verdict in result.pairs:
        if verdict.status in (Status.PASS, Status.SKIPPED):
            continue
        yield Facts((_message(model, verdict),))
        # two limits of one metric are broken by the same layers, which are shown once
        key = (model.name, text.column(verdict.metric), verdict.layers)
        if verdict.layers and key not in seen:
            yield _layers(model, verdict)
        seen.add(key)
    skipped = [_message(model, verdict) for model, verdict in result.pairs if verdict.status is Status.SKIPPED]
    if skipped:
        more = [Fact("", f"… and {len(skipped) - MAX_SKIPPED:,} more")] * (len(skipped) > MAX_SKIPPED)
        yield Facts((*skipped[:MAX_SKIPPED], *more))


def _message(model: ModelResult, verdict: Verdict) -> Fact:
    word, style = STATUSES[verdict.status]
    return Fact(word, text.located(model, verdict), style)


def _layers(model: ModelResult, verdict: Verdict) -> Table:
    metric = text.column(verdict.metric)

    def growth(share: LayerShare) -> str:
        return text.growth(metric, share.baseline or 0, share.value)

    columns = [
        Column("layer", "layer", lambda share: share.name, least=12, cut=cut_start),
        Column("value", text.title(metric), lambda share: text.figure(metric, share.value), align="right"),
    ]
    if any(share.baseline is not None for share in verdict.layers):
        columns += [
            Column("baseline", "baseline", lambda share: text.figure(metric, share.baseline), align="right"),
            Column("growth", "growth", growth, align="right"),
        ]
    caption = printable(f"{text.title(metric)} of layers of {model.name}")
    return Table(columns, verdict.layers, caption=caption, layout=Layout(indent=2))


def _origin(result: CheckResult) -> Iterator[Fact]:
    yield Fact("limits", f"from {printable(result.configuration)}")
    if result.baseline is not None:
        yield Fact("baseline", printable(result.baseline))
    yield Fact("counting", printable(result.convention))
    for note in text.notes(result):
        yield Fact("note", printable(note))

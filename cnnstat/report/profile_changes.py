"""Changes of a profile: what is slower or faster than in an earlier one, as tables, facts and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from cnnstat import numbers
from cnnstat.profile.difference import LEAST_SECONDS, LEAST_SHARE, Change, Difference, Verdict
from cnnstat.profile.profile_result import Samples
from cnnstat.report.document import Fact, Facts
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import cut_start, printable

STYLES = {"slower": "red", "faster": "green", "new": "yellow", "gone": "yellow", "same": "dim", "unknown": "yellow"}

RULE = (
    "a time has changed only if the quartile ranges do not meet and the medians are over "
    f"{1e6 * LEAST_SECONDS:.1f} µs and {100 * LEAST_SHARE:.0f} % apart; all else is noise"
)
"""How a change is distinguished from noise."""


class Against(NamedTuple):
    """What changed since an earlier profile, and what that one is called."""

    difference: Difference
    label: str


def _change_columns() -> tuple[Column, ...]:
    return (
        Column("name", "layer", attrgetter("name"), least=10, cut=cut_start, is_code=True),
        *(_side(name) for name in ("before", "after")),
        Column("change", "change", attrgetter("seconds"), _change_text, "right"),
        Column("ratio", "%", attrgetter("ratio"), _percent, "right"),
        Column("verdict", "verdict", attrgetter("verdict.value"), styles=STYLES),
    )


def _side(name: str) -> Column:
    """Return the column of the earlier or the later time of a layer, which a new or a removed one does not have."""
    samples: Callable[[Change], Samples | None] = attrgetter(name)

    def median(change: Change) -> float | None:
        times = samples(change)
        return None if times is None else times.median

    return Column(name, name, median, lambda change: _time_text(samples(change)), "right")


def change_blocks(difference: Difference, label: str) -> Iterator[Table | Facts]:
    """Yield the times of both profiles layer by layer, and what they say; label: what the earlier one is called."""
    title = f"against {printable(label)}"
    yield Table(_change_columns(), difference.layers, total=difference.whole, title=title)
    yield Facts(tuple(change_facts(difference)))


def change_table(difference: Difference) -> Table:
    """Return the changes for programs, that of the whole model last."""
    return Table(_change_columns(), (*difference.layers, difference.whole))


def change_values(difference: Difference, label: str) -> dict[str, Any]:
    """Return the changes as JSON-ready values, in seconds."""
    return {
        "baseline": label,
        "conditions": [{"what": w, "before": b, "after": a} for w, b, a in difference.conditions],
        "whole": _values(difference.whole),
        "eager": _values(difference.eager),
        "layers": [_values(change) for change in difference.layers],
    }


def _values(change: Change) -> dict[str, Any]:
    return {"op": change.kind, **{column.key: column.value(change) for column in _change_columns()}}


def change_facts(difference: Difference) -> Iterator[Fact]:
    """Yield what changed in words, how it is distinguished from noise, and what was not alike when it was measured."""
    yield Fact("outcome", _outcome(difference), STYLES[difference.whole.verdict.value])
    for verdict in (Verdict.SLOWER, Verdict.FASTER, Verdict.NEW, Verdict.GONE):
        names = [change.name for change in difference.layers if change.verdict is verdict]
        if names:
            yield Fact(verdict.value, f"{numbers.plural(len(names), 'layer')}: {numbers.listed(names)}")
    yield Fact("noise", RULE)
    if difference.doubts:
        yield Fact("no verdict", f"{'; '.join(difference.doubts)}: times that differ read unknown", "yellow")
    if difference.conditions:
        changes = "; ".join(f"{what} {before} → {after}" for what, before, after in difference.conditions)
        yield Fact("not alike", f"{printable(changes)}; the changes are of these as well", "bold yellow")


def _outcome(difference: Difference) -> str:
    whole = difference.whole
    if whole.verdict is Verdict.UNKNOWN:
        times = f"{_time_text(whole.before)} → {_time_text(whole.after)}"
        return f"no verdict, {'; '.join(difference.doubts) or 'too few samples'}: {times} ({_percent(whole)} %)"
    if whole.verdict is Verdict.SAME:
        return f"the model takes as long as before, within noise ({_percent(whole)} %)"
    times = f"{_time_text(whole.before)} → {_time_text(whole.after)}"
    return f"the model is {whole.verdict.value}: {times} ({_percent(whole)} %)"


def _time_text(samples: Samples | None) -> str:
    return numbers.or_dash(samples, numbers.samples_text)


def _change_text(change: Change) -> str:
    if change.before is None or change.after is None:
        return "–"
    return ("+" if change.seconds > 0 else "") + numbers.seconds_text(change.seconds)


def _percent(change: Change) -> str:
    if change.ratio is None:
        return "–"
    share = change.ratio - 1
    return ("+" if share > 0 else "") + numbers.percent(share)

"""TimeDifference: what changed between two profiles, layer by layer and as a whole, in every format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnnstat import numbers
from cnnstat.profile.difference import LEAST_SECONDS, LEAST_SHARE, Change, Difference, Verdict
from cnnstat.profile.samples import Samples
from cnnstat.report.document import Fact
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.grid import Track, grid
from cnnstat.report.listing import Field, Listing
from cnnstat.report.subjects.analysis import LISTED
from cnnstat.report.terminal_text import BLANK, Page, cut_start, plain, printable

STYLES = {"slower": "red", "faster": "green", "new": "yellow", "gone": "yellow", "same": "dim"}

RULE = (
    "a time has changed only if the quartile ranges do not meet and the medians are over "
    f"{1e6 * LEAST_SECONDS:.1f} µs and {100 * LEAST_SHARE:.0f} % apart; all else is noise"
)
"""By which a change is told from noise."""


def _shown(samples: Samples | None) -> str:
    """Return a time with what it scatters by."""
    return "–" if samples is None else numbers.samples_text(samples)


def _change(change: Change) -> str:
    """Return what a time grew by, with its sign."""
    if change.before is None or change.after is None:
        return "–"
    return ("+" if change.seconds > 0 else "") + numbers.seconds_text(change.seconds)


def _percent(change: Change) -> str:
    """Return the same in percent of the earlier time."""
    if change.ratio is None:
        return "–"
    share = change.ratio - 1
    return ("+" if share > 0 else "") + numbers.percent(share)


FIELDS = (
    Field("name", "layer", lambda c: c.name, least=10, cut=cut_start, is_code=True),
    Field("before", "before", lambda c: c.before and c.before.median, lambda c: _shown(c.before), "right"),
    Field("after", "after", lambda c: c.after and c.after.median, lambda c: _shown(c.after), "right"),
    Field("change", "change", lambda c: c.seconds, _change, "right"),
    Field("ratio", "%", lambda c: c.ratio, _percent, "right"),
    Field("verdict", "verdict", lambda c: c.verdict.value),
)
"""What is told of each layer, and last of the model as a whole."""


def page(difference: Difference, shown: str, width: int) -> Page:
    """Return the changes as a table, and what they rest on; `shown` is what the earlier profile is called."""
    tracks = [Track(title=f.title, align=f.align, least=f.least, cut=f.cut) for f in FIELDS]
    rows = [[field.text(change) for field in FIELDS] for change in difference.layers]
    table = grid(tracks, rows, width, [field.text(difference.whole) for field in FIELDS])
    head = plain(f"against {printable(shown)}", "bold")
    return Page((head, BLANK, *_coloured(table).lines, BLANK, *facts_page(facts(difference), width).lines))


def csv(difference: Difference) -> str:
    """Return the changes as CSV: raw seconds."""
    return _listing(difference).csv()


def markdown(difference: Difference, shown: str) -> str:
    """Return the changes as a GitHub table, and what they rest on as a list."""
    from cnnstat.report.formats.markdown import escaped

    rest = "".join(f"- **{escaped(fact.label)}** {escaped(fact.text)}\n" for fact in facts(difference))
    return f"#### against {escaped(printable(shown))}\n\n{_listing(difference).markdown()}\n{rest}"


def document(difference: Difference, shown: str) -> dict[str, Any]:
    """Return the changes as JSON-ready values, in seconds."""
    return {
        "baseline": shown,
        "conditions": [{"what": w, "before": b, "after": a} for w, b, a in difference.conditions],
        "whole": _object(difference.whole),
        "eager": _object(difference.eager),
        "layers": [_object(change) for change in difference.layers],
    }


def facts(difference: Difference) -> Iterator[Fact]:
    """Yield what changed in words, how it is told from noise, and what was not alike when it was measured."""
    yield Fact("outcome", _outcome(difference.whole), STYLES[difference.whole.verdict.value])
    for verdict in (Verdict.SLOWER, Verdict.FASTER, Verdict.NEW, Verdict.GONE):
        names = [printable(change.name) for change in difference.layers if change.verdict is verdict]
        if names:
            more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
            yield Fact(verdict.value, f"{numbers.plural(len(names), 'layer')}: {', '.join(names[:LISTED])}{more}")
    yield Fact("noise", RULE)
    if difference.conditions:
        told = "; ".join(f"{what} {before} → {after}" for what, before, after in difference.conditions)
        yield Fact("not alike", f"{printable(told)}; the changes are of these as well", "bold yellow")


def _outcome(whole: Change) -> str:
    """Return what became of the whole model."""
    if whole.verdict is Verdict.SAME:
        return f"the model takes as long as before, within noise ({_percent(whole)} %)"
    return f"the model is {whole.verdict.value}: {_shown(whole.before)} → {_shown(whole.after)} ({_percent(whole)} %)"


def _listing(difference: Difference) -> Listing[Change]:
    """Return the layers and the whole as a listing."""
    return Listing(FIELDS, (*difference.layers, difference.whole))


def _coloured(table: Page) -> Page:
    """Return a grid with the verdicts of its last column in their colours."""
    return Page((*line[:-1], (line[-1][0], STYLES.get(line[-1][0].strip(), line[-1][1]))) for line in table.lines)


def _object(change: Change) -> dict[str, Any]:
    """Return one change."""
    return {"op": change.kind, **{field.key: field.value(change) for field in FIELDS}}

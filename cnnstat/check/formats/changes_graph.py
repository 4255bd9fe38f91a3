"""Mermaid: the layers that changed, as they were and as they are, in a graph that GitHub draws in a comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cnnstat.check import text
from cnnstat.check.check_result import LayerChange
from cnnstat.draw.colours import Colour
from cnnstat.draw.formats.mermaid import quoted, styles
from cnnstat.report.terminal_text import cut_end, cut_start, printable

MOST_LAYERS = 20
"""Changed layers that are drawn."""
MAX_NAME = 60
"""Longest name that is shown whole."""

NEW = Colour("#d6f0e5", "#007d59", "", "")
REMOVED = Colour("#fde5ea", "#ab4058", "", "")
CHANGED = Colour("#faf2c6", "#857000", "", "")
"""Colours of layers; the words `new` and `removed` say the same."""


def changes_graph(changes: Sequence[LayerChange]) -> str:
    """Return the first changed layers of a model, before and after, as the text of a Mermaid graph."""
    return "\n".join(_lines(changes[:MOST_LAYERS], len(changes) - MOST_LAYERS)) + "\n"


def _lines(changes: Sequence[LayerChange], more: int) -> Iterator[str]:
    yield "flowchart LR"
    for side, letter in (("before", "b"), ("after", "a")):
        numbers = [number for number, change in enumerate(changes) if _figures(change, side) is not None]
        if not numbers:
            continue
        yield f'  subgraph {side} ["{side}"]'
        yield "    direction TB"
        for number in numbers:
            yield f"    {letter}{number}[{_label(changes[number], side)}]"
        if more > 0:
            yield f"    {letter}more[{quoted(f'… and {more:,} more')}]"
            yield from (f"    {letter}{number} ~~~ {letter}more" for number in numbers[-1:])
        yield from (f"    {letter}{one} ~~~ {letter}{other}" for one, other in zip(numbers, numbers[1:]))
        yield "  end"
    # An arrow between layers would turn Mermaid's subgraphs to the graph's own direction.
    if any(change.before is not None for change in changes) and any(change.after is not None for change in changes):
        yield "  before --> after"
    nodes: dict[Colour, list[str]] = {NEW: [], REMOVED: [], CHANGED: []}
    for number, change in enumerate(changes):
        if change.before is None:
            nodes[NEW].append(f"a{number}")
        elif change.after is None:
            nodes[REMOVED].append(f"b{number}")
        else:
            nodes[CHANGED] += [f"b{number}", f"a{number}"]
    yield from styles((colour, named) for colour, named in nodes.items() if named)


def _figures(change: LayerChange, side: str) -> Mapping[str, int] | None:
    return change.before if side == "before" else change.after


def _label(change: LayerChange, side: str) -> str:
    """Return name and op of a layer, and the figures that its other side does not have."""
    own, other = (change.before, change.after) if side == "before" else (change.after, change.before)
    lines = [cut_start(printable(change.name), MAX_NAME), cut_end(printable(change.op), MAX_NAME)]
    if other is None:
        lines.append("removed" if side == "before" else "new")
    for metric, value in (own or {}).items():
        if other is None or other.get(metric) != value:
            against = None if other is None else other.get(metric)
            lines.append(f"{text.title(metric)} {text.figure(metric, value, against)}")
    return quoted(*lines)

"""Layer lookup: the layer that a user means by a name, a part of it, a kind with a number, or a row number."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from cnnstat.errors import CnnstatError, printable
from cnnstat.ir.graph import Graph
from cnnstat.numbers import listed

__tracebackhide__ = True
LISTED = 4
"""Names that an error lists before it says how many more there are."""


def find_layer(graph: Graph, wanted: str) -> int:
    """Return the index of the node that `wanted` means.

    Tried in this order: the exact name, the only name that ends in it, the only name that begins with it, `Conv2d#3`
    for the third of its kind, and the number of a row, from 1. Raises CnnstatError with the nearest names otherwise.
    """
    if not wanted.strip():
        raise CnnstatError("LAYER is empty; name one, or the number of a row")
    names = [node.name for node in graph.nodes]
    if wanted in names:
        return names.index(wanted)
    for fitting in (_ending(names, wanted), _beginning(names, wanted)):
        if len(fitting) == 1:
            return fitting[0]
    kind, separator, number = wanted.rpartition("#")
    if separator and number.isdecimal():
        return _nth(graph, kind, int(number))
    if wanted.isdecimal():
        return _row(graph, int(wanted))
    raise CnnstatError(f"{printable(graph.name)} has no layer {printable(wanted[:60])}{_hint(names, wanted)}")


def _ending(names: Sequence[str], wanted: str) -> list[int]:
    """Return the names that end in `wanted` after a dot, or else in the middle of a component."""
    dotted = [i for i, name in enumerate(names) if name.endswith(f".{wanted}")]
    if dotted or wanted.isdecimal():
        return dotted
    return [i for i, name in enumerate(names) if wanted and name.endswith(wanted)]


def _beginning(names: Sequence[str], wanted: str) -> list[int]:
    return [] if wanted.isdecimal() else [i for i, name in enumerate(names) if wanted and name.startswith(wanted)]


def _nth(graph: Graph, kind: str, number: int) -> int:
    alike = [i for i, node in enumerate(graph.nodes) if node.op.kind.lower() == kind.lower()]
    if not 1 <= number <= len(alike):
        kinds = ", ".join(sorted({node.op.kind for node in graph.nodes}))
        known = f"{len(alike)} {kind[:40]}" if alike else f"no {printable(kind[:40])}, only {kinds}"
        raise CnnstatError(f"{printable(graph.name)} has {known}")
    return alike[number - 1]


def _row(graph: Graph, number: int) -> int:
    if not 1 <= number <= len(graph.nodes):
        raise CnnstatError(f"{printable(graph.name)} has {len(graph.nodes)} layers, so no layer {number}")
    return number - 1


def _hint(names: Sequence[str], wanted: str) -> str:
    """Return the names that may be meant: several that fit, or those nearest in spelling."""
    fitting = _ending(names, wanted) or _beginning(names, wanted)
    if fitting:
        return f" of just that name; it fits {listed([names[i] for i in fitting], LISTED)}"
    folded = {name.lower(): name for name in reversed(names)}
    same = [wanted.lower()] if wanted.lower() in folded else []
    near = same or difflib.get_close_matches(wanted[:80].lower(), folded, n=LISTED, cutoff=0.5)
    if near:
        return f"; did you mean {listed([folded[name] for name in near], LISTED)}?"
    return f"; it has {listed(names, LISTED)}"

"""Difference: which layers of two measurements belong together, and what changed in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from cnnstat.check.measurement import LayerRow
from cnnstat.check.report import LayerChange

Pair = tuple[LayerRow | None, LayerRow | None]
"""A layer before and after; None on the side where it does not exist."""

MAX_ALIGNED = 1000
"""Most differing layers that are aligned by what they are; longer stretches are matched by name alone."""


def pairs(before: Sequence[LayerRow], after: Sequence[LayerRow]) -> list[Pair]:
    """Return the layers that differ, in execution order, removed ones where they stood.

    Layers without a name of their own are numbered, so that one more shifts the names of all behind it. What is equal
    but for its name is therefore aligned first, and only the rest is matched by name.
    """
    if before == after:
        return []
    found: list[Pair] = []
    for old, new in _stretches(before, after):
        found += _matched(old, new)
    return found


def changes(before: Sequence[LayerRow], after: Sequence[LayerRow]) -> tuple[LayerChange, ...]:
    """Return the layers that differ, as reports show them."""
    return tuple(_change(*pair) for pair in pairs(before, after))


def _stretches(
    before: Sequence[LayerRow], after: Sequence[LayerRow]
) -> Iterator[tuple[list[LayerRow], list[LayerRow]]]:
    """Yield stretches of layers that differ, between stretches whose ops and figures are equal."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    old, new = list(before[start:]), list(after[start:])
    if max(len(old), len(new)) > MAX_ALIGNED:
        yield old, new
        return
    matcher = SequenceMatcher(None, [row[1:] for row in old], [row[1:] for row in new], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            yield old[a:b], new[c:d]


def _matched(old: list[LayerRow], new: list[LayerRow]) -> Iterator[Pair]:
    """Yield the layers of one stretch: by name, then by position among those of the same op, else alone."""
    partners = {row.name: row for row in old}
    taken: dict[int, LayerRow] = {}
    for number, row in enumerate(new):
        if row.name in partners:
            taken[number] = partners.pop(row.name)
    rest = list(partners.values())
    for number, row in enumerate(new):
        same = next((r for r in rest if r.op == row.op), None) if number not in taken else None
        if same is not None:
            rest.remove(same)
            taken[number] = same
    yield from ((row, None) for row in rest)
    yield from ((taken.get(number), row) for number, row in enumerate(new))


def _change(before: LayerRow | None, after: LayerRow | None) -> LayerChange:
    """Return one layer that differs."""
    row = after or before
    assert row is not None
    return LayerChange(
        name=row.name,
        op=row.op,
        before=None if before is None else before.figures,
        after=None if after is None else after.figures,
    )

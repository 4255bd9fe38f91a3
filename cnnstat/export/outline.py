"""Outlines: the nodes of a graph as a person would lay them out, in groups by their names and in parallel branches.

A unit is a layer, a group of units whose names begin alike, or a layer that joins branches. Nothing here can change
what a spec means, as every unit that does not read what stands before it says so; it only decides how the spec reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from cnnstat.ir.graph import Edge, Graph
from cnnstat.ir.scopes import Unit, group_of, grouped, touched_by
from cnnstat.spec.item_reader import JOINS as JOIN_OPS

JOINS = {op: key for key, op in JOIN_OPS.items()}
"""Ops that join branches, with the key that a spec has for them."""


def outline(graph: Graph, broken: Collection[str] = ()) -> tuple[Unit, ...]:
    """Return the units of a whole graph; scopes that are `broken` become no groups."""
    return _joined(graph, grouped(graph, broken), Edge(0) if graph.arity == 1 else None)


def _joined(graph: Graph, units: Iterable[Unit], current: Edge | None) -> tuple[Unit, ...]:
    """Return units with those that run in parallel put into branches of the layer that joins them."""
    done: list[Unit] = []
    tensors = [current]
    for unit in units:
        if unit.scope:
            inner = _joined(graph, unit.lists[0], unit.primary or current)
            done.append(group_of(unit.scope, inner))
        elif unit.node is not None and graph.nodes[unit.node].op.kind in JOINS and _is_plain(graph, unit.node):
            branches = _branches(graph.nodes[unit.node].inputs, done, tensors)
            done[branches.first :] = [_join(unit, branches, done) if branches.lists else unit]
            # What ends inside a branch is the last tensor of that branch, no longer of this list.
            del tensors[branches.first + 1 :]
        else:
            done.append(unit)
        current = done[-1].out
        tensors.append(current)
    return tuple(done)


def _is_plain(graph: Graph, index: int) -> bool:
    node = graph.nodes[index]
    return type(node.op).__name__ == node.op.kind and node.shares is None and len(node.inputs) > 1


@dataclass(frozen=True)
class _Branches:
    """Where branches begin, what they start from, and the bounds of each; no lists where there are none."""

    first: int
    start: Edge | None = None
    lists: tuple[tuple[int, int], ...] = ()


def _join(unit: Unit, branches: _Branches, done: list[Unit]) -> Unit:
    lists = tuple(tuple(done[first:end]) for first, end in branches.lists)
    inner = [*done[branches.first :], unit]
    return Unit(unit.out, touched_by(inner), node=unit.node, lists=lists, start=branches.start)


def _branches(reads: tuple[Edge, ...], done: list[Unit], tensors: list[Edge | None]) -> _Branches:
    """Return how the last units are branches that end in `reads`, in this order.

    tensors: what the list starts from, and what each of its units makes last.
    """
    nothing = _Branches(len(done))
    places = [_last_place(tensors, read) for read in reads]
    if any(place is None for place in places) or max(p for p in places if p is not None) < len(done):
        return nothing
    ends = [place for place in places if place is not None]
    # First as if no branch were empty, then as if the shortest one were: a shortcut without layers.
    for first in dict.fromkeys((_common_start(ends, done, tensors), min(ends))):
        lists = None if first is None else _bounds(first, ends, done, tensors)
        if first is not None and lists:
            return _Branches(first, tensors[first], lists)
    return nothing


def _last_place(tensors: list[Edge | None], edge: Edge) -> int | None:
    """Return how many units have run when a tensor is the last one made."""
    return next((place for place in range(len(tensors) - 1, -1, -1) if tensors[place] == edge), None)


def _common_start(ends: list[int], done: list[Unit], tensors: list[Edge | None]) -> int | None:
    """Return where branches begin none of which is empty: before what the second of them reads."""
    earliest = min(ends)
    if earliest >= len(done):
        return None
    second = done[earliest]
    if second.primary is not None:
        return _last_place(tensors[:earliest], second.primary)
    return next((place for place in range(earliest - 1, -1, -1) if tensors[place] in second.touched), None)


def _bounds(
    first: int, ends: list[int], done: list[Unit], tensors: list[Edge | None]
) -> tuple[tuple[int, int], ...] | None:
    """Return first and end of each branch; None unless they follow each other and flow from one tensor."""
    before, bounds = first, []
    for end in ends:
        if end == first:
            bounds.append((first, first))
            continue
        if end <= before or not _flows(before, end, first, done, tensors):
            return None
        bounds.append((before, end))
        before = end
    return tuple(bounds) if before == len(done) and tensors[first] is not None else None


def _flows(begin: int, end: int, start: int, done: list[Unit], tensors: list[Edge | None]) -> bool:
    """Whether units read one another in order, the first of them what all branches start from."""
    for place in range(begin, end):
        source = tensors[start if place == begin else place]
        if source is None or source.value not in {edge.value for edge in done[place].touched}:
            return False
    return True

"""Scopes: the nodes of a graph in groups by their names, as modules hold them.

A unit is a layer, or a group of units whose names begin alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from cnnstat.ir.graph import Edge, Graph


class UniqueNames:
    """Names of nodes, each once: one that is taken gets a number behind it."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def take(self, name: str) -> str:
        """Return a name, as it is or with the next number that makes it one of its own."""
        result, count = name, self._counts.get(name, 1)
        while result in self._taken:
            count += 1
            result = f"{name}_{count}"
        # Where the search ends, the next one for this name begins: 50,000 calls of one function are no square.
        self._counts[name] = count
        self._taken.add(result)
        return result


@dataclass(frozen=True, eq=False)
class Unit:
    """A layer (`node`), a group (`scope` and one list), or both: a layer that joins the lists, all from `start`.

    out: the last tensor it makes; touched: the tensors from outside that it reads.
    """

    out: Edge
    touched: frozenset[Edge]
    node: int | None = None
    scope: str = ""
    lists: tuple[tuple[Unit, ...], ...] = ()
    start: Edge | None = None

    @cached_property
    def primary(self) -> Edge | None:
        """The one tensor it starts from; None where its first layer reads several, or none."""
        if self.start is not None or not self.scope:
            return self.start
        return self.lists[0][0].primary


def grouped(graph: Graph, broken: Collection[str] = ()) -> tuple[Unit, ...]:
    """Return the units of a whole graph in groups by their names, without branches."""
    return tuple(_grouped(graph, range(len(graph.nodes)), _scopes(graph) - set(broken)))


def _scopes(graph: Graph) -> set[str]:
    """Return the prefixes of names under which nodes stand together, once, and nothing else is called so."""
    taken = {node.name for node in graph.nodes} | {each.name for each in graph.inputs}
    scopes: set[str] = set()
    refused: set[str] = set(taken)
    before: list[str] = []
    for node in graph.nodes:
        own = list(prefixes(node.name))
        for prefix in own:
            # It was left and is entered again: its layers do not stand together, so that one list cannot hold them.
            if prefix in scopes and prefix not in before:
                refused.add(prefix)
            scopes.add(prefix)
        before = own
    return scopes - refused


def prefixes(name: str) -> Iterator[str]:
    """Yield the scopes that a name stands in, the outermost first."""
    place = name.find(".")
    while place >= 0:
        yield name[:place]
        place = name.find(".", place + 1)


def _grouped(graph: Graph, nodes: Iterable[int], scopes: Collection[str], inside: str = "") -> list[Unit]:
    """Return nodes with those of one scope put together."""
    units: list[Unit] = []
    run: list[int] = []
    current = ""

    def close() -> None:
        if run:
            units.append(group_of(current, _grouped(graph, tuple(run), scopes, current)))
            run.clear()

    for index in nodes:
        name = graph.nodes[index].name
        scope = next((prefix for prefix in prefixes(name) if prefix in scopes and len(prefix) > len(inside)), "")
        if scope != current:
            close()
            current = scope
        if scope:
            run.append(index)
        else:
            units.append(_layer(graph, index))
    close()
    return units


def _layer(graph: Graph, index: int) -> Unit:
    reads = graph.nodes[index].inputs
    start = reads[0] if len(reads) == 1 else None
    return Unit(Edge(graph.arity + index), frozenset(reads), node=index, start=start)


def group_of(scope: str, units: Iterable[Unit]) -> Unit:
    """Return a group of units; scope: what their names begin with."""
    inner = tuple(units)
    return Unit(inner[-1].out, touched_by(inner), scope=scope, lists=(inner,))


def touched_by(units: Iterable[Unit]) -> frozenset[Edge]:
    """Return what units read from outside."""
    inside: set[int] = set()
    touched: set[Edge] = set()
    for unit in units:
        touched.update(edge for edge in unit.touched if edge.value not in inside)
        inside.update(_values(unit))
    return frozenset(touched)


def _values(unit: Unit) -> Iterator[int]:
    if unit.node is not None:
        yield unit.out.value
    for inner in unit.lists:
        for each in inner:
            yield from _values(each)


def nodes_of(unit: Unit) -> Iterator[int]:
    """Yield the nodes of a unit in order."""
    if unit.node is not None:
        yield unit.node
    for inner in unit.lists:
        for each in inner:
            yield from nodes_of(each)

"""Folding: batch norm in the weights of the layer before it, and without what inference passes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cnnstat.analysis.shapes import Values, facets
from cnnstat.ir.graph import Deployment, Edge, Graph, Node
from cnnstat.ir.op import Family, Op, Shapes


def folded(graph: Graph, values: Values, about: Mapping[str, Any]) -> tuple[Graph, Values]:
    """Return the graph without batch norms that fold and without identities, and its tensors.

    about: what it is about. What a training pass keeps, if it was measured, does not hold for it.

    A fixed norm folds into the convolution, transposed convolution or linear layer that alone feeds it, where nobody
    else reads what that layer makes and it shares its weights with none. Any other becomes a scale and a shift.
    """
    walk = _Walk(graph, values)
    for index in range(len(graph.nodes)):
        walk.visit(index)
    return walk.result(about)


class _Walk:
    """One walk over the nodes in their order; nodes go by their numbers in the graph as it is written."""

    def __init__(self, graph: Graph, values: Values) -> None:
        self._graph, self._values = graph, values
        self._is_gone = [False] * len(graph.nodes)
        self._instead: dict[int, Edge] = {}
        self._changes: dict[int, dict[str, Any]] = {}
        self._readers = Counter(edge for node in graph.nodes for edge in node.inputs)
        self._readers.update(graph.outputs)
        self._sharing = {i for i, node in enumerate(graph.nodes) if node.shares is not None}
        self._sharing |= {node.shares for node in graph.nodes if node.shares is not None}
        self._biased: dict[tuple[int, Shapes], Op | None] = {}
        self._removed: list[str] = []
        self._folded: dict[str, str] = {}
        self._kept: dict[str, str] = {}

    def visit(self, index: int) -> None:
        """Take one node out of the graph, or leave it in."""
        node = self._graph.nodes[index]
        if node.op.passes_through and len(node.inputs) == 1:
            self._removed.append(node.name)
            self._skip(index, self._read(node.inputs[0]))
        elif node.op.family is Family.NORMALIZATION and (scale := node.op.as_scale_and_shift()) is not None:
            edge = self._read(node.inputs[0])
            if fault := self._fault(edge):
                self._kept[node.name] = fault
                self._changes[index] = {"op": scale, "dtypes": {}, "transient": frozenset(), "recorded": None}
            else:
                self._fold(index, edge)

    def _read(self, edge: Edge) -> Edge:
        """Return what stands for a tensor now."""
        return self._instead.get(edge.value, edge)

    def _fault(self, edge: Edge) -> str:
        """Return why a fixed norm cannot be folded into what it reads; an empty text if it can."""
        index = edge.value - self._graph.arity
        if index < 0 or self._with_bias(index) is None:
            return "no weights before it could take it in"
        if self._readers[edge] > 1:
            return "other layers, too, read what it reads"
        return "the weights before it are shared" if index in self._sharing else ""

    def _with_bias(self, index: int) -> Op | None:
        node, shapes = self._graph.nodes[index], self._values.inputs[index]
        if node.computed_bytes:
            return None  # weights that each pass computes anew would have to be scaled anew
        key = id(node.op), shapes  # a large network has few different ops
        if key not in self._biased:
            self._biased[key] = node.op.with_bias(shapes)
        return self._biased[key]

    def _fold(self, index: int, edge: Edge) -> None:
        norm, place = self._graph.nodes[index], edge.value - self._graph.arity
        node, op = self._graph.nodes[place], self._with_bias(place)
        change = self._changes.setdefault(place, {"op": op, "folded": node.folded})
        change["folded"] += (norm.name,)
        if op != node.op:
            change["recorded"] = None  # which would make the call without the bias
        self._folded[norm.name] = node.name
        self._skip(index, edge)

    def _skip(self, index: int, edge: Edge) -> None:
        """Let those that read a node read what it reads."""
        value = self._graph.arity + index
        self._is_gone[index] = True
        self._instead[value] = edge
        self._readers[edge] += self._readers[Edge(value)] - 1

    def result(self, about: Mapping[str, Any]) -> tuple[Graph, Values]:
        """Return what is left, numbered anew."""
        graph, values, arity = self._graph, self._values, self._graph.arity
        unread = self._unread()
        left = [index for index, is_gone in enumerate(self._is_gone) if not is_gone]
        numbers = {arity + index: arity + number for number, index in enumerate(left)}
        edges: dict[Edge, Edge] = {}

        def moved(edge: Edge) -> Edge:
            if edge not in edges:
                now = self._read(edge)
                edges[edge] = now if now.value < arity else Edge(numbers[now.value], now.output)
            return edges[edge]

        nodes = tuple(self._numbered(left, numbers, moved))
        deployment = Deployment(
            precision=graph.dtype, removed=tuple(self._removed), unread=unread, folded=self._folded, kept=self._kept
        )
        kept = (*range(arity), *(arity + index for index in left))
        return (
            replace(
                graph,
                nodes=nodes,
                outputs=tuple(map(moved, graph.outputs)),
                about=about,
                saved_bytes=None,
                deployment=deployment,
            ),
            Values(
                tuple([values.outputs[v] for v in kept]),
                tuple([values.dtypes[v] for v in kept]),
                tuple([values.inputs[index] for index in left]),
                tuple([facets(node.op, values.inputs[index]) for node, index in zip(nodes, left)]),
            ),
        )

    def _unread(self) -> tuple[str, ...]:
        """Take out the nodes that no result depends on, such as heads for training alone; return their names."""
        arity = self._graph.arity
        needed = {self._read(edge).value for edge in self._graph.outputs}
        names = []
        for index in range(len(self._is_gone) - 1, -1, -1):
            node = self._graph.nodes[index]
            if self._is_gone[index]:
                continue
            if arity + index in needed:
                needed.update([self._read(edge).value for edge in node.inputs])
            else:
                names.append(node.name)
                self._kept.pop(node.name, None)
                self._is_gone[index] = True
        return tuple(reversed(names))

    def _numbered(self, left: list[int], numbers: dict[int, int], moved: Callable[[Edge], Edge]) -> Iterator[Node]:
        """Yield the nodes that are left; the first of those that share weights with one that is gone owns them."""
        owners: dict[int, int] = {}
        for index in left:
            node, change = self._graph.nodes[index], self._changes.get(index, {})
            shares = node.shares
            if shares is not None:
                owner = owners.setdefault(shares, index if self._is_gone[shares] else shares)
                arity = self._graph.arity
                shares = None if owner == index else numbers[arity + owner] - arity
            inputs = tuple([moved(edge) for edge in node.inputs])
            if change or inputs != node.inputs or shares != node.shares:
                node = replace(node, inputs=inputs, shares=shares, **change)
            yield node

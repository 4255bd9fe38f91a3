"""Folding: batch norm in the weights of the layer before it, and without what inference passes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cnnstat.analysis.shapes import OpFacets, Values, facets
from cnnstat.analysis.transforms.precision import Conversion
from cnnstat.ir.graph import Deployment, Edge, Graph, Node
from cnnstat.ir.op import Int8, Op


def folded(graph: Graph, values: Values, precision: str, conversion: Conversion | None = None) -> tuple[Graph, Values]:
    """Return the graph without batch norms that fold and without identities, and its tensors.

    What becomes int8 is without conversions to int8 and back, too. conversion: what is to be made of what is left;
    None leaves it in the dtypes that it is written in. What papers print of it, and what a training pass keeps, if it
    was measured, does not hold any more.

    A fixed norm folds into the convolution, transposed convolution or linear layer that alone feeds it, where nobody
    else reads what that layer makes and it shares its weights with none. Any other becomes a scale and a shift.
    """
    walk = _Walk(graph, values, precision)
    for index in range(len(graph.nodes)):
        walk.visit(index)
    return walk.result(conversion)


_PLAIN: Mapping[str, Any] = {"dtypes": {}, "transient": frozenset(), "recorded": None, "computed_bytes": 0}
"""What a node is without the tensors that it had."""


class _Walk:
    """One walk over the nodes in their order; nodes go by their numbers in the graph as it is written."""

    def __init__(self, graph: Graph, values: Values, precision: str) -> None:
        self._graph, self._values, self._precision = graph, values, precision
        self._is_gone = [False] * len(graph.nodes)
        self._instead: dict[int, Edge] = {}
        self._changes: dict[int, dict[str, Any]] = {}
        self._readers = Counter(edge for node in graph.nodes for edge in node.inputs)
        self._readers.update(graph.outputs)
        self._sharing = {i for i, node in enumerate(graph.nodes) if node.shares is not None}
        self._sharing |= {node.shares for node in graph.nodes if node.shares is not None}
        self._biased: dict[int, Op | None] = {}
        self._removed: list[str] = []
        self._folded: dict[str, str] = {}
        self._kept: dict[str, str] = {}

    def visit(self, index: int) -> None:
        """Take one node out of the graph, or leave it in."""
        node = self._graph.nodes[index]
        is_gone = node.op.passes_through or (node.op.quantizes and self._precision == "int8")
        if is_gone and len(node.inputs) == 1:
            self._removed.append(node.name)
            self._skip(index, self._read(node.inputs[0]))
        elif (scale := node.op.as_scale_and_shift(self._values.inputs[index])) is not None:
            edge = self._read(node.inputs[0])
            if fault := self._fault(edge):
                self._kept[node.name] = fault
                self._changes[index] = {"op": scale, **_PLAIN}
            else:
                self._fold(index, edge)
        elif node.op.uses_own_statistics:
            self._kept[node.name] = "they normalize by statistics of their own input"

    def _read(self, edge: Edge) -> Edge:
        """Return what stands for a tensor now."""
        return self._instead.get(edge.value, edge)

    def _fault(self, edge: Edge) -> str:
        """Return why a fixed norm cannot be folded into what it reads; an empty text if it can."""
        index = edge.value - self._graph.arity
        node = self._graph.nodes[index] if index >= 0 else None
        if node is not None and node.computed_bytes and node.op.counted_as_weighted:
            return "each pass computes the weights before it anew"
        if node is None or self._with_bias(index) is None:
            return "no weights before it could take it in"
        if self._readers[edge] > 1:
            return "other layers, too, read what it reads"
        return "the weights before it are shared" if index in self._sharing else ""

    def _with_bias(self, index: int) -> Op | None:
        known = self._values.facets[index]
        if id(known) not in self._biased:  # a large network has few different ops
            self._biased[id(known)] = known.op.with_bias(known.inputs)
        return self._biased[id(known)]

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

    def result(self, conversion: Conversion | None) -> tuple[Graph, Values]:
        """Return what is left, numbered anew and converted."""
        graph, values, arity = self._graph, self._values, self._graph.arity
        unread = self._unread()
        left = [index for index, is_gone in enumerate(self._is_gone) if not is_gone]
        numbers = {arity + index: arity + number for number, index in enumerate(left)}
        edges: dict[Edge, Edge] = {}

        def moved(edge: Edge) -> Edge:
            found = edges.get(edge)
            if found is None:
                now = self._read(edge)
                found = edges[edge] = now if now.value < arity else Edge(numbers[now.value], now.output)
            return found

        rows = tuple(self._numbered(left, numbers, moved, conversion))
        nodes = tuple([node for node, _, _ in rows])
        kept = (*range(arity), *(arity + index for index in left))
        dtypes = tuple([values.dtypes[v] for v in kept])
        in_float: tuple[str, ...] = ()
        if conversion is not None:
            dtypes = tuple(map(conversion.dtypes, dtypes))
            if conversion.is_int8:
                in_float = tuple([node.name for node, _, kind in rows if kind in (Int8.FLOAT, Int8.MIXED)])
        deployed = replace(
            graph,
            inputs=graph.inputs if conversion is None else tuple(map(conversion.input, graph.inputs)),
            nodes=nodes,
            outputs=tuple(map(moved, graph.outputs)),
            dtype=graph.dtype if conversion is None else conversion.dtype(graph.dtype),
            about={key: value for key, value in graph.about.items() if key != "published"},
            saved_bytes=None,
            deployment=Deployment(
                precision=self._precision, removed=tuple(self._removed), unread=unread, folded=self._folded,
                kept=self._kept, in_float=in_float, written=graph,
            ),
        )  # fmt: skip
        return deployed, Values(
            tuple([values.outputs[v] for v in kept]),
            dtypes,
            tuple([values.inputs[index] for index in left]),
            tuple([known for _, known, _ in rows]),
        )

    def _unread(self) -> tuple[str, ...]:
        """Take out the nodes that no result depends on, such as heads for training alone; return their names."""
        arity = self._graph.arity
        instead = self._instead
        needed = {self._read(edge).value for edge in self._graph.outputs}
        names = []
        for index in range(len(self._is_gone) - 1, -1, -1):
            node = self._graph.nodes[index]
            if self._is_gone[index]:
                continue
            if arity + index in needed:
                needed.update([instead.get(edge.value, edge).value for edge in node.inputs])
            else:
                names.append(node.name)
                self._kept.pop(node.name, None)
                self._is_gone[index] = True
        return tuple(reversed(names))

    def _numbered(
        self, left: list[int], numbers: dict[int, int], moved: Callable[[Edge], Edge], conversion: Conversion | None
    ) -> Iterator[tuple[Node, OpFacets, Int8]]:
        """Yield the nodes that are left, with how int8 runs what they are written as.

        The first of those that share weights with one that is gone owns them.
        """
        owners: dict[int, int] = {}
        arity = self._graph.arity
        for index in left:
            node, known = self._graph.nodes[index], self._values.facets[index]
            shares = node.shares
            if shares is not None:
                owner = owners.setdefault(shares, index if self._is_gone[shares] else shares)
                shares = None if owner == index else numbers[arity + owner] - arity
            changes: dict[str, Any] = {"inputs": tuple([moved(edge) for edge in node.inputs]), "shares": shares}
            op = node.op
            if index in self._changes:
                changes |= self._changes[index]
                op = changes.get("op", op)
                known = known if op is node.op else facets(op, known.inputs)
            if conversion is not None:
                changes |= conversion.changes(node.dtypes, op, known)
                converted = changes.get("op", op)
                known = known if converted is op else facets(converted, known.inputs)
            yield node.changed(changes), known, op.int8

"""Folding: batch norm in the weights of the layer before it, and without what inference passes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Deployment, Edge, Graph, Node
from cnnstat.ir.op import Op


def folded(graph: Graph, values: Values) -> tuple[Graph, Values]:
    """Return the graph without batch norms that fold and without identities, and its tensors.

    A fixed norm folds into the convolution, transposed convolution or linear layer that alone feeds it, where nobody
    else reads what that layer makes and it shares its weights with none. Any other becomes a scale and a shift.
    """
    walk = _Walk(graph, values)
    for index in range(len(graph.nodes)):
        walk.visit(index)
    return walk.result()


class _Walk:
    """One walk over the nodes in their order; nodes go by their numbers in the graph as it is written."""

    def __init__(self, graph: Graph, values: Values) -> None:
        self._graph, self._values = graph, values
        self._nodes: list[Node | None] = list(graph.nodes)
        self._instead: dict[int, Edge] = {}
        self._readers = Counter(edge for node in graph.nodes for edge in node.inputs)
        self._readers.update(graph.outputs)
        self._sharing = {i for i, node in enumerate(graph.nodes) if node.shares is not None}
        self._sharing |= {node.shares for node in graph.nodes if node.shares is not None}
        self._removed: list[str] = []
        self._folded: dict[str, str] = {}
        self._kept: dict[str, str] = {}

    def visit(self, index: int) -> None:
        """Take one node out of the graph, or in with what it reads now."""
        node = self._graph.nodes[index]
        if self._instead:
            inputs = tuple(self._instead.get(edge.value, edge) for edge in node.inputs)
            node = replace(node, inputs=inputs) if inputs != node.inputs else node
        if node.op.passes_through and len(node.inputs) == 1:
            self._removed.append(node.name)
            self._skip(index, node.inputs[0])
            return
        norm = node.op.as_scale_and_shift()
        if norm is not None:
            fault = self._fault(node.inputs[0])
            if not fault:
                self._fold(index, node)
                return
            self._kept[node.name] = fault
            node = replace(node, op=norm, dtypes={}, transient=frozenset(), recorded=None)
        self._nodes[index] = node

    def _fault(self, edge: Edge) -> str:
        """Return why a fixed norm cannot be folded into what it reads; an empty text if it can."""
        index = edge.value - self._graph.arity
        node = self._nodes[index] if index >= 0 else None
        if node is None or self._with_bias(index, node) is None:
            return "no weights before it could take it in"
        if self._readers[edge] > 1:
            return "other layers, too, read what it reads"
        return "the weights before it are shared" if index in self._sharing else ""

    def _with_bias(self, index: int, node: Node) -> Op | None:
        # Weights that each pass computes anew would have to be scaled anew.
        return None if node.computed_bytes else node.op.with_bias(self._values.inputs[index])

    def _fold(self, index: int, norm: Node) -> None:
        edge = norm.inputs[0]
        place = edge.value - self._graph.arity
        node = self._nodes[place]
        assert node is not None
        op = self._with_bias(place, node)
        assert op is not None
        is_changed = op != node.op
        recorded = None if is_changed else node.recorded
        self._nodes[place] = replace(node, op=op, folded=(*node.folded, norm.name), recorded=recorded)
        self._folded[norm.name] = node.name
        self._skip(index, edge)

    def _skip(self, index: int, edge: Edge) -> None:
        """Let those that read a node read what it reads."""
        value = self._graph.arity + index
        self._nodes[index] = None
        self._instead[value] = edge
        self._readers[edge] += self._readers[Edge(value)] - 1

    def result(self) -> tuple[Graph, Values]:
        """Return what is left, numbered anew."""
        graph, values, arity = self._graph, self._values, self._graph.arity
        unread = self._unread()
        left = [index for index, node in enumerate(self._nodes) if node is not None]
        numbers = {index: number for number, index in enumerate(left)}

        def moved(edge: Edge) -> Edge:
            edge = self._instead.get(edge.value, edge)
            return edge if edge.value < arity else Edge(arity + numbers[edge.value - arity], edge.output)

        nodes = tuple(self._numbered(numbers, moved))
        deployment = Deployment(
            precision=graph.dtype, removed=tuple(self._removed), unread=unread, folded=self._folded, kept=self._kept
        )
        kept = (*range(arity), *(arity + index for index in left))
        return (
            replace(graph, nodes=nodes, outputs=tuple(map(moved, graph.outputs)), deployment=deployment),
            Values(
                tuple(values.outputs[v] for v in kept),
                tuple(values.dtypes[v] for v in kept),
                tuple(values.inputs[index] for index in left),
            ),
        )

    def _unread(self) -> tuple[str, ...]:
        """Take out the nodes that no result depends on, such as heads for training alone; return their names."""
        arity = self._graph.arity
        needed = {self._instead.get(edge.value, edge).value for edge in self._graph.outputs}
        names = []
        for index in range(len(self._nodes) - 1, -1, -1):
            node = self._nodes[index]
            if node is not None and arity + index in needed:
                needed.update(edge.value for edge in node.inputs)
            elif node is not None:
                names.append(node.name)
                self._kept.pop(node.name, None)
                self._nodes[index] = None
        return tuple(reversed(names))

    def _numbered(self, numbers: dict[int, int], moved: Callable[[Edge], Edge]) -> Iterator[Node]:
        """Yield the nodes that are left; the first of those that share weights with one that is gone owns them."""
        owners: dict[int, int] = {}
        for index, node in enumerate(self._nodes):
            if node is None:
                continue
            shares = node.shares
            if shares is not None:
                owner = owners.setdefault(shares, shares if shares in numbers else index)
                shares = None if owner == index else numbers[owner]
            inputs = tuple(map(moved, node.inputs))
            if inputs != node.inputs or shares != node.shares:
                node = replace(node, inputs=inputs, shares=shares)
            yield node

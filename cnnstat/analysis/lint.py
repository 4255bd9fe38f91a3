"""Lint: structures that are legal but seldom meant."""

from __future__ import annotations

from collections import Counter

from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Graph, Node
from cnnstat.ir.op import Linearity, Storage, numel


def lint(graph: Graph, values: Values) -> tuple[str, ...]:
    """Return one line for each suspicious place: linear layers in a row, results that nothing uses."""
    readers = Counter(edge.value for node in graph.nodes for edge in node.inputs)
    readers.update(edge.value for edge in graph.outputs)
    return (*_linear_pairs(graph, values, readers), *_unused(graph, values, readers))


def _linear_pairs(graph: Graph, values: Values, readers: Counter[int]) -> tuple[str, ...]:
    """Return the pairs of dense linear maps with nothing non-linear between them.

    A middle narrower than both ends is a low-rank factorization (MobileNetV2's linear bottleneck) and left out, and so
    is a layer that runs more than once: it cannot be merged with what stands before one of its calls.
    """
    warnings = []
    again = {node.shares for node in graph.nodes} | {i for i, node in enumerate(graph.nodes) if node.shares is not None}
    for index, node in enumerate(graph.nodes):
        first = _dense_before(graph, node, readers) if node.op.linearity is Linearity.DENSE else None
        if first is None or graph.nodes[first].op.family is not node.op.family or {first, index} & again:
            continue
        start, middle = values.inputs[first][0], values.inputs[index][0]
        end = values.outputs[graph.arity + index][0]
        axis = node.op.feature_axis
        if middle[axis] >= min(start[axis], end[axis]):
            names = f"{graph.nodes[first].name} and {node.name}"
            warnings.append(f"{names} have nothing non-linear between them: together they are one layer")
    return tuple(warnings)


def _dense_before(graph: Graph, node: Node, readers: Counter[int]) -> int | None:
    """Return the node whose dense linear map feeds `node` through affine layers only, read by nothing else."""
    while len(node.inputs) == 1 and node.inputs[0].value >= graph.arity and readers[node.inputs[0].value] == 1:
        index = node.inputs[0].value - graph.arity
        node = graph.nodes[index]
        if node.op.linearity is Linearity.DENSE:
            return index
        if node.op.linearity is not Linearity.AFFINE:
            return None
    return None


def _unused(graph: Graph, values: Values, readers: Counter[int]) -> tuple[str, ...]:
    """Return the layers whose result is neither read nor an output; rows that make nothing have none.

    A view costs nothing: if nothing reads it, the layer it shows part of is named, unless others read that one.
    """
    left = Counter(readers)
    names = []
    for index in range(len(graph.nodes) - 1, -1, -1):
        node, made = graph.nodes[index], graph.arity + index
        if left[made] or not any(map(numel, values.outputs[made])):
            continue
        source = node.inputs[0].value if node.inputs else 0
        if node.op.storage is Storage.VIEW and source >= graph.arity:
            left[source] -= 1
        else:
            names.append(node.name)
    return tuple(f"nothing reads the output of {name}" for name in reversed(names))

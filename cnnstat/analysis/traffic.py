"""Traffic: the bytes that one forward pass cannot help reading and writing."""

from __future__ import annotations

from collections.abc import Mapping

from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Graph
from cnnstat.ir.op import Family, Shape, Storage, numel
from cnnstat.units import dtype_bytes


def moved_bytes(graph: Graph, values: Values, *, training: bool = False) -> tuple[int, ...]:
    """Return for each node the bytes of its inputs, weights, buffers and outputs, each once; 0 for a view.

    training: count what is no view in training mode, such as dropout. What caches save or spill is not part of it.
    """
    return tuple(_moved_bytes(graph, values, index, training) for index in range(len(graph.nodes)))


def _moved_bytes(graph: Graph, values: Values, index: int, training: bool) -> int:
    node, value = graph.nodes[index], graph.arity + index
    if (node.op.training_storage if training else node.op.storage) is Storage.VIEW:
        return 0
    read = sum(
        numel(values.outputs[edge.value][edge.output]) * dtype_bytes(values.dtypes[edge.value][edge.output])
        for edge in set(node.inputs)
    )
    written = sum(
        numel(shape) * dtype_bytes(dtype) for shape, dtype in zip(values.outputs[value], values.dtypes[value])
    )
    shapes = values.inputs[index]
    weights = _tensor_bytes({**node.op.weights(shapes), **node.op.buffers(shapes)}, graph.dtype)
    if node.op.family is Family.EMBEDDING:
        # A look-up reads the rows that it puts out, not the whole table.
        weights = min(weights, written)
    return read + weights + written


def _tensor_bytes(tensors: Mapping[str, Shape], dtype: str) -> int:
    return sum(map(numel, tensors.values())) * dtype_bytes(dtype)

"""Parameters and buffers: how many numbers each layer stores."""

from __future__ import annotations

from dataclasses import dataclass

from cnnstat.ir.graph import Graph
from cnnstat.ir.op import numel
from cnnstat.passes.shapes import Values


@dataclass(frozen=True, slots=True)
class Parameters:
    """Element counts for each node; a layer that shares another's weights has none of its own."""

    params: tuple[int, ...]
    trainable: tuple[int, ...]
    buffers: tuple[int, ...]


def count_parameters(graph: Graph, values: Values) -> Parameters:
    """Return the parameters (learnt tensors, frozen ones included) and buffers of each node."""
    params, trainable, buffers = [], [], []
    for node, inputs in zip(graph.nodes, values.inputs):
        owns = node.shares is None
        count = sum(map(numel, node.op.weights(inputs).values())) if owns else 0
        params.append(count)
        trainable.append(count if node.trainable else 0)
        buffers.append(sum(map(numel, node.op.buffers(inputs).values())) if owns else 0)
    return Parameters(tuple(params), tuple(trainable), tuple(buffers))

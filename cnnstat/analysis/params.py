"""Parameters and buffers: how many numbers each layer stores."""

from __future__ import annotations

from dataclasses import dataclass

from cnnstat.analysis.shapes import Values
from cnnstat.errors import Problem, SpecError
from cnnstat.ir.graph import Graph
from cnnstat.ir.op import numel

MAX_WEIGHTS = 1_000_000
"""Most weight tensors of one graph; recurrent layers have several for each of their own layers."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Element counts for each node; a layer that shares another's weights has none of its own."""

    params: tuple[int, ...]
    trainable: tuple[int, ...]
    buffers: tuple[int, ...]


def count_parameters(graph: Graph, values: Values) -> Parameters:
    """Return the parameters (learnt tensors, frozen ones included) and buffers of each node.

    Raises SpecError where there are more weight tensors than any network has.
    """
    params, trainable, buffers = [], [], []
    count = 0
    for node, inputs in zip(graph.nodes, values.inputs):
        owns = node.shares is None
        weights = node.op.weights(inputs) if owns else {}
        count += len(weights)
        if count > MAX_WEIGHTS:
            said = f"by here the layers have more than {MAX_WEIGHTS:,} weight tensors together; use fewer"
            raise SpecError([Problem(node.location, f"{node.name} ({node.op.kind}): {said}")])
        params.append(sum(map(numel, weights.values())))
        learnt = (numel(shape) for name, shape in weights.items() if name not in node.op.frozen)
        trainable.append(sum(learnt) if node.trainable else 0)
        buffers.append(sum(map(numel, node.op.buffers(inputs).values())) if owns else 0)
    return Parameters(tuple(params), tuple(trainable), tuple(buffers))

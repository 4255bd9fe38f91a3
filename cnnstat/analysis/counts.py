"""Work: multiply-accumulates and floating-point operations of one inference pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cnnstat.analysis.shapes import Values
from cnnstat.errors import Problem, SpecError
from cnnstat.ir.graph import Graph, dtype_bytes
from cnnstat.ir.op import Family, Storage, numel


@dataclass(frozen=True, slots=True)
class Work:
    """Counts for each node, and what the sum of FLOPs consists of.

    flops: 2 × MACs and everything else an op computes.
    parts: FLOPs of the whole graph by kind; `2 × MACs` is one of them and they add up to the total.
    """

    macs: tuple[int, ...]
    flops: tuple[int, ...]
    parts: Mapping[str, int]


def count_work(graph: Graph, values: Values) -> Work:
    """Return MACs and FLOPs of each node; a layer called twice works twice."""
    macs, flops = [], []
    parts: Counter[str] = Counter()
    for index, (node, inputs, outputs) in enumerate(zip(graph.nodes, values.inputs, values.outputs[graph.arity :])):
        products = node.op.macs(inputs, outputs)
        others = flops_beside_products(graph, values, index, products)
        macs.append(products)
        flops.append(2 * products + sum(others.values()))
        parts["2 × MACs"] += 2 * products
        parts.update(others)
    return Work(tuple(macs), tuple(flops), dict(parts))


def flops_beside_products(graph: Graph, values: Values, index: int, macs: int) -> Mapping[str, int]:
    """Return a node's FLOPs beyond 2 × MACs, by kind; those of complex numbers are real operations.

    A complex multiply-accumulate is four real multiplications and four real additions. Fourier transforms are counted
    in real operations to begin with.
    """
    node, value = graph.nodes[index], graph.arity + index
    others = node.op.other_flops(values.inputs[index], values.outputs[value])
    dtypes = (*values.dtypes[value], *(values.dtypes[v][o] for v, o in node.inputs))
    if not any(dtype.startswith("complex") for dtype in dtypes):
        return others
    further = (node.op.complex_cost - 1) * sum(count for part, count in others.items() if part != "transform")
    return {**others, "complex arithmetic": 6 * macs + further}


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
            message = f"by here the layers have more than {MAX_WEIGHTS:,} weight tensors together; use fewer"
            raise SpecError([Problem(node.location, f"{node.name} ({node.op.kind}): {message}")])
        params.append(sum(map(numel, weights.values())))
        learnt = (numel(shape) for name, shape in weights.items() if name not in node.op.frozen)
        trainable.append(sum(learnt) if node.trainable else 0)
        buffers.append(sum(map(numel, node.op.buffers(inputs).values())) if owns else 0)
    return Parameters(tuple(params), tuple(trainable), tuple(buffers))


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
    # A layer that shares weights reads its owner's, in the owner's dtypes.
    owner = node if node.shares is None else graph.nodes[node.shares]
    weights = owner.bytes_of({**node.op.weights(shapes), **node.op.buffers(shapes)}, graph.dtype)
    if node.op.family is Family.EMBEDDING:
        # A look-up reads the rows that it puts out, not the whole table.
        weights = min(weights, written)
    return read + weights + written

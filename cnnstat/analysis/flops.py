"""Work: multiply-accumulates and floating-point operations of one inference pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Graph


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
    for node, inputs, outputs in zip(graph.nodes, values.inputs, values.outputs[graph.arity :]):
        products = node.op.macs(inputs, outputs)
        others = node.op.other_flops(inputs, outputs)
        macs.append(products)
        flops.append(2 * products + sum(others.values()))
        parts["2 × MACs"] += 2 * products
        parts.update(others)
    return Work(tuple(macs), tuple(flops), dict(parts))

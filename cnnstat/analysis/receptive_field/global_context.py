"""Mixing: which tensors have seen the whole input, and which have only lost the order of its positions."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Graph, Node
from cnnstat.ir.op import Shapes, Storage
from cnnstat.ir.window import IDENTITY


def mixed_values(graph: Graph, values: Values, is_lost: Sequence[bool]) -> tuple[bool, ...]:
    """Return for each value whether its elements depend on the whole input.

    is_lost: for each value, whether its elements can no longer be followed to positions of the input. A flattened map
    is lost, and yet each element still sees what it saw before; only what mixes them, a linear layer say, sees all.
    """
    mixed = [False] * graph.arity
    for number, node in enumerate(graph.nodes):
        value = graph.arity + number
        is_before = is_lost[value] and any(mixed[source] for source, _ in node.inputs)
        is_here = is_lost[value] and not is_before
        mixed.append(is_before or (is_here and not _keeps_apart(node, values.inputs[number], values.outputs[value])))
    return tuple(mixed)


def _keeps_apart(node: Node, inputs: Shapes, outputs: Shapes) -> bool:
    """Return whether each output element comes from one element of the only input: views, element-wise ops."""
    if node.op.storage is Storage.VIEW or len(inputs) != 1:
        return len(inputs) == 1
    # An axis that no output axis reads is summed over, as a mean over space does.
    axes = {place for place, length in enumerate(inputs[0]) if length > 1}
    windows = (node.op.window(inputs, outputs, index)[0] for index in range(len(outputs)))
    return all(
        axes <= set(range(len(reads))) and all(entry == (place, IDENTITY) for place, entry in enumerate(reads))
        for reads in windows
    )

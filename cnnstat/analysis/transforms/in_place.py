"""In place: element-wise ops that write over an input which nobody reads any more."""

from __future__ import annotations

from dataclasses import replace

from cnnstat.analysis.memory import lifetimes, tensor_bytes
from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Graph, Node
from cnnstat.ir.op import Family, Shapes, Storage
from cnnstat.ir.window import IDENTITY, Reads

_ELEMENT_WISE = (Family.ACTIVATION, Family.ELEMENTWISE, Family.NORMALIZATION)
"""The families whose ops may take an input's place; whether one does is told by how it reads."""


def in_place(graph: Graph, values: Values) -> tuple[Node, ...]:
    """Return the nodes, of which activations, residual additions and gates write over an input of their output's size.

    The input must have no later reader and be no result of the network, and each element of the output must read the
    input at its own place only. The first such input is taken.
    """
    lives = lifetimes(graph, tensor_bytes(values))
    nodes = []
    for index, node in enumerate(graph.nodes):
        shapes, outputs = values.inputs[index], values.outputs[graph.arity + index]
        if node.op.family in _ELEMENT_WISE and node.storage is Storage.FRESH and len(outputs) == 1:
            # What is overwritten earlier only makes a storage that ends there live on under another number.
            storages = [lives.storages.of(edge) for edge in node.inputs]
            size = lives.storages.bytes[lives.storages.made_by(graph.arity + index)[0]]
            free = [lives.last[s] == index and lives.storages.bytes[s] == size for s in storages]
            number = _overwritten(node, shapes, outputs, storages, free) if any(free) else None
            node = node if number is None else replace(node, overwrites=number)
        nodes.append(node)
    return tuple(nodes)


def _overwritten(node: Node, shapes: Shapes, outputs: Shapes, storages: list[int], free: list[bool]) -> int | None:
    """Return the number of the first free input that each output element reads at its own place only."""
    reads = node.op.window(shapes, outputs)
    for number, edge in enumerate(node.inputs):
        # Another view of the same storage may be read at another place after that place is written.
        is_alone = all(edge == other or storages[number] != storage for other, storage in zip(node.inputs, storages))
        if free[number] and is_alone and shapes[number] == outputs[0] and _is_own_place(reads[number]):
            return number
    return None


def _is_own_place(reads: Reads) -> bool:
    return all(entry == (axis, IDENTITY) for axis, entry in enumerate(reads))

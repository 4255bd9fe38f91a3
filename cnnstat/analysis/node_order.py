"""Order of nodes: the same network with a node run as early as what it reads allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cnnstat.analysis.memory import Storages
from cnnstat.ir.graph import Edge, Graph
from cnnstat.ir.op import Storage


def run_earlier(graph: Graph, index: int, after: int) -> tuple[Graph, tuple[str, ...]] | None:
    """Return the graph whose node `index` runs right after node `after`, and the names of the nodes that move there.

    What it reads moves with it. None where a node that it would overtake feeds it, nothing would move, or a tensor
    would be written over before or after another node reads it.
    """
    moved = _needed(graph, index, after)
    overtaken = [number for number in range(after + 1, index) if number not in moved]
    if not overtaken or not _is_safe(graph, moved, overtaken):
        return None
    order = [*range(after + 1), *sorted(moved), *overtaken, *range(index + 1, len(graph.nodes))]
    return _in_order(graph, order), tuple(graph.nodes[number].name for number in sorted(moved))


def _needed(graph: Graph, index: int, after: int) -> set[int]:
    """Return a node and those behind `after` whose results it needs."""
    needed, waiting = {index}, [index]
    while waiting:
        for edge in graph.nodes[waiting.pop()].inputs:
            number = edge.value - graph.arity
            if number > after and number not in needed:
                needed.add(number)
                waiting.append(number)
    return needed


def _is_safe(graph: Graph, moved: set[int], overtaken: list[int]) -> bool:
    """Whether no node in one set writes over what a node in the other reads or makes, or owns weights it shares."""
    # All outputs of a node stand for one storage here: what is said to be safe is.
    bases = [None if node.base is None else Edge(node.base.value) for node in graph.nodes]
    storages = Storages(((0,),) * (graph.arity + len(bases)), (*(None,) * graph.arity, *bases))

    def touched(numbers: Iterable[int]) -> tuple[set[int], set[int]]:
        nodes = [graph.nodes[number] for number in numbers]
        read = {storages.of(Edge(edge.value)) for node in nodes for edge in node.inputs}
        bases = [node.base for node in nodes if node.storage is Storage.IN_PLACE]
        return read, {storages.of(Edge(base.value)) for base in bases if base is not None}

    (read, written), (other_read, other_written) = touched(moved), touched(overtaken)
    shares = any(graph.nodes[number].shares in overtaken for number in moved)
    return not (shares or written & (other_read | other_written) or other_written & read)


def _in_order(graph: Graph, order: list[int]) -> Graph:
    arity = graph.arity
    places = {old: new for new, old in enumerate(order)}

    def moved(edge: Edge) -> Edge:
        return edge if edge.value < arity else Edge(arity + places[edge.value - arity], edge.output)

    nodes = []
    for old in order:
        node = graph.nodes[old]
        shares = None if node.shares is None else places[node.shares]
        nodes.append(node.changed({"inputs": tuple(map(moved, node.inputs)), "shares": shares}))
    return replace(graph, nodes=tuple(nodes), outputs=tuple(map(moved, graph.outputs)), saved_bytes=None)

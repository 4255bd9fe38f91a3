"""The order in which the nodes of a graph can run: as they are listed, or sorted where that is not one."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Sequence
from typing import Any

from cnnstat.errors import CnnstatError, printable


class OrderError(CnnstatError):
    """Nodes wait for each other, or two make the same tensor; the message is for the end of a sentence."""


def in_order(nodes: Sequence[Any], known: Container[str]) -> Sequence[Any]:
    """Return nodes so that each comes behind those whose results it reads; known: names from outside.

    Raises OrderError where a name is defined twice or nodes form a cycle. A name that nothing makes is left to
    whoever reads it.
    """
    makers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if name and name in makers:
                raise OrderError(f"two nodes make the tensor {printable(str(name))[:80]}")
            makers[name] = index
    makers.pop("", None)
    reads = [[makers[name] for name in _read(node) if name in makers] for node in nodes]
    if all(maker < index for index, own in enumerate(reads) for maker in own):
        return nodes
    readers: list[list[int]] = [[] for _ in nodes]
    waiting = [len(set(own)) for own in reads]
    for index, own in enumerate(reads):
        for maker in set(own):
            readers[maker].append(index)
    ready = deque(index for index, count in enumerate(waiting) if not count)
    order = []
    while ready:
        index = ready.popleft()
        order.append(nodes[index])
        for reader in readers[index]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(order) < len(nodes):
        stuck = next(node for node, count in zip(nodes, waiting) if count)
        name = printable(stuck.name or (stuck.output[0] if stuck.output else stuck.op_type))[:80]
        raise OrderError(f"its nodes form a cycle, in which {name} waits for its own result")
    return order


def _read(node: Any, depth: int = 0) -> set[str]:
    """Return the names that a node reads, those that its subgraphs read from outside too."""
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g") and depth < 60:
            inner_names = {name for inner in attribute.g.node for name in inner.output}
            inner_names |= {each.name for each in (*attribute.g.input, *attribute.g.initializer)}
            for inner in attribute.g.node:
                names |= _read(inner, depth + 1) - inner_names
            names |= {each.name for each in attribute.g.output} - inner_names
    return names

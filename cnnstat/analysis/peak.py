"""The peak of inference: what is alive while most is, and by how much it would be lower without each of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.memory import memory
from cnnstat.analysis.shapes import infer_shapes
from cnnstat.display import Displayed
from cnnstat.ir.graph import Deployment, Graph
from cnnstat.ir.op import Shape

MOST = 50
"""Most tensors that are looked at one by one, the largest."""

MOST_TRIED = 5
"""Most tensors that wait for whose reader another order is tried."""


class OtherOrder(NamedTuple):
    """Layers that may run earlier: moved, right behind the layer `behind`, and the peak of inference then."""

    moved: tuple[str, ...]
    behind: str
    bytes: int


class AliveTensor(NamedTuple):
    """One storage that is alive at the peak, with views of it and what is written over it.

    name, shape: the tensor that it was made for. bytes: its size.
    made_by, last_reader: the layers that make it and that read it last; None for an input, and for a result.
    role: why it is alive, in words. peak_without: the peak of inference if it took no memory.
    """

    name: str
    shape: Shape
    bytes: int
    made_by: str | None
    last_reader: str | None
    role: str
    peak_without: int


@dataclass(frozen=True, repr=False)
class Peak(Displayed):
    """What is alive at the layer where inference peaks.

    layer: the layer; bytes: what is alive while it runs. tensors: what that is, the largest first; more: how many more
    there are. deployed_bytes: the peak of the network as it is deployed in its own dtype, if it is not and is float.
    other_order: of the orders in which a reader of what waits runs earlier the one with the lowest peak, if that is
    lower.
    """

    analysis: Analysis
    layer: str | None
    bytes: int
    tensors: tuple[AliveTensor, ...]
    more: int = 0
    deployed_bytes: int | None = None
    other_order: OtherOrder | None = None


def peak_of(analysis: Analysis) -> Peak:
    """Return what is alive at the peak of inference; takes time in proportion to the layers and what is looked at."""
    found, graph = analysis.memory, analysis.graph
    at, lives = found.peak_at, found.lifetimes
    if at is None:
        return Peak(analysis, None, found.peak_inference_bytes, ())
    makers = range(len(analysis.values.outputs) - 1, -1, -1)  # the first of those that share a storage is left
    names = {storage: (v, o) for v in makers for o, storage in enumerate(lives.storages.made_by(v))}
    alive = [s for s, size in enumerate(lives.storages.bytes) if size and lives.first[s] <= at <= lives.last[s]]
    alive.sort(key=lambda storage: (-lives.storages.bytes[storage], storage))
    tensors = []
    for storage in alive[:MOST]:
        first, last, size = lives.first[storage], lives.last[storage], lives.storages.bytes[storage]
        inside = found.alive_bytes[first : last + 1]
        outside = (*found.alive_bytes[:first], *found.alive_bytes[last + 1 :])
        value, output = names.get(storage, (None, 0))
        tensors.append(
            AliveTensor(
                name=f"weights of {graph.nodes[first].name}" if value is None else graph.value_name(value),
                shape=() if value is None else analysis.values.outputs[value][output],
                bytes=size,
                made_by=None if value is None or value < graph.arity else graph.nodes[first].name,
                last_reader=graph.nodes[last].name if last < len(graph.nodes) else None,
                peak_without=max(max(inside) - size, max(outside, default=0)),
                role=_role(analysis, first, last, at, is_input=value is not None and value < graph.arity),
            )
        )
    return Peak(
        analysis, graph.nodes[at].name, found.peak_inference_bytes, tuple(tensors), max(0, len(alive) - MOST),
        _deployed(analysis), _other_order(analysis, alive, at),
    )  # fmt: skip


def _role(analysis: Analysis, first: int, last: int, at: int, *, is_input: bool) -> str:
    """Return why a storage is alive at the peak."""
    nodes = analysis.graph.nodes
    if last == at:
        return "made and read here" if first == at and not is_input else "read here for the last time"
    reader = f"{nodes[last].name} reads it" if last < len(nodes) else "it is a result"
    return f"made here, {reader}" if first == at and not is_input else f"waits: {reader}"


def _deployed(analysis: Analysis) -> int | None:
    graph = analysis.graph
    if graph.deployment is not None or graph.dtype not in ("float32", "float16"):
        return None
    from cnnstat.analysis.analysis import analyze_graph
    from cnnstat.analysis.transforms.deploy import deploy

    return analyze_graph(deploy(graph, graph.dtype)).memory.peak_inference_bytes


def _other_order(analysis: Analysis, alive: Sequence[int], at: int) -> OtherOrder | None:
    """Return the best order of those in which the last reader of a waiting storage runs right behind its maker."""
    from cnnstat.analysis.node_order import run_earlier

    graph, lives, peak = analysis.graph, analysis.memory.lifetimes, analysis.memory.peak_inference_bytes
    deployment = graph.deployment
    written = graph if deployment is None or deployment.written is None else deployment.written
    places = {node.name: index for index, node in enumerate(written.nodes)}
    waiting = [s for s in alive if lives.first[s] < at < lives.last[s] < len(graph.nodes)]
    found = None
    for storage in waiting[:MOST_TRIED]:
        behind, reader = graph.nodes[lives.first[storage]].name, graph.nodes[lives.last[storage]].name
        order = run_earlier(written, places[reader], places[behind])
        if order is None:
            continue
        other = _shipped(order[0], deployment)
        least = memory(other, infer_shapes(other)).peak_inference_bytes
        if least < (peak if found is None else found.bytes):
            found = OtherOrder(order[1], behind, least)
    return found


def _shipped(graph: Graph, deployment: Deployment | None) -> Graph:
    if deployment is None:
        return graph
    from cnnstat.analysis.transforms.deploy import deploy

    return deploy(graph, deployment.precision)

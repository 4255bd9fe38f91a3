"""The peak of inference: what is alive while most is, and by how much it would be lower without each of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.display import Displayed
from cnnstat.ir.op import Shape

MOST = 50
"""Most tensors that are looked at one by one, the largest."""


class AliveTensor(NamedTuple):
    """One storage that is alive at the peak, with views of it and what is written over it.

    name, shape: the tensor that it was made for. bytes: its size.
    made_by, last_reader: the layers that make it and that read it last; None for an input, and for a result.
    peak_without: the peak of inference if it took no memory. role: why it is alive, in words.
    """

    name: str
    shape: Shape
    bytes: int
    made_by: str | None
    last_reader: str | None
    peak_without: int
    role: str


@dataclass(frozen=True, repr=False)
class Peak(Displayed):
    """What is alive at the layer where inference peaks.

    layer: the layer; bytes: what is alive while it runs. tensors: what that is, the largest first; more: how many more
    there are. deployed_bytes: the peak of the network as it is deployed in its own dtype, if it is not and is float.
    """

    analysis: Analysis
    layer: str | None
    bytes: int
    tensors: tuple[AliveTensor, ...]
    more: int = 0
    deployed_bytes: int | None = None


def peak_of(analysis: Analysis) -> Peak:
    """Return what is alive at the peak of inference; takes time in proportion to the layers and what is looked at."""
    memory, graph = analysis.memory, analysis.graph
    at, lives = memory.peak_at, memory.lifetimes
    if at is None:
        return Peak(analysis, None, memory.peak_inference_bytes, ())
    makers = range(len(analysis.values.outputs) - 1, -1, -1)  # the first of those that share a storage is left
    names = {storage: (v, o) for v in makers for o, storage in enumerate(lives.storages.made_by(v))}
    alive = [s for s, size in enumerate(lives.storages.bytes) if size and lives.first[s] <= at <= lives.last[s]]
    alive.sort(key=lambda storage: (-lives.storages.bytes[storage], storage))
    tensors = []
    for storage in alive[:MOST]:
        first, last, size = lives.first[storage], lives.last[storage], lives.storages.bytes[storage]
        inside = memory.alive_bytes[first : last + 1]
        outside = (*memory.alive_bytes[:first], *memory.alive_bytes[last + 1 :])
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
        analysis, graph.nodes[at].name, memory.peak_inference_bytes, tuple(tensors), max(0, len(alive) - MOST),
        _deployed(analysis),
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

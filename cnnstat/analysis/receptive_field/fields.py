"""Receptive fields: which part of the input each element of a feature map depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from cnnstat.analysis.receptive_field.global_context import mixed_values
from cnnstat.analysis.receptive_field.interval_algebra import Algebra
from cnnstat.analysis.receptive_field.intervals import INPUT, Field
from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Edge, Graph, Node
from cnnstat.ir.op import Shape, Shapes
from cnnstat.ir.window import Reads


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptiveField:
    """The receptive field of one feature map; tuples have one entry for each spatial axis of the input.

    size: inputs it spans, padding included: the largest over all outputs; if not aligned, that of the centre output.
    stride: inputs between the fields of neighbouring outputs; None along an axis that is not aligned.
    start: where the first output's field begins; negative in the padding.
    exact: False where the field is only bounded.
    aligned: False where branches of different stride were merged; misaligned_at names the first such merge.
    centred: False where branches of different centre were merged, because their padding differs.
    global_context: whether a gate (squeeze-excite, attention beside a shortcut) adds the whole input to it.
    """

    size: tuple[int, ...]
    stride: tuple[Fraction | None, ...]
    start: tuple[int, ...]
    exact: bool = True
    aligned: bool = True
    centred: bool = True
    global_context: bool = False
    misaligned_at: str | None = None


class Track(NamedTuple):
    """One axis of a tensor: the input axis whose positions it follows, and its field there."""

    axis: int
    field: Field


class Trace(NamedTuple):
    """How one tensor depends on the inputs: a track for each of its axes, and sets of axes as bit masks.

    tracked: axes of the tensor that have a track.
    whole: input axes of which every element depends on everything.
    context: input axes followed locally although a gate has seen them whole.
    """

    tracks: tuple[Track | None, ...]
    tracked: int
    whole: int = 0
    context: int = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReceptiveFields:
    """The receptive field of every tensor of a graph.

    traces: for each value, the trace of each of its outputs.
    mixed: for each value, whether any of its elements depends on the whole input: what is only brought into another
        order (flattened, say) has lost its positions, yet each of its elements sees no more than before.
    systems: numbers of the input axes, those of inputs with equally many spatial axes together.
    lengths: extent of each input axis.
    total_at: the last feature map with spatial extent before any whole-input op.
    """

    graph: Graph
    values: Values
    traces: tuple[tuple[Trace, ...], ...]
    mixed: tuple[bool, ...]
    systems: tuple[range, ...]
    lengths: tuple[int, ...]
    total_at: Edge | None

    @property
    def total(self) -> ReceptiveField | None:
        """The field of the network's result, or else of its last feature map; None if there is no such map."""
        return None if self.total_at is None else self.of(*self.total_at)

    def of(self, value: int, output: int = 0) -> ReceptiveField | None:
        """Return the receptive field of a tensor; None if it sees the whole input, or no input with spatial axes."""
        followed = self.followed(value, output)
        if followed is None:
            return None
        trace, shape = self.traces[value][output], self.values.outputs[value][output]
        fields = [field for _, (_, field) in followed]
        axes = sum(1 << track.axis for _, track in followed)
        misaligned_at = next((f.misaligned_at for f in fields if f.misaligned_at is not None), None)
        return ReceptiveField(
            size=tuple(field.size(shape[place]) for place, (_, field) in followed),
            stride=tuple(field.stride for field in fields),
            start=tuple(field.at_or_after(0)[0] for field in fields),
            exact=all(field.is_exact for field in fields),
            aligned=misaligned_at is None,
            centred=all(field.centred for field in fields),
            # What is whole beside a local field belongs to inputs of another rank.
            global_context=bool(trace.context & axes or trace.whole),
            misaligned_at=misaligned_at,
        )

    def sees_whole_input(self, value: int, output: int = 0) -> bool:
        """Return whether a tensor has no receptive field because each element depends on the whole input."""
        return self.mixed[value] and self.is_lost(value, output)

    def is_lost(self, value: int, output: int = 0) -> bool:
        """Return whether the positions that a tensor depends on are followed no more."""
        trace = self.traces[value][output]
        return bool(trace.whole or trace.tracked) and self.followed(value, output) is None

    def inside_share(self, value: int, output: int = 0) -> Fraction | None:
        """Return the share of positions whose field lies wholly inside the input; None where there is no field."""
        followed = self.followed(value, output)
        if followed is None:
            return None
        share = Fraction(1)
        for place, (axis, field) in followed:
            extent = self.values.outputs[value][output][place]
            share *= Fraction(field.count_inside(extent, self.lengths[axis]), extent)
        return share

    def followed(self, value: int, output: int = 0) -> tuple[tuple[int, Track], ...] | None:
        """Return, for each input axis, the one tensor axis that follows it; None if an axis has none, or two."""
        places: dict[int, list[tuple[int, Track]]] = {}
        for place, track in enumerate(self.traces[value][output].tracks):
            if track is not None:
                places.setdefault(track.axis, []).append((place, track))
        for system in self.systems:
            found = [places.get(axis, []) for axis in system]
            if all(len(entries) == 1 for entries in found):
                return tuple(entries[0] for entries in found)
        return None


def receptive_fields(graph: Graph, values: Values, *, strict: bool = False) -> ReceptiveFields:
    """Return the receptive field of every tensor; takes time linear in the graph.

    strict: a branch that has seen the whole input makes what it is merged with see it too. Otherwise the merged map
    keeps its local field and is marked `global_context`.
    """
    systems, lengths, traces = _coordinates(graph)
    walk = _Walk(strict)
    for node, shapes, outputs in zip(graph.nodes, values.inputs, values.outputs[graph.arity :]):
        sources = [traces[value][output] for value, output in node.inputs]
        traces.append(tuple(walk.trace(node, sources, shapes, outputs, index) for index in range(len(outputs))))
    fields = ReceptiveFields(
        graph=graph,
        values=values,
        traces=tuple(traces),
        mixed=(),
        systems=systems,
        lengths=lengths,
        total_at=None,
    )
    is_lost = [any(fields.is_lost(value, output) for output in range(len(t))) for value, t in enumerate(traces)]
    return replace(fields, total_at=_last_local(fields), mixed=mixed_values(graph, values, is_lost))


def _coordinates(graph: Graph) -> tuple[tuple[range, ...], tuple[int, ...], list[tuple[Trace, ...]]]:
    """Return the systems of input axes, their extents, and the traces of the inputs."""
    systems: dict[int, range] = {}
    lengths: list[int] = []
    traces: list[tuple[Trace, ...]] = []
    for source in graph.inputs:
        spatial = spatial_axes(source.shape, source.dtype)
        if spatial and len(spatial) not in systems:
            systems[len(spatial)] = range(len(lengths), len(lengths) + len(spatial))
            lengths += [source.shape[place] for place in spatial]
        tracks: list[Track | None] = [None] * len(source.shape)
        for place, axis in zip(spatial, systems.get(len(spatial), ())):
            tracks[place] = Track(axis, INPUT)
        traces.append((Trace(tuple(tracks), sum(1 << place for place in spatial)),))
    return tuple(systems.values()), tuple(lengths), traces


def spatial_axes(shape: Shape, dtype: str) -> range:
    """Return the spatial axes of an input: those after batch and channels; the positions of batch × token numbers."""
    if len(shape) == 2 and dtype.startswith(("int", "uint")):
        return range(1, 2)
    return range(2, len(shape))


class _Walk:
    """Carries traces from the inputs of a node to its outputs."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._algebra = Algebra()

    def trace(self, node: Node, sources: list[Trace], inputs: Shapes, outputs: Shapes, index: int) -> Trace:
        """Return the trace of output `index` of a node from those of its inputs."""
        whole = incoming = context = tracked = local = 0
        for source in sources:
            incoming |= source.whole
            context |= source.context
            tracked |= source.tracked
        if not tracked:
            return Trace((None,) * len(outputs[index]), 0, incoming)
        if self._algebra.is_spent:
            seen = {1 << track.axis for source in sources for track in source.tracks if track is not None}
            return Trace((None,) * len(outputs[index]), 0, incoming | sum(seen))
        found: list[Track | None] = [None] * len(outputs[index])
        reads = node.op.window(inputs, outputs, index)
        for source, axes, shape in zip(sources, reads, inputs):
            if source.tracked:
                contracted, repeated = self._follow(found, source, axes, shape, outputs[index], node.name)
                whole |= contracted
                incoming |= repeated
        tracked = 0
        for place, track in enumerate(found):
            if track is not None:
                tracked |= 1 << place
                local |= 1 << track.axis
        if whole or incoming:
            local = 0 if self._strict else local & ~whole
            found = [track if track is not None and local >> track.axis & 1 else None for track in found]
            tracked = sum(1 << place for place, track in enumerate(found) if track is not None)
            whole |= incoming
        return Trace(tuple(found), tracked, whole & ~local, (context | whole) & local)

    def _follow(
        self, found: list[Track | None], source: Trace, axes: Reads, shape: Shape, joined: Shape, where: str
    ) -> tuple[int, int]:
        """Add what the output axes follow in one input to `found`.

        Returns the input axes that are seen whole, and those behind axes of size 1 that were repeated (a gate that was
        pooled by a fixed kernel, say).
        """
        whole = repeated = 0
        unread, tracks, read = source.tracked, source.tracks, self._algebra.read
        for place, entry in enumerate(axes):
            if entry is None or (track := tracks[entry[0]]) is None:
                continue
            unread &= ~(1 << entry[0])
            field = read(track.field, entry[1])
            before = found[place]
            if field is None:
                whole |= 1 << track.axis
            elif before is None:
                if field.components:
                    found[place] = track if field is track.field else Track(track.axis, field)
            elif before.axis == track.axis:
                found[place] = Track(track.axis, self._algebra.merge(before.field, field, joined[place], where))
            else:
                whole |= 1 << track.axis | 1 << before.axis
        if unread:
            missed = [(place, track.axis) for place, track in enumerate(tracks) if track and unread >> place & 1]
            whole |= sum({1 << axis for place, axis in missed if shape[place] > 1})
            repeated |= sum({1 << axis for place, axis in missed if shape[place] == 1})
        return whole, repeated


def _last_local(fields: ReceptiveFields) -> Edge | None:
    """Return the tensor whose field is the network's: its result, or the last map before a whole-input op."""
    graph = fields.graph
    local = [edge for edge in graph.outputs if edge.value >= graph.arity and fields.followed(*edge) is not None]
    return max(local) if local else _last_map(fields)


def _last_map(fields: ReceptiveFields) -> Edge | None:
    """Return the last local map that the results depend on; one of a single position only if there is no other."""
    graph = fields.graph
    is_needed = [False] * (graph.arity + len(graph.nodes))
    for value, _ in graph.outputs:
        is_needed[value] = True
    single = None
    for value in range(len(is_needed) - 1, graph.arity - 1, -1):
        if not is_needed[value]:
            continue
        for edge in graph.nodes[value - graph.arity].inputs:
            is_needed[edge.value] = True
        for output, shape in enumerate(fields.values.outputs[value]):
            followed = fields.followed(value, output)
            if followed is not None and any(shape[place] > 1 for place, _ in followed):
                return Edge(value, output)
            if followed is not None and single is None:
                single = Edge(value, output)
    return single

"""Receptive fields: which part of the input each element of a tensor depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

from cnnstat.analysis.receptive_field.coordinates import Coordinate, plain
from cnnstat.analysis.receptive_field.intervals import Field
from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Edge, Graph
from cnnstat.ir.op import Shape


class Extent(Enum):
    """How much of the input an element of a tensor depends on."""

    LOCAL = "local"
    WHOLE = "whole input"
    NOT_FOLLOWED = "not followed"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptiveField:
    """The receptive field of one feature map; tuples have one entry for each spatial axis of the input.

    size: inputs it spans, padding included: the largest over all outputs; if not aligned, that of the centre output.
    stride: inputs between the fields of neighbouring outputs; None along an axis that is not aligned.
    start: where the first output's field begins; negative in the padding.
    whole: True along an axis that is read as a whole while others are local: there the size is the input's and the
        stride 0. Empty where all axes are local.
    exact: False where the field is only bounded.
    aligned: False where branches of different stride were merged; misaligned_at names the first such merge.
    centred: False where branches of different centre were merged, because their padding differs.
    global_context: whether a gate (squeeze-excite, attention beside a shortcut) or statistics over space add the whole
        input to it.
    """

    size: tuple[int, ...]
    stride: tuple[Fraction | None, ...]
    start: tuple[int, ...]
    whole: tuple[bool, ...] = ()
    exact: bool = True
    aligned: bool = True
    centred: bool = True
    global_context: bool = False
    misaligned_at: str | None = None

    @property
    def local_sizes(self) -> tuple[int, ...]:
        """The sizes along the axes that are not read as a whole; there is at least one."""
        return tuple(size for axis, size in enumerate(self.size) if not self.whole or not self.whole[axis])


class Track(NamedTuple):
    """One axis of a tensor: the input axis whose positions it follows, and its field there."""

    axis: int
    field: Field


class Trace(NamedTuple):
    """How one tensor depends on the inputs: a track for each of its axes, and sets of axes as bit masks.

    tracked: axes of the tensor that have a track.
    whole: input axes of which every element depends on everything.
    context: input axes followed locally although a gate has seen them whole.
    coordinates: where views have split or merged followed axes, or lost them, all that is followed; then no axis has a
        track of its own.
    """

    tracks: tuple[Track | None, ...]
    tracked: int
    whole: int = 0
    context: int = 0
    coordinates: tuple[Coordinate, ...] = ()

    def followed_by(self, shape: Shape) -> tuple[Coordinate, ...]:
        """Return all that is followed as coordinates; shape: that of the tensor."""
        if self.coordinates:
            return self.coordinates
        tracks = enumerate(self.tracks)
        return tuple(plain(track.axis, track.field, place, shape[place]) for place, track in tracks if track)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReceptiveFields:
    """The receptive field of every tensor of a graph.

    traces: for each value, the trace of each of its outputs.
    systems: numbers of the input axes, those of inputs with equally many spatial axes together.
    lengths: extent of each input axis.
    total_at: the last feature map with spatial extent before any whole-input op.
    """

    graph: Graph
    values: Values
    traces: tuple[tuple[Trace, ...], ...]
    systems: tuple[range, ...]
    lengths: tuple[int, ...]
    total_at: Edge | None
    _of: dict[tuple[object, ...], ReceptiveField | None] = field(default_factory=dict, repr=False)
    """Fields that were asked for, by what decides them: tensors of one block mostly share theirs."""

    @property
    def total(self) -> ReceptiveField | None:
        """The field of the network's result, or else of its last feature map; None if there is no such map."""
        return None if self.total_at is None else self.of(*self.total_at)

    def of(self, value: int, output: int = 0) -> ReceptiveField | None:
        """Return the receptive field of a tensor; None unless it is local along an axis, see `extent`."""
        trace, shape = self.traces[value][output], self.values.outputs[value][output]
        if trace.coordinates:
            return self._field(trace, shape)
        # By identity: traces keep their tracks alive, and comparing fields would cost what computing them does.
        key = (*map(id, trace.tracks), shape, trace.whole, trace.context)
        if key not in self._of:
            self._of[key] = self._field(trace, shape)
        return self._of[key]

    def _field(self, trace: Trace, shape: Shape) -> ReceptiveField | None:
        local = self._local(trace, shape)
        if local is None:
            return None
        known = [c.field for c in local.values() if c is not None and c.field is not None]
        misaligned_at = next((f.misaligned_at for f in known if f.misaligned_at is not None), None)
        axes = sum(1 << axis for axis, coordinate in local.items() if coordinate is not None)
        parts = [(axis, None if c is None else c.field, 0 if c is None else c.extent) for axis, c in local.items()]
        is_whole = tuple(along is None for _, along, _ in parts)
        return ReceptiveField(
            size=tuple(self.lengths[axis] if along is None else along.size(extent) for axis, along, extent in parts),
            stride=tuple(Fraction(0) if c is None else c.stride for c in local.values()),
            start=tuple(0 if along is None else along.at_or_after(0)[0] for _, along, _ in parts),
            whole=is_whole if any(is_whole) else (),
            exact=all(each.is_exact for each in known),
            aligned=misaligned_at is None,
            centred=all(each.centred for each in known),
            # What is whole beside a local field belongs to inputs of another rank, or to another axis.
            global_context=bool(trace.context & axes or trace.whole & ~sum(1 << axis for axis in local)),
            misaligned_at=misaligned_at,
        )

    def extent(self, value: int, output: int = 0) -> Extent:
        """Return how much of the input each element of a tensor depends on."""
        if self.of(value, output) is not None:
            return Extent.LOCAL
        trace = self.traces[value][output]
        if trace.tracked or trace.coordinates:
            return Extent.NOT_FOLLOWED
        return Extent.WHOLE if trace.whole else Extent.NONE

    def sees_whole_input(self, value: int, output: int = 0) -> bool:
        """Return whether each element of a tensor depends on the whole input."""
        return self.extent(value, output) is Extent.WHOLE

    def inside_share(self, value: int, output: int = 0) -> Fraction | None:
        """Return the share of positions whose field lies wholly inside the input; None where there is no field."""
        local = self.coordinates(value, output)
        if local is None:
            return None
        share = Fraction(1)
        for axis, coordinate in local.items():
            if coordinate is not None and coordinate.field is not None:
                extent = coordinate.extent
                share *= Fraction(coordinate.field.count_inside(extent, self.lengths[axis]), extent)
        return share

    def followed(self, value: int, output: int = 0) -> tuple[tuple[int, Track], ...] | None:
        """Return, for each input axis, the one tensor axis that follows it; None if an axis has none, or two."""
        places: dict[int, list[tuple[int, Track]]] = {}
        for place, track in enumerate(self.traces[value][output].tracks):
            if track is not None:
                places.setdefault(track.axis, []).append((place, track))
        for system in self.systems:
            entries = [places.get(axis, []) for axis in system]
            if all(len(entry) == 1 for entry in entries):
                return tuple(entry[0] for entry in entries)
        return None

    def coordinates(self, value: int, output: int = 0) -> dict[int, Coordinate | None] | None:
        """Return the coordinate of each input axis of one system, None where it is whole; None if not even one is."""
        return self._local(self.traces[value][output], self.values.outputs[value][output])

    def _local(self, trace: Trace, shape: Shape) -> dict[int, Coordinate | None] | None:
        if not trace.tracked and not trace.coordinates:
            return None
        by_axis: dict[int, list[Coordinate]] = {}
        for coordinate in trace.followed_by(shape):
            by_axis.setdefault(coordinate.axis, []).append(coordinate)
        for system in self.systems:
            own = [by_axis.get(axis, ()) for axis in system]
            alone = [entries[0] if len(entries) == 1 and entries[0].field is not None else None for entries in own]
            is_whole = [not entries and bool(trace.whole >> axis & 1) for axis, entries in zip(system, own)]
            if any(alone) and all(one or whole for one, whole in zip(alone, is_whole)):
                return dict(zip(system, alone))
        return None


# The map whose receptive field is the network's ----------------------------------------------------------------------


def network_map(fields: ReceptiveFields) -> Edge | None:
    """Return the tensor whose field is the network's: its result, or the last map before a whole-input op."""
    graph = fields.graph
    results = [edge for edge in graph.outputs if edge.value >= graph.arity]
    local = [edge for edge in results if fields.followed(*edge) is not None]
    partly = [edge for edge in results if fields.of(*edge) and _has_positions(fields, edge)]
    return max(local or partly, default=None) or _last_map(fields)


def _last_map(fields: ReceptiveFields) -> Edge | None:
    """Return the last local map that the results depend on; one of a single position only if there is no other."""
    graph = fields.graph
    spread = single = None
    is_needed = [False] * (graph.arity + len(graph.nodes))
    for value, _ in graph.outputs:
        is_needed[value] = True
    for value in range(len(is_needed) - 1, graph.arity - 1, -1):
        if not is_needed[value]:
            continue
        for edge in graph.nodes[value - graph.arity].inputs:
            is_needed[edge.value] = True
        for output, shape in enumerate(fields.values.outputs[value]):
            followed = fields.followed(value, output)
            if followed is not None and any(shape[place] > 1 for place, _ in followed):
                return Edge(value, output) if spread is None or _have_one_size(fields, spread, value) else spread
            if followed is None and spread is None and _is_spread_map(fields, Edge(value, output)):
                spread = Edge(value, output)
            if followed is not None and single is None:
                single = Edge(value, output)
    return spread or single


def _has_positions(fields: ReceptiveFields, edge: Edge) -> bool:
    """Return whether a tensor has an axis along which its field moves."""
    shape = fields.values.outputs[edge.value][edge.output]
    return any(each.digits for each in fields.traces[edge.value][edge.output].followed_by(shape))


def _is_spread_map(fields: ReceptiveFields, edge: Edge) -> bool:
    """Return whether a tensor is a local map whose positions are not one axis of it each."""
    coordinates = fields.coordinates(*edge)
    return coordinates is not None and all(coordinates.values()) and _has_positions(fields, edge)


def _have_one_size(fields: ReceptiveFields, edge: Edge, value: int) -> bool:
    """Return whether two tensors have fields of one size, as a map and the same flattened."""
    first, second = fields.of(*edge), fields.of(value)
    return first is not None and second is not None and first.size == second.size

"""The pass that carries receptive fields through a graph, from the inputs of each node to its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cnnstat.analysis.receptive_field.coordinates import Coordinate, Digit, beside_position, stacked, united
from cnnstat.analysis.receptive_field.fields import ReceptiveFields, Trace, Track, network_map
from cnnstat.analysis.receptive_field.intervals import INPUT, NOTHING, Algebra, Field
from cnnstat.analysis.shapes import OpFacets, Values
from cnnstat.ir.graph import Edge, Graph, Node
from cnnstat.ir.op import Shape, Shapes
from cnnstat.ir.window import (
    IDENTITY,
    STATISTIC,
    UNFOLLOWED,
    WHOLE,
    AxisRule,
    Index,
    InPart,
    InSteps,
    Layer,
    Piece,
    Reads,
    RowMajor,
    Unknown,
    Window,
    sliding,
)


def receptive_fields(graph: Graph, values: Values, *, strict: bool = False) -> ReceptiveFields:
    """Return the receptive field of every tensor; takes time linear in the graph.

    strict: a branch that has seen the whole input makes what it is merged with see it too, and statistics over space
    see it. Otherwise the map keeps its local field and is marked `global_context`.
    """
    systems, lengths, traces = _input_traces(graph)
    walk = _Walk(systems, lengths, strict)
    parts = None
    for node, facets in zip(graph.nodes, values.facets):
        sources = [traces[value][output] for value, output in node.inputs]
        made = [walk.trace(node, sources, facets, index) for index in range(len(facets.outputs))]
        if parts is None and any(source is not sources[0] for source in sources):
            from cnnstat.analysis.receptive_field.channel_parts import ChannelParts

            parts = ChannelParts(graph, values, traces, walk.trace, walk.merge)
        if parts is not None and (len(sources) > 1 or parts.are_there):
            made = [parts.trace(Edge(len(traces), index), sources, trace) for index, trace in enumerate(made)]
        traces.append(tuple(made))
    fields = ReceptiveFields(
        graph=graph,
        values=values,
        traces=tuple(traces),
        systems=systems,
        lengths=lengths,
        total_at=None,
    )
    return replace(fields, total_at=network_map(fields))


def _input_traces(graph: Graph) -> tuple[tuple[range, ...], tuple[int, ...], list[tuple[Trace, ...]]]:
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
    if len(shape) == 2 and dtype.startswith(("int", "uint")) and dtype != "int8":  # which are features, quantized
        return range(1, 2)
    return range(2, len(shape))


class _Walk:
    """Carries traces from the inputs of a node to its outputs."""

    def __init__(self, systems: tuple[range, ...], lengths: tuple[int, ...], strict: bool) -> None:
        self._lengths = lengths
        self._together = [sum(1 << axis for axis in system) for system in systems for _ in system]
        self._strict = strict
        self._algebra = Algebra()
        self.merge = self._algebra.merge

    def trace(self, node: Node, sources: list[Trace], facets: OpFacets, index: int) -> Trace:
        """Return the trace of output `index` of a node from those of its inputs."""
        inputs, outputs = facets.inputs, facets.outputs
        if facets.is_pointwise and not sources[0].whole and not sources[0].coordinates:
            return sources[0]  # most layers are norms and activations
        whole = incoming = context = tracked = local = 0
        is_plain = True
        for source in sources:
            incoming |= source.whole
            context |= source.context
            tracked |= source.tracked
            is_plain = is_plain and not source.coordinates
        # Nothing local comes in (vectors, weights of a gate): the op's windows need not be asked for.
        if not tracked and is_plain:
            return Trace((None,) * len(outputs[index]), 0, incoming)
        reads = facets.reads(index)
        if len(sources) == 1 and is_plain and not incoming:
            alone = self._trace_windows(sources[0], reads[0], inputs[0], outputs[index])
            if alone is not None:
                return alone
        if InSteps in map(type, reads):
            return self._trace_steps(node, sources, reads, inputs, outputs[index])
        if not is_plain or not self._is_plain(reads, sources, inputs, outputs[index]) or self._algebra.is_spent:
            return self._trace_coordinates(node, sources, reads, inputs, outputs[index])
        tracks: list[Track | None] = [None] * len(outputs[index])
        output = outputs[index]
        apart = len(reads) > 1 and _is_apart(reads, [source.tracked for source in sources])
        merge = self._algebra.beside if apart else self._algebra.merge
        for source, axes, shape in zip(sources, reads, inputs):
            if source.tracked:
                contracted, repeated, statistic = self._follow(tracks, source, axes, shape, output, merge, node.name)
                whole |= contracted
                incoming |= repeated
                context |= statistic
        tracked = 0
        for place, track in enumerate(tracks):
            if track is not None:
                tracked |= 1 << place
                local |= 1 << track.axis
        if whole or incoming:
            # What this op reads whole is local no more. Where only a branch joins in that has seen all of it (a gate),
            # the map stays local unless `strict`.
            local &= ~whole
            if incoming & local:
                local &= ~(incoming if self._strict else self._outvoted(self._shares(sources, reads, local)))
            tracks = [track if track is not None and local >> track.axis & 1 else None for track in tracks]
            tracked = sum(1 << place for place, track in enumerate(tracks) if track is not None)
            whole |= incoming
        return Trace(tuple(tracks), tracked, whole & ~local, (context | whole) & local)

    def _trace_windows(self, source: Trace, axes: Reads, shape: Shape, output: Shape) -> Trace | None:
        """Return the trace of an output each axis of which reads its own one through a window; None for any other."""
        if type(axes) is not tuple or self._algebra.is_spent:
            return None
        tracks: list[Track | None] = [None] * len(output)
        unread, tracked, local, read = source.tracked, 0, 0, self._algebra.read
        for place, entry in enumerate(axes):
            if entry is None or (track := source.tracks[entry[0]]) is None:
                continue
            rule = entry[1]
            if rule is not IDENTITY:
                if type(rule) is not Window or (field := read(track.field, rule)) is None:
                    return None
                if output[place] < shape[entry[0]]:
                    field = self._algebra.cut(field, rule, shape[entry[0]], output[place])
                if not field.components:
                    return None
                track = Track(track.axis, field)
            tracks[place] = track
            unread &= ~(1 << entry[0])
            tracked |= 1 << place
            local |= 1 << track.axis
        return None if unread else Trace(tuple(tracks), tracked, 0, source.context & local)

    def _shares(self, sources: list[Trace], reads: tuple[Reads, ...], local: int) -> list[tuple[int, int]]:
        """Return for each source the axes that its output follows, of those in `local`, and those it has seen whole."""
        shares = []
        for source, axes in zip(sources, reads):
            tracks = (source.tracks[entry[0]] for entry in axes if entry is not None)
            followed = 0
            for track in tracks:
                followed |= 1 << track.axis if track is not None else 0
            shares.append((followed & local, source.whole))
        return shares

    def _outvoted(self, shares: list[tuple[int, int]]) -> int:
        """Return the axes that are whole although some source is local along them, from those of each source.

        Beside a map that is local along all axes which any source follows, what has seen the whole is a gate. Where
        rows meet columns there is no such map: each axis is whole where one of them is.
        """
        followed = seen = lost = 0
        for local, whole in shares:
            followed |= local
            seen |= whole
        for axis, together in enumerate(self._together):
            bit = 1 << axis
            if followed & seen & bit and not any(
                local & bit and not whole & followed & together for local, whole in shares
            ):
                lost |= bit
        return lost

    def _sees_less(self, field: Field, extent: int, axis: int) -> bool:
        """Return whether all outputs together see less than the input, because positions were cut off."""
        return field.is_part and not field.covers(extent, self._lengths[axis])

    def _is_plain(self, reads: tuple[Reads, ...], sources: list[Trace], inputs: Shapes, output: Shape) -> bool:
        """Return whether every followed axis is read by a rule of its own and meets no other one."""
        targets: dict[int, int] = {}
        for source, axes, shape in zip(sources, reads, inputs):
            if type(axes) is Layer and (source.tracks != sources[0].tracks or len(reads) < output[axes.axis]):
                return False
            if not source.tracked:
                continue
            if type(axes) is Unknown:
                return False
            named = 0
            for place, entry in enumerate(axes):
                if entry is None or (track := source.tracks[entry[0]]) is None:
                    continue
                rule = entry[1]
                if rule is UNFOLLOWED or type(rule) is Index:
                    return False
                if targets.setdefault(place, track.axis) != track.axis:
                    return False
                if track.field.is_part and (rule is WHOLE or rule is STATISTIC):
                    return False
                named |= 1 << entry[0]
            missed = source.tracked & ~named
            if not missed:
                continue
            if type(axes) is RowMajor and any(missed >> p & 1 and n > 1 for p, n in enumerate(shape)):
                return False
            if any(missed >> place & 1 and track and track.field.is_part for place, track in enumerate(source.tracks)):
                return False
        return True

    def _follow(
        self,
        tracks: list[Track | None],
        source: Trace,
        axes: Reads,
        shape: Shape,
        joined: Shape,
        merge: Callable[[Field, Field, int, str], Field],
        where: str,
    ) -> tuple[int, int, int]:
        """Add what the output axes follow in one input to `tracks`; merge: with what they follow in those before.

        Returns the input axes that are seen whole, those behind axes of size 1 that were repeated (a gate that was
        pooled by a fixed kernel, say), and those of which statistics are read.
        """
        whole = repeated = statistic = 0
        unread, sources, read = source.tracked, source.tracks, self._algebra.read
        for place, entry in enumerate(axes):
            if entry is None or (track := sources[entry[0]]) is None:
                continue
            unread &= ~(1 << entry[0])
            rule = entry[1]
            if rule is STATISTIC:
                if self._strict:
                    whole |= 1 << track.axis
                    continue
                statistic |= 1 << track.axis
                rule = IDENTITY
            elif rule is WHOLE:
                whole |= 1 << track.axis
                continue
            elif type(rule) is Piece:
                rule = sliding(1, 1, rule.start)
            assert type(rule) is Window
            field = read(track.field, rule)
            if field is not None and rule is not IDENTITY and joined[place] < shape[entry[0]]:
                field = self._algebra.cut(field, rule, shape[entry[0]], joined[place])
            before = tracks[place]
            if field is None:
                # Strides beyond all bounds: no axis is long enough for a second step.
                whole |= 1 << track.axis
            elif before is None:
                if field.components:
                    tracks[place] = track if field is track.field else Track(track.axis, field)
            else:
                tracks[place] = Track(track.axis, merge(before.field, field, joined[place], where))
        if unread:
            missed = [(place, track.axis) for place, track in enumerate(sources) if track and unread >> place & 1]
            whole |= sum({1 << axis for place, axis in missed if shape[place] > 1})
            repeated |= sum({1 << axis for place, axis in missed if shape[place] == 1})
        return whole, repeated, statistic

    def _trace_steps(
        self, node: Node, sources: list[Trace], reads: tuple[Reads, ...], inputs: Shapes, output: Shape
    ) -> Trace:
        """Return the same where an input is read in steps: all but the last make a tensor of that input alone."""
        sources, last, shapes = list(sources), list(reads), list(inputs)
        for number, axes in enumerate(reads):
            if isinstance(axes, InSteps):
                *before, (last[number], _) = axes.steps
                for step, made in before:
                    single = [sources[number]]
                    sources[number] = self._trace_coordinates(node, single, (step,), (shapes[number],), made)
                    shapes[number] = made
        return self._trace_coordinates(node, sources, tuple(last), tuple(shapes), output)

    def _trace_coordinates(
        self, node: Node, sources: list[Trace], reads: tuple[Reads, ...], inputs: Shapes, output: Shape
    ) -> Trace:
        """Return the same where axes are split, merged or lost: coordinate by coordinate."""
        whole = incoming = context = statistic = 0
        by_axis: dict[int, list[Coordinate]] = {}
        shares: list[tuple[int, int]] = []
        followed_by = [source.followed_by(shape) for source, shape in zip(sources, inputs)]
        layered = _layered(reads, followed_by, output)
        for source, axes, shape, own in zip(sources, reads, inputs, followed_by):
            followed, seen = 0, source.whole
            context |= source.context
            places = [coordinate.places for coordinate in own]
            for number, coordinate in enumerate(own):
                shared = 0
                for other in (*places[:number], *places[number + 1 :]):
                    shared |= other
                carried, has_statistic = self._carried(coordinate, axes, shape, output, shared)
                bit = 1 << coordinate.axis
                statistic |= bit if has_statistic else 0
                if carried is None and coordinate.field is not None and coordinate.extent == 1:
                    seen |= bit
                elif carried is None:
                    whole |= bit
                elif carried.field is None or carried.field.components:
                    if coordinate.axis in layered and isinstance(axes, Layer) and carried.digits:
                        carried = carried.layered(axes.axis, axes.position, output[axes.axis], self._algebra)
                    by_axis.setdefault(coordinate.axis, []).append(carried)
                    followed |= bit
                else:
                    # Nothing of the map is read, but what a gate has brought in (a class token behind attention).
                    seen |= source.context & bit
            incoming |= seen
            shares.append((followed, seen))
        whole |= statistic | incoming if self._strict else self._outvoted(shares)
        candidates: list[Coordinate] = []
        places = [
            sum({1 << p for each in own for p in range(len(shape)) if each.places >> p & 1})
            for own, shape in zip(followed_by, inputs)
        ]
        apart = len(reads) > 1 and _is_apart(reads, places)
        in_part = any(type(axes) is InPart for axes in reads)
        for axis, coordinates in by_axis.items():
            if whole >> axis & 1:
                continue
            coordinates = stacked(coordinates, output)
            single = [c.bounded() if in_part else c for c in coordinates if not c.digits and c.field is not None]
            spread = [c for c in coordinates if c.digits or c.field is None]
            made = united(spread or single, self._algebra, node.name, apart=apart)
            for position in single if spread else ():
                if position.field is not None and self._sees_less(position.field, 1, axis):
                    made = [beside_position(each, position, self._algebra, node.name) for each in made]
                else:
                    incoming |= 1 << axis  # a gate that was pooled by a fixed kernel, say
            candidates += made
        if self._strict and incoming:
            candidates = [each for each in candidates if not incoming >> each.axis & 1]
        local = 0
        for coordinate in candidates:
            local |= 1 << coordinate.axis
        return self._plainest(candidates, output, (whole | incoming) & ~local, (context | incoming | statistic) & local)

    def _carried(
        self, coordinate: Coordinate, axes: Reads, shape: Shape, output: Shape, shared: int
    ) -> tuple[Coordinate | None, bool]:
        """Return a coordinate behind an op, None where all of it is read, and whether statistics of it are read.

        shared: tensor axes, as a bit mask, that hold digits of other coordinates too: a flattened map, say.
        """
        everywhere = sum(1 << place for place, size in enumerate(output) if size > 1) or 1
        if type(axes) is Unknown or self._algebra.is_spent:
            return coordinate.unfollowed(everywhere), False
        if type(axes) is RowMajor:
            reshaped = coordinate.reshaped(shape, output)
            return reshaped, False
        targets: dict[int, list[tuple[int, AxisRule]]] = {}
        layer = Digit(axes.axis, 1, 1, 1, axes.position, 1) if isinstance(axes, Layer) else None
        for target, entry in enumerate(axes):
            if entry is not None and isinstance(entry[1], Piece) and shape[entry[0]] == 1:
                layer = Digit(target, 1, 1, 1, entry[1].start, 1)
            if entry is not None:
                targets.setdefault(entry[0], []).append((target, entry[1]))
        if not coordinate.digits and coordinate.field is not None:
            # A single position, of no axis any more: what sums over others has seen it beside them.
            sums = any(
                size > 1 and all(rule is WHOLE for _, rule in targets.get(place, ()))
                for place, size in enumerate(shape[1:], start=1)
            )
            if layer is not None and coordinate.field.is_part:
                return coordinate.fixed()._replace(digits=(layer,)), False
            sees_less = self._sees_less(coordinate.field, 1, coordinate.axis)
            return (None if sums and not sees_less else coordinate), False
        if coordinate.field is None:
            return _lost_behind(coordinate, targets, shape, everywhere), False
        result, has_statistic = coordinate, False
        moves: dict[int, int] = {}
        # What is summed over goes first, and then axes with few digits, which a window may meet all of: the rest may
        # then be an axis that a window can slide along.
        extents: dict[int, int] = {}
        for digit in coordinate.digits:
            extents[digit.place] = extents.get(digit.place, 1) * digit.extent
        places = sorted(extents, key=lambda place: (bool(targets.get(place)), extents[place]))
        for place in places:
            ways = targets.get(place, [])
            position = next((rule.position for _, rule in ways if isinstance(rule, Index)), None)
            if not ways and shape[place] == 1:
                position = 0
            if position is not None and result.is_absent(place, position):
                return Coordinate(coordinate.axis, NOTHING), False
            is_statistic = any(rule is STATISTIC for _, rule in ways)
            is_whole = not ways or any(rule is WHOLE for _, rule in ways) or (self._strict and is_statistic)
            if position is not None or is_whole:
                if position is None and result.is_cut(place, shape[place]):
                    return coordinate.unfollowed(everywhere), has_statistic
                result = result.without(place, self._algebra, position)
                continue
            target, rule = ways[0]
            if rule is STATISTIC:
                has_statistic, rule = True, IDENTITY
            if type(rule) is Piece:
                rule = sliding(1, 1, rule.start)
            if len(ways) > 1 or type(rule) is not Window:
                return coordinate.unfollowed(everywhere), has_statistic
            if result.field is not None and (rule != IDENTITY or shape[place] != output[target]):
                ends = bool(shared >> place & 1)
                moved = result.through(place, rule, shape[place], output[target], self._algebra, ends=ends)
                if moved is None:
                    return Coordinate(coordinate.axis, NOTHING), False
                result = moved
            if result.field is None:
                return coordinate.unfollowed(everywhere), has_statistic
            moves[place] = target
        if result.field is None:
            return coordinate.unfollowed(everywhere), has_statistic
        if not result.digits:
            sees_less = self._sees_less(result.field, 1, result.axis)
            return (result if sees_less else None), has_statistic
        return result._replace(digits=tuple(d._replace(place=moves[d.place]) for d in result.digits)), has_statistic

    def _plainest(self, coordinates: list[Coordinate], output: Shape, whole: int, context: int) -> Trace:
        """Return a trace with tracks where each coordinate is one axis of the tensor, else with coordinates."""
        filled = [
            c.filled(output[c.digits[0].place], self._algebra) if _has_axis_alone(c, coordinates) else c
            for c in coordinates
        ]
        tracks: list[Track | None] = [None] * len(output)
        nothing = tuple(tracks)
        for coordinate in filled:
            if coordinate.field is None or len(coordinate.digits) != 1:
                return Trace(nothing, 0, whole, context, tuple(filled))
            (digit,) = coordinate.digits
            if digit != Digit(digit.place, 1, output[digit.place], 1) or tracks[digit.place] is not None:
                return Trace(nothing, 0, whole, context, tuple(filled))
            tracks[digit.place] = Track(coordinate.axis, coordinate.field)
        tracked = sum(1 << place for place, track in enumerate(tracks) if track is not None)
        return Trace(tuple(tracks), tracked, whole, context)


def _layered(reads: tuple[Reads, ...], followed_by: list[tuple[Coordinate, ...]], output: Shape) -> frozenset[int]:
    """Return the input axes that layers of a stack follow differently, single positions and constants aside."""
    axis = next((axes.axis for axes in reads if isinstance(axes, Layer)), None)
    if axis is None:
        return frozenset()
    spread = [{(each.axis, each) for each in own if each.digits} for own in followed_by]
    common = spread[0] if len(reads) == output[axis] else set()
    return frozenset(followed for own in spread for followed, _ in own ^ common)


def _is_apart(reads: tuple[Reads, ...], followed: list[int]) -> bool:
    """Return whether each position is of one of several inputs: pieces one behind another, writes into a part.

    followed: for each input its axes that are followed, as a bit mask. Side by side along others (channels), all inputs
    are read at each position.
    """
    along = apart = 0
    for axes, tracked in zip(reads, followed):
        for place, entry in enumerate(axes):
            if entry is not None:
                along |= (tracked >> entry[0] & 1) << place
                apart |= (entry[1] is not IDENTITY and _reads_a_part(entry[1])) << place
    return apart > 0 == apart & ~along


def _reads_a_part(rule: AxisRule) -> bool:
    """Return whether some outputs read nothing by a rule."""
    return type(rule) is Piece or (type(rule) is Window and not all(rule.taps))


def _has_axis_alone(coordinate: Coordinate, others: list[Coordinate]) -> bool:
    """Return whether the tensor axis of a coordinate's heaviest digit holds no digit of another one."""
    if not coordinate.digits:
        return False
    bit = 1 << coordinate.digits[0].place
    return not any(other.places & bit for other in others if other is not coordinate)


def _lost_behind(
    coordinate: Coordinate, targets: dict[int, list[tuple[int, AxisRule]]], shape: Shape, everywhere: int
) -> Coordinate | None:
    """Return where positions that are lost are behind an op; None where it reads all axes that they may be on."""
    lost = 0
    for place, ways in targets.items():
        if coordinate.lost >> place & 1 and any(isinstance(rule, Index) for _, rule in ways):
            return coordinate.unfollowed(everywhere)
    for place, size in enumerate(shape):
        if coordinate.lost >> place & 1 and size > 1:
            for target, rule in targets.get(place, ()):
                lost |= 1 << target if rule is not WHOLE else 0
    return coordinate.unfollowed(lost) if lost else None

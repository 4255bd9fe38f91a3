"""Channel parts: which channels of a map see what, where maps of different fields were joined side by side.

The field of a map is the largest of its channels. An op that reads only some of them, a slice behind a concatenation,
sees what these see. Parts are looked for only where channels are left out; all other ops read every one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

from cnnstat.analysis.receptive_field.fields import Trace, Track
from cnnstat.analysis.receptive_field.intervals import Field, bounded
from cnnstat.analysis.shapes import OpFacets, Values
from cnnstat.ir.graph import Edge, Graph, Node
from cnnstat.ir.op import Shape
from cnnstat.ir.window import (
    IDENTITY,
    STATISTIC,
    UNFOLLOWED,
    WHOLE,
    AxisRule,
    Index,
    InSteps,
    Layer,
    Piece,
    Reads,
    RowMajor,
    Unknown,
    Window,
    regrouped_axes,
)

MAX_WORK = 2**20
"""Most positions that are looked at in one graph, where parts are told apart; what comes behind is only bounded."""

Follow = Callable[[Node, list[Trace], OpFacets, int], Trace]
Merge = Callable[[Field, Field, int, str], Field]


class Parts(NamedTuple):
    """Which of some traces each part of a tensor has.

    axes: those along which parts differ, none of which is followed. labels: for each position along them, in row-major
    order, the number of its trace.
    """

    axes: tuple[int, ...]
    labels: tuple[int, ...]
    traces: tuple[Trace, ...]


class ChannelParts:
    """Finds the traces of parts; follow: returns the trace of an output of a node; merge: the union of two fields."""

    def __init__(
        self, graph: Graph, values: Values, traces: list[tuple[Trace, ...]], follow: Follow, merge: Merge
    ) -> None:
        self._graph, self._values, self._traces, self._follow, self._merge = graph, values, traces, follow, merge
        # For each tensor whose parts differ, the axes along which they do, as a bit mask.
        self._axes: dict[Edge, int] = {}
        self._known: dict[Edge, Parts | None] = {}
        self._work = 0

    @property
    def are_there(self) -> bool:
        """Whether any tensor so far has parts that differ."""
        return bool(self._axes)

    def trace(self, edge: Edge, sources: list[Trace], trace: Trace) -> Trace:
        """Return the trace of a tensor that some parts of its sources may not reach; trace: if all of them do."""
        node, facets = self._node(edge)
        masks = [self._axes.get(source, 0) for source in node.inputs] if self._axes else [0] * len(sources)
        is_split = any(masks)
        if not is_split and (len(sources) < 2 or all(each is sources[0] or each == sources[0] for each in sources)):
            return trace
        reads = facets.reads(edge.output)
        joined = _joined(reads, sources)
        axes = joined | _carried(reads, masks, facets.inputs, facets.outputs[edge.output])
        if not axes and not is_split:
            return trace
        self._axes[edge] = axes
        if is_split and not joined and _leaves_out(reads, masks, facets.inputs, facets.outputs[edge.output]):
            parts = self._parts(edge)
            hull = None if parts is None else self._hull(parts.traces, facets.outputs[edge.output], node.name)
            trace = _at_most(trace) if hull is None else hull
            if hull is None or parts is None or len(parts.traces) == 1:
                axes = 0
        if not axes:
            del self._axes[edge]
        return trace

    def _node(self, edge: Edge) -> tuple[Node, OpFacets]:
        number = edge.value - self._graph.arity
        return self._graph.nodes[number], self._values.facets[number]

    def _parts(self, edge: Edge) -> Parts | None:
        """Return the parts of a tensor; None where they cannot be told apart."""
        waiting, needed = [edge], set()
        while waiting:
            each = waiting.pop()
            if each in self._axes and each not in self._known and each not in needed:
                needed.add(each)
                waiting += self._node(each)[0].inputs
        for each in sorted(needed):
            self._known[each] = self._made(each)
        return self._known[edge]

    def _made(self, edge: Edge) -> Parts | None:
        """Return the parts of a tensor from those of what its node reads."""
        node, facets = self._node(edge)
        output, reads = facets.outputs[edge.output], facets.reads(edge.output)
        axes = tuple(place for place in range(len(output)) if self._axes[edge] >> place & 1)
        sizes = [output[place] for place in axes]
        whole = {source: Parts((), (0,), (self._traces[source.value][source.output],)) for source in node.inputs}
        parts = [self._known[source] if source in self._axes else whole[source] for source in node.inputs]
        self._work += math.prod(sizes) * len(parts)
        if self._work > MAX_WORK or None in parts:
            return None
        known = [each for each in parts if each is not None]
        seen = [
            _labels_seen(each, read, shape, axes, sizes, output)
            for each, read, shape in zip(known, reads, facets.inputs)
        ]
        numbers: dict[Trace, int] = {}
        made: dict[tuple[frozenset[int], ...], int] = {}
        labels = []
        for position in range(math.prod(sizes)):
            key = tuple([each[position] for each in seen if each is not None])
            if len(key) < len(seen):
                return None
            if key not in made:
                sources = [
                    self._hull([each.traces[number] for number in sorted(read)], shape, node.name)
                    for each, read, shape in zip(known, key, facets.inputs)
                ]
                follows = [source for source in sources if source is not None]
                if len(follows) < len(sources):
                    return None
                made[key] = numbers.setdefault(self._follow(node, follows, facets, edge.output), len(numbers))
            labels.append(made[key])
        return Parts(axes, tuple(labels), tuple(numbers))

    def _hull(self, traces: Sequence[Trace], shape: Shape, where: str) -> Trace | None:
        """Return the trace of a tensor all of which may depend on what any of its parts does; None if it is not known.

        No parts at all stand for a tensor that is not read.
        """
        if not traces:
            return Trace((None,) * len(shape), 0)
        first, *others = traces
        for other in others:
            if other == first:
                continue
            if other.tracked != first.tracked or other.whole != first.whole or first.coordinates or other.coordinates:
                return None
            tracks: list[Track | None] = []
            for one, two, size in zip(first.tracks, other.tracks, shape):
                if one is None or two is None:
                    tracks.append(one)
                elif one.axis != two.axis:
                    return None
                else:
                    tracks.append(Track(one.axis, self._merge(one.field, two.field, size, where)))
            first = Trace(tuple(tracks), first.tracked, first.whole, first.context | other.context)
        return first


def _at_most(trace: Trace) -> Trace:
    """Return a trace of which less may be read."""
    tracks = tuple(
        track and Track(track.axis, track.field._replace(components=tuple(map(bounded, track.field.components))))
        for track in trace.tracks
    )
    return trace._replace(tracks=tracks, coordinates=tuple(each.bounded() for each in trace.coordinates))


def _joined(reads: tuple[Reads, ...], sources: list[Trace]) -> int:
    """Return the output axes along which inputs stand side by side, and which they do not follow."""
    mask = 0
    for axes, source in zip(reads, sources):
        followed = source.tracked
        for coordinate in source.coordinates:
            followed |= coordinate.places
        for place, entry in enumerate(axes):
            if entry is not None and not followed >> entry[0] & 1 and _has_gaps(entry[1]):
                mask |= 1 << place
    return mask if len(sources) > 1 else 0


def _has_gaps(rule: AxisRule) -> bool:
    """Whether some outputs read nothing by a rule."""
    return type(rule) is Piece or (type(rule) is Window and not all(rule.taps))


def _carried(reads: tuple[Reads, ...], masks: list[int], inputs: Sequence[Shape], output: Shape) -> int:
    """Return the output axes that read input axes along which parts differ."""
    mask = 0
    for axes, differing, shape in zip(reads, masks, inputs):
        for place, entry in enumerate(axes if differing else ()):
            if entry is not None and differing >> entry[0] & 1:
                mask |= 1 << place
        if differing and type(axes) is RowMajor:
            for sources, targets in regrouped_axes(shape, output):
                if any(differing >> axis & 1 for axis in sources):
                    mask |= sum({1 << place for place in targets})
    return mask


def _leaves_out(reads: tuple[Reads, ...], masks: list[int], inputs: Sequence[Shape], output: Shape) -> bool:
    """Whether positions are not read along an axis along which parts differ, or it is not known which are."""
    for axes, differing, shape in zip(reads, masks, inputs):
        if not differing:
            continue
        if isinstance(axes, (InSteps, Unknown)):
            return True
        for place, entry in enumerate(axes):
            if entry is None or not differing >> entry[0] & 1 or entry[1] is IDENTITY or entry[1] is UNFOLLOWED:
                continue  # where it is not followed which are read, no part can be told from others from there on
            axis, rule = entry
            if type(rule) is Index:
                return True
            taken = _positions(rule, shape[axis], output[place])
            if taken is None or len(set().union(*taken)) < shape[axis]:
                return True
    return False


def _positions(rule: AxisRule, length: int, size: int) -> list[range] | None:
    """Return the input positions that each of `size` outputs reads along an axis of `length`; None if not known."""
    if rule is WHOLE or rule is STATISTIC:
        return [range(length)] * size
    if type(rule) is Piece:
        return [range(max(0, o - rule.start), min(length, o - rule.start + 1)) for o in range(size)]
    if type(rule) is not Window:
        return None
    taken = []
    for index in range(size):
        turn, residue = divmod(index, rule.period)
        taps = rule.taps[residue]
        taken.append(range(max(0, taps.start + turn * rule.advance), min(length, taps.stop + turn * rule.advance)))
    return taken


def _labels_seen(
    parts: Parts, axes: Reads, shape: Shape, places: tuple[int, ...], sizes: list[int], output: Shape
) -> list[frozenset[int]] | None:
    """Return the labels of one input that each position along `places` of an output reads; None if not known.

    An input that is not read at a position has no labels there.
    """
    if isinstance(axes, (InSteps, Unknown, Layer)):
        return None
    own = list(parts.axes)
    lengths = [shape[axis] for axis in own]
    if type(axes) is RowMajor and own:
        for sources, targets in regrouped_axes(shape, output):
            inner = [axis for axis in sources if axis in own]
            if inner and (inner != [a for a in sources if shape[a] > 1 or a in own] or {*targets} - {*places}):
                return None
        if not places or math.prod(sizes) != math.prod(lengths):
            return None
        return [frozenset((label,)) for label in parts.labels]
    # For each axis of the parts, and each other one that pieces stand along, what each output position reads of it.
    by_place: dict[int, list[tuple[int, list[range]]]] = {}
    fixed: dict[int, range] = {}
    for place, entry in enumerate(axes):
        if entry is None or (entry[0] not in own and place not in places):
            continue
        axis, rule = entry
        if type(rule) is Index:
            fixed[axis] = range(rule.position, rule.position + 1)
            continue
        taken = _positions(rule, shape[axis], output[place])
        if taken is None or place not in places:
            return None
        by_place.setdefault(place, []).append((axis, taken))
    seen = []
    for position in product(*map(range, sizes)):
        read: dict[int, Sequence[int]] = dict(fixed)
        for place, index in zip(places, position):
            for axis, taken in by_place.get(place, ()):
                read[axis] = taken[index]
        if not all(read.values()):
            seen.append(frozenset[int]())
            continue
        flat = [0]
        for axis, length in zip(own, lengths):
            flat = [number * length + index for number in flat for index in read.get(axis, range(length))]
        seen.append(frozenset(parts.labels[number] for number in flat))
    return seen

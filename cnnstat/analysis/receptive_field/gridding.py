"""Gridding: how much of a receptive field is really read. Stacked dilated convolutions leave holes in it.

See Wang et al., Understanding Convolution for Semantic Segmentation, arXiv:1702.08502.
"""

from __future__ import annotations

import heapq
from fractions import Fraction
from typing import NamedTuple

from cnnstat.analysis.receptive_field.fields import ReceptiveFields, Track
from cnnstat.ir.graph import Edge
from cnnstat.ir.window import IDENTITY, Window

MAX_SPAN = 2**20
"""Longest stretch of an axis that is looked at position by position."""


class Indices(NamedTuple):
    """A set of positions along one axis, none of them outside the `length` positions from `first` on.

    mask: bit i says whether position `first + i` is one of them; None where all are. The bits of such a run are not
    written down: in a stack of 50,000 layers there would be up to 100,000 of them in each.
    """

    first: int
    length: int
    mask: int | None = None

    @property
    def bits(self) -> int:
        """The mask, of a run too."""
        return (1 << self.length) - 1 if self.mask is None else self.mask

    def __or__(self, other: Indices) -> Indices:
        """Return the union."""
        if not self.length or not other.length:
            return self if self.length else other
        first, last = min(self.first, other.first), max(self.first + self.length, other.first + other.length)
        if self.mask is other.mask is None and last - first <= self.length + other.length:
            return Indices(first, last - first)
        return _of_bits(first, self.bits << (self.first - first) | other.bits << (other.first - first))


def _of_bits(first: int, bits: int) -> Indices:
    """Return the positions `first + i` for every bit i that is 1."""
    length = bits.bit_length()
    return Indices(first, length, None if bits + 1 == 1 << length else bits)


class _TooLongError(Exception):
    """A set of positions spans more than MAX_SPAN."""


def covered_fraction(fields: ReceptiveFields, value: int, output: int = 0) -> tuple[Fraction, ...] | None:
    """Return, for each input axis, which share of the centre output's field it really depends on.

    Found by walking back from that output with the exact set of positions; 1 means no holes. None where there is no
    receptive field, or it is longer than about a million.
    """
    followed = fields.followed(value, output)
    if followed is None:
        return None
    shape = fields.values.outputs[value][output]
    try:
        return tuple(_covered(fields, Edge(value, output), place, track, shape[place]) for place, track in followed)
    except _TooLongError:
        return None


def _covered(fields: ReceptiveFields, edge: Edge, place: int, track: Track, extent: int) -> Fraction:
    """Return support / hull along one axis of one tensor."""
    centre = (extent - 1) // 2
    index = next(i for i in range(centre, centre + MAX_SPAN) if track.field.at(i) is not None)
    bits = support(fields, edge, place, track.axis, index).bits
    hull = bits.bit_length() - (bits & -bits).bit_length() + 1
    return Fraction(bits.bit_count(), hull)


def support(fields: ReceptiveFields, edge: Edge, place: int, axis: int, index: int) -> Indices:
    """Return the positions of input axis `axis` that one tensor depends on where its axis `place` is at `index`."""
    graph, values = fields.graph, fields.values
    pending: dict[int, dict[tuple[int, int], Indices]] = {edge.value: {(edge.output, place): Indices(index, 1)}}
    queue = [-edge.value]
    reached = Indices(index, 0)
    while queue:
        # Readers have higher numbers, so that the highest pending value is complete, and every value is visited once.
        value = -heapq.heappop(queue)
        wanted = pending.pop(value)
        if value < graph.arity:
            for indices in wanted.values():
                reached |= indices
            continue
        node = value - graph.arity
        for (output, at), indices in wanted.items():
            for source, axes in zip(graph.nodes[node].inputs, values.facets[node].reads(output)):
                entry = axes[at]
                track = None if entry is None else fields.traces[source.value][source.output].tracks[entry[0]]
                if entry is None or track is None or track.axis != axis or not isinstance(entry[1], Window):
                    continue
                if source.value not in pending:
                    pending[source.value] = {}
                    heapq.heappush(queue, -source.value)
                read = preimage(indices, entry[1])
                before = pending[source.value].get((source.output, entry[0]))
                pending[source.value][source.output, entry[0]] = read if before is None else before | read
    return reached


def preimage(indices: Indices, window: Window) -> Indices:
    """Return the positions that a set of outputs reads through a window."""
    if window is IDENTITY or not indices.length:
        return indices
    period, advance, count = len(window.taps), window.advance, indices.length
    if (count // period + 1) * abs(advance) + max((t[-1] - t[0] for t in window.taps if t), default=0) > MAX_SPAN:
        raise _TooLongError
    first = window.taps[0]
    # A run without holes stays one where windows touch.
    if period == 1 and len(first) >= advance > 0 and first.step == 1 and indices.mask is None:
        return Indices(indices.first * advance + first[0], (count - 1) * advance + len(first))
    digits = f"{indices.bits:b}"[::-1]
    parts = []
    for residue, taps in enumerate(window.taps):
        skipped = (residue - indices.first) % period
        own = digits[skipped::period]
        if taps and "1" in own:
            turn = (indices.first + skipped - residue) // period
            parts.append(_spread(own, turn * advance, advance, taps))
    if not parts:
        return Indices(indices.first, 0)
    union = parts[0]
    for part in parts[1:]:
        union |= part
    return union


def _spread(digits: str, first: int, advance: int, taps: range) -> Indices:
    """Return the positions `first + i·advance + tap` for every digit i that is 1 and every tap."""
    if advance < 0:
        digits, first, advance = digits[::-1], first + (len(digits) - 1) * advance, -advance
    ordered = digits if advance == 1 else ("0" * (advance - 1)).join(digits) if advance else "1"
    # By doubling: each step covers twice as many taps, so that long windows take few shifts of a long mask.
    mask, done = int(ordered[::-1], 2), 1
    while done < len(taps):
        more = min(done, len(taps) - done)
        mask |= mask << more * taps.step
        done += more
    return _of_bits(first + taps[0], mask)

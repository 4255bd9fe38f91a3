"""Gradients as a witness of "whole input": what reads all of a local feature map reaches all that the map reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Shape
from cnnstat.ir.window import Reads, Whole
from cnnstat.passes.analysis import Analysis
from cnnstat.verification.findings import Box, FieldFinding, Verdict


def whole_edges(analysis: Analysis, total: Edge) -> list[Edge]:
    """Return the first tensor that sees the whole input, and the one that the network's last local map ends in.

    Only where an op reads local maps as a whole is it known how far a gradient has to reach.
    """
    first = next(_claims(analysis, range(analysis.graph.arity, total.value)), None)
    nodes = range(total.value + 1, analysis.graph.arity + len(analysis.graph.nodes))
    readers = [value for value in nodes if total in analysis.graph.nodes[value - analysis.graph.arity].inputs]
    last = next(_claims(analysis, readers), None)
    return [edge for edge in (first, last) if edge is not None]


def _claims(analysis: Analysis, values: Iterable[int]) -> Iterator[Edge]:
    """Yield those of some values that a single op makes see the whole input."""
    for value in values:
        is_float = analysis.values.dtypes[value][0].startswith(("float", "bfloat"))
        if is_float and analysis.fields.sees_whole_input(value) and expected(analysis, value) is not None:
            yield Edge(value)


def expected(analysis: Analysis, value: int) -> tuple[Box, Box] | None:
    """Return the least and the most of the input that a value reads; None where its op does not read maps as a whole.

    Both are the hull of the fields of all positions that are read, but where these have global context, the most is
    the whole input.
    """
    fields, graph = analysis.fields, analysis.graph
    node, inputs = graph.nodes[value - graph.arity], analysis.values.inputs[value - graph.arity]
    found: list[Box] = []
    context = 0
    lengths: tuple[int, ...] = ()
    for source, axes, shape in zip(node.inputs, node.op.window(inputs, analysis.values.outputs[value]), inputs):
        trace = fields.traces[source.value][source.output]
        if not trace.tracked and not trace.whole:
            continue
        followed = fields.followed(*source)
        if followed is None or not _reads_all(axes, [place for place, _ in followed]):
            return None
        if not all(track.field.is_exact for _, track in followed):
            return None
        lengths = tuple(fields.lengths[track.axis] for _, track in followed)
        ends = [_ends(track.field.at(index) for index in range(shape[place])) for place, track in followed]
        found.append(tuple((max(lo, 0), min(hi, length - 1)) for (lo, hi), length in zip(ends, lengths)))
        context |= trace.context | trace.whole
    if not found or len({len(box) for box in found}) > 1:
        return None
    least = tuple(_ends(sides) for sides in zip(*found))
    return least, tuple((0, length - 1) for length in lengths) if context else least


def _reads_all(axes: Reads, places: Sequence[int]) -> bool:
    """Whether an op reads all positions along these axes, which are not its result's.

    Of an op none of whose axes is followed it is not known what it reads.
    """
    rules = dict(entry for entry in axes if entry is not None)
    return bool(rules) and all(place not in rules or isinstance(rules[place], Whole) for place in places)


def _ends(intervals: Iterable[tuple[int, int] | None]) -> tuple[int, int]:
    """Return the hull of intervals."""
    known = [interval for interval in intervals if interval is not None]
    return min(lo for lo, _ in known), max(hi for _, hi in known)


def positions(analysis: Analysis, edge: Edge) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of a result that are neither batch nor channels, and the centre along them."""
    number = edge.value - analysis.graph.arity
    outputs: tuple[Shape, ...] = analysis.values.outputs[edge.value]
    reads = analysis.graph.nodes[number].op.window(analysis.values.inputs[number], outputs)
    kept = {place for axes in reads for place, entry in enumerate(axes) if entry and not isinstance(entry[1], Whole)}
    places = tuple(place for place in range(len(outputs[0])) if place not in kept)
    return places, tuple((outputs[0][place] - 1) // 2 for place in places)


def whole_finding(analysis: Analysis, edge: Edge, box: Box | None, shape: tuple[int, ...]) -> FieldFinding:
    """Return the finding on a tensor that sees the whole input, from the box that its gradient reaches."""
    bounds = expected(analysis, edge.value)
    assert bounds is not None
    least, most = bounds
    is_right = box is not None and all(
        most_lo <= lo <= least_lo and least_hi <= hi <= most_hi
        for (lo, hi), (least_lo, least_hi), (most_lo, most_hi) in zip(box, least, most)
    )
    if not is_right:
        reason = "no gradient reaches the input" if box is None else "the gradient does not reach what the map reads"
    else:
        is_all = box == tuple((0, length - 1) for length in shape)
        reason = "" if is_all else "no position reads the rest of the input"
    return FieldFinding(
        layer=analysis.graph.value_name(edge.value), position=positions(analysis, edge)[1], shape=shape, ours=None,
        gradient=box, clipped=False, verdict=Verdict.AGREES if is_right else Verdict.UNEXPLAINED, reason=reason,
    )  # fmt: skip

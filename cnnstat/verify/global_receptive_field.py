"""Gradients as a reference for "whole input": what reads all of a local feature map reaches all that the map reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cnnstat.analysis.analysis import Analysis
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Shape
from cnnstat.ir.window import Reads, Whole
from cnnstat.verify.findings import Box, FieldFinding, Verdict


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

    The most is the hull of the fields of all positions that are read, or the whole input where these have global
    context. The least is the hull of the ends inside the input: of a field that a border cuts off, the layers between
    may have left out positions beside the border; the low end is above the high one where all are cut off.
    """
    fields, graph = analysis.fields, analysis.graph
    node, inputs = graph.nodes[value - graph.arity], analysis.values.inputs[value - graph.arity]
    least: list[Box] = []
    most: list[Box] = []
    for source, axes, shape in zip(node.inputs, node.op.window(inputs, analysis.values.outputs[value]), inputs):
        trace = fields.traces[source.value][source.output]
        if not trace.tracked and not trace.whole:
            continue
        followed = fields.followed(*source)
        if followed is None or not _reads_all(axes, [place for place, _ in followed]):
            return None
        if not all(track.field.is_exact for _, track in followed):
            return None
        lengths = [fields.lengths[track.axis] for _, track in followed]
        known = [[e for i in range(shape[place]) if (e := track.field.at(i)) is not None] for place, track in followed]
        least.append(tuple(_inside(ends, length) for ends, length in zip(known, lengths)))
        has_context = trace.context | trace.whole
        most.append(tuple((0, n - 1) if has_context else _clipped(ends, n) for ends, n in zip(known, lengths)))
    if not most or len({len(box) for box in most}) > 1:
        return None
    return _hull(least), _hull(most)


def _inside(intervals: Sequence[tuple[int, int]], length: int) -> tuple[int, int]:
    """Return the hull of the ends that lie inside an axis."""
    lows, highs = ([side for side in sides if 0 <= side < length] for sides in zip(*intervals))
    return min(lows, default=length), max(highs, default=-1)


def _clipped(intervals: Sequence[tuple[int, int]], length: int) -> tuple[int, int]:
    lows, highs = zip(*intervals)
    return max(min(lows), 0), min(max(highs), length - 1)


def _hull(boxes: Sequence[Box]) -> Box:
    return tuple((min(lo for lo, _ in sides), max(hi for _, hi in sides)) for sides in zip(*boxes))


def _reads_all(axes: Reads, places: Sequence[int]) -> bool:
    """Whether an op reads all positions along these axes, which are not its result's.

    Of an op none of whose axes is followed it is not known what it reads.
    """
    rules = dict(entry for entry in axes if entry is not None)
    return bool(rules) and all(place not in rules or isinstance(rules[place], Whole) for place in places)


def positions(analysis: Analysis, edge: Edge) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of a result that are neither batch nor channels, and the centre along them."""
    number = edge.value - analysis.graph.arity
    outputs: tuple[Shape, ...] = analysis.values.outputs[edge.value]
    reads = analysis.graph.nodes[number].op.window(analysis.values.inputs[number], outputs)
    own = {place for axes in reads for place, entry in enumerate(axes) if entry and not isinstance(entry[1], Whole)}
    places = tuple(place for place in range(len(outputs[0])) if place not in own)
    return places, tuple((outputs[0][place] - 1) // 2 for place in places)


def whole_finding(analysis: Analysis, edge: Edge, box: Box | None, shape: tuple[int, ...], router: str) -> FieldFinding:
    """Return the finding on a tensor that sees the whole input, from the box that its gradient reaches.

    router: the layer before it that chooses by value between what it reads; empty if none does.
    """
    bounds = expected(analysis, edge.value)
    assert bounds is not None
    least, most = bounds
    is_right = box is not None and all(
        most_lo <= lo <= least_lo and least_hi <= hi <= most_hi
        for (lo, hi), (least_lo, least_hi), (most_lo, most_hi) in zip(box, least, most)
    )
    is_inside = box is None or all(lo <= first and last <= hi for (first, last), (lo, hi) in zip(box, most))
    verdict = Verdict.AGREES if is_right else Verdict.EXPLAINED if router and is_inside else Verdict.UNEXPLAINED
    is_all = box == tuple((0, length - 1) for length in shape)
    if verdict is Verdict.EXPLAINED:
        reason = f"data-dependent: {router} chooses by value, and reached less in this run"
    elif not is_right:
        reason = "no gradient reaches the input" if box is None else "the gradient does not reach what the map reads"
    else:
        reason = "" if is_all else "no position reads the rest of the input"
    return FieldFinding(
        layer=analysis.graph.value_name(edge.value), position=positions(analysis, edge)[1], shape=shape, ours=None,
        gradient=box, clipped=is_right and not is_all and any(lo > hi for lo, hi in least),
        verdict=verdict, reason=reason,
    )  # fmt: skip

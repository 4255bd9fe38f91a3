"""Why a gradient may reach elsewhere than a receptive field says although that is right."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.analysis.analysis import Analysis
from cnnstat.ir.graph import Edge
from cnnstat.ir.window import Window
from cnnstat.verify.findings import Box


def why_less(analysis: Analysis, edge: Edge) -> str:
    """Return why a gradient may reach less far than a field, which holds for all values; empty if it may not."""
    if chooser := router(analysis, edge):
        return f"data-dependent: {chooser} chooses by value, and reached less in this run"
    coordinates = (each for each in (analysis.fields.coordinates(*edge) or {}).values() if each is not None)
    if any(each.field is not None and each.field.is_part for each in coordinates):
        return "positions were cut off before it, and beside the cut a layer reads padding"
    return ""


def router(analysis: Analysis, edge: Edge) -> str:
    """Return the last layer up to a tensor that chooses by value between positions it reads; empty if none does."""
    fields, graph = analysis.fields, analysis.graph
    before = {edge.value}
    for value in range(edge.value, graph.arity - 1, -1):
        if value not in before:
            continue
        node = graph.nodes[value - graph.arity]
        traces = [fields.traces[source.value][source.output] for source in node.inputs]
        if node.op.routes_by_value and any(trace.tracked or trace.coordinates or trace.whole for trace in traces):
            return graph.value_name(value)
        before.update(source.value for source in node.inputs)
    return ""


def mixer(analysis: Analysis, edge: Edge) -> str:
    """Return the layer before a feature map that joins a local field with reads it does not follow; empty if none does.

    A gate is a tensor that can be left out of the run; such a layer is both in one, as a write into a slice is.
    """
    fields, graph = analysis.fields, analysis.graph
    before = {edge.value}
    for value in range(edge.value, graph.arity - 1, -1):
        if value not in before:
            continue
        sources = graph.nodes[value - graph.arity].inputs
        before.update(source.value for source in sources)
        known = 0
        for source in sources:
            trace = fields.traces[source.value][source.output]
            known |= trace.context | trace.whole
        local = [trace for trace in fields.traces[value] if trace.tracked or trace.coordinates]
        if any((trace.context | trace.whole) & ~known for trace in local):
            return graph.value_name(value)
    return ""


def is_brought_round(analysis: Analysis, edge: Edge, ours: Box, box: Box | None, shape: Sequence[int]) -> bool:
    """Whether a gradient is further than a field only where that passes a border behind a layer that rolls positions.

    cnnstat takes the ends that come in on the other side for borders.
    """
    graph, values = analysis.graph, analysis.values
    sides = zip(box or (), ours, shape)
    if box is None or any(
        (first < max(lo, 0) or last > min(hi, length - 1)) and lo >= 0 and hi < length
        for (first, last), (lo, hi), length in sides
    ):
        return False
    for number in range(edge.value - graph.arity + 1):
        inputs, outputs = values.inputs[number], values.outputs[graph.arity + number]
        for shape_before, axes in zip(inputs, graph.nodes[number].op.window(inputs, outputs)):
            for place, entry in enumerate(axes):
                if entry is None or not isinstance(entry[1], Window) or entry[1].advance != 1:
                    continue
                is_moved = entry[1].period == 1 and len(entry[1].taps[0]) == 1 and entry[1].taps[0][0] != 0
                if is_moved and shape_before[entry[0]] == outputs[0][place] > 1:
                    return True
    return False


def contains(outer: Box | None, inner: Box, shape: Sequence[int]) -> bool:
    """Return whether a box contains all of another one that lies inside the input."""
    sides = zip(outer or (), inner, shape)
    return outer is not None and all(
        first <= max(lo, 0) and last >= min(hi, length - 1) for (first, last), (lo, hi), length in sides
    )

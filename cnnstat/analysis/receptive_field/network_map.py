"""The feature map whose receptive field is the network's."""

from __future__ import annotations

from cnnstat.analysis.receptive_field.fields import ReceptiveFields
from cnnstat.ir.graph import Edge


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

"""Control flow of ONNX graphs: branches, loops, and functions of the file in place of their calls."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy
import onnx

from cnnstat.errors import SourceError, printable
from cnnstat.exported.onnx_models.call import Call
from cnnstat.exported.onnx_models.graph_walk import MAX_CALLS, MAX_STEPS, Values, WalkError, node_name
from cnnstat.exported.onnx_models.loops import LoopWalk
from cnnstat.exported.onnx_models.node_names import label_of
from cnnstat.exported.onnx_models.node_shapes import ShapeRules
from cnnstat.exported.onnx_models.values import Value
from cnnstat.exported.stored_tensors import Role

MAX_EXPANDED, MOST_OFTEN = 20_000, 20
"""Nodes that functions may make of any file, and of each node that a larger one has: functions that double each other
make thousands."""


@dataclass(eq=False)
class ModelWalk(LoopWalk):
    """A walk that follows branches, loops and functions too."""

    def _by_parts(self, call: Call, values: Values) -> list[Value] | None:
        if (call.domain, call.op_type) in self.functions:
            return self._function(call.node, self.functions[call.domain, call.op_type], call.inputs)
        if call.domain:
            return None
        if call.op_type == "If":
            return self._if(call, values)
        if call.op_type == "Loop":
            return self._loop(call, values)
        return self._scan(call, values) if call.op_type == "Scan" else None

    def _function(self, node: Any, function: Any, inputs: Sequence[Value | None]) -> list[Value]:
        """Walk over the nodes of a function of the file, in place of its call."""
        arguments = {each.name: each for each in node.attribute}
        arguments = {**{each.name: each for each in function.attribute_proto}, **arguments}
        values: Values = {name: value for name, value in zip(function.input, inputs) if value is not None}
        body = onnx.FunctionProto()
        for each in function.node:
            body.node.add().CopyFrom(each)
            _fill(body.node[-1], arguments, 0)
        outer, outer_path = self.rules, self.inside
        opsets = {("" if each.domain == "ai.onnx" else each.domain): each.version for each in function.opset_import}
        self.rules = ShapeRules({**outer.opsets, **opsets}, self.bounded)
        name = printable(node.name or node.op_type)[:80].strip("/").replace("/", ".")
        self.inside = f"{outer_path}.{name}" if outer_path else name
        try:
            return self.graph(body, values, names=function.output)
        finally:
            self.rules, self.inside = outer, outer_path

    def _if(self, call: Call, values: Values) -> list[Value]:
        """Walk over the branch that runs; over both where that is not known. Weights of both are stored."""
        node = call.node
        condition = call.inputs[0].numbers if call.inputs[0] is not None else None
        branches = {name: call.attributes[name] for name in ("then_branch", "else_branch")}
        if condition is None:
            self._tell(
                f"an input decides which branch of {node_name(node)} runs; both are counted: totals are at most these"
            )
            found = [self._body(branch, ChainMap({}, values)) for branch in branches.values()]
            return [_joined(first, second) for first, second in zip(*found)]
        chosen = "then_branch" if bool(numpy.ravel(condition)[0]) else "else_branch"
        other = next(name for name in branches if name != chosen)
        with self._not_run(node, other):
            self._body(branches[other], ChainMap({}, values))
        return self._body(branches[chosen], ChainMap({}, values))

    def _body(self, graph: Any, values: Values) -> list[Value]:
        return self.graph(graph, values, names=[each.name for each in graph.output])

    @contextmanager
    def _not_run(self, node: Any, what: str) -> Iterator[None]:
        """Keep of the layers that are added only the tensors that they own, in one row."""
        builder = self.builder
        first = len(builder.nodes)
        told, bounded, unsized = list(self.notes), set(self.bounded), dict(self.unsized)
        depth = self.depth
        try:
            yield
        except WalkError:
            self.depth = depth  # what does not run need not fit
        self.notes[:] = told
        self.unsized = unsized
        self.bounded.intersection_update(bounded)
        owned = [each for each in self.constants if each.owner is not None and each.owner >= first]
        builder.forget(first)
        for each in owned:
            each.owner, each.kind = None, "unused"
        label = label_of(node, [], False, self.scopes, self.inside)
        uses = [(each, Role.WEIGHT if each.kind_as(Role.WEIGHT) else Role.DATA) for each in owned]
        builder.idle(label._replace(function=f"{label.function}.{what}", exact=""), uses)


def _fill(node: Any, arguments: Mapping[str, Any], depth: int) -> None:
    """Put the arguments of a call in place of the references to them, in subgraphs too."""
    for place in reversed(range(len(node.attribute))):
        attribute = node.attribute[place]
        if attribute.ref_attr_name:
            value = arguments.get(attribute.ref_attr_name)
            name = attribute.name
            del node.attribute[place]
            if value is not None:
                added = node.attribute.add()
                added.CopyFrom(value)
                added.name = name
        elif attribute.HasField("g") and depth < MAX_CALLS:
            for inner in attribute.g.node:
                _fill(inner, arguments, depth + 1)


def _joined(first: Value, second: Value) -> Value:
    """Return the result of a branch that may be either; the larger one, where they differ."""
    result = first if second.shape is None or (first.shape is not None and first.size >= second.size) else second
    edge = result.edge if result.edge is not None else first.edge or second.edge
    sources = (*first.sources, *second.sources)
    return replace(result, edge=edge, known=None, tensor=None, sources=() if edge is not None else sources)


def _check_functions(walk: ModelWalk) -> None:
    """Refuse functions that call each other without end, or so often that the model has too many nodes."""
    sizes: dict[tuple[str, str], int] = {}
    own = {key: function.node for key, function in walk.functions.items()}

    def size(nodes: Any, depth: int) -> int:
        if depth > MAX_CALLS:
            raise WalkError(f"its functions call each other more than {MAX_CALLS} deep")
        total = 0
        for node in nodes:
            key = ("" if node.domain == "ai.onnx" else node.domain, node.op_type)
            if key in own and key not in sizes:
                sizes[key] = size(own[key], depth + 1)
            total += sizes.get(key, 1)
            total += sum(size(each.g.node, depth + 1) for each in node.attribute if each.HasField("g"))
        return total

    if not walk.functions:
        return
    written = len(walk.model.graph.node) + sum(map(len, own.values()))
    most = min(MAX_STEPS, max(MAX_EXPANDED, MOST_OFTEN * written))
    if size(walk.model.graph.node, 0) > most:
        raise WalkError(f"it has more than {most:,} nodes, those of functions and loops each time")


def walked(walk: ModelWalk, values: Values) -> list[Value]:
    """Walk over the model's graph and return its outputs; raises SourceError."""
    graph = walk.model.graph
    try:
        _check_functions(walk)
        return walk.graph(graph, values, names=[each.name for each in graph.output])
    except WalkError as error:
        raise SourceError(f"{walk.source}: {error}") from None
    except RecursionError:
        raise SourceError(f"{walk.source}: its functions and subgraphs are nested too deep") from None

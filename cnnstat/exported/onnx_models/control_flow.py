"""Control flow of ONNX graphs: branches, loops, scans, and functions of the file in place of their calls."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy
import onnx

from cnnstat.errors import SourceError, printable
from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.graph_walk import MAX_CALLS, MAX_STEPS, GraphWalk, Values, WalkError, node_name
from cnnstat.exported.onnx_models.node_names import label_of
from cnnstat.exported.onnx_models.node_shapes import ShapeRules
from cnnstat.exported.onnx_models.operations.moves import selected
from cnnstat.exported.onnx_models.values import Value, of_array
from cnnstat.exported.stored_tensors import Role
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Shape
from cnnstat.ops.join import Stack

MAX_UNROLLED = 20_000
"""Most nodes that loops are unrolled to, all together; what comes behind is counted from one turn."""


@dataclass(eq=False)
class ModelWalk(GraphWalk):
    """A walk that follows branches, loops and functions too; unrolled: nodes of the loops that were unrolled."""

    unrolled: int = 0

    def _by_parts(
        self, node: Any, domain: str, attributes: Mapping[str, Any], inputs: list[Value | None], values: Values
    ) -> list[Value] | None:
        if (domain, node.op_type) in self.functions:
            return self._function(node, self.functions[domain, node.op_type], attributes, inputs)
        if domain:
            return None
        if node.op_type == "If":
            return self._if(node, attributes, inputs, values)
        if node.op_type == "Loop":
            return self._loop(node, attributes, inputs, values)
        return self._scan(node, attributes, inputs, values) if node.op_type == "Scan" else None

    def _function(
        self, node: Any, function: Any, attributes: Mapping[str, Any], inputs: list[Value | None]
    ) -> list[Value]:
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

    def _if(self, node: Any, attributes: Mapping[str, Any], inputs: list[Value | None], values: Values) -> list[Value]:
        """Walk over the branch that runs; over both where that is not known. Weights of both are stored."""
        condition = inputs[0].numbers if inputs[0] is not None else None
        branches = {name: attributes[name] for name in ("then_branch", "else_branch")}
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

    def _loop(
        self, node: Any, attributes: Mapping[str, Any], inputs: list[Value | None], values: Values
    ) -> list[Value]:
        """Walk over the turns of a loop, or over the first for all of them."""
        body = attributes["body"]
        most, condition = inputs[0], inputs[1]
        count = None if most is None or most.numbers is None else int(numpy.ravel(most.numbers)[0])
        is_started = condition is None or (condition.numbers is not None and bool(numpy.ravel(condition.numbers)[0]))
        if condition is not None and condition.numbers is not None and not is_started:
            count = 0
        carried: list[Value] = [_need(value) for value in inputs[2:]]
        size = _count(body)
        if count is None:
            self._tell(f"how often {node_name(node)} runs is known only when it runs; its body is counted once")
            return self._one_turn(node, body, carried, values, None)
        if count < 0 or not self._may_unroll(count * max(1, size)):
            return self._one_turn(node, body, carried, values, max(count, 0))
        scanned: list[list[Value]] = [[] for _ in body.output[1 + len(carried) :]]
        goes_on: Value | None = condition if condition is not None else of_array(numpy.array(True))
        for turn in range(count):
            inner: Values = ChainMap({}, values)
            for declared, value in zip(body.input, (of_array(numpy.array(turn)), goes_on, *carried)):
                inner[declared.name] = value if value is not None else Value(9, ())
            goes_on, *results = self._body(body, inner)
            carried, parts = results[: len(carried)], results[len(carried) :]
            for values_so_far, part in zip(scanned, parts):
                values_so_far.append(part)
            if goes_on.numbers is not None and not bool(numpy.ravel(goes_on.numbers)[0]):
                break
            if goes_on.numbers is None:
                self._tell(
                    f"numbers decide when {node_name(node)} ends; all turns are counted: totals are at most these"
                )
        return [*carried, *(self._stacked(node, parts) for parts in scanned)]

    def _may_unroll(self, nodes: int) -> bool:
        """Whether a loop may be unrolled to so many nodes; all loops together have one allowance."""
        if self.unrolled + nodes > MAX_UNROLLED:
            return False
        self.unrolled += nodes
        return True

    def _one_turn(self, node: Any, body: Any, carried: list[Value], values: Values, count: int | None) -> list[Value]:
        """Walk over one turn of a loop whose work counts `count` times; None for unknown, which counts once."""
        inner: Values = ChainMap({}, values)
        unknown = (Value(7, ()), Value(9, ()), *(replace(value, known=None, tensor=None) for value in carried))
        inner.update((declared.name, value) for declared, value in zip(body.input, unknown))
        with self._repeated(1 if count is None else count):
            _, *results = self._body(body, inner)
        carried_on = results[: len(carried)]
        for before, after in zip(carried, carried_on):
            after.known = after.tensor = None
            if before.shape != after.shape:
                after.shape = None
        turns = 1 if count is None else count
        stacked = []
        for part in results[len(carried) :]:
            shape = None if part.shape is None else (turns, *part.shape)
            stacked.append(replace(part, shape=shape, known=None, tensor=None, _type=None))
        return [*carried_on, *stacked]

    @contextmanager
    def _repeated(self, count: int) -> Iterator[None]:
        builder = self.builder
        before = builder.repeats
        builder.repeats = before * count
        try:
            yield
        finally:
            builder.repeats = before

    def _stacked(self, node: Any, parts: list[Value], axis: int = 0) -> Value:
        """Return what a loop collects of its turns: an axis for the turns, by a layer that puts them together."""
        if not parts:
            return Value(1, None)
        first = parts[0]
        shapes = {part.shape for part in parts}
        if first.shape is None or len(shapes) != 1:
            return replace(first, shape=None, known=None, tensor=None, _type=None)
        axis %= len(first.shape) + 1
        shape = (*first.shape[:axis], len(parts), *first.shape[axis:])
        result = Value(first.element_type, shape)
        if all(part.numbers is not None for part in parts):
            result.known = numpy.stack([part.numbers for part in parts], axis)
        if any(part.edge is not None for part in parts):
            result.edge = Edge(self._put_together(node, parts, shape, axis), 0)
        return result

    def _put_together(self, node: Any, parts: list[Value], shape: Shape, axis: int) -> int:
        label = label_of(node, [], False, self.scopes, self.inside)._replace(function="stack")
        reads = tuple(map(self._as_counted, parts))
        return self.builder.emit(label, Match(Stack(axis), reads), (), (shape,), (self._dtype(parts[0]),))

    def _scan(
        self, node: Any, attributes: Mapping[str, Any], inputs: list[Value | None], values: Values
    ) -> list[Value]:
        """Walk over the steps of a scan; those of opset 8 have a batch in front and are not followed."""
        if self.rules.opset < 9:
            return self._operation(node, "", {}, inputs)
        body, scans = attributes["body"], attributes["num_scan_inputs"]
        count = len(inputs) - scans
        carried, sequences = [_need(v) for v in inputs[:count]], [_need(v) for v in inputs[count:]]
        axes = attributes.get("scan_input_axes") or [0] * scans
        places = attributes.get("scan_output_axes") or [0] * (len(body.output) - count)
        steps = {sequence.shape[axis] for sequence, axis in zip(sequences, axes) if sequence.shape is not None}
        if len(steps) != 1 or any(sequence.shape is None for sequence in sequences):
            raise self._failed(node, "its sequences have different lengths, or none that is known")
        (turns,) = steps
        if not turns or not self._may_unroll(turns * max(1, _count(body))):
            return self._one_scan(node, body, carried, sequences, axes, values, turns)
        scanned: list[list[Value]] = [[] for _ in body.output[count:]]
        for turn in range(turns):
            inner: Values = ChainMap({}, values)
            taken = [self._taken(node, sequence, axis, turn) for sequence, axis in zip(sequences, axes)]
            inner.update((declared.name, value) for declared, value in zip(body.input, (*carried, *taken)))
            results = self._body(body, inner)
            carried = results[:count]
            for values_so_far, part in zip(scanned, results[count:]):
                values_so_far.append(part)
        return [*carried, *(self._stacked(node, parts, axis) for parts, axis in zip(scanned, places))]

    def _taken(self, node: Any, sequence: Value, axis: int, turn: int) -> Value:
        """Return what one step reads of a sequence."""
        assert sequence.shape is not None
        axis %= len(sequence.shape)
        shape = (*sequence.shape[:axis], *sequence.shape[axis + 1 :])
        result = Value(sequence.element_type, shape, sources=sequence.sources)
        if sequence.numbers is not None:
            result.known = sequence.numbers.take(turn, axis)
        if sequence.edge is not None:
            label = label_of(node, [], False, self.scopes, self.inside)._replace(function="select")
            match = Match(selected(sequence.shape, axis, turn), (self._as_counted(sequence),))
            result.edge = Edge(self.builder.emit(label, match, (), (shape,), (self._dtype(sequence),)), 0)
        return result

    def _one_scan(
        self,
        node: Any,
        body: Any,
        carried: list[Value],
        sequences: list[Value],
        axes: Sequence[int],
        values: Values,
        turns: int,
    ) -> list[Value]:
        """Walk over one step of a scan whose work counts for all of them."""
        inner: Values = ChainMap({}, values)
        taken = []
        for sequence, axis in zip(sequences, axes):
            value = self._taken(node, sequence, axis, 0)
            value.known = value.tensor = None
            taken.append(value)
        unknown = [replace(value, known=None, tensor=None) for value in carried]
        inner.update((declared.name, value) for declared, value in zip(body.input, (*unknown, *taken)))
        with self._repeated(turns):
            results = self._body(body, inner)
        count = len(carried)
        stacked = []
        for part in results[count:]:
            shape = None if part.shape is None else (turns, *part.shape)
            stacked.append(replace(part, shape=shape, known=None, tensor=None, _type=None))
        return [*results[:count], *stacked]


def _need(value: Value | None) -> Value:
    if value is None:
        raise WalkError("a loop is given less than it carries")
    return value


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


def _count(graph: Any) -> int:
    """Return the nodes of a graph, those of subgraphs too."""
    return sum(1 + sum(_count(a.g) for a in node.attribute if a.HasField("g")) for node in graph.node)


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

    if walk.functions and size(walk.model.graph.node, 0) > MAX_STEPS:
        raise WalkError(f"it has more than {MAX_STEPS:,} nodes, those of functions and loops each time")


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

"""Loops and scans of ONNX graphs: turn by turn, or one turn for all where there would be too many nodes."""

from __future__ import annotations

from abc import abstractmethod
from collections import ChainMap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy

from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import Call
from cnnstat.exported.onnx_models.graph_walk import GraphWalk, Values, WalkError, node_name
from cnnstat.exported.onnx_models.node_names import label_of
from cnnstat.exported.onnx_models.operations.moves import selected
from cnnstat.exported.onnx_models.values import Value, of_array
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Family, Shape
from cnnstat.ops.join import Stack
from cnnstat.ops.traced import Recorded

MAX_UNROLLED = 20_000
"""Most nodes that loops are unrolled to, all together; what comes behind is counted from one turn."""


@dataclass(eq=False)
class LoopWalk(GraphWalk):
    """A walk that follows loops too; unrolled: nodes of the loops that were unrolled."""

    unrolled: int = 0

    @abstractmethod
    def _body(self, graph: Any, values: Values) -> list[Value]:
        """Walk over a subgraph and return its outputs."""

    def _loop(self, call: Call, values: Values) -> list[Value]:
        """Walk over the turns of a loop, or over the first for all of them."""
        node, inputs, body = call.node, call.inputs, call.attributes["body"]
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
        goes_on = condition if condition is not None else of_array(numpy.array(True))
        for turn in range(count):
            goes_on, *results = self._turn(body, values, (of_array(numpy.array(turn)), goes_on, *carried))
            carried, parts = results[: len(carried)], results[len(carried) :]
            for values_so_far, part in zip(scanned, parts):
                values_so_far.append(part)
            if goes_on.numbers is not None and not bool(numpy.ravel(goes_on.numbers)[0]):
                break
            if goes_on.numbers is None:
                self._tell_end(node)
        return [*carried, *(self._stacked(node, parts) for parts in scanned)]

    def _turn(self, body: Any, values: Values, given: Iterable[Value]) -> list[Value]:
        """Walk over the body of a loop once; given: what its inputs are in this turn."""
        own = {declared.name: value for declared, value in zip(body.input, given)}
        return self._body(body, ChainMap(own, values))

    def _tell_end(self, node: Any) -> None:
        self._tell(f"numbers decide when {node_name(node)} ends; all turns are counted: totals are at most these")

    def _may_unroll(self, nodes: int) -> bool:
        """Whether a loop may be unrolled to so many nodes; all loops together have one allowance."""
        if self.unrolled + nodes > MAX_UNROLLED:
            return False
        self.unrolled += nodes
        return True

    def _one_turn(self, node: Any, body: Any, carried: list[Value], values: Values, count: int | None) -> list[Value]:
        """Walk over one turn of a loop whose work counts `count` times; None for unknown, which counts once."""
        goes_on = Value(9, ())
        with self._repeated(1 if count is None else count):
            ends, *results = self._turn(body, values, (Value(7, ()), goes_on, *map(_unknown, carried)))
        is_endless = ends is goes_on or (ends.numbers is not None and bool(numpy.ravel(ends.numbers)[0]))
        if count is not None and not is_endless:
            self._tell_end(node)
        carried_on = results[: len(carried)]
        for before, after in zip(carried, carried_on):
            after.known = after.tensor = None
            if before.shape != after.shape:
                after.shape = None
                self._tell(f"sizes change from turn to turn in {node_name(node)}; every turn is counted as the first")
        turns = 1 if count is None else count
        return [*carried_on, *(self._with_turns(node, part, turns, 0) for part in results[len(carried) :])]

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

    def _with_turns(self, node: Any, part: Value, turns: int, axis: int) -> Value:
        """Return what all turns collect of a part, of which one turn was walked over."""
        if part.shape is None:
            return replace(part, known=None, tensor=None, _type=None)
        axis %= len(part.shape) + 1
        shape = (*part.shape[:axis], turns, *part.shape[axis:])
        result = Value(part.element_type, shape, sources=part.sources)
        if part.edge is not None:
            label = label_of(node, [], False, self.scopes, self.inside)._replace(function="stack")
            op = Recorded(function="stack", outputs=(shape,), family=Family.LAYOUT)
            match = Match(op, (self._as_counted(part),))
            result.edge = Edge(self.builder.emit(label, match, (), (shape,), (self._dtype(part),)), 0)
        return result

    def _put_together(self, node: Any, parts: list[Value], shape: Shape, axis: int) -> int:
        label = label_of(node, [], False, self.scopes, self.inside)._replace(function="stack")
        reads = tuple(map(self._as_counted, parts))
        return self.builder.emit(label, Match(Stack(axis), reads), (), (shape,), (self._dtype(parts[0]),))

    def _scan(self, call: Call, values: Values) -> list[Value]:
        """Walk over the steps of a scan; those of opset 8 have a batch in front and are not followed."""
        if self.rules.opset < 9:
            return self._operation(replace(call, attributes={}))
        node, inputs, attributes = call.node, call.inputs, call.attributes
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
            taken = [_unknown(self._taken(node, sequence, axis, 0)) for sequence, axis in zip(sequences, axes)]
            return self._one_step(node, body, carried, taken, values, turns, places)
        scanned: list[list[Value]] = [[] for _ in body.output[count:]]
        for turn in range(turns):
            taken = [self._taken(node, sequence, axis, turn) for sequence, axis in zip(sequences, axes)]
            results = self._turn(body, values, (*carried, *taken))
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

    def _one_step(
        self,
        node: Any,
        body: Any,
        carried: list[Value],
        taken: list[Value],
        values: Values,
        turns: int,
        places: Sequence[int],
    ) -> list[Value]:
        """Walk over one step of a scan whose work counts for all of them; taken: what it reads of the sequences."""
        with self._repeated(turns):
            results = self._turn(body, values, (*map(_unknown, carried), *taken))
        count = len(carried)
        if any(before.shape != after.shape for before, after in zip(carried, results)):
            self._tell(f"sizes change from step to step in {node_name(node)}; every step is counted as the first")
        stacked = [self._with_turns(node, part, turns, axis) for part, axis in zip(results[count:], places)]
        return [*results[:count], *stacked]


def _unknown(value: Value) -> Value:
    """Return a value whose numbers differ from turn to turn."""
    return replace(value, known=None, tensor=None)


def _need(value: Value | None) -> Value:
    if value is None:
        raise WalkError("a loop is given less than it carries")
    return value


def _count(graph: Any) -> int:
    """Return the nodes of a graph, those of subgraphs too."""
    return sum(1 + sum(_count(a.g) for a in node.attribute if a.HasField("g")) for node in graph.node)

"""Shapes: the size and dtype of every tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cnnstat.errors import OpError, Problem, SpecError
from cnnstat.ir.graph import Graph, Node, collector_paused, dtype_bytes
from cnnstat.ir.op import Op, Saved, Shape, Shapes, numel, shape_text
from cnnstat.ir.window import IDENTITY, Reads

MAX_ELEMENTS = 2**62
"""Most elements of one tensor; beyond that sizes in bytes no longer fit what tensor libraries can address."""

MAX_AXES = 64
"""Most axes of one tensor, as in PyTorch."""
MAX_OUTPUTS = 10_000
"""Most tensors that one op makes."""
MAX_TENSORS = 1_000_000
"""Most tensors that all ops together make."""
MAX_REMEMBERED = 8192
"""Most ops on shapes whose facets are remembered, some 20 MB of them; a network has some dozens of different ones."""
MAX_TENSORS_REMEMBERED = 100
"""Most weights and outputs of an op that is remembered."""
MAX_WEIGHTS = 1_000_000
"""Most weight tensors of one graph; recurrent layers have several for each of their own layers."""

_NO_TENSORS: Mapping[str, Shape] = {}


class OpFacets:
    """The facets of an op on inputs of given shapes; equal ops on equal shapes are one object, wherever they stand.

    outputs: shapes of what it makes. weights, frozen, buffers: the learnable tensors with their shapes, those of them
    that are never learnt, and what is stored but not learnt; params, frozen_params and buffer_elements count their
    elements. macs: multiply-accumulates; other_flops: operations beyond 2 × MACs, by kind.
    by_dtype: what the passes remember of it for models of a dtype. Raises OpError where the op refuses the shapes.
    """

    __slots__ = (
        "_is_pointwise", "_reads", "_saved", "buffer_elements", "buffers", "by_dtype", "elements", "frozen",
        "frozen_params", "inputs", "macs", "op", "other_flops", "outputs", "params", "weights",
    )  # fmt: skip

    def __init__(self, op: Op, inputs: Shapes) -> None:
        self.op = op
        self.inputs = inputs
        self.outputs = outputs = _checked_outputs(op, inputs)
        self.weights = op.weights(inputs)
        self.frozen = {n: shape for n, shape in self.weights.items() if n in op.frozen} if op.frozen else _NO_TENSORS
        self.buffers = op.buffers(inputs)
        self.params = sum(map(numel, self.weights.values()))
        self.frozen_params = sum(map(numel, self.frozen.values()))
        self.buffer_elements = sum(map(numel, self.buffers.values()))
        self.macs = op.macs(inputs, outputs)
        self.other_flops = op.other_flops(inputs, outputs)
        self.elements = tuple(map(numel, outputs))
        self.by_dtype: dict[str, Any] = {}
        self._saved: dict[tuple[tuple[bool, ...], bool], Saved] = {}
        self._reads: tuple[Reads, ...] | None = None
        self._is_pointwise: bool | None = None

    @property
    def largest_weight(self) -> str | None:
        """The name of the weight with most elements; None where there is no weight."""
        return max(self.weights, key=lambda name: numel(self.weights[name]), default=None)

    @property
    def is_pointwise(self) -> bool:
        """Whether it makes one output of one input, each element of the one at the same place."""
        if self._is_pointwise is None:
            reads = self.reads() if len(self.inputs) == len(self.outputs) == 1 and self.inputs == self.outputs else ()
            same = tuple([(axis, IDENTITY) for axis in range(len(self.outputs[0]))]) if reads else ()
            self._is_pointwise = bool(reads) and type(reads[0]) is tuple and reads[0] == same
        return self._is_pointwise

    def reads(self, output: int = 0) -> tuple[Reads, ...]:
        """Return how the axes of an output read those of each input."""
        if output:
            return self.op.window(self.inputs, self.outputs, output)
        if self._reads is None:
            self._reads = self.op.window(self.inputs, self.outputs)
        return self._reads

    def saved_for(self, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return what training keeps, where these inputs need a gradient and its own weights are learnt or not."""
        key = (needs, learns)
        if key not in self._saved:
            self._saved[key] = self.op.saved_for(self.inputs, self.outputs, needs, learns)
        return self._saved[key]


_remembered: dict[tuple[Op, Shapes], OpFacets] = {}


def facets(op: Op, inputs: Shapes) -> OpFacets:
    """Return the facets of an op on inputs of these shapes; raises OpError where it refuses them."""
    if not op.has_equals:
        return OpFacets(op, inputs)
    try:
        known = _remembered.get((op, inputs))
    except TypeError:  # an argument that has no hash
        return OpFacets(op, inputs)
    if known is None:
        known = OpFacets(op, inputs)
        if len(known.weights) + len(known.outputs) <= MAX_TENSORS_REMEMBERED:
            if len(_remembered) >= MAX_REMEMBERED:
                _remembered.clear()
            _remembered[op, inputs] = known
    return known


class FacetsOfGraph:
    """The facets of the ops of one graph: a spec makes equal ops one object, and hashing all arguments costs more."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Shapes], tuple[Op, OpFacets]] = {}

    def of(self, op: Op, inputs: Shapes) -> OpFacets:
        """Return the facets of an op on inputs of these shapes; raises OpError where it refuses them."""
        place = (id(op), inputs)
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = (op, facets(op, inputs))
        return known[1]


def _checked_outputs(op: Op, shapes: Shapes) -> Shapes:
    check_input_count(op, len(shapes))
    outputs = op_outputs(op, shapes)
    if len(outputs) > MAX_OUTPUTS:
        raise OpError(f"it has {len(outputs):,} outputs; use at most {MAX_OUTPUTS:,}")
    for shape in outputs:
        if len(shape) > MAX_AXES:
            raise OpError(f"its output has {len(shape)} axes; use at most {MAX_AXES}")
        if math.prod(shape) > MAX_ELEMENTS:
            raise OpError(f"its output has more than 2^62 elements ({shape_text(shape)}); make it smaller")
    return outputs


@dataclass(frozen=True)
class Values:
    """The tensors of a graph, one entry for each value (the inputs, then the nodes).

    outputs: shapes of the tensors a value consists of.
    dtypes: their dtypes.
    inputs: for each *node*, the shapes it reads.
    facets: for each node, what its op has and does on these shapes.
    """

    outputs: tuple[Shapes, ...]
    dtypes: tuple[tuple[str, ...], ...]
    inputs: tuple[Shapes, ...]
    facets: tuple[OpFacets, ...] = field(repr=False, compare=False)

    @cached_property
    def bytes(self) -> tuple[tuple[int, ...], ...]:
        """The bytes of the tensors of each value."""
        arity = len(self.outputs) - len(self.facets)
        elements = [*(tuple(map(numel, shapes)) for shapes in self.outputs[:arity]), *(f.elements for f in self.facets)]
        return tuple(
            [
                tuple([count * dtype_bytes(dtype) for count, dtype in zip(counts, dtypes)])
                for counts, dtypes in zip(elements, self.dtypes)
            ]
        )


@collector_paused()
def infer_shapes(graph: Graph) -> Values:
    """Return the shape and dtype of every tensor.

    Raises SpecError with one problem for every node whose op refuses its inputs; nodes behind such a node are left out.
    """
    outputs: list[Shapes | None] = [(i.shape,) for i in graph.inputs]
    dtypes: list[tuple[str, ...]] = [(i.dtype,) for i in graph.inputs]
    facets_of_nodes: list[OpFacets] = []
    problems: list[Problem] = []
    known = FacetsOfGraph()
    tensors = weights = 0
    for node in graph.nodes:
        each = _node_facets(node, outputs, problems, known)
        if each is None:
            outputs.append(None)
            dtypes.append(())
            continue
        facets_of_nodes.append(each)
        outputs.append(each.outputs)
        read = tuple([dtypes[v][o] for v, o in node.inputs])
        dtypes.append(node.op.dtypes(read, graph.dtype, len(each.outputs)))
        tensors += len(each.outputs)
        weights += len(each.weights) if node.shares is None else 0
        if tensors > MAX_TENSORS or weights > MAX_WEIGHTS:
            what = f"{MAX_TENSORS:,} outputs together; use fewer pieces"
            what = f"{MAX_WEIGHTS:,} weight tensors together; use fewer" if weights > MAX_WEIGHTS else what
            message = f"by here the layers have more than {what}"
            raise SpecError([*problems, Problem(node.location, f"{node.name} ({node.op.kind}): {message}")])
    problems.extend(_result_problems(graph, outputs))
    if not problems:  # behind a refused layer shapes are unknown, and the weights that they ask for too
        problems.extend(_sharing_problems(graph, facets_of_nodes))
    if problems:
        raise SpecError(problems)
    inputs = tuple([each.inputs for each in facets_of_nodes])
    return Values(tuple([o for o in outputs if o is not None]), tuple(dtypes), inputs, tuple(facets_of_nodes))


def _result_problems(graph: Graph, outputs: list[Shapes | None]) -> list[Problem]:
    """Return the faults of the network's results: outputs of layers that have fewer."""
    problems = []
    for value, output in graph.outputs:
        shapes = outputs[value]
        if shapes is not None and output >= len(shapes):
            place = graph.nodes[value - graph.arity].location if value >= graph.arity else None
            message = (
                f"output: asks for [{output}] of {graph.value_name(value)}, which has {len(shapes)}; the first is [0]"
            )
            problems.append(Problem(place, message))
    return problems


def node_outputs(node: Node, outputs: list[Shapes | None], problems: list[Problem]) -> Shapes | None:
    """Return the shapes that a node makes, by those of the values before it.

    None stands for what cannot be found out; why is added to `problems`, unless it follows from an earlier fault.
    """
    found = _node_facets(node, outputs, problems, FacetsOfGraph())
    return None if found is None else found.outputs


def _node_facets(
    node: Node, outputs: list[Shapes | None], problems: list[Problem], known: FacetsOfGraph
) -> OpFacets | None:
    """Return the facets of a node's op on what it reads."""
    shapes = _inputs(node, outputs, problems)
    if shapes is None:
        return None
    try:
        return known.of(node.op, shapes)
    except OpError as error:
        # Messages of ops begin with the argument to change, as in `groups=3 does not divide 64`.
        argument = str(error).partition("=")[0]
        place = node.location and node.location.argument(argument)
        problems.append(Problem(place, f"{node.name} ({node.op.kind}): {error}"))
        return None


def _inputs(node: Node, outputs: list[Shapes | None], problems: list[Problem]) -> Shapes | None:
    """Return the shapes a node reads, or None if one of them could not be found out."""
    shapes = []
    for value, output in node.inputs:
        source = outputs[value]
        if source is None:
            return None
        if output >= len(source):
            message = f"reads output [{output}] of a layer that has {len(source)}; the first is [0]"
            problems.append(Problem(node.location, f"{node.name} ({node.op.kind}): {message}"))
            return None
        shapes.append(source[output])
    return tuple(shapes)


def op_outputs(op: Op, shapes: Shapes) -> Shapes:
    """Return the output shapes of an op.

    Tensors without axes or elements, which only opaque calls make, are refused by ops that cannot do with them.
    """
    if () not in shapes and not any(0 in shape for shape in shapes):
        return op.output(shapes)
    try:
        outputs = op.output(shapes)
        if outputs:
            op.weights(shapes)
            # Every rule is tried now: sizes of 0 would raise a ZeroDivisionError in whichever pass asks first.
            for facet in (op.window, op.macs, op.other_flops, op.saved, op.formulas):
                facet(shapes, outputs)
            return outputs
    except (ArithmeticError, LookupError, ValueError):
        pass
    sizes = ", ".join(shape_text(shape) or "no axes" for shape in shapes)
    raise OpError(f"cannot take a tensor of {sizes}; every size must be at least 1")


def _sharing_problems(graph: Graph, facets_of_nodes: list[OpFacets]) -> list[Problem]:
    """Return a problem for every layer that shares weights of another shape than it needs."""
    problems = []
    for index, node in enumerate(graph.nodes):
        if node.shares is None:
            continue
        owner = graph.nodes[node.shares]
        theirs, own = facets_of_nodes[node.shares].weights, facets_of_nodes[index].weights
        if dict(theirs) != dict(own):
            message = f"cannot share the weights of {owner.name}: it needs {_listed(own)}, not {_listed(theirs)}"
            problems.append(Problem(node.location, f"{node.name} ({node.op.kind}): {message}"))
    return problems


def _listed(weights: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {shape_text(shape)}" for name, shape in weights.items()) or "none"


def check_input_count(op: Op, count: int) -> None:
    """Raise OpError unless the op takes `count` input tensors."""
    fewest, most = op.input_count
    if count >= fewest and (most is None or count <= most):
        return
    wanted = f"{fewest}" if most == fewest else f"at least {fewest}" if most is None else f"{fewest} to {most}"
    raise OpError(f"takes {wanted} input tensor{'s' * (wanted != '1')}, but gets {count}; change from:")

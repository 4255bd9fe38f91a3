"""Shapes: the size and dtype of every tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnnstat.errors import OpError, Problem, SpecError
from cnnstat.ir.graph import Graph, Node, collector_paused
from cnnstat.ir.op import Op, Shape, Shapes, shape_text

MAX_ELEMENTS = 2**62
"""Most elements of one tensor; beyond that sizes in bytes no longer fit what tensor libraries can address."""

MAX_AXES = 64
"""Most axes of one tensor, as in PyTorch."""
MAX_OUTPUTS = 10_000
"""Most tensors that one op makes."""
MAX_TENSORS = 1_000_000
"""Most tensors that all ops together make."""


@dataclass(frozen=True, slots=True)
class Values:
    """The tensors of a graph, one entry for each value (the inputs, then the nodes).

    outputs: shapes of the tensors a value consists of.
    dtypes: their dtypes.
    inputs: for each *node*, the shapes it reads.
    """

    outputs: tuple[Shapes, ...]
    dtypes: tuple[tuple[str, ...], ...]
    inputs: tuple[Shapes, ...]


@collector_paused()
def infer_shapes(graph: Graph) -> Values:
    """Return the shape and dtype of every tensor.

    Raises SpecError with one problem for every node whose op refuses its inputs; nodes behind such a node are left out.
    """
    outputs: list[Shapes | None] = [(i.shape,) for i in graph.inputs]
    dtypes: list[tuple[str, ...]] = [(i.dtype,) for i in graph.inputs]
    inputs: list[Shapes] = []
    problems: list[Problem] = []
    count = 0
    for node in graph.nodes:
        shapes, node_outputs = node_shapes(node, outputs, problems)
        if shapes is not None and node_outputs is not None:
            dtypes.append(node.op.dtypes(tuple(dtypes[v][o] for v, o in node.inputs), graph.dtype, len(node_outputs)))
        else:
            dtypes.append(())
        inputs.append(shapes or ())
        outputs.append(node_outputs)
        count += len(node_outputs or ())
        if count > MAX_TENSORS:
            message = f"by here the layers have more than {MAX_TENSORS:,} outputs together; use fewer pieces"
            raise SpecError([*problems, Problem(node.location, f"{node.name} ({node.op.kind}): {message}")])
    problems.extend(_result_problems(graph, outputs))
    if not problems:  # behind a refused layer shapes are unknown, and the weights that they ask for too
        problems.extend(_sharing_problems(graph, inputs))
    if problems:
        raise SpecError(problems)
    return Values(tuple(o for o in outputs if o is not None), tuple(dtypes), tuple(inputs))


def _result_problems(graph: Graph, outputs: list[Shapes | None]) -> list[Problem]:
    """Return the faults of the network's results: outputs of layers that have fewer."""
    problems = []
    for value, output in graph.outputs:
        made = outputs[value]
        if made is not None and output >= len(made):
            place = graph.nodes[value - graph.arity].location if value >= graph.arity else None
            message = (
                f"output: asks for [{output}] of {graph.value_name(value)}, which has {len(made)}; the first is [0]"
            )
            problems.append(Problem(place, message))
    return problems


def node_shapes(
    node: Node, outputs: list[Shapes | None], problems: list[Problem]
) -> tuple[Shapes | None, Shapes | None]:
    """Return the shapes that a node reads and makes, by those of the values before it.

    None stands for what cannot be found out; why is added to `problems`, unless it follows from an earlier fault.
    """
    shapes = _inputs(node, outputs, problems)
    return shapes, None if shapes is None else _outputs(node, shapes, problems)


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


def _outputs(node: Node, shapes: Shapes, problems: list[Problem]) -> Shapes | None:
    """Return the shapes a node makes, or None after noting why its op refuses its inputs."""
    try:
        check_input_count(node.op, len(shapes))
        outputs = op_outputs(node.op, shapes)
        if len(outputs) > MAX_OUTPUTS:
            raise OpError(f"it has {len(outputs):,} outputs; use at most {MAX_OUTPUTS:,}")
        for shape in outputs:
            if len(shape) > MAX_AXES:
                raise OpError(f"its output has {len(shape)} axes; use at most {MAX_AXES}")
            if math.prod(shape) > MAX_ELEMENTS:
                raise OpError(f"its output has more than 2^62 elements ({shape_text(shape)}); make it smaller")
    except OpError as error:
        # Messages of ops begin with the argument to change, as in `groups=3 does not divide 64`.
        argument = str(error).partition("=")[0]
        place = node.location and node.location.argument(argument)
        problems.append(Problem(place, f"{node.name} ({node.op.kind}): {error}"))
        return None
    return outputs


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


def _sharing_problems(graph: Graph, inputs: list[Shapes]) -> list[Problem]:
    """Return a problem for every layer that shares weights of another shape than it needs."""
    problems = []
    for index, node in enumerate(graph.nodes):
        if node.shares is None:
            continue
        owner = graph.nodes[node.shares]
        theirs, own = owner.op.weights(inputs[node.shares]), node.op.weights(inputs[index])
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

"""Lint: structures that are legal but seldom meant."""

from __future__ import annotations

from collections import Counter

from cnnstat.analysis.shapes import Values
from cnnstat.ir.graph import Edge, Graph, Node
from cnnstat.ir.op import Family, Linearity, Storage, numel, shape_text


def lint(graph: Graph, values: Values) -> tuple[str, ...]:
    """Return one line for each suspicious place, what is written first, then what follows from it."""
    readers = Counter(edge.value for node in graph.nodes for edge in node.inputs)
    readers.update(edge.value for edge in graph.outputs)
    return (
        *_channels_last(graph, values),
        *_second_readings(graph, values),
        *_linear_on_maps(graph, values),
        *_linear_pairs(graph, values, readers),
        *_unused(graph, values, readers),
    )


_IMAGES = (Family.CONVOLUTION, Family.POOLING)
_CHANNELS = (1, 3, 4)
"""Channels of images: grey, colour, colour with transparency."""


def _channels_last(graph: Graph, values: Values) -> tuple[str, ...]:
    """Return the images that a spec seems to give as height × width × channels."""
    lines = []
    for index, each in enumerate(graph.inputs):
        first = next((node for node in graph.nodes if Edge(index) in node.inputs), None)
        if first is None or first.location is None or first.op.family not in _IMAGES or len(each.shape) != 4:
            continue
        _, channels, height, width = each.shape
        if width in _CHANNELS and min(channels, height) > 16:
            written = f"{channels}×{height}×{width}"
            lines.append(
                f"input {each.name} is {written}: {channels} channels of {height}×{width}; if that is height × width × "
                f"channels, write [{width}, {channels}, {height}]"
            )
    return tuple(lines)


def _second_readings(graph: Graph, values: Values) -> tuple[str, ...]:
    """Return the layers of a spec whose arguments may be in another order than meant."""
    written = ((i, node) for i, node in enumerate(graph.nodes) if node.location is not None)
    readings = ((node.name, node.op.second_reading(values.inputs[i])) for i, node in written)
    return tuple(f"{name}: {reading}" for name, reading in readings if reading)


_KEEPS_MAPS = (Family.ACTIVATION, Family.NORMALIZATION, Family.OTHER, Family.ELEMENTWISE)


def _linear_on_maps(graph: Graph, values: Values) -> tuple[str, ...]:
    """Return the linear layers that read a feature map row by row, as nothing flattens it before them."""
    lines = []
    for index, node in enumerate(graph.nodes):
        if node.op.family is not Family.LINEAR or len(node.inputs) != 1:
            continue
        shape, before = values.inputs[index][0], _map_before(graph, node)
        if before is None or len(shape) < 3:
            continue
        sizes, output_sizes = shape_text(shape[1:]), shape_text(values.outputs[graph.arity + index][0][1:])
        lines.append(
            f"{node.name} reads the {sizes} of {before.name} row by row, {shape[-1]} numbers at once, and gives "
            f"{output_sizes}; for a layer that sees all of it, put Flatten before it"
        )
    return tuple(lines)


def _map_before(graph: Graph, node: Node) -> Node | None:
    """Return the convolution or pool whose map reaches a node as it is."""
    while len(node.inputs) == 1 and node.inputs[0].value >= graph.arity:
        node = graph.nodes[node.inputs[0].value - graph.arity]
        if node.op.family in _IMAGES:
            return node
        if node.op.family not in _KEEPS_MAPS:
            return None
    return None


def _linear_pairs(graph: Graph, values: Values, readers: Counter[int]) -> tuple[str, ...]:
    """Return the pairs of dense linear maps with nothing non-linear between them.

    A middle narrower than both ends is a low-rank factorization (MobileNetV2's linear bottleneck) and left out, and so
    is a layer that runs more than once: it cannot be merged with what stands before one of its calls.
    """
    warnings = []
    again = {node.shares for node in graph.nodes} | {i for i, node in enumerate(graph.nodes) if node.shares is not None}
    for index, node in enumerate(graph.nodes):
        first = _dense_before(graph, node, readers) if node.op.linearity is Linearity.DENSE else None
        if first is None or graph.nodes[first].op.family is not node.op.family or {first, index} & again:
            continue
        start, middle = values.inputs[first][0], values.inputs[index][0]
        end = values.outputs[graph.arity + index][0]
        axis = node.op.feature_axis
        if middle[axis] >= min(start[axis], end[axis]):
            names = f"{graph.nodes[first].name} and {node.name}"
            warnings.append(f"{names} have nothing non-linear between them: together they are one layer")
    return tuple(warnings)


def _dense_before(graph: Graph, node: Node, readers: Counter[int]) -> int | None:
    """Return the node whose dense linear map feeds `node` through affine layers only, read by nothing else."""
    while len(node.inputs) == 1 and node.inputs[0].value >= graph.arity and readers[node.inputs[0].value] == 1:
        index = node.inputs[0].value - graph.arity
        node = graph.nodes[index]
        if node.op.linearity is Linearity.DENSE:
            return index
        if node.op.linearity is not Linearity.AFFINE:
            return None
    return None


def _unused(graph: Graph, values: Values, readers: Counter[int]) -> tuple[str, ...]:
    """Return the layers whose result is neither read nor an output; rows that make nothing have none.

    A view costs nothing: if nothing reads it, the layer it shows part of is named, unless others read that one. A
    product of constants is no layer of the network's graph: what reads it reads a constant.
    """
    left = Counter(readers)
    names = []
    for index in range(len(graph.nodes) - 1, -1, -1):
        node, value = graph.nodes[index], graph.arity + index
        is_constant = not node.inputs and not node.op.weights(())
        if left[value] or is_constant or not any(map(numel, values.outputs[value])):
            continue
        source = node.inputs[0].value if node.inputs else 0
        if node.op.storage is Storage.VIEW and source >= graph.arity:
            left[source] -= 1
        else:
            names.append(node.name)
    return tuple(f"nothing reads the output of {name}" for name in reversed(names))

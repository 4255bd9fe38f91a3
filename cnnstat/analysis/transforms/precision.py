"""Precision: the dtypes of a network that is shipped in float32, float16 or int8.

int8 follows the quantization specification of TFLite (ai.google.dev/edge/litert/conversion/tensorflow/quantization):
weights are int8 with a scale for each output channel and no zero point, biases int32, activations int8 with one scale
and one zero point a tensor. Zero points are of the type of the values that they belong to (Jacob et al. 2018,
arXiv:1712.05877).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cnnstat.analysis.shapes import Values
from cnnstat.errors import RequestError
from cnnstat.ir.graph import Graph, Node, dtype_bytes
from cnnstat.ir.op import Family, Int8, Op, Shape, Shapes, Storage

SCALE_BYTES = dtype_bytes("float32")
ZERO_POINT_BYTES = dtype_bytes("int8")

_COMPLEX = {"float32": "complex64"}
"""The complex dtype of a precision, where there is one."""


def in_precision(graph: Graph, values: Values, precision: str) -> tuple[Graph, Values]:
    """Return the graph in a precision, and its tensors; raises RequestError for a layer that cannot have it."""

    def convert(dtype: str) -> str:
        if dtype.startswith("complex"):
            return _COMPLEX[precision]
        return precision if dtype.startswith(("float", "bfloat")) else dtype

    _check_complex(graph, values, precision)
    is_int8 = precision == "int8"
    nodes = []
    for node, shapes in zip(graph.nodes, values.inputs):
        op = (node.op if not is_int8 else _without_scales(node)).with_dtypes(convert)
        converted = {name: convert(dtype) for name, dtype in node.dtypes.items()} if node.dtypes else node.dtypes
        dtypes = _int8_dtypes(node, shapes) if is_int8 else converted
        if op is not node.op or dtypes != node.dtypes:
            node = replace(node, op=op, dtypes=dtypes)
        nodes.append(node)
    assert graph.deployment is not None
    in_float = [node.name for node in nodes if node.op.int8 in (Int8.FLOAT, Int8.MIXED)] if is_int8 else []
    shipped = replace(
        graph,
        dtype=convert(graph.dtype),
        inputs=tuple(replace(each, dtype=convert(each.dtype)) for each in graph.inputs),
        nodes=tuple(nodes),
        deployment=replace(graph.deployment, precision=precision, in_float=tuple(in_float), bare=graph),
    )
    return shipped, replace(values, dtypes=tuple(tuple(map(convert, dtypes)) for dtypes in values.dtypes))


def _check_complex(graph: Graph, values: Values, precision: str) -> None:
    """Raise RequestError for the first layer that makes or has complex numbers where a precision has none."""
    if precision in _COMPLEX:
        return
    for value, dtypes in enumerate(values.dtypes):
        node = graph.nodes[value - graph.arity] if value >= graph.arity else None
        if any(dtype.startswith("complex") for dtype in (*dtypes, *(node.dtypes.values() if node else ()))):
            what = f"{graph.value_name(value)} ({node.op.kind if node else 'an input'})"
            raise RequestError(
                f"--deploy {precision}: {what} has complex numbers, which {precision} does not; write --deploy float32"
            )


_SCALES = ("scale", "zero_point")


def _without_scales(node: Node) -> Op:
    """Return a node's op without the scales that a model stores beside weights that are integers already."""
    if not any(dtype in ("int8", "uint8") for dtype in node.dtypes.values()):
        return node.op
    return node.op.without(lambda name: name.rpartition(".")[2] in _SCALES)


def _int8_dtypes(node: Node, inputs: Shapes) -> Mapping[str, str]:
    """Return the dtypes of a node's tensors that are not int8; integers stay what they are."""
    integers = {name: dtype for name, dtype in node.dtypes.items() if not dtype.startswith(("float", "bfloat"))}
    if node.op.int8 is Int8.FLOAT:
        return {"": "float32", **integers}
    biases = (name for name, shape in node.op.weights(inputs).items() if is_bias(name, shape))
    return {**dict.fromkeys(biases, "int32"), **integers}


def is_bias(name: str, shape: Shape) -> bool:
    """Whether a weight is added to sums of products, which are int32."""
    return "bias" in name.rpartition(".")[2] and len(shape) == 1


def quantization_bytes(graph: Graph, nodes: Sequence[Node], values: Values) -> int:
    """Return the bytes of the scales and zero points of a network in int8.

    A weight has one scale, or one for each channel of the output. A tensor has a scale and a zero point, unless its
    layer keeps those of its input, or is an activation that is done where the layer before it puts its output.
    nodes: those of the graph, with what they write over.
    """
    scales, tensors = 0, sum(each.dtype == "int8" for each in graph.inputs)
    for index, node in enumerate(nodes):
        value, kind = graph.arity + index, node.op.int8
        if node.shares is None and kind is not Int8.FLOAT:
            shapes = node.op.weights(values.inputs[index])
            weights = [name for name in shapes if node.dtype_of(name, graph.dtype) == "int8"]
            channels = values.outputs[value][0][node.op.feature_axis] if node.op.scales_by_channel else 1
            scales += channels * len(weights)
        is_fused = node.overwrites is not None and node.op.family is Family.ACTIVATION
        if kind is not Int8.SAME_SCALE and not is_fused and node.op.storage is not Storage.VIEW:
            tensors += sum(dtype in ("int8", "uint8") for dtype in values.dtypes[value])
    return scales * SCALE_BYTES + tensors * (SCALE_BYTES + ZERO_POINT_BYTES)

"""Precision: the dtypes of a network that is shipped in float32, float16 or int8.

int8 follows the quantization specification of TFLite (ai.google.dev/edge/litert/conversion/tensorflow/quantization):
weights are int8 with a scale for each output channel and no zero point, biases int32, activations int8 with one scale
and one zero point a tensor. Zero points are of the type of the values that they belong to (Jacob et al. 2018,
arXiv:1712.05877).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cnnstat.analysis.shapes import OpFacets, Values
from cnnstat.errors import RequestError
from cnnstat.ir.graph import Graph, Input, Node, dtype_bytes
from cnnstat.ir.op import Family, Int8, Op, Shape, Storage

SCALE_BYTES = dtype_bytes("float32")
ZERO_POINT_BYTES = dtype_bytes("int8")

_COMPLEX = {"float32": "complex64"}
"""The complex dtype of a precision, where there is one."""


class Conversion:
    """What a precision makes of dtypes and ops."""

    def __init__(self, precision: str) -> None:
        self.is_int8 = precision == "int8"
        self._precision = precision
        self._key = f"deployed in {precision}"
        self._lists: dict[tuple[str, ...], tuple[str, ...]] = {}

    def dtype(self, dtype: str) -> str:
        """Return a dtype in the precision; whole numbers stay what they are."""
        if _is_complex(dtype):
            return _COMPLEX[self._precision]
        return self._precision if dtype.startswith(("float", "bfloat")) else dtype

    def dtypes(self, dtypes: tuple[str, ...]) -> tuple[str, ...]:
        """Return several dtypes in the precision."""
        if dtypes not in self._lists:
            self._lists[dtypes] = tuple(map(self.dtype, dtypes))
        return self._lists[dtypes]

    def input(self, declared: Input) -> Input:
        """Return an input in the precision."""
        return replace(declared, dtype=self.dtype(declared.dtype))

    def changes(self, own: Mapping[str, str], op: Op, facets: OpFacets) -> Mapping[str, Any]:
        """Return what changes of a node; own: the dtypes of its tensors by name; facets: those of its op."""
        if own:
            return self._changes(own, op, facets)
        known: Mapping[str, Any] | None = facets.by_dtype.get(self._key)
        if known is None:
            known = facets.by_dtype[self._key] = self._changes(own, op, facets)
        return known

    def _changes(self, own: Mapping[str, str], op: Op, facets: OpFacets) -> Mapping[str, Any]:
        if self.is_int8 and any(dtype in ("int8", "uint8") for dtype in own.values()):
            op = op.without_scales()
        changed = op.with_dtypes(self.dtype)
        if not self.is_int8:
            return {"op": changed, "dtypes": {name: self.dtype(dtype) for name, dtype in own.items()}}
        integers = {name: dtype for name, dtype in own.items() if not dtype.startswith(("float", "bfloat"))}
        if op.int8 is Int8.FLOAT:
            return {"op": changed, "dtypes": {"": "float32", **integers}}
        biases = (name for name, shape in facets.weights.items() if is_bias(name, shape))
        return {"op": changed, "dtypes": {**dict.fromkeys(biases, "int32"), **integers}}


def check_complex(graph: Graph, values: Values, precision: str) -> None:
    """Raise RequestError for the first layer that makes or has complex numbers where a precision has none."""
    if precision in _COMPLEX:
        return
    own = [node.dtypes for node in graph.nodes if node.dtypes]
    there = {dtype for dtypes in (*set(values.dtypes), *(each.values() for each in own)) for dtype in dtypes}
    if not any(map(_is_complex, there)):
        return
    for value, dtypes in enumerate(values.dtypes):
        node = graph.nodes[value - graph.arity] if value >= graph.arity else None
        if any(map(_is_complex, (*dtypes, *(node.dtypes.values() if node else ())))):
            what = f"{graph.value_name(value)} ({node.op.kind if node else 'an input'})"
            raise RequestError(
                f"--deploy {precision}: {what} has complex numbers, which {precision} does not; write --deploy float32"
            )


def _is_complex(dtype: str) -> bool:
    return dtype.startswith("complex")


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
    for value, node in enumerate(nodes, graph.arity):
        facets = values.facets[value - graph.arity]
        known = facets.by_dtype.get("scales")
        if known is None:
            known = facets.by_dtype["scales"] = _scales(facets)
        channels, has_own, is_activation = known
        if channels and node.shares is None and "" not in node.dtypes:
            scales += channels * [node.dtypes.get(name, "int8") for name in facets.weights].count("int8")
        if has_own and not (is_activation and node.storage is Storage.IN_PLACE):
            dtypes = values.dtypes[value]
            tensors += dtypes.count("int8") + dtypes.count("uint8")
    return scales * SCALE_BYTES + tensors * (SCALE_BYTES + ZERO_POINT_BYTES)


def _scales(facets: OpFacets) -> tuple[int, bool, bool]:
    """Return the scales of one weight, whether what an op makes has a scale of its own, and if it is an activation."""
    op = facets.op
    by_channel = facets.outputs[0][op.feature_axis] if op.scales_by_channel else 1
    has_own = op.int8 is not Int8.SAME_SCALE and op.storage is not Storage.VIEW
    return by_channel if facets.weights else 0, has_own, op.family is Family.ACTIVATION

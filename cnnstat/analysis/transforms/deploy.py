"""Deploy: the network that is shipped, made of the one that is written.

Batch norm is folded, what inference passes through is gone, tensors have the dtype that is shipped, and element-wise
ops work in place. Passes see a graph like any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from cnnstat.analysis.memory import lifetimes
from cnnstat.analysis.shapes import OpFacets, Values, infer_shapes
from cnnstat.analysis.transforms.folding import folded
from cnnstat.analysis.transforms.precision import Conversion, check_complex, quantization_bytes
from cnnstat.choices import Precision
from cnnstat.errors import RequestError, did_you_mean
from cnnstat.ir.graph import Graph, Node, collector_paused
from cnnstat.ir.op import Family, Storage
from cnnstat.ir.window import IDENTITY, Reads

NOT_COUNTED = (
    "scratch of kernels (im2col, CMSIS-NN), alignment of weights, the description of the graph, the runtime itself, "
    "and the float32 copies that layers without an int8 kernel make"
)
"""What no figure of a deployed network has in it."""


def check_precision(precision: str) -> None:
    """Raise RequestError where there is no such precision."""
    known = get_args(Precision)
    if precision not in known:
        hint = did_you_mean(str(precision), known) or f"; write {', '.join(known[:-1])} or {known[-1]}"
        raise RequestError(f"--deploy {str(precision)[:60]}: networks are not deployed in it here{hint}")


@collector_paused()
def deploy(graph: Graph, precision: str) -> Graph:
    """Return the network as it is shipped in `float32`, `float16` or `int8`.

    Raises RequestError where there is no such precision, where a layer cannot have it, or where the graph is deployed
    in another one already; SpecError where an op refuses its inputs. Takes time linear in the graph.
    """
    check_precision(precision)
    if graph.deployment is not None:
        if graph.deployment.precision == precision:
            return graph
        raise RequestError(f"--deploy {precision}: {graph.name} is deployed in {graph.deployment.precision} already")
    values = infer_shapes(graph)
    check_complex(graph, values, precision)
    shipped, shipped_values = folded(graph, values, precision, Conversion(precision))
    nodes = in_place(shipped, shipped_values)
    scales = quantization_bytes(shipped, nodes, shipped_values) if precision == "int8" else shipped.quantization_bytes
    about = shipped.about
    if paths := about.get("other_paths"):
        about = {**about, "other_paths": tuple(deploy(path, precision) for path in paths)}
    return replace(shipped, nodes=nodes, about=about, quantization_bytes=scales)


_ELEMENT_WISE = (Family.ACTIVATION, Family.ELEMENTWISE, Family.NORMALIZATION)
"""The families whose ops may take an input's place; whether one does follows from how it reads."""


def in_place(graph: Graph, values: Values) -> tuple[Node, ...]:
    """Return the nodes, of which activations, residual additions and gates write over an input of their output's size.

    The input must have no later reader and be no result of the network, and each element of the output must read the
    input at its own place only. The first such input is taken.
    """
    lives = lifetimes(graph, values.bytes)
    storages, last = lives.storages, lives.last
    nodes = list(graph.nodes)
    for index, node in enumerate(nodes):
        facets = values.facets[index]
        if node.op.family not in _ELEMENT_WISE or len(facets.outputs) != 1 or node.storage is not Storage.FRESH:
            continue
        # What is overwritten earlier only makes a storage that ends there live on under another number.
        read = [storages.of(edge) for edge in node.inputs]
        size = storages.bytes[storages.made_by(graph.arity + index)[0]]
        free = [last[storage] == index and storages.bytes[storage] == size for storage in read]
        if True not in free:
            continue
        number = 0 if facets.is_pointwise else _overwritten(node, facets, read, free)
        if number is not None:
            nodes[index] = node.changed({"overwrites": number})
    return tuple(nodes)


def _overwritten(node: Node, facets: OpFacets, storages: list[int], free: list[bool]) -> int | None:
    """Return the number of the first free input that each output element reads at its own place only."""
    reads, shapes = facets.reads(), facets.inputs
    for number, edge in enumerate(node.inputs):
        # Another view of the same storage may be read at another place after that place is written.
        is_alone = all(edge == other or storages[number] != storage for other, storage in zip(node.inputs, storages))
        if free[number] and is_alone and shapes[number] == facets.outputs[0] and _is_own_place(reads[number]):
            return number
    return None


def _is_own_place(reads: Reads) -> bool:
    return all(entry == (axis, IDENTITY) for axis, entry in enumerate(reads))

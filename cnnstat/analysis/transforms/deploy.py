"""Deploy: the network that is shipped, made of the one that is written.

Batch norm is folded, what inference passes through is gone, tensors have the dtype that is shipped, and element-wise
ops work in place. Passes see a graph like any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from cnnstat.analysis.shapes import infer_shapes
from cnnstat.analysis.transforms.folding import folded
from cnnstat.analysis.transforms.in_place import in_place
from cnnstat.analysis.transforms.precision import in_precision, quantization_bytes
from cnnstat.choices import Precision
from cnnstat.errors import RequestError, did_you_mean
from cnnstat.ir.graph import Graph, collector_paused

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
    # Figures of papers and measures of a training pass are of the network as it is written.
    about = {key: value for key, value in graph.about.items() if key != "published"}
    if paths := about.get("other_paths"):
        about["other_paths"] = tuple(deploy(path, precision) for path in paths)
    bare, bare_values = folded(graph, values, about)
    shipped, shipped_values = in_precision(bare, bare_values, precision)
    nodes = in_place(shipped, shipped_values)
    scales = quantization_bytes(shipped, nodes, shipped_values) if precision == "int8" else shipped.quantization_bytes
    return replace(shipped, nodes=nodes, quantization_bytes=scales)

"""Specs: a graph as YAML or JSON text, read back before it is handed out."""

from __future__ import annotations

from collections.abc import Callable

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.errors import CnnstatError
from cnnstat.export.document import Document, document_of
from cnnstat.ir.graph import Graph
from cnnstat.spec.load import parse_spec

Render = Callable[[Document], str]


def spec_text(graph: Graph, render: Render) -> str:
    """Return a spec that analyzes to the figures of a graph, which is made sure of by reading it.

    Blocks are written out where calling them would not mean the same. Raises CnnstatError that names the first layer
    whose figures no spec can have, SpecError where an op of the graph refuses its inputs.
    """
    wanted = analyze_graph(graph)
    said = ""
    for with_blocks in (True, False):
        document = document_of(graph, with_blocks=with_blocks)
        text = render(document)
        try:
            said = _difference(wanted, analyze_graph(parse_spec(text, file="<export>")))
        except CnnstatError as error:
            said = str(error).partition("\n")[0]
        if not said:
            return text
    raise CnnstatError(f"{graph.name} cannot be written as a spec that means the same: {said}")


def _difference(wanted: Analysis, found: Analysis) -> str:
    """Return what two analyses do not agree in, names of layers apart; an empty text if nothing."""
    if len(wanted.layers) != len(found.layers):
        return f"it has {len(found.layers)} layers instead of {len(wanted.layers)}"
    for one, other in zip(wanted.layers, found.layers):
        for figure in (
            "input_shapes",
            "output_shapes",
            "params",
            "trainable_params",
            "buffers",
            "macs",
            "flops",
            "output_bytes",
            "receptive_field",
        ):
            if getattr(one, figure) != getattr(other, figure):
                return f"{figure} of {one.name} ({one.op.kind})"
    if wanted.memory != found.memory:
        return "its memory"
    return "" if wanted.graph.outputs == found.graph.outputs else "what it returns"

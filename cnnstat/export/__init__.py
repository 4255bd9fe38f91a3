"""Export: any layer graph as a spec that people read, or as a PyTorch file that stands alone."""

from __future__ import annotations

from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.ir.graph import Graph
from cnnstat.version import __version__

FORMATS = {"yaml": (".yaml", ".yml"), "json": (".json",), "torch": (".py",), "model-explorer": ()}
"""What a graph can be exported to, with the endings of such files."""


def export_graph(graph: Graph, to: str) -> str:
    """Return a graph as text; `to` is one of FORMATS.

    Raises CnnstatError for another format and for a layer that the format cannot have.
    """
    if to not in FORMATS:
        hint = did_you_mean(to, FORMATS) or f"; use one of {', '.join(FORMATS)}"
        raise CnnstatError(f"there is no format called {to[:60]} to export to{hint}")
    if to == "torch":
        if graph.deployment is not None and graph.deployment.precision == "int8":
            raise CnnstatError("--to torch: PyTorch has no modules with weights of int8; deploy in float32 or float16")
        if reason := graph.about.get("unrepeated"):
            raise CnnstatError(f"{graph.name}: {reason}; export it to yaml instead")
        from cnnstat.export.pytorch import torch_text

        return torch_text(graph, _title(graph))
    if to == "model-explorer":
        from cnnstat.analysis.analysis import analyze_graph
        from cnnstat.draw.formats.model_explorer import node_data

        return node_data(analyze_graph(graph))
    from cnnstat.export.spec_text import json_text, spec_text, yaml_text

    return spec_text(graph, json_text if to == "json" else lambda document: yaml_text(document, _title(graph)))


def _title(graph: Graph) -> str:
    source = f" from {graph.source}" if graph.source else ""
    return f"Exported by cnnstat {__version__}{source}"


def format_of(ending: str) -> str | None:
    """Return the format of files with an ending, None if there is none."""
    return next((name for name, endings in FORMATS.items() if ending.lower() in endings), None)

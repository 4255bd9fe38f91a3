"""Model Explorer's custom node data: one figure for each layer, by the layer's name.

The form is that of `ai_edge_model_explorer.node_data_builder`: graphs by id, results by node, and a gradient.
"""

from __future__ import annotations

import json

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw.drawing import Drawing
from cnnstat.draw.shares import Shares

GRAPH = "main"
"""What Model Explorer calls the graph of a model that has only one."""
GRADIENT = (("#ffffff", "#1b1f24"), ("#0072b2", "#ffffff"))
"""Colours of nodes and of their text, for the smallest and for the largest figure."""


def render(drawing: Drawing) -> str:
    """Return what the bars of a drawing show, MACs without bars; raises CnnstatError where it is no graph."""
    return node_data(drawing.scene().analysis, drawing.picture.shares)


def node_data(analysis: Analysis, shares: Shares | None = None) -> str:
    """Return a figure of each layer as JSON; MACs unless others are given."""
    shares = shares or Shares("MACs", analysis.work.macs)
    results = {node.name: {"value": value} for node, value in zip(analysis.graph.nodes, shares.values)}
    gradient = [{"stop": stop, "bgColor": paper, "textColor": ink} for stop, (paper, ink) in enumerate(GRADIENT)]
    return json.dumps({GRAPH: {"name": shares.name, "results": results, "gradient": gradient}}, indent=1) + "\n"

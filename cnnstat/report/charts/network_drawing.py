"""Network drawings: those of the networks that a document is about, for pages and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from cnnstat.analysis.analysis import Analysis
from cnnstat.choices import DrawShare
from cnnstat.draw import draw_analysis
from cnnstat.errors import CnnstatError
from cnnstat.report.document import NetworkDrawing

MOST_UNFOLDED = 300
"""Layers beyond which a drawing of every layer helps nobody to find one."""


def network_drawings(
    analyses: Mapping[str, Analysis], times: Mapping[str, float] | None = None
) -> dict[str, NetworkDrawing]:
    """Return the drawings of networks; those that are too large to be drawn are left out.

    analyses: the networks by heading; times: measured seconds by layer, shown in the boxes instead of MACs.
    """
    drawings = {}
    for heading, analysis in analyses.items():
        with suppress(CnnstatError):
            by: DrawShare = "time" if times else "macs"
            svg = str(draw_analysis(analysis, by=by, times=times))
            is_short = len(analyses) == 1 and len(analysis.graph.nodes) <= MOST_UNFOLDED
            full = str(draw_analysis(analysis, by=by, times=times, full=True)) if is_short else ""
            drawings[heading] = NetworkDrawing(svg, full if full != svg else "")
    return drawings

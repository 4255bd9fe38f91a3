"""Network drawings: those of the networks that a document is about, for pages and notebooks."""

from __future__ import annotations

from collections.abc import Iterable

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw import draw_analysis
from cnnstat.errors import CnnstatError


def network_drawings(analyses: Iterable[Analysis]) -> dict[str, str]:
    """Return a drawing of each network as SVG, by name; those that are too large to be drawn are left out."""
    drawings = {}
    for analysis in analyses:
        try:
            drawings[analysis.graph.name] = str(draw_analysis(analysis, by="macs"))
        except CnnstatError:
            continue
    return drawings

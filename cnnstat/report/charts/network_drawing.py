"""Network drawings: those of the networks that a document is about, for pages and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw import draw_analysis
from cnnstat.errors import CnnstatError


def network_drawings(analyses: Mapping[str, Analysis], times: Mapping[str, float] | None = None) -> dict[str, str]:
    """Return the drawings of networks as SVG; those that are too large to be drawn are left out.

    analyses: the networks by heading; times: measured seconds by layer, shown in the boxes instead of MACs.
    """
    drawings = {}
    for heading, analysis in analyses.items():
        with suppress(CnnstatError):
            drawings[heading] = str(draw_analysis(analysis, by="time" if times else "macs", times=times))
    return drawings

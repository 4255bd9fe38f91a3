"""Drawings as geometry: every layer in one box, no overlaps, no edge through a box, no text that leaves its box."""

from __future__ import annotations

from typing import Any

import pytest
from drawings import Drawing, faults_of

import cnnstat
from cnnstat.draw import draw_analysis
from cnnstat.sources import zoo

FOLDINGS: tuple[dict[str, Any], ...] = (
    {}, {"by": "macs"}, {"full": True}, {"depth": 1}, {"depth": 2, "by": "params"}, {"depth": 4},
)  # fmt: skip


@pytest.mark.parametrize("name", zoo.names())
def test_drawings_of_the_zoo_are_sound(name: str) -> None:
    analysis = cnnstat.analyze(name)
    for folding in FOLDINGS:
        assert faults_of(draw_analysis(analysis, **folding), analysis.graph) == [], folding
        edges = Drawing(draw_analysis(analysis, **folding)).edges()
        assert all(a == c or b == d for edge in edges for (a, b), (c, d) in zip(edge, edge[1:])), folding
    assert faults_of(draw_analysis(analysis, style="volumes"), analysis.graph) == []
    assert faults_of(draw_analysis(analysis, style="volumes", depth=1), analysis.graph) == []
    assert len(Drawing(draw_analysis(analysis)).boxes) <= 30
    assert len(Drawing(draw_analysis(analysis, full=True)).boxes) == len(analysis.graph.nodes)

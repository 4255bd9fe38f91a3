"""Drawings of random networks with branches, several inputs and outputs are as sound as those of real ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drawings import faults_of
from graph_strategy import graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.draw import draw_analysis, page_layout
from cnnstat.draw.page_columns import columns_of


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(), st.data())
def test_random_networks_are_drawn_soundly(graph: cnnstat.Graph, data: st.DataObject) -> None:
    # Names in blocks of any depth, as modules have them.
    names = [
        ".".join([*data.draw(st.lists(st.sampled_from("abc"), max_size=3)), f"layer{index}"])
        for index in range(len(graph.nodes))
    ]
    graph = replace(graph, nodes=tuple(replace(node, name=name) for node, name in zip(graph.nodes, names)))
    analysis = analyze_graph(graph)
    tallest = data.draw(st.sampled_from([80.0, 250.0, 900.0]))
    with pytest.MonkeyPatch.context() as patch:
        # Low pages have many columns, between which routes run through gutters and above all columns.
        patch.setattr(
            page_layout,
            "columns_of",
            lambda block, heights, page: columns_of(block, heights, replace(page, tallest=tallest)),
        )
        for options in ({}, {"full": True}, {"depth": 1}, {"depth": 2, "by": "params"}, {"style": "volumes"}):
            assert faults_of(draw_analysis(analysis, **options), graph) == [], options  # type: ignore[arg-type]

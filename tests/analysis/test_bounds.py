"""Graphs made to take long: their analysis ends soon, with an answer that is still true or a readable error."""

from __future__ import annotations

import pytest
from computing_time import ends_soon

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.analysis.receptive_field.fields import Extent
from cnnstat.errors import SpecError
from cnnstat.ir.window import transposed
from cnnstat.spec.spec_graph import parse_spec


def analyzed(text: str) -> Analysis:
    """Return the analysis of a spec; fail if it takes too long."""
    with ends_soon():
        analysis = analyze_graph(parse_spec(text))
    assert len(analysis.layers) == len(analysis.graph.nodes)
    return analysis


def test_a_few_long_periods_are_followed_exactly() -> None:
    sizes = "".join(f"  - AdaptiveAvgPool2d({size})\n" for size in (4095, 4094, 4093))
    analysis = analyzed(f"input: [1, 4096, 4096]\nlayers:\n{sizes}")
    field = analysis.totals.receptive_field
    assert field is not None and field.size[0] >= 3


def test_thousands_of_long_periods_are_not_followed() -> None:
    pools = "[AdaptiveAvgPool2d(4095 - i), AdaptiveAvgPool2d(4096)]"
    analysis = analyzed(f"input: [1, 4096, 4096]\nlayers:\n- repeat: 100\n  as: i\n  layers: {pools}\n")
    assert analysis.layers[-1].receptive_field is None
    assert analysis.fields.extent(analysis.graph.arity + 199) is Extent.NOT_FOLLOWED


def test_weight_tensors_are_bounded() -> None:
    lstm = "LSTM(4, num_layers=1000)"
    graph = parse_spec(f"input: [5, 4]\nlayers:\n- repeat: 1000\n  layers: ['{lstm}']\n")
    with (
        ends_soon(),
        pytest.raises(SpecError, match="<text>:4:12: lstm251 .* more than 1,000,000 weight tensors together"),
    ):
        analyze_graph(graph)


def test_long_strides_with_long_kernels_are_solved_and_not_searched_for() -> None:
    with ends_soon():
        for dilation in range(1, 100):
            transposed(5000, 4096, 7, dilation)

"""Variants of a spec that is read once: the same graphs as of specs that are read anew, whatever came before."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.errors import RequestError, SpecError
from cnnstat.ir.graph import Graph
from cnnstat.sources import zoo
from cnnstat.sources.request import Request
from cnnstat.spec.spec_graph import parse_spec, read_spec

SPEC = """
input: [3, 32, 32]
let: {width: 8, depth: 1, kernel: 3, act: ReLU, widths: "[width, 2 * width]", is_plain: false, copies: 1}
blocks:
  unit(c, k, n=depth):
    - repeat: n
      as: i
      layers: [{"conv{i}": "Conv2d(c, k, padding=k // 2, bias=is_plain)"}, {"act{i}": act, if: i + 1 < n}]
  gate(n): [{repeat: n, layers: [Sigmoid]}]
  seldom(c): [{repeat: copies, as: i, layers: [unit(c, 1, i)]}]
  broken(c): [Conv2d(c, 3, stride=0)]
layers:
  - repeat: widths
    as: c
    layers: [unit(c, kernel)]
  - {if: copies > 1, then: [seldom(width)], else: [BatchNorm2d]}
  - {if: copies == 7, then: [broken(3)]}
  - Linear(in_channels)
"""
ACTIVATIONS = ("ReLU", "LeakyReLU(0.1)", "gate(5)")
VALUES = {"width": (4, 8), "depth": (1, 3), "kernel": (1, 3), "act": ACTIVATIONS, "is_plain": ("true", "false"),
          "copies": (1, 2, 4)}  # fmt: skip


def whole(graph: Graph) -> tuple[object, ...]:
    """Return all that a graph is, the places of its layers too."""
    return graph.inputs, graph.nodes, graph.outputs, dict(graph.blocks), [str(node.location) for node in graph.nodes]


def of(values) -> Request:
    return Request(variables={name: str(value) for name, value in values.items()})


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text(SPEC, encoding="utf-8")
    return file


def test_in_any_order(path) -> None:
    variants = [dict(zip(VALUES, values)) for values in product(*VALUES.values())]
    random.Random(0).shuffle(variants)
    for variant in variants:
        graph = read_spec(path, of(variant), zoo.find)
        anew = parse_spec(SPEC, of(variant), file=str(path))
        assert whole(graph) == whole(anew), variant
        assert analyze_graph(graph).totals == analyze_graph(anew).totals


@pytest.mark.parametrize("name", zoo.names())
def test_networks_of_the_zoo(name) -> None:
    text = zoo.path(name).read_text(encoding="utf-8")
    anew = parse_spec(text, Request(batch=3), file=f"{name}.yaml", find=zoo.find)
    for _ in range(2):
        graph = read_spec(zoo.path(name), Request(batch=3), zoo.find, file=f"{name}.yaml")
        assert (graph.nodes, graph.outputs, graph.about) == (anew.nodes, anew.outputs, anew.about)


def test_a_fault_of_one_variant_is_not_that_of_the_next(path) -> None:
    for _ in range(2):
        assert len(read_spec(path, of({}), zoo.find).nodes) == 4
        with pytest.raises(SpecError, match="stride=0") as first:
            read_spec(path, of({"copies": 7}), zoo.find)
        with pytest.raises(SpecError) as second:
            read_spec(path, of({"copies": 7}), zoo.find)
        assert str(first.value) == str(second.value)
        with pytest.raises(RequestError, match="widht"):
            read_spec(path, of({"widht": 7}), zoo.find)


def test_a_variant_that_is_too_large_is_refused_behind_small_ones(path) -> None:
    for number in (1, 2, 3):
        read_spec(path, of({"depth": number}), zoo.find)
    with pytest.raises(SpecError, match="more than 120,000 layers"):
        read_spec(path, of({"depth": 100_000}), zoo.find)


def test_a_changed_file_is_read_anew(path, tmp_path) -> None:
    heir = tmp_path / "heir.yaml"
    heir.write_text("extends: net.yaml\n", encoding="utf-8")
    assert analyze_graph(read_spec(heir, of({}), zoo.find)).totals.layers == 4
    path.write_text(SPEC + "  - ReLU\n", encoding="utf-8")
    assert analyze_graph(read_spec(heir, of({}), zoo.find)).totals.layers == 5
    heir.write_text("extends: net.yaml\nlet: {depth: 2}\n", encoding="utf-8")
    assert analyze_graph(read_spec(heir, of({}), zoo.find)).totals.layers == 9


def test_threads_do_not_share_what_they_work_on(path) -> None:
    variants = [dict(zip(VALUES, values)) for values in product(*VALUES.values())][:72]
    expected = [whole(parse_spec(SPEC, of(variant), file=str(path))) for variant in variants]
    with ThreadPoolExecutor(8) as pool:
        graphs = pool.map(lambda variant: whole(read_spec(path, of(variant), zoo.find)), variants)
        assert list(graphs) == expected


def test_layers_that_variants_have_in_common_are_made_and_measured_once() -> None:
    path = zoo.path("resnet50")
    first, second = (
        analyze_graph(read_spec(path, of({"classes": classes}), zoo.find, file="resnet50.yaml")) for classes in (10, 20)
    )
    assert all(a is b for a, b in zip(first.graph.nodes[:-1], second.graph.nodes[:-1]))
    assert all(a is b for a, b in zip(first.values.facets[:-1], second.values.facets[:-1]))
    assert len({id(facets) for facets in first.values.facets}) < len(first.graph.nodes) / 2
    assert first.totals.params - second.totals.params == -10 * 2049

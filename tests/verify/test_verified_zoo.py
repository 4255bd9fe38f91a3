"""The whole zoo is verified: counts, parameters, shapes and receptive fields."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import cnnstat
from cnnstat.sources import zoo

SMALL = ("lenet5", "lenet5_1998", "convnetjs_mnist", "m5")
"""Networks that are run for real."""

FIELDS = (*SMALL, "alexnet", "resnet18", "unet", "mobilenet_v3_small")
"""Networks whose receptive fields are checked here; the others take minutes."""


@pytest.mark.parametrize("name", zoo.names())
def test_zoo(name, monkeypatch):
    from cnnstat.verify import receptive_field_check

    monkeypatch.setattr(receptive_field_check, "MAX_FIELD_BYTES", 128 * 2**20 if name in FIELDS else 0)
    found = cnnstat.verify(name, run=name in SMALL)
    assert found.exit_code == 0
    assert all(layer.flop_counter.value is not None and layer.made == layer.shapes for layer in found.layers)
    assert bool(found.fields) == (name in FIELDS)
    assert all(field.verdict.value == "agrees" for field in found.fields)


def test_lenet_as_published_is_denser_in_pytorch():
    found = cnnstat.verify("lenet5_1998")
    by_name = {layer.layer: layer for layer in found.layers}
    assert (by_name["C3"].macs, by_name["C3"].flop_counter.value) == (150_000, 240_000)
    assert (by_name["output"].macs, by_name["output"].flop_counter.value) == (840, 0)
    assert by_name["C3"].verdict.value == by_name["output"].verdict.value == "explained"


def test_a_graph_and_its_name_say_the_same():
    graph = cnnstat.load("lenet5")
    assert cnnstat.verify(graph).exit_code == 0

"""Figures: each number of a layer, of the totals and of their memory has its figure, and figures hold."""

import dataclasses

import pytest

import cnnstat
from cnnstat.analysis.analysis import Layer, Totals
from cnnstat.analysis.figures import FIGURES, LAYER_FIGURES, TOTAL_FIGURES
from cnnstat.analysis.memory import Memory

NETWORKS = ("lenet5", "resnet18", "unet", "c3d")


def numbers(kind):
    """The numeric fields and properties of a class of results."""
    properties = [name for name, value in vars(kind).items() if isinstance(value, property)]
    fields = [field.name for field in dataclasses.fields(kind) if field.type == "int"]
    kinds = ("int", "float")
    return {*fields, *(name for name in properties if vars(kind)[name].fget.__annotations__["return"] in kinds)}


def test_every_number_has_its_figure():
    assert numbers(Layer) == {figure.layer for figure in LAYER_FIGURES}
    totals = {figure.total for figure in FIGURES if figure.total}
    assert numbers(Totals) | {f"memory.{name}" for name in numbers(Memory)} == totals


def test_keys_are_not_shared_and_name_the_total():
    keys = [figure.key for figure in FIGURES]
    assert len(set(keys)) == len(keys)
    assert all(figure.total.rpartition(".")[2] == figure.key for figure in FIGURES if figure.total)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_adds_up_adds_up(name):
    analysis = cnnstat.analyze(name)
    for figure in LAYER_FIGURES:
        values = list(map(figure.of_layer, analysis.layers))
        assert figure.adds_up or figure.is_peak or figure.ratio_of
        assert figure.of_layers(analysis.layers) == figure.of(analysis.totals)
        if figure.adds_up:
            assert sum(values) == figure.of(analysis.totals)
        elif figure.is_peak:
            assert max(values) == figure.of(analysis.totals)
        else:
            assert min(values) < figure.of(analysis.totals) < max(values)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_scales_with_the_batch_does(name):
    one, four = (cnnstat.analyze(name, batch=batch).totals for batch in (1, 4))
    for figure in TOTAL_FIGURES:
        if figure.scales_with_batch:
            assert figure.of(four) == 4 * figure.of(one)
        else:
            assert figure.of(four) < 4 * figure.of(one) or not figure.of(one)


def test_limits_name_a_figure_of_layers():
    columns = {figure.layer for figure in LAYER_FIGURES}
    for figure in FIGURES:
        if figure.limit and figure.total:
            assert (figure.explained_by or figure.layer) in columns

"""Every command has a Python form, whose result is shown as the command shows it; sums by module and by op."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handmade_profiles import gpu_profile

import cnnstat
from cnnstat import testing
from cnnstat.analysis.peak import peak_of
from cnnstat.display import SUBJECTS
from cnnstat.errors import ConfigurationError, Location, Problem, SpecError
from cnnstat.sources.load import model_reference
from cnnstat.sources.tile_sizes import tiles_of


def test_explain_is_shown_as_the_command_shows_it() -> None:
    about = cnnstat.explain("alexnet", "conv1")
    assert str(about).startswith("conv1: Conv2d(64, 11, stride=4, padding=2)") and "dot product" in str(about)
    assert about.layer.params == 23_296
    assert about.to_dict()["layer"]["name"] == "conv1" and "<b>conv1" in about._repr_html_()
    analysis = cnnstat.analyze("alexnet", batch=2)
    assert cnnstat.explain(analysis, "conv1").layer.output_shape[0] == 2
    assert cnnstat.explain("alexnet", "conv1", batch=2).layer == cnnstat.explain(analysis, "conv1").layer
    with pytest.raises(cnnstat.CnnstatError, match="conv1"):
        cnnstat.explain("alexnet", "conv11")


def test_networks_are_the_zoo() -> None:
    zoo = cnnstat.networks()
    assert "vgg16" in zoo.names and len(zoo) == len(zoo.names)
    assert zoo[zoo.names.index("vgg16")].totals.params == 138_357_544
    assert "AlexNet in one tower" in str(zoo)
    assert [network["name"] for network in zoo.to_dict()["networks"]] == list(zoo.names)


def test_ops_are_found_and_shown() -> None:
    assert repr(cnnstat.op_reference("Conv2d")).startswith("Conv2d(out_channels, kernel_size")
    pools = cnnstat.op_reference("pool")
    assert "MaxPool2d" in pools and "Conv2d" not in pools and "GlobalAvgPool" in str(pools)
    assert len(cnnstat.op_reference()) > 90
    assert json.loads(cnnstat.op_reference("relu").to_json())["name"] == "ReLU"
    with pytest.raises(cnnstat.CnnstatError, match="did you mean Conv2d"):
        cnnstat.op_reference("Con2d")


@pytest.mark.parametrize("network", ["resnet18", "vgg16", "unet"])
@pytest.mark.parametrize("depth", [1, 2, 9])
def test_sums_by_module_and_by_op_are_the_totals(network: str, depth: int) -> None:
    analysis = cnnstat.analyze(network)
    for sums in (analysis.by_module(depth), analysis.by_op()):
        for figure in ("params", "trainable_params", "macs", "flops", "layers"):
            assert sum(getattr(each, figure) for each in sums.values()) == getattr(analysis.totals, figure)


def test_sums_have_the_names_of_modules_and_ops() -> None:
    analysis = cnnstat.analyze("resnet50")
    assert list(analysis.by_module())[:5] == ["conv1", "bn1", "relu", "maxpool", "layer1"]
    assert analysis.by_module()["layer1"].params == 215_808
    assert list(analysis.by_op())[:2] == ["Conv2d", "Linear"]


def test_json_has_warnings_notes_parts_and_arguments() -> None:
    values = cnnstat.analyze("alexnet").to_dict()
    assert values["warnings"] == [] and values["coverage"]["notes"] == []
    assert sum(values["totals"]["flop_parts"].values()) == values["totals"]["flops"]
    assert values["layers"][0]["arguments"]["kernel_size"] == 11
    assert values["layers"][0]["arguments"]["stride"] == 4


@pytest.mark.parametrize("name", ["resnet50", "lenet5_1998", "faster_rcnn", "yolov3", "m5"])
def test_arguments_of_every_op_are_json(name: str) -> None:
    for layer in json.loads(cnnstat.analyze(name).to_json())["layers"]:
        assert isinstance(layer["arguments"], dict)


def test_a_broken_budget_shows_the_line_that_asks_for_it() -> None:
    assert "__tracebackhide__ = True" in inspect.getsource(testing.assert_budget)
    with pytest.raises(AssertionError, match="params") as error:
        testing.assert_budget("lenet5", params="1 k")
    assert error.traceback[-1].frame.code.name == "assert_budget"
    assert [entry.name for entry in error.traceback.filter(error)] == [
        "test_a_broken_budget_shows_the_line_that_asks_for_it"
    ]


RESULTS: dict[str, Callable[[], Any]] = {
    "Analysis": lambda: cnnstat.analyze("lenet5"),
    "Comparison": lambda: cnnstat.compare("lenet5", "alexnet"),
    "Explanation": lambda: cnnstat.explain("lenet5", "C1"),
    "Networks": cnnstat.networks,
    "Ops": lambda: cnnstat.op_reference("pool"),
    "Peak": lambda: peak_of(cnnstat.analyze("lenet5")),
    "Profile": gpu_profile,
    "Sweep": lambda: cnnstat.sweep("lenet5", batch=[1, 2]),
    "Tiling": lambda: tiles_of(model_reference("unet"), "572"),
    "Verification": lambda: cnnstat.verify("lenet5"),
}
"""How each result is come by."""


def test_no_kind_of_result_is_left_out() -> None:
    assert set(RESULTS) == set(SUBJECTS)


@pytest.mark.parametrize("kind", RESULTS)
def test_all_results_compare_hash_copy_pickle_and_print_alike(kind: str) -> None:
    if kind == "Verification":
        pytest.importorskip("torch")
    result, again = RESULTS[kind](), RESULTS[kind]()
    assert type(result).__name__ == kind and result is not again
    assert result == again and hash(result) == hash(again) and {result: 1}[again] == 1
    assert result != 3 and result != RESULTS["Comparison" if kind == "Analysis" else "Analysis"]()
    text = repr(result)  # what is worked out when it is first needed changes nothing
    assert text == repr(again) and " at 0x" not in text
    for same in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert same == result and str(same) == str(result)
    assert json.loads(result.to_json()) == json.loads(json.dumps(result.to_dict())) and result.to_dict()
    assert result._repr_html_()


WRONG = {
    "analyze": lambda: cnnstat.analyze("vgg61"),
    "analyze a spec": lambda: cnnstat.analyze("none.yaml"),
    "compare": lambda: cnnstat.compare("vgg16", "vgg61"),
    "explain": lambda: cnnstat.explain("lenet5", "conv9"),
    "draw": lambda: cnnstat.draw("lenet5", by="mac"),  # type: ignore[arg-type]
    "sweep": lambda: cnnstat.sweep("lenet5", where="x <"),
    "op_reference": lambda: cnnstat.op_reference("frobnicate"),
    "a layer": lambda: cnnstat.analyze("lenet5")["conv9"],
    "assert_budget": lambda: testing.assert_budget("vgg61", params=1),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_shows_the_line_of_the_caller(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not forty lines of ours, as pytest would print of every function on the way."""
    with pytest.raises(cnnstat.CnnstatError) as error:
        WRONG[what]()
    shown = error.traceback.filter(error)
    assert [Path(entry.path).name for entry in shown] == ["test_python_forms.py"] * 2 and shown[-1].name == "<lambda>"
    monkeypatch.setenv("CNNSTAT_TRACEBACK", "1")
    with pytest.raises(cnnstat.CnnstatError) as error:
        WRONG[what]()
    assert len(error.traceback) > len(shown)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: cnnstat.draw("lenet5", by="mac"), 'by="mac": there is no such figure; did you mean macs?'),
        (lambda: cnnstat.draw("lenet5", depth=0), "depth=0 must be at least 1"),
        (lambda: cnnstat.draw("lenet5", full=True, depth=1), "full opens everything; leave depth out"),
        (lambda: cnnstat.sweep("lenet5", where="x <"), "where x <: write it as in"),
        (lambda: cnnstat.sweep("lenet5", jobs=0), "jobs=0: write how many processes, at least 1"),
        (lambda: cnnstat.sweep("lenet5", jobs="2"), "jobs='2': write a whole number"),
        (lambda: cnnstat.sweep("lenet5", wher="x"), "unexpected keyword argument 'wher'; did you mean where?"),
        (lambda: cnnstat.analyze("lenet5", input="x"), 'input="x": write sizes as in 3x224x224'),
    ],
)
def test_messages_speak_of_arguments_and_not_of_options(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises((cnnstat.CnnstatError, TypeError)) as error:
        wrong()
    assert said in str(error.value) and "--" not in str(error.value)


def test_a_warning_of_a_budget_names_the_line_that_sets_it() -> None:
    with pytest.warns(testing.BudgetWarning) as warned:
        testing.assert_budget("lenet5", params={"max": 1, "level": "warn"})
    assert warned[0].filename == __file__


def test_errors_stay_what_they_are_in_another_process() -> None:
    for error in (SpecError([Problem(Location("a.yaml", 1, 2), "x")]), ConfigurationError([Problem(None, "y")])):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error) and again.problems == error.problems


def test_nodes_show_their_place_without_syntax_trees() -> None:
    text = repr(cnnstat.load("vgg16").nodes)
    assert " at 0x" not in text and "location=LayerLocation(file='vgg16.yaml', line=" in text

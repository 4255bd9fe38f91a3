"""The Python interface."""

from __future__ import annotations

import inspect
import pickle
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import cnnstat
from cnnstat import choices
from cnnstat.analysis.memory import OPTIMIZER_STATES
from cnnstat.sources.request import ModelOptions


def test_the_shortest_way_in() -> None:
    assert cnnstat.analyze("vgg16").totals.macs == 15_470_264_320


def test_every_public_name_exists() -> None:
    for name in cnnstat.__all__:
        assert getattr(cnnstat, name) is not None
    assert set(cnnstat.__all__) <= set(dir(cnnstat))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="analyse"):
        cnnstat.analyse  # noqa: B018  # the access is the test


def test_shapes_may_be_numbers_or_text() -> None:
    as_numbers = cnnstat.analyze("alexnet", (3, 227, 227)).to_dict()
    assert as_numbers == cnnstat.analyze("alexnet", "3x227x227").to_dict()
    assert as_numbers == cnnstat.analyze("alexnet", inputs={"input": [1, 3, 227, 227]}).to_dict()


def test_variables_are_python_values() -> None:
    assert cnnstat.analyze("resnet50", variables={"depths": [3, 4, 23, 3]}).totals.params == 44_549_160


def test_paths_and_graphs_are_sources(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("input: [3, 8, 8]\nlayers: [Conv2d(4, 3)]\n")
    graph = cnnstat.load(path)
    assert graph.name == "net" and cnnstat.analyze(graph).totals.params == 112


def test_a_graph_cannot_be_changed_on_the_way() -> None:
    with pytest.raises(cnnstat.CnnstatError, match="load it again"):
        cnnstat.analyze(cnnstat.load("lenet5"), batch=2)


def test_every_error_is_a_cnnstat_error() -> None:
    for call in (
        lambda: cnnstat.analyze("no_such_net"),
        lambda: cnnstat.analyze("vgg16", (224, 224)),
        lambda: cnnstat.analyze("vgg16", (3, -1, 224)),
        lambda: cnnstat.analyze("vgg16", dtype="float31"),
        lambda: cnnstat.compare(),
    ):
        with pytest.raises(cnnstat.CnnstatError):
            call()


def test_repr_is_the_table_and_html_is_html() -> None:
    analysis = cnnstat.analyze("lenet5")
    assert "61,706" in repr(analysis)
    assert "<table" in analysis._repr_html_() and "61,706" in analysis._repr_html_()


def test_comparison_ratios_are_to_the_first() -> None:
    comparison = cnnstat.compare("alexnet", "vgg16")
    assert round(comparison.ratios[1]["params"] or 0, 2) == 2.26
    assert set(comparison.ratios[0].values()) == {1.0, None}


def test_linear_layers_in_a_row_are_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        "input: [8, 8, 8]\nlayers: [Conv2d(8, 3), BatchNorm2d, Conv2d(8, 3), ReLU, Conv2d(2, 1), Conv2d(8, 3)]\n"
    )
    assert cnnstat.analyze(path).warnings == (
        "conv1 and conv2 have nothing non-linear between them: together they are one layer",
    )


def test_a_layer_that_runs_again_is_not_to_be_merged(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        "input: [8, 8, 8]\nlayers: [a: 'Conv2d(8, 1)', b: 'Conv2d(8, 1)', ReLU, {c: 'Conv2d(8, 1)', share: b}]\n"
    )
    assert cnnstat.analyze(path).warnings == ()
    path.write_text("input: [8, 8, 8]\nlayers: [a: 'Conv2d(8, 1)', b: 'Conv2d(8, 1)', ReLU, c: 'Conv2d(8, 1)']\n")
    assert len(cnnstat.analyze(path).warnings) == 1


def test_unused_results_are_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("input: [8, 8, 8]\nlayers:\n  - a: Conv2d(8, 3)\n  - {ReLU: , from: input}\n")
    assert cnnstat.analyze(path).warnings == ("nothing reads the output of a",)


def test_options_of_a_model_are_the_same_everywhere() -> None:
    options = list(inspect.signature(cnnstat.load).parameters)
    assert options == ["source", "input", *get_type_hints(ModelOptions)]
    for function in (cnnstat.analyze, cnnstat.build, cnnstat.export, cnnstat.profile, cnnstat.verify):
        measures = function in (cnnstat.profile, cnnstat.verify)  # which are of the network as it is written
        own = [option for option in options if option != "deploy"] if measures else options
        assert list(inspect.signature(function).parameters)[: len(own)] == own
        assert ("deploy" in inspect.signature(function).parameters) is not measures
    compared = ["sources", *list(inspect.signature(cnnstat.analyze).parameters)[1:]]
    assert list(inspect.signature(cnnstat.compare).parameters) == compared


def test_an_unknown_option_is_refused_under_the_name_of_the_function() -> None:
    with pytest.raises(TypeError, match=r"analyze\(\) got an unexpected keyword argument 'bacth'; did you mean batch?"):
        cnnstat.analyze("vgg16", bacth=2)


def test_words_of_options_are_those_that_are_understood() -> None:
    assert set(get_args(choices.Optimizer)) == set(OPTIMIZER_STATES)
    with pytest.raises(cnnstat.RequestError, match="mode='trian': write eval or train"):
        cnnstat.analyze("vgg16", mode="trian")


def test_type_checkers_see_misspelt_names_and_words(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    right = ["cnnstat.analyze('vgg16', (3, 224, 224), batch=2, mode='train').totals.macs", "cnnstat.ModelError"]
    wrong = [
        "cnnstat.analize('vgg16')",
        "cnnstat.RequestErorr",
        "cnnstat.analyze('vgg16', bacth=2)",
        "cnnstat.analyze('vgg16', mode='trian')",
        "cnnstat.compare('vgg16', 'alexnet', optimizer='adm')",
        "cnnstat.export('vgg16', to='ymal')",
    ]
    path = tmp_path / "user.py"
    path.write_text("\n".join(["import cnnstat", *right, *wrong]))
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nstrict = True\nfollow_imports = silent\n[mypy-torch.*]\nfollow_imports = skip\n")
    limit = sys.getrecursionlimit()
    out, *_ = api.run(["--config-file", str(settings), "--cache-dir", str(tmp_path / "cache"), str(path)])
    sys.setrecursionlimit(limit)  # mypy raises it for the whole process
    lines = {int(line.split(":")[1]) for line in out.splitlines() if ": error: " in line}
    assert lines == set(range(len(right) + 2, len(right) + len(wrong) + 2)), out


def test_errors_of_specs_travel_between_processes() -> None:
    with pytest.raises(cnnstat.SpecError) as raised:
        cnnstat.load("no/such/file.yaml")
    assert pickle.loads(pickle.dumps(raised.value)).problems == raised.value.problems


def test_a_name_is_looked_for_in_an_analysis_and_loops_go_over_its_layers():
    analysis = cnnstat.analyze("lenet5")
    assert "C1" in analysis and "C9" not in analysis and 0 not in analysis
    with pytest.raises(TypeError, match="'Analysis' object is not iterable"):
        list(analysis)


@pytest.mark.parametrize("option", ["variables", "arguments"])
@pytest.mark.parametrize("value", [["classes=10"], "classes=10", {"classes"}])
def test_names_and_values_are_a_mapping(option, value):
    with pytest.raises(cnnstat.RequestError, match=f"^{option}=.*write names and values, as in {option}=.*: 10"):
        cnnstat.load("vgg16", **{option: value})

"""The points of a sweep: values as users write them, their order, and what a pattern stands for."""

from __future__ import annotations

import itertools

import pytest

from cnnstat.errors import CnnstatError, RequestError
from cnnstat.sources import zoo
from cnnstat.sources.request import InputShape, Request
from cnnstat.sweep.grid import Grid, axes, axes_of_values, axis_values, expanded_sources, input_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("16:64:8", tuple(map(str, range(16, 64, 8)))),
        ("3:0:-1", ("3", "2", "1")),
        ("2:5", ("2", "3", "4")),
        ("2,3", ("2", "3")),
        ("8, 16:64:16", ("8", "16", "32", "48")),
        ("[2,2],[3,4,6,3]", ("[2,2]", "[3,4,6,3]")),
        ("LeakyReLU(0.1, true),'a,b'", ("LeakyReLU(0.1, true)", "'a,b'")),
        ("5,5", ("5",)),
        ("0.1,-0.5,1e-3", ("0.1", "-0.5", "1e-3")),
        ("a:b,'1:2'", ("a:b", "'1:2'")),
    ],
)
def test_values_are_ranges_as_python_has_them_or_parts_between_commas(text, values):
    assert axis_values(text, "--set w") == values


@pytest.mark.parametrize(
    "text", ["", "1,,2", "5:5", "1:9:0", "0:99999999999:1", ",", "0.1:0.5:0.1", "4:", ":4", "1:2:3:4"]
)
def test_values_that_are_none_are_refused(text):
    with pytest.raises(RequestError, match="--set w"):
        axis_values(text, "--set w")


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("3x{160,224}x=", ("3x160x160", "3x224x224")),
        ("1x3x{32:97:32}x=:float16", ("1x3x32x32:float16", "1x3x64x64:float16", "1x3x96x96:float16")),
        ("{1,2}x3x{8,9}", ("1x3x8", "1x3x9", "2x3x8", "2x3x9")),
        ("3x224x224", ("3x224x224",)),
    ],
)
def test_braces_in_sizes_stand_for_each_value(text, sizes):
    assert input_values(text) == sizes


def test_points_are_all_combinations_with_the_last_axis_fastest():
    grid = Grid(("a", "b"), axes(set=["w=1,2"], input=["3x{8,9}x="], single={"batch": "1,4", "dtype": None}))
    wanted = list(itertools.product(("a", "b"), ("1", "2"), ("3x8x8", "3x9x9"), ("1", "4")))
    assert [(p.source, *(value for _, value in p.labels)) for p in grid] == wanted
    assert [p.number for p in grid] == list(range(16)) == [grid.point(number).number for number in range(16)]
    assert [grid.point(number) for number in range(16)] == list(grid)


def test_a_point_changes_the_request():
    grid = Grid(
        ("a",), axes(set=["w=3"], arg=["n=[1,2]"], input=["x=3x8x8"], single={"batch": "2", "dtype": "float16"})
    )
    request = grid.point(0).request(Request(variables={"v": "1"}, mode="train"))
    assert request.variables == {"v": "1", "w": "3"} and request.arguments == {"n": [1, 2]}
    assert request.inputs == {"x": InputShape((3, 8, 8))} and request.batch == 2
    assert (request.dtype, request.mode) == ("float16", "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"set": ["w=1", "w=2"]}, "w is given twice by --set"),
        ({"set": ["batch=1"], "single": {"batch": "2"}}, "batch is given by --set and --batch"),
        ({"set": ["w"]}, "--set w: write name=values"),
        ({"arg": ["1=2"]}, "--arg 1=2: write name=values"),
        ({"single": {"batch": "1,x"}}, "--batch x: write whole numbers"),
        ({"single": {"batch": "0"}}, "--batch 0: write whole numbers"),
        ({"input": ["=x3"]}, "repeats the size before it"),
    ],
)
def test_options_that_contradict_each_other_are_one_clear_line(options, message):
    with pytest.raises(RequestError, match=message):
        axes(**{"single": {}, **options})


def test_a_sample_is_the_same_for_the_same_seed_and_keeps_the_order():
    grid = Grid(("a",), axes(set=["w=0:1000"], single={}))
    sample = [point.number for point in grid.sampled(50, 3)]
    assert sample == sorted(set(sample)) and len(sample) == 50
    assert sample == [point.number for point in grid.sampled(50, 3)] != [p.number for p in grid.sampled(50, 4)]
    assert [grid.point(number) for number in sample] == list(grid.sampled(50, 3))
    assert grid.sampled(5000, 0) is grid
    assert [number for number in range(-2, 1003) if grid.sampled(50, 3).has(number)] == sample
    with pytest.raises(RequestError, match="--sample 0"):
        grid.sampled(0, 0)


def test_patterns_stand_for_networks_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.yaml", "a.yaml", "c.txt"):
        (tmp_path / name).write_text("")
    assert expanded_sources(["*.yaml", "lenet5", "a.yaml"]) == ("a.yaml", "b.yaml", "lenet5")
    assert expanded_sources(["resnet18*"]) == tuple(name for name in zoo.names() if name.startswith("resnet18"))
    with pytest.raises(RequestError, match="nothing\\*: matches no file"):
        expanded_sources(["nothing*"])
    (tmp_path / "d[1].yaml").write_text("")
    assert expanded_sources(["d[1].yaml"]) == ("d[1].yaml",)


def test_python_values_make_the_same_axes_as_texts():
    texts = axes(set=["w=16:64:8"], arg=["n='a'"], input=["3x{8,9}x="], single={"batch": "1,2", "dtype": "float16"})
    values = axes_of_values(
        {"w": range(16, 64, 8)}, {"n": "a"}, {"input": [(3, 8, 8), "3x9x9"], "batch": [1, 2], "dtype": "float16"}
    )
    assert texts == values
    assert axes_of_values({}, {}, {"input": (3, 8, 8)})[0].values == ("3x8x8",)
    with pytest.raises(CnnstatError, match="w has no value"):
        axes_of_values({"w": []}, {}, {})

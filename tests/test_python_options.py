"""Options from Python are of the kind that their annotation says, and messages speak of them as Python writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

import cnnstat
from cnnstat.testing import assert_budget

FUNCTIONS = {
    "analyze": ("strict_receptive_field",),
    "compare": ("strict_receptive_field",),
    "profile": ("channels_last", "backward", "tf32", "isolate", "energy"),
    "verify": ("run",),
}


@pytest.mark.parametrize(
    ("function", "option"), [(name, option) for name, options in FUNCTIONS.items() for option in options]
)
@pytest.mark.parametrize("value", ["yes", "no", "True", None, 2, []])
def test_a_switch_is_true_or_false(function: str, option: str, value: object) -> None:
    with pytest.raises(cnnstat.RequestError, match=f"^{option}=.*: write True or False$"):
        getattr(cnnstat, function)("lenet5", **{option: value})


def test_a_switch_may_be_what_equals_true_or_false() -> None:
    strict = cnnstat.analyze("lenet5", strict_receptive_field=True)
    assert cnnstat.analyze("lenet5", strict_receptive_field=1) == strict
    assert cnnstat.analyze("lenet5", strict_receptive_field=0) != strict


def test_values_of_numpy_are_taken() -> None:
    numpy = pytest.importorskip("numpy")
    assert cnnstat.analyze("lenet5", batch=numpy.int64(2), strict_receptive_field=numpy.bool_(True)).strict


def test_a_switch_of_assert_budget_is_true_or_false() -> None:
    with pytest.raises(cnnstat.RequestError, match="strict_receptive_field='yes'"):
        assert_budget("lenet5", params="5 M", strict_receptive_field="yes")
    with pytest.raises(cnnstat.RequestError, match="baseline=3: write the path of a file"):
        assert_budget("lenet5", params="5 M", baseline=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0: must be from 1 to 100,000"),
        ({"samples": -3}, "samples=-3: must be"),
        ({"samples": "3"}, "samples='3': write a whole number"),
        ({"samples": 1.5}, "samples=1.5: write a whole number"),
        ({"threads": 0}, "threads=0: must be from 1 to 4,096"),
        ({"threads": True}, "threads=True: write a whole number"),
        ({"device": "cud"}, 'device="cud": there is no such device; did you mean cuda?'),
        ({"device": "cuda:x"}, 'device="cuda:x": there is no such device'),
        ({"device": 0}, "device=0: write cpu, mps, cuda"),
        ({"dtype": "int8"}, 'dtype="int8": models are measured in floating point'),
        ({"trace": 3}, "trace=3: write the path of a file"),
    ],
)
def test_options_of_profile_are_refused_in_terms_of_python(options: dict[str, object], message: str) -> None:
    with pytest.raises(cnnstat.CnnstatError) as error:
        cnnstat.profile("lenet5", **options)
    assert str(error.value).startswith(message) and "--" not in str(error.value)


def test_a_trace_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "trace.json"):
        with pytest.raises(cnnstat.CnnstatError, match=f'^trace="{path}"'):
            cnnstat.profile("no_such_network", trace=path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cnnstat.analyze("vgg16", optimizer=3), "optimizer=3: write sgd, momentum, adam"),
        (lambda: cnnstat.export("vgg16", to=None), "to=None: write yaml, json, torch"),
        (lambda: cnnstat.explain("vgg16", None), "layer=None: write a name"),
        (lambda: cnnstat.op_reference(3), "3 is no name of an op"),
        (lambda: cnnstat.analyze("vgg16").by_module("x"), "depth='x': write a whole number of at least 1"),
        (lambda: cnnstat.analyze("vgg16").by_module(0), "depth=0: write a whole number of at least 1"),
        (lambda: cnnstat.analyze("vgg16", variables={3: 1}), "variables: 3 is no name"),
        (lambda: cnnstat.compare(["vgg16", "alexnet"]), r".*compare\(\*models\)"),
    ],
)
def test_values_of_another_kind_are_refused_in_one_line(call: object, message: str) -> None:
    with pytest.raises(cnnstat.CnnstatError, match=f"^{message}"):
        call()


def test_layers_are_explained_by_the_number_of_their_row() -> None:
    assert cnnstat.explain("vgg16", 3).layer == cnnstat.explain("vgg16", "3").layer


@pytest.mark.parametrize(("wrong", "right"), [("set", "variables"), ("arg", "arguments"), ("bacth", "batch")])
def test_options_of_the_command_line_lead_to_their_names_in_python(wrong: str, right: str) -> None:
    with pytest.raises(TypeError, match=f"'{wrong}'; did you mean {right}?"):
        cnnstat.analyze("vgg16", **{wrong: {}})


def test_a_device_that_is_not_there_is_one_line() -> None:
    torch = pytest.importorskip("torch")
    for device in ("cud", *(() if torch.cuda.is_available() else ("cuda", 3, torch.device("cuda")))):
        with pytest.raises(cnnstat.CnnstatError, match="^device=cud"):
            cnnstat.build("lenet5", device=device)

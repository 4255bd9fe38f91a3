"""`cnnstat ops`: the list, and the page of every op."""

import csv
import io
import json
import re

import pytest
from networks import written

from cnnstat import ops, report
from cnnstat.errors import OpError
from cnnstat.ir.declaration import any_of, choice, integer, list_of, number, optional, per_axis
from cnnstat.report.charts.function_plot import HEIGHT, PLOT_WIDTH, plot, slope
from cnnstat.report.op_reference import Reference, allowed_values
from cnnstat.report.subjects.ops import document


def reference(name, format="table", **console):
    return written(report.write, document(*([] if name is None else [name])), format, **console)


@pytest.mark.parametrize("name", ["Conv2d", "ELU"])
def test_pages(golden, name):
    golden(f"op_{name}.out", reference(name))


def test_markdown(golden):
    golden("op_PReLU.md", reference("PReLU", "markdown"))


def test_the_list_names_every_op():
    text = reference(None)
    assert all(re.search(rf"^  {name}  ", text, re.MULTILINE) for name in ops.names())
    assert max(map(len, text.splitlines())) <= 80
    assert "torch.nn.Conv2d" in reference(None, width=120)


@pytest.mark.parametrize("name", ops.names())
def test_every_op_has_a_page(name):
    page = reference(name)
    assert max(map(len, page.splitlines())) <= 80
    assert page.startswith(Reference(name).signature[:40])
    for argument in Reference(name).arguments:
        assert argument.doc and argument.allowed
        assert re.search(rf"^  {argument.name} ", page, re.MULTILINE)
    assert all(Reference(name).conventions.values())
    assert reference(name, "markdown") and reference(name, "csv").startswith("name,default,allowed,doc")
    assert json.loads(reference(name, "json"))["name"] == name


@pytest.mark.parametrize("name", [n for n in ops.names() if ops.lookup(n).equation])
def test_activations_show_equation_and_derivative(name):
    page = " ".join(reference(name, width=200).split())
    assert ops.lookup(name).equation in page and ops.lookup(name).derivative in page


def test_json_and_csv_of_the_list():
    found = json.loads(reference(None, "json"))
    assert sorted(op["name"] for op in found["ops"]) == sorted(ops.names())
    conv = next(op for op in found["ops"] if op["name"] == "Conv2d")
    assert conv["arguments"][2] | {"schema": ""} == {
        "name": "stride", "doc": "step of the filter", "required": False, "default": 1, "schema": "",
    }  # fmt: skip
    assert len(list(csv.DictReader(io.StringIO(reference(None, "csv"))))) == len(ops.names())


def test_a_misspelt_op_is_named():
    with pytest.raises(OpError, match="no layer called Conv2dd; did you mean Conv2d"):
        reference("Conv2dd")


def test_signature_and_module():
    conv = Reference("Conv2d")
    assert conv.signature.startswith("Conv2d(out_channels, kernel_size, stride=1, padding=0")
    assert conv.signature.endswith("bias=true, padding_mode=zeros)")
    assert conv.module == "torch.nn.Conv2d, in_channels known from the input"
    assert Reference("Identity").signature == "Identity"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (integer(1), "integer ≥ 1"),
        (number(0, 1), "number from 0 to 1"),
        (per_axis(0), "integer ≥ 0 or list of integers ≥ 0"),
        (choice("a", "b", "c"), "a, b or c"),
        (optional(integer()), "null or integer"),
        (list_of(any_of(integer(1), choice("x"))), "list of values (integer ≥ 1 or x)"),
    ],
)
def test_values_in_words(kind, words):
    assert allowed_values(kind.schema) == words


# Plots ---------------------------------------------------------------------------------------------------------------


def drawing(curve):
    return ["".join(text for text, _ in line) for line in plot(curve, "f")]


def test_plots_are_as_wide_and_high_as_they_say():
    lines = drawing(lambda x: x)
    assert {len(line) for line in lines} == {PLOT_WIDTH} and len(lines) == HEIGHT + 2


def test_the_axis_has_the_range_of_the_curve():
    assert [line[:6].strip() for line in drawing(lambda x: x)[1:-1]] == ["4", "", "", "", "0", "", "", "", "−4"]
    assert drawing(lambda x: 1 if x > 0 else 0)[1][:6].strip() == "1"


def test_a_curve_out_of_range_is_cut_off():
    assert drawing(lambda x: 100 * x)[1][:6].strip() == "4"


def test_a_constant_is_a_flat_line():
    assert len(set(drawing(lambda x: 0)[2:-2])) == 1


@pytest.mark.parametrize(("x", "value"), [(-2.0, 0.0), (3.0, 1.0)])
def test_slope(x, value):
    assert slope(lambda x: max(0.0, x))(x) == pytest.approx(value, abs=1e-6)


def test_each_family_is_listed_once():
    heads = [line for line in reference(None).splitlines() if line[:1].strip()]
    assert len(heads) == len(set(heads)) and {"convolution", "pooling", "element-wise"} <= set(heads)

"""The zoo's list and published figures, in every format; and the small parts that reports are made of."""

import csv
import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from networks import network, op, written, zoo
from rich.cells import cell_len

from cnnstat import numbers, report
from cnnstat.analysis.published import PublishedRow
from cnnstat.report.document import Fact, glued
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.network_text import axes_text, point_text, shape_text, shapes_text
from cnnstat.report.subjects.published import document as published_document
from cnnstat.report.subjects.zoo import document
from cnnstat.report.terminal_text import (
    cut_call,
    cut_end,
    cut_start,
    encodable,
    padded,
    printable,
    widest,
    width_of,
    wrapped,
)

# The zoo -------------------------------------------------------------------------------------------------------------

NETWORKS = ("alexnet", "c3d", "faster_rcnn", "m5", "vgg16")


def listed(format="table", **console):
    return written(report.write, document([zoo(name) for name in NETWORKS]), format, **console)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_list_fits(width):
    text = listed(width=width)
    assert all(name in text for name in NETWORKS)
    assert max(map(cell_len, text.splitlines())) <= width


def test_the_list_has_kinds_as_headings_with_their_years():
    lines = [line.strip() for line in listed(width=120).splitlines()]
    headings = ["classification, 2014", "detection, 2015", "other, 2015–2016"]
    assert [line for line in lines if line in headings] == headings
    assert lines[lines.index("detection, 2015") + 1].startswith("faster_rcnn")
    assert lines[lines.index("detection, 2015") - 1] == ""


def test_the_list_as_latex_has_every_network_and_the_convention():
    text = listed("latex")
    assert all(name.replace("_", r"\_") in text for name in NETWORKS)
    assert text.count(r"\\") == len(NETWORKS) + 1
    assert "MACs" in text.partition("\\end{tabular}")[0] and r"\toprule" in text and r"\caption{" in text


def test_the_list_in_other_formats():
    (_, c3d, *_), rows = json.loads(listed("json"))["networks"], list(csv.DictReader(io.StringIO(listed("csv"))))
    assert c3d["input"] == [[3, 16, 112, 112]] and c3d["params"] == zoo("c3d").totals.params
    assert [row["name"] for row in rows] == list(NETWORKS)
    assert rows[4]["macs"] == "15470264320" and rows[4]["receptive_field"] == "212x212"
    assert listed("markdown").count("\n") == len(NETWORKS) + 2


# Published figures ---------------------------------------------------------------------------------------------------


def row(**changes):
    fields = {
        "figure": "macs", "layer": "", "printed": "13.6 GFLOP", "means": "", "source": "Slide 80", "exact": "15.5 G",
        "value": 15_470_264_320, "agrees": False, "difference": -12.09, "cause": "one layer is left out",
    }  # fmt: skip
    return PublishedRow(**{**fields, **changes})


def published(*rows, format="table", **console):
    return written(report.write, published_document(zoo("vgg16"), rows), format, **console)


def test_differences_come_with_their_cause_and_source():
    text = published(row(), row(figure="params", agrees=True, cause="", printed="138 M", source="Paper"))
    assert "−12.1 %" in text and "agrees" in text
    assert "macs  one layer is left out" in text
    assert "[1]  Slide 80" in text and "[2]  Paper" in text


def test_one_cause_of_two_differences_is_said_once():
    text = published(row(), row(figure="weighted_activation_bytes"), width=100)
    assert text.count("one layer is left out") == 1
    assert "macs, weighted_activation_bytes" in text


def test_published_figures_in_other_formats():
    (found,) = json.loads(published(row(), format="json"))["published"]
    assert found["value"] == 15_470_264_320 and found["agrees"] is False and found["difference"] == -12.09
    assert "13.6 GFLOP" in published(row(), format="csv")
    assert "- **macs** one layer is left out" in published(row(), format="markdown")


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_nothing_published(format):
    assert "no published figures are known" in published(format=format)


@pytest.mark.parametrize("format", ["table", "json", "csv", "markdown"])
def test_published_text_cannot_steer_the_terminal(format):
    text = published(row(printed="\x1b[31m", source="\x07", cause="\x1b]0;x"), format=format)
    assert format == "csv" or not set(text) & {"\x1b", "\x07"}


# Text ----------------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(1, 30))
def test_cutting_and_padding_give_the_width(text, width):
    text = printable(text)
    for cut in (cut_end, cut_start, cut_call):
        short = cut(text, width)
        assert width_of(short) <= width
        assert short == text or width_of(text) > width
        assert width_of(padded(short, width, "right")) == width


@given(st.text())
def test_printable_text_is_printable(text):
    assert printable(text).isprintable()


@example("0\ufe0f", "ascii")  # a sign that makes the digit before it wider
@example("a 👩\u200d💻 b", "latin-1")
@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", "no such encoding"]))
def test_encodable_text_keeps_its_width(text, encoding):
    shown = encodable(printable(text), encoding)
    assert width_of(shown) == width_of(printable(text))
    shown.encode("ascii" if "such" in encoding else encoding)


@given(st.lists(st.text()))
def test_widest_is_the_widest(texts):
    texts = list(map(printable, texts))
    assert widest(texts) == max(map(cell_len, texts), default=0)


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("Conv2d(64, 3, padding=1)", 24, "Conv2d(64, 3, padding=1)"),
        ("Conv2d(64, 3, padding=1)", 20, "Conv2d(64, 3, …)"),
        ("Conv2d(64, 3, padding=1)", 13, "Conv2d(64, …)"),
        ("Conv2d(64, 3, padding=1)", 12, "Conv2d(…)"),
        ("AdaptiveAvgPool2d(1)", 12, "AdaptiveAvg…"),
    ],
)
def test_calls_are_cut_between_arguments(text, width, short):
    assert cut_call(text, width) == short


@given(st.text(alphabet="ab \N{NO-BREAK SPACE}日"), st.integers(5, 40))
def test_wrapped_lines_fit_and_keep_the_words(text, width):
    lines = wrapped(text, width)
    assert all(cell_len(line) <= width for line in lines)


def test_numbers_stay_with_their_units():
    assert wrapped(f"it is {glued('527.79 MiB')} large", 12) == ["it is", "527.79 MiB", "large"]


def test_facts_are_aligned():
    text = str(facts_page([Fact("a", "one two"), Fact("", "three"), Fact("longer", "four")], 40))
    assert text == "a       one two\n        three\nlonger  four\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 K"), (9_995, "10.0 K"), (999_499, "999 K"), (999_500, "1.00 M")],
)
def test_brief_counts(number, text):
    assert numbers.brief_count(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1000, "0.98 KiB"), (2**20, "1.00 MiB"), (802_816, "784 KiB")]
)
def test_brief_bytes(number, text):
    assert numbers.brief_bytes(number) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(None, "–"), (1, "1×"), (1.0, "1×"), (27.43, "27.4×"), (2.264, "2.26×"), (1234.5, "1,234×"), (0.0442, "0.0442×")],
)
def test_ratios(ratio, text):
    assert numbers.ratio_text(ratio) == text


def test_shapes():
    assert shape_text((64, 55, 55)) == "64×55×55"
    assert shape_text(()) == "scalar"
    assert shapes_text(((1, 2), (1, 2))) == "2 of 1×2"
    assert point_text((-3, 0)) == "(−3, 0)" and point_text((1000, 1000)) == "1,000"


def test_misaligned_strides_have_a_word():
    assert axes_text((None, None)) == "misaligned"


def test_a_network_without_a_name():
    assert "network" in repr(network((1, 3, 8, 8), ("c", op("Conv2d", 4, 3), "input"), name=""))

"""The table for people: what it shows at which width, and that nothing in a spec can break it."""

import io
import re

import pytest
from networks import branches, network, op, printed, zoo
from rich.cells import cell_len
from rich.console import Console

from cnnstat import report
from cnnstat.report.subjects.analysis import AnalysisView as View
from cnnstat.report.subjects.analysis import document

NUMBER = re.compile(r"138,357,544|15,470,264,320")


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_vgg16(golden, width):
    golden(f"vgg16_{width}.out", printed(zoo("vgg16"), width=width))


def test_blocks_folded(golden):
    golden("resnet50_depth1.out", printed(zoo("resnet50"), View(depth=1)))


def test_heaviest_layers(golden):
    view = View(sort="params", top=5, columns=("name", "params", "params_share", "macs", "macs_share"))
    golden("vgg16_top5.out", printed(zoo("vgg16"), view))


def test_notes_on_receptive_fields(golden):
    golden("branches_200.out", printed(branches(), width=200))


@pytest.mark.parametrize("name", ["alexnet", "c3d", "lenet5_1998", "m5", "resnet152", "unet", "vgg19_bn"])
@pytest.mark.parametrize("width", [60, 80, 100, 132, 200])
def test_fits_the_width(name, width):
    lines = printed(zoo(name), width=width).splitlines()
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [80, 100, 132, 200])
def test_key_columns_stay(width):
    head = printed(zoo("resnet152"), width=width).splitlines()[3]
    assert head.split() >= ["MACs", "RF"]
    assert set(head.split()) >= {"layer", "operation", "output", "params", "MACs", "memory", "RF"}


@pytest.mark.parametrize("width", [1, 20, 30, 40])
def test_a_tiny_terminal_still_gets_whole_numbers(width):
    assert len(NUMBER.findall(printed(zoo("vgg16"), width=width))) >= 2


def total_line(**view):
    return next(line for line in printed(zoo("vgg16"), **view).splitlines() if line.startswith("total"))


def test_chosen_columns_are_exact_where_they_fit_and_short_where_not():
    view = View(columns=("name", "params", "macs", "flops", "output_bytes"))
    assert total_line(view=view, width=80).split()[1:4] == ["138,357,544", "15,470,264,320", "30,972,257,256"]
    assert total_line(view=view, width=42).split()[1:] == ["138", "M", "15.5", "G", "31.0", "G", "109", "MiB"]


def test_no_colour_when_piped_and_colour_in_a_terminal():
    assert "\x1b" not in printed(zoo("lenet5"))
    assert "\x1b[" in printed(zoo("lenet5"), force_terminal=True, color_system="standard")


def test_no_color_keeps_the_text(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    coloured = printed(zoo("lenet5"), force_terminal=True, color_system="standard")
    assert not re.search(r"\x1b\[\d*;?3\dm", coloured)
    lines = re.sub(r"\x1b\[[\d;]*m", "", coloured).splitlines()
    assert [line.rstrip() for line in lines] == printed(zoo("lenet5")).splitlines()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437"])
def test_other_encodings_keep_the_columns(encoding):
    buffer = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    report.write(document(zoo("vgg16")), "table", Console(file=buffer, width=80))
    buffer.flush()
    text = buffer.buffer.getvalue().decode(encoding)
    for ours, utf8 in zip(text.splitlines(), printed(zoo("vgg16")).splitlines()):
        assert len(ours) == len(utf8)
    assert "?" not in text


HOSTILE = "[red]x[/red]\x1b[31m\r\n\u202egnp.exe" + "日本" * 3


def test_names_are_neither_markup_nor_commands():
    analysis = network((1, 3, 8, 8), (HOSTILE, op("Conv2d", 4, 3), "input"), name="[bold]n[/bold]\a")
    text = printed(analysis, force_terminal=True, color_system="standard", width=120)
    assert "[red]x[/red]\\x1b[31m\\r\\n\\u202egnp.exe日本日本日本" in text
    assert "[bold]n[/bold]\\x07" in text
    assert not set(text) & {"\r", "\a", "\u202e"}


def test_wide_characters_are_measured_in_columns():
    analysis = network((1, 3, 8, 8), ("日本語", op("Conv2d", 4, 3), "input"), ("b", op("ReLU"), "日本語"))
    head, rule, *rows = printed(analysis).splitlines()[3:7]
    assert {cell_len(line) for line in (rule, *rows)} == {cell_len(head)}


def test_a_name_of_a_million_letters_is_cut():
    analysis = network((1, 3, 8, 8), ("x" * 10**6, op("Conv2d", 4, 3), "input"))
    assert max(map(len, printed(analysis).splitlines())) <= 80


def test_batch_stays_out_of_shapes_unless_an_op_moves_it():
    assert "64×64×64" not in printed(network((7, 3, 9, 9), ("c", op("Conv2d", 4, 3), "input")))
    assert " 4×7×7 " in printed(network((7, 3, 9, 9), ("c", op("Conv2d", 4, 3), "input")))
    moved = network((7, 3, 9, 9), ("p", op("Permute", (1, 0, 2, 3)), "input"))
    assert " 3×7×9×9 " in printed(moved) and "left out" not in printed(moved)


def test_what_is_not_counted_is_named():
    class Custom(type(op("Identity"))):
        """Something that no one has modelled."""

        modelled = False

    text = printed(network((1, 3, 8, 8), ("odd", Custom(), "input")))
    assert "at least 0: multiply" in text
    assert re.search(r"not counted +odd;", text)


def test_warnings_are_said():
    text = printed(network((1, 3, 9, 9), ("a", op("Conv2d", 8, 3), "input"), ("b", op("Conv2d", 8, 3), "a")))
    assert re.search(r"warning +a and b have nothing non-linear between them", text)


def test_repr_is_the_table():
    assert repr(zoo("lenet5")) == printed(zoo("lenet5"), width=100).rstrip("\n")

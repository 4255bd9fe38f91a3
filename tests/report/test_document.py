"""Documents: every format sets tables, facts, charts and texts of any subject."""

import csv
import io
import json
import re
from operator import itemgetter

import pytest
from networks import written

from cnnstat import report
from cnnstat.report.document import Document, Fact, Facts, Text
from cnnstat.report.formats.terminal import table_lines
from cnnstat.report.table import Column, Layout, Table
from cnnstat.report.terminal_text import Page, plain

ROWS = [{"name": "a", "size": 1234, "source": "first paper"}, {"name": "b", "size": None, "source": "first paper"}]
COLUMNS = [
    Column("name", "name", itemgetter("name"), least=4, is_code=True),
    Column("size", "size", itemgetter("size"), lambda row: f"{row['size'] or 0:,}", "right"),
    Column("source", "source", itemgetter("source"), is_footnote=True),
]


class Drawing:
    """A chart."""

    def lines(self, width):
        return [plain("#" * width)]


def document(**changes):
    table = Table(COLUMNS, ROWS, total={"name": "total", "size": 1234, "source": ""}, title="Sizes")
    blocks = (table, Facts([Fact("unit", "numbers"), Fact("", "exact ones")]), Drawing(), Text("The end."))
    values = {"schema": "test/1", "rows": ROWS}
    return Document(title="A title", blocks=lambda: blocks, data=lambda: values, listed=("rows",), **changes)


def text_of(columns, rows, width, **options):
    return str(Page(table_lines(Table(columns, rows, **options), width))).splitlines()


def test_a_terminal_numbers_footnotes_and_shows_them_last():
    lines = written(report.write, document(), "table", width=40).splitlines()
    assert lines[0] == "A title" and "#" * 40 in lines and "The end." in lines
    assert [line for line in lines if line.startswith("a ")] == ["a      1,234     [1]"]
    assert lines[-1] == "[1]  first paper"


def test_markdown_has_all_but_charts():
    text = written(report.write, document(), "markdown")
    assert "### A title" in text and "| `a` | 1,234 | first paper |" in text and "| `total` |" in text
    assert "- **unit** numbers\n  - exact ones\n" in text and "The end." in text and "#" * 40 not in text


def test_html_has_the_total_as_foot():
    text = written(report.write, document(), "html")
    assert re.search('<tfoot><tr><th scope="row"[^>]*>total</th>', text) and "<p>The end.</p>" in text


def test_csv_has_raw_values_and_no_total():
    rows = list(csv.reader(io.StringIO(written(report.write, document(), "csv"))))
    assert rows == [["name", "size", "source"], ["a", "1234", "first paper"], ["b", "", "first paper"]]


def test_csv_takes_the_records_where_there_are_some():
    records = Table(COLUMNS[:1], ROWS)
    assert written(report.write, document(records=records), "csv").splitlines() == ["name", "a", "b"]


def test_json_has_a_line_for_each_listed_entry():
    text = written(report.write, document(), "json")
    assert json.loads(text) == {"schema": "test/1", "rows": ROWS} and len(text.splitlines()) == 7


@pytest.mark.parametrize("format", report.FORMATS)
def test_every_format_takes_an_empty_document(format):
    nothing = Document(blocks=lambda: [Table(COLUMNS, [])], data=dict)
    written(report.write, nothing, format)


def test_blocks_and_data_are_made_only_when_asked_for():
    def never():
        raise AssertionError

    written(report.write, Document(blocks=never, data=dict), "json")
    written(report.write, Document(data=never), "table")


# The table in a terminal ---------------------------------------------------------------------------------------------


def test_the_widest_column_is_cut_first():
    columns = [Column("a", "a", itemgetter(0), least=3), Column("b", "b", itemgetter(1), align="right")]
    columns.append(Column("c", "c", itemgetter(2), least=3))
    assert text_of(columns, [("abcdefgh", "12345", "wxyz")], 16)[-1] == "ab…  12345  wxyz"


def test_numbers_are_never_cut():
    columns = [Column("a", "a", itemgetter(0), least=2), Column("b", "b", itemgetter(1), align="right")]
    assert "1234567890" in text_of(columns, [("abcdef", "1234567890")], 4)[-1]


def test_columns_that_say_nothing_are_left_out():
    columns = [Column("a", "a", itemgetter(0)), Column("b", "b", itemgetter(1))]
    assert text_of(columns, [("x", ""), ("y", None)], 80)[0] == "a"


def test_the_least_important_column_goes_first_and_the_main_ones_stay():
    columns = [Column("a", "a", itemgetter(0))]
    columns += [Column(key, key, itemgetter(n), importance=n + 2) for n, key in enumerate("bc", start=1)]
    row = ("x" * 10, "y" * 10, "z" * 10)
    assert text_of(columns, [row], 34)[0].split() == ["a", "b", "c"]
    assert text_of(columns, [row], 33)[0].split() == ["a", "b"]
    assert text_of(columns, [row], 5)[0].split() == ["a"]


def test_panels_that_do_not_fit_follow_below_with_the_first_columns():
    columns = [Column("title", "", itemgetter(0))]
    columns += [Column(f"n{n}", f"n{n}", itemgetter(n), panel=n) for n in (1, 2, 3)]
    lines = text_of(columns, [("line", "x" * 8, "y" * 8, "z" * 8)], 26)
    assert [line.split() for line in lines if "n" in line and "line" not in line] == [["n1", "n2"], ["n3"]]
    assert sum(line.startswith("line") for line in lines) == 2


def test_styles_follow_the_text_of_a_cell():
    columns = [Column("a", "a", itemgetter(0), styles={"bad": "red"})]
    (_, _, good, bad) = table_lines(Table(columns, [("good",), ("bad",)]), 20)
    assert good[0][1] == "" and bad[0][1] == "red"


def test_a_table_can_be_drawn_as_something_else():
    drawn = Layout(draw=lambda width: [plain("-" * width)])
    assert text_of(COLUMNS, ROWS, 7, layout=drawn) == ["-" * 7]

"""Whatever a name holds, no report steers a terminal, a CI job, a spreadsheet or a page."""

from __future__ import annotations

import csv
import io
import re

import pytest
import test_every_format
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_every_format import DOCUMENTS, Checker, check_latex, hostile_check, without_own_script

from cnnstat import cli as terminal
from cnnstat import report
from cnnstat.check import formats as check_formats
from cnnstat.errors import CnnstatError, Location, Problem, SpecError, inert_line
from cnnstat.report.formats import csv as csv_format
from cnnstat.report.formats import markdown

PIECES = (
    "\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\u202e", "\u2066", "\x00", "\r", "\n", "\t", " ", "::error::x", "::",
    "::stop-commands::y", "##[error]z", "=cmd|' /C calc'!A0", "+1", "-1", "@team", "@SUM(A1)", "#12", "https://x.example",
    "www.x.example", "mailto:a@x.example", "<script>alert(1)</script>", "<!--", "[a](b)", "![a](b)", "`", "|", "*", "_",
    "~", "\\input{x}", "$x$", "%", "&", "{", "}", "^", "\\", "'", '"', "a", "net", "0", "\u200b", "\ud800", "é", "層",
)  # fmt: skip
NAMES = st.one_of(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join), st.text(max_size=20))
HOSTILE_DOCUMENTS = [
    name for name in DOCUMENTS if "hostile" in name or name in ("check", "verification", "explanation")
]
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?([x ]-?\d+)*")


def check_stream(text: str, line_ends: str = "\n") -> None:
    """Fail if a terminal or a CI job would take any of a text for a command."""
    for line in text.split("\n"):
        assert not line.lstrip().startswith("::"), repr(line)
    for character in text:
        assert character.isprintable() or character in f"{line_ends}\N{NO-BREAK SPACE}", ascii(character)


def check_words(text: str) -> None:
    """Fail if a line for people has the older form of a command, which may stand anywhere."""
    assert "##[" not in text, text


def check_csv(text: str) -> None:
    check_stream(text, "\r\n")
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            assert NUMBER.fullmatch(cell) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell


def check_markdown(text: str) -> None:
    check_stream(text)
    outside = re.sub(r"(?<![\\`])(`+)(?!`).+?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"@\w|(?<!&)#\d|://|www\.\w|(?<!\\)[<>]|(?<!\\)\]\(", outside), outside


def check_html(text: str) -> None:
    check_stream(text)
    checker = Checker()
    checker.feed(text := without_own_script(text))
    assert checker.open == [] and set(re.findall(r"<(\w+)", text)) <= {
        "html", "head", "title", "link", "body", "a", "header", "main", "footer", "section", "h1", "h2", "small",
        "caption", "meta", "style", "div", "b", "br", "h4", "p", "table", "thead", "tbody", "tfoot", "tr", "th", "td",
        "dl", "dt", "dd", "span", "code", "svg",
        "figure", "figcaption", "details", "summary", "desc", "g", "path", "rect", "circle", "polyline", "text",
    }  # fmt: skip


CHECKS = {
    "table": lambda text: (check_stream(text), check_words(text)),
    "json": check_stream,
    "csv": check_csv,
    "markdown": check_markdown,
    "html": check_html,
    "latex": lambda text: (check_stream(text), check_latex(text)),
}


@pytest.mark.parametrize("subject", HOSTILE_DOCUMENTS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=NAMES)
def test_reports_are_inert(subject: str, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_every_format, "HOSTILE", name or "x")
        try:
            document = DOCUMENTS[subject]()
        except CnnstatError as error:  # a graph refuses some names
            check_stream(inert_line(str(error).encode("unicode_escape").decode()))
            return
        for format, check in CHECKS.items():
            if format == "csv" and subject == "explanation":
                continue
            out = io.StringIO()
            try:
                report.write(document, format, Console(file=out, width=80, color_system=None, highlight=False))
            except CnnstatError:  # this subject has no such format
                continue
            check(out.getvalue())


@pytest.mark.parametrize("format", check_formats.FORMATS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=NAMES)
@example(name=" ::error::x")
def test_reports_of_a_check_are_inert(format: str, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_every_format, "HOSTILE", name or "x")
        text = check_formats.render(hostile_check(), format)
    if format == "github":  # its own commands begin its lines, and nothing else does
        lines = text.splitlines()
        assert all(re.match(r"::(error|warning|notice) [a-z]+=|cnnstat check: ", line) for line in lines), lines
        text = "".join(line.removeprefix("::") for line in lines)
    if format in ("markdown", "summary"):
        text = re.sub(r"^<!-- cnnstat-check -->|</?(sub|details|summary)>|&#8203;", "", text, flags=re.MULTILINE)
        assert not re.search(r"<(?!/?\w*>)", re.sub(r"\\<|`[^`]*`", "", text)) or "\\<" in text
    (check_csv if format == "csv" else check_stream)(text)


@settings(max_examples=50, deadline=None)
@given(name=NAMES)
def test_errors_are_inert(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", err := io.StringIO())
        terminal.report_error(SpecError([Problem(Location(name, 1, 1), name)]))
        terminal.report_error(SpecError([Problem(None, name)]))
        terminal.report_error(CnnstatError(name))
        terminal.report_unexpected(ValueError(name))
    check_stream(err.getvalue())
    check_words(err.getvalue())


@settings(max_examples=200, deadline=None)
@given(text=NAMES)
def test_texts_are_inert_in_cells(text: str) -> None:
    check_csv(csv_format.csv_text(["key"], [[text]]))
    check_markdown(markdown.escaped(text))


def test_numbers_stay_numbers_in_csv() -> None:
    rows = [[-1, -0.5, (-1, 2), "-1", None]]
    assert csv_format.csv_text(["a"], rows) == "a\r\n-1,-0.5,-1x2,'-1,\r\n"


def test_a_wrapped_title_begins_no_command() -> None:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_every_format, "HOSTILE", f"{'a' * 60} ::error::pwned")
        report.write(DOCUMENTS["analysis, hostile"](), "table", Console(file=out, width=70, color_system=None))
    assert "pwned" in out.getvalue()
    check_stream(out.getvalue())

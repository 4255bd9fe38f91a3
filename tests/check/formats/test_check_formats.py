"""Every format of `cnnstat check`: what it looks like, that programs can read it, and that no name can break it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import escape
from xml.etree import ElementTree

import check_reports
import pytest
from check_reports import EXIT_CODES, FAIL, NASTY, PASS, REPORTS, SKIPPED, UNVERIFIED, WARN, check, hostile, model
from markdown_it import MarkdownIt
from rich.console import Console

from cnnstat.check.check_result import CheckResult
from cnnstat.check.formats import FORMATS, render
from cnnstat.check.text import conclusion, fingerprints, growth_percent, limit, value
from cnnstat.errors import CnnstatError
from cnnstat.report import write
from cnnstat.report.subjects.check import document
from cnnstat.report.terminal_text import printable

SUFFIXES = {"table": "txt", "json": "json", "markdown": "md", "summary": "summary.md", "github": "github.txt"}
SUFFIXES |= {"gitlab": "gitlab.json", "junit": "xml", "sarif": "sarif", "latex": "tex", "html": "html", "csv": "csv"}
ALL = {**REPORTS, "hostile": hostile()}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("outcome", REPORTS)
def test_goldens(outcome: str, format: str, golden: Callable[[str, str], None]) -> None:
    text = render(REPORTS[outcome], format)
    if format == "html":  # style sheet and script are the same in every page
        text = f"{text[text.index('<main') : text.index('</main>')]}</main>\n"
    golden(f"check/{outcome}.{SUFFIXES[format]}", text)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("outcome", ALL)
def test_every_format_is_text_that_utf8_can_write_and_the_same_twice(outcome: str, format: str) -> None:
    text = render(ALL[outcome], format)
    assert text == render(ALL[outcome], format) and text.endswith("\n")
    assert text.encode("utf-8").decode("utf-8") == text
    assert all(c.isprintable() or c in ("\r\n" if format == "csv" else "\n") for c in text if format != "github")


def test_exit_codes() -> None:
    assert {outcome: report.exit_code for outcome, report in REPORTS.items()} == EXIT_CODES


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(CnnstatError, match="did you mean junit"):
        render(REPORTS["pass"], "junti")


def test_conclusions() -> None:
    assert {outcome: conclusion(report) for outcome, report in REPORTS.items()} == {
        "pass": "the limit is kept",
        "fail": "2 limits: 1 broken, 1 kept",
        "warn": "2 limits: 1 over (a warning), 1 kept",
        "skipped": "2 limits: 1 skipped, 1 kept",
        "unverified": "the limit is not verifiable",
        "mixed": "5 limits: 1 broken, 1 over (a warning), 1 not verifiable, 1 skipped, 1 kept",
        "nothing": "no limits to check",
    }
    assert conclusion(check(model(PASS, PASS, PASS))) == "all 3 limits are kept"


class TestWords:
    def test_a_value_never_reads_like_the_limit_that_it_breaks(self) -> None:
        close = replace(FAIL, value=5_000_001, limit=5_000_000)
        assert value(close) == "5,000,001" and value(FAIL) == "5.31 M"

    def test_sizes_keep_to_the_units_of_the_limit(self) -> None:
        size = replace(PASS, metric="file_size", limit_text="20 MB", value=19_500_000)
        assert value(size) == "19.50 MB" and value(replace(size, limit_text="20 MiB")) == "18.60 MiB"

    def test_limits_keep_the_words_of_the_user(self) -> None:
        bounds = ("max", "min", "max_increase", "baseline_growth")
        shown = [limit(replace(PASS, bound=bound, limit_text="2 %")) for bound in bounds]
        assert shown == ["≤ 2 %", "≥ 2 %", "≤ +2 %", "baseline: 2 %"]
        assert limit(replace(PASS, bound="max_increase", limit_text="+ 2%")) == "≤ +2%"

    def test_growth_never_reads_as_nothing(self) -> None:
        shown = [
            growth_percent(*pair) for pair in ((100, 106), (100, 94), (10**9, 10**9 + 1), (0, 5), (7, 7), (None, 1))
        ]
        assert shown == ["+6.0 %", "−6.0 %", "+<0.1 %", "new", "–", "–"]


class TestTable:
    @pytest.mark.parametrize("outcome", REPORTS)
    def test_it_fits_80_columns(self, outcome: str) -> None:
        assert max(map(len, render(REPORTS[outcome], "table").splitlines())) <= 80

    def test_a_terminal_gets_colours_and_its_own_width(self) -> None:
        out = io.StringIO()
        console = Console(file=out, width=120, force_terminal=True, color_system="standard")
        write(document(REPORTS["fail"]), "table", console)
        assert "\x1b[1;31mFAIL" in out.getvalue()

    def test_a_file_gets_the_same_text_without(self) -> None:
        out = io.StringIO()
        write(document(REPORTS["fail"]), "table", Console(file=out, width=80, color_system=None))
        assert out.getvalue() == render(REPORTS["fail"], "table")

    def test_layers_that_break_two_limits_are_shown_once(self) -> None:
        text = render(check(model(FAIL, replace(FAIL, bound="max_increase"), name="a"), model(FAIL, name="b")), "table")
        assert text.count("stage3.conv2  2.29 M") == 2

    def test_many_skipped_limits_are_summed_up(self) -> None:
        text = render(check(model(*[SKIPPED] * 60)), "table")
        assert text.count("may grow by 2%") == 3 and "… and 57 more" in text


class TestJson:
    def test_it_says_everything(self) -> None:
        document = json.loads(render(REPORTS["mixed"], "json"))
        assert document["schema"] == "cnnstat-check/1" and document["exit_code"] == 1
        assert document["verdicts"] == {"pass": 1, "fail": 1, "warn": 1, "skipped": 1, "unverified": 1}
        first = document["models"][0]
        assert first["place"] == {"file": "models/tiny.yaml", "line": 14, "column": 5}
        assert first["verdicts"][0]["layers"][1] == {"name": "head", "value": 1_000_000, "baseline": None}
        assert first["changed_layers"][1]["after"] is None

    def test_hostile_names_come_back(self) -> None:
        assert json.loads(render(hostile(), "json"))["models"][0]["name"] == NASTY


class TestGitHub:
    def test_commands(self) -> None:
        from cnnstat.check.formats.github import command

        # the escapes of actions/toolkit: percent first, colon and comma in properties only
        assert command("error", {"file": "a,b:c%.yaml", "line": "3"}, "50%: a,b\r\nc") == (
            "::error file=a%2Cb%3Ac%25.yaml,line=3::50%25: a,b%0D%0Ac"
        )
        assert command("notice", {}, "::error::x") == "::notice::::error::x"

    def test_one_annotation_a_broken_budget_errors_first(self) -> None:
        lines = render(check(model(WARN, FAIL, PASS, SKIPPED, UNVERIFIED)), "github").splitlines()
        assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::warning", "::notice", "cnnstat"]
        assert lines[0].startswith("::error file=models/tiny.yaml,line=14,col=5,title=cnnstat%3A params of tiny::")

    def test_a_model_without_a_file_points_to_its_limit(self) -> None:
        assert "file=pyproject.toml,line=41" in render(check(model(FAIL, place=None)), "github")

    def test_unverified_warns_where_it_does_not_block(self) -> None:
        assert render(check(model(replace(UNVERIFIED, blocking=False))), "github").startswith("::warning ")

    def test_no_name_starts_or_ends_a_command(self) -> None:
        *commands, last = render(hostile(), "github").splitlines()
        assert last.startswith("cnnstat check: ")
        for line in commands:
            name, _, properties = line.removeprefix("::").partition("::")[0].partition(" ")
            assert name in ("error", "warning", "notice")
            assert all(pair.partition("=")[0] in ("file", "line", "col", "title") for pair in properties.split(","))


class TestGitLab:
    def test_issues_have_what_gitlab_requires(self) -> None:
        for report in ALL.values():
            issues = json.loads(render(report, "gitlab"))
            for issue in issues:
                assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
                assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
                assert issue["location"]["lines"]["begin"] >= 1 and len(issue["fingerprint"]) == 64
            assert len({issue["fingerprint"] for issue in issues}) == len(issues)

    def test_what_holds_or_is_skipped_is_no_issue(self) -> None:
        assert json.loads(render(REPORTS["skipped"], "gitlab")) == []

    def test_a_fingerprint_outlives_lines_and_figures_but_not_the_layer(self) -> None:
        def first(verdict: object, **place: int) -> str:
            report = check(model(verdict, place=replace(check_reports.SPEC, **place)))  # type: ignore[arg-type]
            return fingerprints(report)[0]

        assert first(FAIL) == first(replace(FAIL, value=9, message="other"), line=99)
        assert first(FAIL) != first(replace(FAIL, layers=FAIL.layers[1:]))
        assert first(FAIL) != first(replace(FAIL, metric="macs"))


class TestJunit:
    @pytest.mark.parametrize("outcome", ALL)
    def test_it_is_valid(self, outcome: str) -> None:
        xmlschema = pytest.importorskip("xmlschema")
        schema = xmlschema.XMLSchema(check_reports.SCHEMAS / "junit.xsd")
        schema.validate(render(ALL[outcome], "junit"))

    def test_each_status_is_told_in_its_own_way(self) -> None:
        root = ElementTree.fromstring(render(check(model(PASS, FAIL, WARN, SKIPPED, UNVERIFIED)), "junit"))
        (suite,) = root
        assert [[child.tag for child in case] for case in suite.iter("testcase")] == [
            [],
            ["failure"],
            [],
            ["skipped"],
            ["error"],
        ]
        counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
        assert counts == {"tests": "5", "failures": "1", "errors": "1", "skipped": "1"}
        assert WARN.message in (suite.findtext("system-out") or "")

    def test_hostile_names_are_text(self) -> None:
        text = render(hostile(), "junit")
        name = ElementTree.fromstring(text)[0].get("name")
        assert name is not None and "]]> \"q\" 'q'" in name and "<b>" in name and "]]>" not in text


class TestMarkdown:
    def test_the_comment_starts_with_its_marker_and_no_name_repeats_it(self) -> None:
        named = replace(hostile(), configuration="<!-- cnnstat-check -->", notes=("<!-- cnnstat-check -->",))
        text = render(named, "markdown")
        assert text.startswith("<!-- cnnstat-check -->\n") and shown(text).count("<!--") == 1
        assert "<!--" not in shown(render(named, "summary"))

    def test_names_are_neither_markup_nor_mentions(self) -> None:
        html = shown(render(hostile(), "markdown"))
        outside = re.sub(r"<code>.*?</code>", "", html, flags=re.DOTALL)
        assert "@team" in html and "@team" not in outside
        # The one block of code is the graph of changed layers, in which a label has no letter that could end it.
        blocks = re.findall(r'<pre><code class="language-mermaid">(.*?)</code></pre>', html, re.DOTALL)
        assert len(blocks) == html.count("<pre") == 1 and "@" not in blocks[0] and "`" not in blocks[0]
        assert not re.search(r"<(b|a|img|em)\b", html)

    def test_every_row_has_as_many_cells_as_its_head(self) -> None:
        for report in ALL.values():
            for table in re.findall(r"<table>.*?</table>", shown(render(report, "markdown")), re.DOTALL):
                assert len({len(re.findall("<t[hd][ >]", row)) for row in table.split("</tr>")[:-1]}) == 1

    def test_names_in_code_read_as_they_are(self) -> None:
        assert f"{escape(printable(NASTY)[-40:], quote=False)}</code>" in shown(render(hostile(), "markdown"))

    @pytest.mark.parametrize("layers", [1, 10_000])
    def test_it_fits_a_comment_and_says_what_is_left_out(self, layers: int) -> None:
        changes = [replace(check_reports.CHANGES[0], name="block." * 30 + str(i)) for i in range(layers)]
        big = replace(check_reports.COMPARED, changed_layers=tuple(changes), verdicts=(FAIL,) * 400)
        text = render(check(*[big] * 40), "markdown")
        assert len(text) < 65_536 and ("left out" in text)
        assert text.count("<details>") == text.count("</details>")


def shown(text: str) -> str:
    """Return the page that a Markdown text becomes."""
    return str(MarkdownIt("commonmark").enable("table").render(text))


class TestSarif:
    @pytest.mark.parametrize("outcome", ALL)
    def test_it_is_valid(self, outcome: str) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        jsonschema.Draft4Validator(check_reports.sarif_schema()).validate(json.loads(render(ALL[outcome], "sarif")))

    def test_levels(self) -> None:
        results = self.results(check(model(PASS, FAIL, WARN, SKIPPED, UNVERIFIED)))
        assert [result["level"] for result in results] == ["error", "warning", "note", "error"]

    def test_rules_are_those_of_the_results(self) -> None:
        (run,) = json.loads(render(REPORTS["mixed"], "sarif"))["runs"]
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])

    def test_paths_are_uri_references(self) -> None:
        from cnnstat.check.formats.sarif import artifact_location

        assert artifact_location("./a b/ü#?%:.yaml")["uri"] == "a%20b/%C3%BC%23%3F%25%3A.yaml"
        assert artifact_location("/x y.yaml") == {"uri": "file:///x%20y.yaml"}
        assert artifact_location("C:\\x\\y.yaml") == {"uri": "file:///C:/x/y.yaml"}
        assert artifact_location("a\\b.yaml")["uri"] == "a/b.yaml"

    @staticmethod
    def results(report: CheckResult) -> list[dict[str, object]]:
        (run,) = json.loads(render(report, "sarif"))["runs"]
        found: list[dict[str, object]] = run["results"]
        return found

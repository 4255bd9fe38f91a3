"""Every subject in every format, hostile names included; no format's file names a subject."""

import csv
import html.parser
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from handmade_profiles import cpu_profile, gpu_profile
from networks import network, op, written, zoo

import cnnstat
from cnnstat import report
from cnnstat.analysis.comparison import compare_analyses
from cnnstat.analysis.explanation import Explanation
from cnnstat.analysis.peak import peak_of
from cnnstat.analysis.published import published_rows
from cnnstat.check.check_result import CheckResult, LayerShare, ModelResult, Status, Verdict
from cnnstat.profile.difference import compare_profiles
from cnnstat.report.formats.html import resource
from cnnstat.report.subjects import (
    analysis,
    check,
    comparison,
    explanation,
    ops,
    peak,
    profile,
    profile_overview,
    published,
    sweep,
    tiles,
    verification,
)
from cnnstat.report.subjects import zoo as zoo_list
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request
from cnnstat.sources.tile_sizes import tiles_of
from cnnstat.sweep.evaluate import SCHEMA, figures
from cnnstat.sweep.sweep import Sweep
from cnnstat.verify import findings

FORMATS = Path(report.__file__).parent / "formats"
SUBJECTS = Path(report.__file__).parent / "subjects"

HOSTILE = 'a|b`c`\x1b[31m\n\u202e<script>alert("x")</script>,\\input{x}$&#_%~^{}'


def hostile_network():
    layers = [(HOSTILE, op("Conv2d", 4, 3), "input"), ("b", op("ReLU"), HOSTILE), ("c", op("Conv2d", 2, 1), "b")]
    return network((1, 3, 8, 8), *layers, name=HOSTILE, about={"title": HOSTILE})


def hostile_profile():
    found = gpu_profile(model=HOSTILE, notes=(HOSTILE,))
    first, *others = found.layers
    return replace(found, layers=(replace(first, name=HOSTILE, kernel_names=(HOSTILE,)), *others))


def hostile_check():
    verdict = Verdict(
        metric="params", bound="max", status=Status.FAIL, limit=1, limit_text=HOSTILE, value=2, baseline=None,
        message=HOSTILE, layers=(LayerShare(name=HOSTILE, value=2, baseline=1),),
    )  # fmt: skip
    model = ModelResult(name=HOSTILE, source=HOSTILE, place=None, verdicts=(verdict,), totals={"params": 2})
    return CheckResult(models=(model,), configuration=HOSTILE, baseline=HOSTILE, convention=HOSTILE, notes=(HOSTILE,))


def hostile_verification():
    other = findings.ReferenceCount(1, findings.Verdict.UNEXPLAINED, (HOSTILE,))
    layer = findings.LayerFinding(
        layer=HOSTILE, op=HOSTILE, macs=2, flop_counter=other, fvcore=findings.NO_REFERENCE, shapes=((1, 2),),
        made=((1, 3),), shape=other,
    )  # fmt: skip
    field = findings.FieldFinding(
        layer=HOSTILE, position=(0, 0), shape=(8, 8), ours=((0, 2), (0, 2)), gradient=None, clipped=True,
        verdict=findings.Verdict.UNEXPLAINED, reason=HOSTILE,
    )  # fmt: skip
    return findings.Verification(
        analysis=hostile_network(), layers=(layer,), fields=(field,), notes=(HOSTILE,),
        totals=(findings.TotalFinding(figure="params", reference=HOSTILE, ours=1, theirs=other),),
        references=(findings.Reference(HOSTILE, HOSTILE, HOSTILE),),
    )  # fmt: skip


def hostile_sweep():
    good = {"schema": SCHEMA, "point": 0, "source": HOSTILE, "settings": {"w": HOSTILE}, "error": None}
    bad = {**good, "point": 1, "error": HOSTILE}
    return Sweep.of([{**good, **figures(zoo("lenet5")), "notes": [HOSTILE]}, bad], ("w",))


def difference():
    return profile.Against(compare_profiles(cpu_profile(), hostile_profile()), HOSTILE)


DOCUMENTS = {
    "analysis": lambda: analysis.document(zoo("resnet50"), analysis.AnalysisView(depth=1, sort="params", top=3)),
    "analysis, hostile": lambda: analysis.document(hostile_network()),
    "check": lambda: check.document(hostile_check()),
    "comparison": lambda: comparison.document(compare_analyses([zoo("alexnet"), zoo("vgg16"), hostile_network()])),
    "comparison with times": lambda: comparison.document(
        compare_analyses([hostile_network(), zoo("lenet5")], [hostile_profile(), gpu_profile()])
    ),
    "tiles": lambda: tiles.document(tiles_of(named_model("unet", Request()), "572")),
    "peak": lambda: peak.document(peak_of(hostile_network())),
    "explanation": lambda: explanation.document(Explanation(hostile_network(), HOSTILE)),
    "ops": ops.document,
    "ops, one": lambda: ops.document("GELU"),
    "profile": lambda: profile.document(cpu_profile()),
    "profile, hostile": lambda: profile.document(hostile_profile()),
    "profile, changed": lambda: profile.document(cpu_profile(), None, difference()),
    "profile_overview": lambda: profile_overview.document([hostile_profile(), cpu_profile()]),
    "published": lambda: published.document(zoo("resnet50"), published_rows(zoo("resnet50"))),
    "published, none": lambda: published.document(hostile_network(), []),
    "sweep": lambda: sweep.document(hostile_sweep(), None, ("macs", "params")),
    "verification": lambda: verification.document(hostile_verification(), everything=True),
    "zoo": lambda: zoo_list.document([zoo("alexnet"), hostile_network()]),
}


class Checker(html.parser.HTMLParser):
    """Counts what is opened and not closed, and refuses scripts other than the page's own."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_html(text):
    checker = Checker()
    checker.feed(without_own_script(text))
    assert checker.open == []


def without_own_script(text):
    return text.replace(f"<script>{resource('page.js')}</script>", "")


def check_latex(text):
    assert text.count(r"\caption{") == len(re.findall(r"\\begin\{(?:long)?table\}", text))
    assert r"\input" not in re.sub("^%.*$", "", text, flags=re.MULTILINE)
    for line in text.splitlines():
        if not line.startswith("%"):
            assert not re.search(r"(?<!\\)[#%]|(?<![\\$])_(?!.\$)", line), line


def check_markdown(text):
    widths = [(line.count("|") - line.count("\\|"), line[:1]) for line in text.splitlines()]
    for (before, _), (bars, start) in zip(widths, widths[1:]):
        assert start != "|" or before in (0, bars), "every row of a table has as many cells"
    assert "\n`c`" not in text


CHECKS = {
    "table": lambda text: None,
    "json": json.loads,
    "csv": lambda text: list(csv.reader(io.StringIO(text))),
    "markdown": check_markdown,
    "html": check_html,
    "latex": check_latex,
}


@pytest.mark.parametrize("format", report.FORMATS)
@pytest.mark.parametrize("subject", DOCUMENTS)
def test_every_subject_takes_every_format(subject, format):
    text = written(report.write, DOCUMENTS[subject](), format)
    assert text.strip() and text.endswith("\n")
    # CSV has names as they are, for programs.
    assert format == "csv" or not {"\x1b", "\u202e"} & set(text)
    CHECKS[format](text)


def test_every_subject_is_rendered_here():
    tested = {name.partition(",")[0].partition(" ")[0] for name in DOCUMENTS}
    assert tested == {path.stem for path in SUBJECTS.glob("[a-z]*.py")}


@pytest.mark.parametrize("path", sorted(FORMATS.glob("*.py")), ids=lambda path: path.stem)
def test_no_format_names_a_subject(path):
    text = path.read_text(encoding="utf-8")
    imported = re.findall(r"^ *from (\S+) import|^ *import (\S+)", text, re.MULTILINE)
    modules = {name for names in imported for name in names if name.startswith("cnnstat")}
    machinery = {
        f"cnnstat.report.{name}" for name in ("document", "latex_layout", "table", "terminal_text", "html_elements")
    }
    assert modules <= {*machinery, "cnnstat.errors", "cnnstat.version"}


# Results --------------------------------------------------------------------------------------------------------------

RESULTS = {
    "analysis": lambda: hostile_network(),
    "comparison": lambda: compare_analyses([hostile_network(), zoo("lenet5")]),
    "profile": hostile_profile,
    "verification": hostile_verification,
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_results_are_alike(result):
    one = result()
    assert one == result() and one != zoo("alexnet")
    assert json.loads(one.to_json()) == json.loads(json.dumps(one.to_dict()))
    assert repr(one) == str(one) and "\x1b" not in repr(one)
    check_html(one._repr_html_())


def test_the_middle_of_a_long_table_is_left_out_of_repr():
    found = zoo("resnet50")
    rows = len(found.layers)
    lines, every = repr(found).splitlines(), str(found).splitlines()
    hint = next(line for line in lines if "more rows" in line)
    assert hint.startswith(f"… {rows - 60:,} more rows: print()") and len(every) - len(lines) == rows - 60 - 1
    at = lines.index(hint)
    assert lines[:at] == every[:at] and lines[at + 1 :] == every[at + rows - 60 :]


def test_a_layer_is_found_by_its_name():
    found = zoo("resnet50")
    layer = next(layer for layer in found.layers if layer.name == "layer1.0.conv1")
    assert found["layer1.0.conv1"] is found["Conv2d#2"] is layer
    with pytest.raises(cnnstat.CnnstatError, match="did you mean"):
        found["layer1.0.conv9x"]
    with pytest.raises(TypeError, match="not iterable"):
        list(found)


def test_results_can_be_keys():
    assert len({zoo("alexnet"), cnnstat.analyze("alexnet"), cnnstat.analyze("alexnet", batch=2)}) == 2
    assert len({cnnstat.compare("alexnet", "vgg11"), cnnstat.compare("alexnet", "vgg11")}) == 1


def test_figures_print_without_addresses():
    found = zoo("alexnet")
    assert "params=61100840" in repr(found.totals) and len(repr(found.totals)) < 1200
    assert "0x" not in repr(found.totals) + repr(found.layers) and "op=Conv2d(64, 11, stride=4" in repr(found.layers[0])


def test_pandas_is_imported_only_when_it_is_asked_for(monkeypatch):
    class Pandas:
        @staticmethod
        def DataFrame(rows, columns):
            return rows, columns

    monkeypatch.setitem(__import__("sys").modules, "pandas", Pandas)
    rows, columns = zoo("alexnet").to_pandas()
    assert columns[:2] == ["name", "op"] and rows[0]["macs"] == zoo("alexnet").layers[0].macs
    rows, columns = hostile_verification().to_pandas()
    assert rows[0]["layer"] == HOSTILE
    assert len(compare_analyses([zoo("alexnet"), zoo("vgg16")]).to_pandas()[0]) == 2
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(cnnstat.CnnstatError, match="to_pandas needs pandas.*pip install pandas"):
        zoo("alexnet").to_pandas()

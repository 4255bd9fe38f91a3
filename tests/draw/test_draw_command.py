"""`cnnstat draw`: files in every format, what is refused and how, and names that mean harm."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from drawings import Drawing, faults_of
from handmade_profiles import cpu_profile

import cnnstat
from cnnstat import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cnnstat", "draw", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


HOSTILE = [
    "</g><script>alert(1)</script>",
    'x" onload="alert(1)',
    "]]>&lt;",
    'a b %20 "c"',
    "end",
    "`rm`; click n0",
    "\\end{document}$#_^~",
]
"""Names that are markup, code or syntax somewhere."""


def hostile() -> cnnstat.Graph:
    """Return a network whose layers have such names."""
    from dataclasses import replace

    graph = cnnstat.load("alexnet")
    names = dict(enumerate(HOSTILE))
    nodes = tuple(replace(node, name=names.get(index, node.name)) for index, node in enumerate(graph.nodes))
    return replace(graph, nodes=nodes, name="<b>net</b>", about={})


@pytest.mark.parametrize("ending", ["svg", "html", "dot", "mmd", "tex"])
def test_text_formats_need_no_extra_and_are_the_same_every_time(run: Run, ending: str, tmp_path: Path) -> None:
    assert run("resnet50", "--by", "macs", "-o", f"new/one.{ending}") == (0, "", "")
    assert run("resnet50", "--by", "macs", "-o", f"two.{ending}") == (0, "", "")
    first = (tmp_path / "new" / f"one.{ending}").read_bytes()
    assert first == (tmp_path / f"two.{ending}").read_bytes() and len(first) > 1000


@pytest.mark.parametrize(("ending", "package", "head"), [("png", "resvg_py", b"\x89PNG"), ("pdf", "fpdf", b"%PDF")])
def test_rasters_come_through_the_extra(run: Run, ending: str, package: str, head: bytes, tmp_path: Path) -> None:
    pytest.importorskip(package)
    assert run("lenet5", "-o", f"a.{ending}")[0] == run("lenet5", "-o", f"b.{ending}")[0] == 0
    content = (tmp_path / f"a.{ending}").read_bytes()
    assert content.startswith(head) and content == (tmp_path / f"b.{ending}").read_bytes()


@pytest.mark.parametrize(("ending", "package"), [("png", "resvg_py"), ("pdf", "fpdf")])
def test_without_the_extra_one_line_names_it(
    run: Run, ending: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = run("lenet5", "-o", f"a.{ending}")
    assert (code, out, err.count("\n")) == (2, "", 1) and "pip install 'cnnstat[draw]'" in err
    assert not (tmp_path / f"a.{ending}").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "x.svgg"], "did you mean svg?"),
        (["-o", "x"], "has no ending; end it in .svg"),
        (["--by", "mac"], "'mac' is not one of"),
        (["--by", "time"], "--by time needs --profile FILE"),
        (["--profile", "none.json", "--by", "time"], "none.json: cannot be read"),
        (["--depth", "0"], "--depth 0 must be at least 1"),
        (["--full", "--depth", "2"], "--full opens everything; leave --depth out"),
        (["--full", "--expand", "layer1"], "--full opens everything; leave --expand out"),
        (["--expand", "layr3"], "did you mean layer3?"),
        (["--expand", "fc"], "no such block"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(run: Run, options: list[str], said: str) -> None:
    code, out, err = run("resnet18", *options)
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err


def test_what_is_read_is_never_written_over(run: Run, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n")
    code, _, err = run("vgg16", "--field", "conv1_1", "--image", "photo.png", "-o", "photo.png")
    assert code == 2 and "would overwrite photo.png, which is read" in err
    assert photo.read_bytes() == b"\x89PNG\r\n\x1a\n"


def test_a_field_is_no_graph(run: Run) -> None:
    code, _, err = run("vgg16", "--field", "conv1_1", "-o", "net.dot")
    assert code == 2 and "a field is no graph" in err


def test_blocks_are_opened_by_their_path_by_the_end_of_it_and_by_what_they_are_called() -> None:
    analysis = cnnstat.analyze("resnet50")
    for name, around in (("layer3", "layer3."), ("layer3.4", "layer3."), ("downsample", ""), ("bottleneck", "")):
        drawing = analysis.draw(depth=1, expand=name)
        opened = {box.get("data-layers", "") for box in Drawing(drawing).boxes}
        if around:
            assert any(layers.startswith(around) and layers.count(" ") < 20 for layers in opened), name
            assert any(layers.startswith("layer1.0.conv1 ") and layers.count(" ") > 20 for layers in opened), name
        assert faults_of(drawing, analysis.graph) == []


def test_a_repeat_is_one_box_that_names_all_its_layers() -> None:
    boxes = Drawing(cnnstat.draw("resnet50")).boxes
    (repeat,) = [box for box in boxes if "layer3.5.conv1" in box.get("data-layers", "").split()]
    assert {f"layer3.{i}.relu1" for i in range(1, 6)} <= set(repeat.get("data-layers", "").split())
    assert "×5" in [text.text for text in repeat.iter("{http://www.w3.org/2000/svg}text")]


def test_bars_show_the_share_of_a_box() -> None:
    fc6 = next(
        box for box in Drawing(cnnstat.draw("vgg16", by="params")).boxes if "fc6" in box.get("data-layers", "").split()
    )
    assert "74.3 %" in [text.text for text in fc6.iter("{http://www.w3.org/2000/svg}text")]


def test_a_drawing_shows_itself_in_notebooks_and_says_what_it_is_elsewhere() -> None:
    drawing = cnnstat.analyze("lenet5").draw()
    assert drawing._repr_svg_() == drawing and drawing.startswith("<svg ")
    assert repr(drawing).startswith("<Drawing of lenet5: LeNet-5") and "\n" not in repr(drawing)


# Names ---------------------------------------------------------------------------------------------------------------


def test_hostile_names_stay_text_in_svg_and_html() -> None:
    graph = hostile()
    drawing = cnnstat.draw(graph)
    assert faults_of(drawing, graph) == []
    root = ET.fromstring(drawing)
    assert not [each for each in root.iter() if each.tag.endswith("script") or "onload" in each.attrib]
    assert faults_of(cnnstat.draw(graph, full=True), graph) == []


def test_the_page_is_a_valid_page_with_nothing_from_elsewhere(tmp_path: Path) -> None:
    cnnstat.draw(hostile()).save(tmp_path / "net.html")
    text = (tmp_path / "net.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and "<html lang=" in text
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: seen.append(tag)  # type: ignore[method-assign, assignment]
    parser.feed(text)
    assert "script" not in seen and {"html", "head", "title", "meta", "body", "main", "svg"} <= set(seen)
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}


DOT = re.compile(
    r"""digraph\ network\ \{\n
    (?:\ *(?:
        (?:graph|node|edge)\ \[ATTRIBUTES\];
      | n\d+\ (?:->\ n\d+\ )?\[ATTRIBUTES\];
      | subgraph\ cluster_\w+\ \{
      | label=STRING;
      | \}
    )\n)*\}\n""".replace("ATTRIBUTES", r"\w+=(?:STRING|\w+)(?:,\ \w+=(?:STRING|\w+))*").replace(
        "STRING", r'"(?:[^"\\\n]|\\[\\"n])*"'
    ),
    re.X,
)


def test_dot_is_of_its_grammar_and_has_every_box_and_tensor(tmp_path: Path) -> None:
    for source in (hostile(), "resnet50", "unet", "ssd300"):
        cnnstat.draw(source).save(tmp_path / "net.dot")
        text = (tmp_path / "net.dot").read_text(encoding="utf-8")
        assert DOT.fullmatch(text) and text.count("{") == text.count("}")
        boxes = len(Drawing(cnnstat.draw(source)).boxes)
        assert len(re.findall(r"^ *n\d+ \[", text, re.M)) >= boxes + 1
        assert len(re.findall(r"^ *n\d+ -> n\d+ ", text, re.M)) >= boxes


MERMAID = re.compile(
    r"""flowchart\ TD\n(?:\ +(?:
        n\d+\[STRING\] | n\d+\ -->\|STRING\|\ n\d+ | subgraph\ g\w+\ \[STRING\] | end
      | classDef\ c\d+\ fill:\#\w{6},stroke:\#\w{6},color:\#\w{6} | class\ n\d+(?:,n\d+)*\ c\d+
    )\n)*""".replace("STRING", r'"(?:[\w\ .,:/()+=×·…−–]|\#\d+;|<br/>)*"'),
    re.X,
)


def test_mermaid_keeps_to_quoted_labels_without_syntax(tmp_path: Path) -> None:
    for source in (hostile(), "resnet50", "unet", "ssd300"):
        cnnstat.draw(source).save(tmp_path / "net.mmd")
        text = (tmp_path / "net.mmd").read_text(encoding="utf-8")
        assert MERMAID.fullmatch(text), source
        assert text.count("subgraph ") == len(re.findall(r"^ +end$", text, re.M))


def test_more_than_github_draws_is_refused_for_mermaid(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    with pytest.raises(cnnstat.CnnstatError, match="more than GitHub draws"):
        cnnstat.draw("torchvision:densenet121", full=True).save(tmp_path / "net.mmd")


def test_a_hundred_thousand_layers_are_folded_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(
        "input: [8, 4, 4]\nlayers:\n  - repeat: 5000\n    as: i\n    layers: ['c{i}': 'Conv2d(8 + i % 9, 1)']\n"
    )
    analysis = cnnstat.analyze(path)
    assert len(Drawing(analysis.draw()).boxes) <= 40 and faults_of(analysis.draw(), analysis.graph) == []
    with pytest.raises(cnnstat.CnnstatError, match="5,000 layers are too many to draw one by one"):
        analysis.draw(full=True)


# Model Explorer -------------------------------------------------------------------------------------------------------


def test_node_data_have_a_figure_for_each_layer_by_its_name(tmp_path: Path) -> None:
    analysis = cnnstat.analyze("resnet18")
    cnnstat.draw(analysis, by="params").save(tmp_path / "params.json")
    data = json.loads((tmp_path / "params.json").read_text())["main"]
    assert {name: each["value"] for name, each in data["results"].items()} == {
        layer.name: layer.params for layer in analysis.layers
    }
    assert [each["stop"] for each in data["gradient"]] == [0, 1]
    exported = json.loads(cnnstat.export("resnet18", to="model-explorer"))["main"]
    assert sum(each["value"] for each in exported["results"].values()) == analysis.totals.macs


# Times ----------------------------------------------------------------------------------------------------------------


def test_bars_of_time_come_from_a_profile_or_its_json(run: Run, tmp_path: Path) -> None:
    profile = cpu_profile()
    (tmp_path / "profile.json").write_text(profile.to_json())
    names = [layer.name for layer in profile.layers]
    (tmp_path / "tiny.yaml").write_text(
        "input: [3, 64, 64]\nlayers:\n"
        + "".join(f"  - {name}: {'Conv2d(4, 1)' if name == 'fc' else 'ReLU'}\n" for name in names if name != "flatten")
    )
    drawn = cnnstat.draw(tmp_path / "tiny.yaml", by="time", profile=profile)
    assert drawn == cnnstat.draw(str(tmp_path / "tiny.yaml"), by="time", profile=tmp_path / "profile.json")
    assert run("tiny.yaml", "--by", "time", "--profile", "profile.json", "-o", "net.svg") == (0, "", "")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == drawn
    assert "share of measured time" in drawn and "55.1 %" in drawn  # fc: 5.4 of 9.8 ms
    code, _, err = run("lenet5", "--by", "time", "--profile", "profile.json")
    assert code == 2 and "it has no time of C1 and 10 more layers" in err
    code, _, err = run("tiny.yaml", "--profile", "profile.json")
    assert code == 2 and "add --by time" in err

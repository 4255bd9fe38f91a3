"""The HTML page: one valid file that loads nothing, and what a browser makes of it."""

from __future__ import annotations

import html.parser
import re
from importlib import import_module
from itertools import pairwise

import pytest
from headless_chromium import measured, needs_chromium
from networks import network, op, zoo
from test_every_format import DOCUMENTS

import cnnstat
from cnnstat.report.formats.html import render, resource
from cnnstat.report.subjects import analysis, comparison

VOID = ("meta", "link", "br", "input")


@pytest.fixture(scope="module")
def pages():
    return {name: render(make()) for name, make in DOCUMENTS.items()}


class Outline(html.parser.HTMLParser):
    """What a validator asks for: tags closed in order, unique ids, nested headings, nothing loaded."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.headings, self.tags, self.rows, self.text = [], [], [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert len(values) == len(attributes) and not any(name.startswith("on") for name in values)
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append((tag, values))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_page_is_one_whole_file(name, pages):
    text = pages[name]
    found = Outline(text)
    assert text.startswith('<!doctype html>\n<html lang="en">\n') and text == render(DOCUMENTS[name]())
    assert [tag for tag, _ in found.tags].count("h1") == 1
    assert all(below <= above + 1 for above, below in pairwise(found.headings)), found.headings
    assert len(set(found.ids)) == len(found.ids)
    metas = {
        values.get("name", values.get("http-equiv")): values.get("content")
        for tag, values in found.tags
        if tag == "meta"
    }
    assert metas["viewport"] == "width=device-width, initial-scale=1" and metas["color-scheme"] == "light dark"
    assert "default-src 'none'" in metas["Content-Security-Policy"]
    titles = re.findall("<title>(.*?)</title>", text.partition("</head>")[0])
    assert len(titles) == 1 and titles[0].strip()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_page_loads_nothing_and_runs_only_its_own_script(name, pages):
    found = Outline(pages[name])
    for _, values in found.tags:
        assert not {"src", "srcset", "action", "poster"} & set(values)
        assert values.get("href", "#").startswith(("#", "data:,"))
    assert re.findall(r"<script>(.*?)</script>", pages[name], re.DOTALL) == [resource("page.js")]
    assert not re.search(r"url\(|@import|https?:", resource("page.css") + resource("page.js"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_can_be_read_aloud(name, pages):
    found = Outline(pages[name])
    tables = [tag for tag, _ in found.tags].count("table")
    assert [tag for tag, _ in found.tags].count("caption") == tables
    for row in found.rows:
        heads = [values.get("scope") for tag, values in row if tag == "th"]
        assert None not in heads and (len(row) > 1 or heads)
    widths = {len(row) for row in found.rows}
    assert (name == "published, none") is (tables == 0) and (tables != 1 or len(widths) == 1)
    regions = [values for _, values in found.tags if values.get("role") == "region"]
    assert all(values["tabindex"] == "0" and values["aria-label"] for values in regions)
    assert len({values["aria-label"] for values in regions}) == len(regions) == tables


def test_totals_come_first():
    text = render(analysis.document(zoo("vgg16")))
    assert text.index("138,357,544") < text.index("<table") and "15.47 G" in text
    both = render(comparison.document(cnnstat.compare("alexnet", "vgg16")))
    assert both.index("21.7×") < both.index("<table")


def test_every_layer_is_a_row_and_blocks_have_their_sums():
    found = Outline(render(analysis.document(zoo("resnet50"))))
    classes = [values.get("class") for tag, values in found.tags if tag == "tr"]
    assert classes.count("block") == 4 and len(classes) == 1 + zoo("resnet50").totals.layers + 4 + 1
    assert (
        "215,808" in found.text and found.text.count("layer1.0.conv1\n") + found.text.count("layer1.0.conv1Conv2d") == 1
    )


def test_views_are_not_folded_again():
    view = analysis.AnalysisView(depth=1, sort="macs", top=3)
    assert '<tr class="block">' not in render(analysis.document(zoo("resnet50"), view))


COLOURS = re.compile(r"--(\w+): (#[0-9a-f]{3,6})")


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_contrast_is_enough(theme):
    """WCAG 2.1, success criterion 1.4.3: 4.5 to 1 for text."""
    roots = re.findall(r":root \{(.*?)\}", resource("page.css"), re.DOTALL)
    colours = dict(COLOURS.findall(roots[("light", "dark", "print").index(theme)]))
    for text in ("ink", "muted", "accent", "good", "warn", "bad"):
        for ground in {"paper", "raised", "marked"} & set(colours):
            low, high = sorted(luminance(colours[each]) for each in (text, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


# In a browser ---------------------------------------------------------------------------------------------------------


@needs_chromium
@pytest.mark.parametrize("width", [400, 1280])
def test_no_page_scrolls_sideways_or_says_anything_to_the_console(width, pages, tmp_path):
    found = measured(pages, "return [page.documentElement.scrollWidth, view.innerWidth]", tmp_path, width)
    assert {name: size[0] - size[1] for name, size in found.items() if size[0] > size[1]} == {}
    assert all(size[1] == width for size in found.values())


ATTACK = '<img src=x onerror="top.pwned=1"><script>top.pwned=1</script>"><svg onload=top.pwned=1>'


@needs_chromium
def test_hostile_names_stay_text(tmp_path):
    layers = [(ATTACK, op("Conv2d", 4, 3), "input"), (f"a.{ATTACK}", op("ReLU"), ATTACK)]
    one = network((1, 3, 8, 8), *layers, name=ATTACK, about={"title": ATTACK})
    texts = {
        "analysis": render(analysis.document(one)),
        "compared": render(comparison.document(cnnstat.compare(one, one))),
    }
    found = measured(texts, "return [top.pwned ?? 0, page.images.length, page.scripts.length, page.title]", tmp_path)
    assert all(values[:3] == [0, 0, 1] and "<img" in values[3] for values in found.values())


SHOWN = """
const rows = () => [...page.querySelectorAll("tbody tr")].filter((row) => row.offsetParent);
const shown = () => rows().length, at = (row, column) => rows()[row].cells[column].textContent;
"""


@needs_chromium
def test_rows_are_sorted_searched_and_unfolded(tmp_path):
    texts = {"small": render(analysis.document(zoo("vgg16"))), "large": render(analysis.document(zoo("resnet50")))}
    found = measured(
        texts,
        SHOWN
        + """
        const heads = [...page.querySelectorAll("thead th")], press = (n) => heads[n].querySelector("button").click();
        const first = [];
        const start = shown();
        press(3); first.push(at(0, 0), heads[3].getAttribute("aria-sort"));
        press(3); press(3); first.push(at(0, 0), heads[3].getAttribute("aria-sort"));
        press(6); first.push(at(0, 6));
        press(6); press(6);
        const field = page.querySelector("input");
        field.value = "CONV2D"; field.dispatchEvent(new Event("input"));
        first.push(shown(), page.querySelector("output").textContent);
        field.value = ""; field.dispatchEvent(new Event("input"));
        const block = page.querySelector("tr.block button");
        if (block) { block.click(); first.push(shown() - start, block.getAttribute("aria-expanded")); }
        return [start, ...first];
        """,
        tmp_path,
        1280,
    )
    vgg = ["fc6", "descending", "conv1_1", None, "whole", 13, "13 of 40 rows"]
    assert found["small"] == [40, *vgg]
    assert found["large"][:6] == [11, "layer4.0.conv2", "descending", "conv1", None, "whole"]
    assert found["large"][6:] == [53, "53 of 175 rows", 32, "true"]


@needs_chromium
def test_rows_and_boxes_of_the_drawing_light_up_together(tmp_path):
    text = render(analysis.document(zoo("resnet50")))
    found = measured(
        {"page": text},
        """
        const boxes = [...page.querySelectorAll("figure > .network .box[data-layers]")];
        const table = page.querySelector("table");
        const rows = [...table.querySelectorAll("tbody tr")];
        const row = rows.find((each) => each.textContent.startsWith("layer1.0.conv2"));
        const over = (element, kind) => element.dispatchEvent(new view.MouseEvent(kind, { bubbles: true }));
        const marked = (all) => all.filter((each) => each.classList.contains("marked")).length;
        over(row.cells[0], "mouseover");
        const [box] = boxes.filter((each) => each.classList.contains("marked"));
        const said = [marked(boxes), box.dataset.layers.split(" ").includes("layer1.0.conv2")];
        over(row.cells[0], "mouseout");
        said.push(marked(boxes), row.offsetParent === null);
        box.focus();
        said.push(marked(rows) >= 2 && row.classList.contains("marked"));
        box.dispatchEvent(new view.KeyboardEvent("keydown", { key: "Enter" }));
        const names = new Set(boxes.flatMap((each) => each.dataset.layers.split(" ")));
        said.push(row.offsetParent !== null, names.size);
        const [folded, unfolded] = ["figure > .network", ".unfold .network"].map((each) => page.querySelector(each));
        said.push(folded.checkVisibility(), unfolded.checkVisibility());
        page.querySelector(".unfold summary").click();
        said.push(folded.checkVisibility(), unfolded.checkVisibility());
        over(row.cells[0], "mouseover");
        said.push(marked([...unfolded.querySelectorAll(".box")]));
        return [...said, box.getAttribute("role"), box.getAttribute("aria-label")];
        """,
        tmp_path,
        1280,
    )["page"]
    assert found[:8] == [1, True, 0, True, True, True, 175, True]
    assert found[8:-2] == [False, False, True, 1]
    assert found[-2] == "button" and found[-1].endswith(": show in the table")


def test_every_row_of_the_table_has_a_box():
    for name in ("resnet50", "unet", "lenet5"):
        for svg in analysis.document(zoo(name)).drawings()[name]:
            words = [word for layers in re.findall('data-layers="([^"]*)"', svg) for word in layers.split()]
            assert sorted(words) == sorted(layer.name for layer in zoo(name).layers)
            assert svg.strip() in render(analysis.document(zoo(name)))


def test_networks_that_cannot_be_drawn_have_a_page(monkeypatch):
    monkeypatch.setattr(import_module("cnnstat.draw.scene"), "MOST_DRAWN", 1)
    text = render(analysis.document(zoo("lenet5")))
    assert 'data-layers="' not in text and "<table" in text


@pytest.mark.parametrize(("name", "blocks"), [("resnet50", 4), ("vgg16", 0), ("unet", 9)])
def test_layers_are_folded_where_names_have_blocks(name, blocks):
    assert render(analysis.document(zoo(name))).count('<tbody class="block">') == blocks


def test_a_block_that_is_nearly_all_is_opened():
    rows = [(f"features.{block}.conv{i}", op("Conv2d", 3, 1), "input") for block in range(5) for i in range(4)]
    rows += [(name, op("ReLU"), "input") for name in ("relu", "flat", "out")]
    text = render(analysis.document(network((1, 3, 4, 4), *rows)))
    assert text.count('<tbody class="block">') == 5

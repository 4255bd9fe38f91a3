"""Charts as vector pictures: places and lengths are those of the figures, and every text is inert."""

from __future__ import annotations

import math
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from handmade_profiles import CPU, cpu_profile
from networks import network, op, zoo
from test_every_format import DOCUMENTS

import cnnstat
from cnnstat import cli
from cnnstat.errors import CnnstatError
from cnnstat.report.charts.axes import Axis, round_step
from cnnstat.report.charts.layer_chart import MOST_COLUMNS
from cnnstat.report.charts.scatter_plot import ScatterPlot, ScatterPoint
from cnnstat.report.subjects import analysis, ops

SVG = "{http://www.w3.org/2000/svg}"
CHARTS = [(name, chart) for name, make in DOCUMENTS.items() for chart in make().charts()]


def drawn(picture):
    return ElementTree.fromstring(picture.standalone())


def elements(picture, name):
    return [each for each in drawn(picture).iter(SVG + name) if each.get("class") != "paper"]


def number(element, key):
    return float(element.get(key))


@pytest.mark.parametrize(("name", "chart"), CHARTS)
def test_every_chart_is_a_picture_with_words(name, chart):
    picture = DOCUMENTS[name]().picture((chart,))
    root = drawn(picture)
    assert root.get("role") == "img" and root.find(SVG + "title").text and root.find(SVG + "desc").text
    assert picture == DOCUMENTS[name]().picture((chart,))
    kinds = {"svg", "title", "desc", "style", "rect", "path", "circle", "polyline", "text", "g"}
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= kinds
    for each in root.iter():
        assert not any(key.startswith("on") or "href" in key for key in each.attrib)
        if each.tag == SVG + "text" and each.get("x"):
            assert -12 <= number(each, "x") <= picture.width + 12 and -12 <= number(each, "y") <= picture.height + 12
        if each.tag == SVG + "rect" and each.get("class") != "paper":
            assert number(each, "x") + number(each, "width") <= picture.width + 0.5 and number(each, "height") >= 0


def test_columns_are_as_high_as_their_figures():
    rectangles = elements(zoo("vgg16").chart("macs"), "rect")
    macs = [layer.macs for layer in zoo("vgg16").layers if layer.macs]
    assert len(rectangles) == len(macs) == 16
    scale = number(rectangles[1], "height") / macs[1]
    for rectangle, value in zip(rectangles, macs):
        assert number(rectangle, "height") == pytest.approx(scale * value, abs=0.11)
    assert rectangles[1].find(SVG + "title").text == "conv1_2: 1,849,688,064 (12.0 %)"


def test_layers_share_columns_where_there_are_too_many():
    layers = [(f"c{i}", op("Conv2d", 1, 1, bias=False), f"c{i - 1}" if i else "input") for i in range(MOST_COLUMNS + 1)]
    picture = network((1, 1, 4, 4), *layers).chart("macs")
    rectangles = elements(picture, "rect")
    assert len(rectangles) == 301 and rectangles[0].find(SVG + "title").text.startswith("c0 to c1: 32 ")
    heights = [number(each, "height") for each in rectangles]
    assert heights[0] == pytest.approx(2 * heights[-1], abs=0.11) and "2 layers a column" in picture.description


def test_the_field_grows_as_in_the_table():
    picture = zoo("vgg16").chart("receptive_field")
    (line,) = [each.get("d") for each in elements(picture, "path") if each.get("stroke-width") == "2.5"]
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)H", line)]
    sizes = [layer.receptive_field.size[0] for layer in zoo("vgg16").layers if layer.receptive_field]
    assert len(heights) == len(sizes) == 33
    scale = (heights[0] - heights[-1]) / (sizes[-1] - sizes[0])
    for height, size in zip(heights, sizes):
        assert height == pytest.approx(heights[0] - scale * (size - sizes[0]), abs=0.11)
    assert "whole input" in "".join(drawn(picture).itertext())


def test_networks_without_space_have_no_chart_of_fields():
    flat = network((1, 10), ("fc", op("Linear", 2), "input"))
    assert len(analysis.document(flat).page_charts) == 3
    with pytest.raises(CnnstatError, match="there is no chart receptive_field; known: params"):
        flat.chart("receptive_field")


def test_dots_lie_below_the_roof_where_the_time_is_the_floor():
    picture = cpu_profile().chart("roofline")
    dots = {each.find(SVG + "title").text.partition(":")[0]: each for each in elements(picture, "circle") if len(each)}
    assert set(dots) == {"conv1", "relu1", "pool1", "fc"}  # flatten computes nothing
    (roof,) = [each.get("d") for each in elements(picture, "path") if each.get("stroke-width") == "2"]
    points = [tuple(map(float, point.split())) for point in roof[1:].split("L")]
    # Log axes: a slope of one decade a decade below the ridge, at which both ceilings meet.
    ridge = CPU.flops_per_second / CPU.bandwidth
    assert ridge == 5 and points[1][1] == points[2][1]
    for layer in cpu_profile().layers:
        if layer.name in dots:
            x, y = number(dots[layer.name], "cx"), number(dots[layer.name], "cy")
            share = (points[1][0] - x) / (points[1][0] - points[0][0])
            roof_here = points[1][1] + share * (points[0][1] - points[1][1]) if share > 0 else points[1][1]
            assert (y < roof_here) is (layer.share_of_bound > 1), layer.name


def test_bars_are_on_one_scale_for_all_networks():
    picture = cnnstat.compare("alexnet", "vgg16").chart("params")
    bars = [each for each in elements(picture, "rect") if len(each)]
    widths = {each.find(SVG + "title").text: number(each, "width") for each in bars}
    longest = widths["fc6: 102,764,544"]
    assert len(bars) == 8 + 16 and max(widths.values()) == longest
    assert widths["fc6: 37,752,832"] == pytest.approx(longest * 37_752_832 / 102_764_544, abs=0.11)


def test_functions_stand_beside_their_derivatives():
    document = ops.document("Sigmoid", "Tanh", "ReLU", "LeakyReLU")
    picture = document.picture()
    lines = [each.get("points").split() for each in elements(picture, "polyline")]
    assert [len(line) for line in lines] == [161] * 4 and lines[0][80] == "270.0,240.0"
    slopes = [each.get("d").split() for each in elements(picture, "path") if each.get("d").count(",") > 9]
    assert slopes[0][80] == "810.0,255.0"  # the sigmoid's slope at 0 is 1/4, a quarter of a unit of 60 above the axis
    assert slopes[2][100] == "870.0,210.0"  # that of ReLU is 1 at x = 1
    assert len({each.get("stroke-dasharray") for each in elements(picture, "polyline")}) == 4


@pytest.mark.parametrize("reach", [10, 1000])
def test_points_stand_where_their_figures_are(reach):
    points = [ScatterPoint(1.0, 2.0, "<a>", True), ScatterPoint(reach, 3.0, "b"), ScatterPoint(reach / 2, 2.5, "c")]
    picture = ScatterPlot(points, "x", "y", ("1", "2"), ("2", "3")).picture()
    first, second, third = elements(picture, "circle")
    assert first.find(SVG + "title").text == "<a>" and "1 of them on the Pareto front" in picture.description
    across = [number(each, "cx") for each in (first, second, third)]
    share = (across[2] - across[0]) / (across[1] - across[0])
    # Beyond a factor of 30 an axis is logarithmic.
    exact = math.log(reach / 2) / math.log(reach) if reach > 30 else (reach / 2 - 1) / (reach - 1)
    assert share == pytest.approx(exact, abs=0.002)
    assert number(third, "cy") == pytest.approx((number(first, "cy") + number(second, "cy")) / 2, abs=0.11)


def test_names_stand_in_the_picture_and_on_nothing_else():
    points = [ScatterPoint(10.0**place, 10.0 ** (place % 4), f"network_{place}", place % 4 == 0) for place in range(9)]
    points += [ScatterPoint(9.99e7, 1.0, "a name on another point's")]
    content = ScatterPlot(points, "x", "y", ("1", "2"), ("2", "3")).picture()
    texts = [each for each in elements(content, "text") if str(each.text).startswith(("network", "a name"))]
    boxes = []
    for each in texts:
        half, middle, base = 3.3 * len(str(each.text)), number(each, "x"), number(each, "y")
        boxes.append((middle - half, base - 9, middle + half, base + 2))
    dots = [(number(c, "cx"), number(c, "cy")) for c in elements(content, "circle")]
    assert len(texts) == len({each.text for each in texts}) >= 8
    for place, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and right <= content.width and top >= 0
        assert not any(left < x < right and top < y < bottom for x, y in dots)
        others = boxes[place + 1 :]
        assert not any(left < o[2] and o[0] < right and top < o[3] and o[1] < bottom for o in others)
    everything = [each for each in elements(content, "text") if each.get("text-anchor") == "middle"]
    assert all(number(each, "x") + 3.3 * len(str(each.text)) <= content.width + 0.1 for each in everything)
    alone = [ScatterPoint(1.0, 1.0, "alone"), ScatterPoint(2.0, 2.0, "too")]
    picture = ScatterPlot(alone, "x", "y", ("1", "2"), ("1", "2")).picture()
    assert picture.description == "2 points." and "alone" not in [each.text for each in elements(picture, "text")]


@pytest.mark.parametrize(("least", "step"), [(1, 1), (1.1, 2), (3, 5), (6, 10), (0.03, 0.05), (120, 200)])
def test_ticks_stand_at_round_numbers(least, step):
    assert round_step(least) == pytest.approx(step)


def test_logarithmic_axes_have_powers_of_ten():
    axis = Axis(0.1, 100, 0, 300, is_log=True)
    assert axis.ticks() == [0.1, 1, 10, 100] and axis.at(10) == pytest.approx(200)


# Files and commands ---------------------------------------------------------------------------------------------------


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["cnnstat", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, capsys.readouterr()


def test_a_chart_is_written_beside_the_table(monkeypatch, capsys, tmp_path):
    path = tmp_path / "new" / "fields.svg"
    code, printed = run(monkeypatch, capsys, "analyze", "lenet5", "--chart", path, "--by", "receptive_field, macs")
    assert code == 0 and printed.out.startswith("lenet5: LeNet-5")
    assert path.read_text(encoding="utf-8") == zoo("lenet5").chart("receptive_field", "macs").standalone()
    run(monkeypatch, capsys, "compare", "lenet5", "m5", "--chart", tmp_path / "c.svg")
    assert (tmp_path / "c.svg").read_text(encoding="utf-8").count("of convolutions and linear layers") >= 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("analyze vgg16 --chart x.bmp", "--chart x.bmp: end it in .svg, .png or .pdf"),
        ("analyze vgg16 --chart x", "--chart x: end it in .svg, .png or .pdf"),
        ("analyze vgg16 --by macs", "--by says what a chart is of; add --chart FILE"),
        ("analyze vgg16 --chart x.svg --by mcs", "there is no chart mcs; did you mean macs?; known: params"),
        ("analyze vgg16 --chart x.svg --by ,", "--by is empty; choose from params"),
        ("analyze vgg16 --chart x.svg -o x.svg -f csv", "--chart x.svg: --output writes the same file"),
        ("analyze vgg16 -o x.png", "or write a chart with --chart x.png"),
        ("ops pool --chart x.svg", "there is no chart of this"),
        ("compare alexnet vgg16 --chart x.svg --by flops", "there is no chart flops; known: memory, params, macs"),
    ],
)
def test_wrong_options_are_one_line(arguments, line, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, printed = run(monkeypatch, capsys, *arguments.split())
    assert code == 2 and line in printed.err and printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_png_has_two_pixels_for_one(tmp_path):
    pytest.importorskip("resvg_py", reason="PNG needs resvg-py")
    picture = zoo("lenet5").chart("macs")
    picture.save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    assert content.startswith(b"\x89PNG") and int.from_bytes(content[16:20], "big") == 2 * (picture.width + 24)


def test_pdf_is_the_same_every_time(tmp_path):
    pytest.importorskip("fpdf", reason="PDF needs fpdf2")
    hostile = network((1, 3, 8, 8), ("層 <b>−…", op("Conv2d", 4, 3), "input"))
    for name in ("a.pdf", "b.pdf"):
        hostile.chart("macs").save(tmp_path / name)
    content = (tmp_path / "a.pdf").read_bytes()
    assert content.startswith(b"%PDF") and content == (tmp_path / "b.pdf").read_bytes()


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(CnnstatError, match=r"the chart \S+x.png: PNG needs resvg-py, .*pip install 'cnnstat\[draw\]'"):
        zoo("lenet5").chart("macs").save(tmp_path / "x.png")


def test_results_without_charts_say_so():
    with pytest.raises(CnnstatError, match="there is no chart of this"):
        cnnstat.networks().chart()


def test_sweeps_and_resolutions_draw_their_plots(monkeypatch, capsys, tmp_path):
    path = tmp_path / "plot.svg"
    code, _ = run(monkeypatch, capsys, "analyze", "lenet5_1998", "--resolutions", "32,64,96", "--chart", path)
    assert code == 0 and path.read_text(encoding="utf-8").count("<circle") == 3
    arguments = ["lenet5", "m5", "--jobs", 1, "--plot", "macs,params", "--chart", tmp_path / "sweep.svg"]
    code, _ = run(monkeypatch, capsys, "sweep", *arguments)
    assert code == 0 and "params against MACs" in (tmp_path / "sweep.svg").read_text(encoding="utf-8")
    code, _ = run(monkeypatch, capsys, "sweep", "lenet5", "m5", "--jobs", 1, "--chart", path, "--by", "flops")
    assert code == 0 and "FLOPs against MACs" in path.read_text(encoding="utf-8")
    code, printed = run(monkeypatch, capsys, "analyze", "unet", "--tiles", "300", "--chart", tmp_path / "x.svg")
    assert code == 2 and "there is no chart of this" in printed.err

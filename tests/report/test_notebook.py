"""What notebooks show: a fragment with table, drawing and charts, which takes the notebook's theme and no more."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from handmade_profiles import cpu_profile
from headless_chromium import measured, needs_chromium
from networks import network, op, zoo

import cnnstat

ROWS = [("conv1", "Conv2d"), ("relu1", "ReLU"), ("pool1", "MaxPool2d"), ("flatten", "Flatten"), ("fc", "Linear")]


def profile():
    names = [name for name, _ in ROWS]
    layers = [(name, op(kind, 4, *([2] if kind == "Conv2d" else [])) if kind in ("Conv2d", "Linear") else
               op(kind, *([2] if kind == "MaxPool2d" else [])), source)
              for (name, kind), source in zip(ROWS, ["input", *names])]  # fmt: skip
    return replace(cpu_profile(), analysis=network((1, 3, 9, 9), *layers, name="tiny"))


def test_table_drawing_and_charts_are_shown():
    for result in (zoo("lenet5"), cnnstat.compare("lenet5", "alexnet"), profile()):
        text = result._repr_html_()
        assert "<table>" in text and "data-layers=" in text and text.count("<svg ") >= 3
        assert not re.search(r"<script|src=|@import|url\(", text)


def test_a_profile_is_drawn_with_its_times():
    found = profile()
    assert found.draw() == cnnstat.draw(found.analysis, by="time", profile=found) and "measured time" in found.draw()
    assert "data-layers=" not in cpu_profile()._repr_html_()
    with pytest.raises(cnnstat.CnnstatError, match="holds no network; use cnnstat.draw"):
        cpu_profile().draw()
    assert found == cpu_profile() and found.to_dict() == cpu_profile().to_dict()


def test_a_comparison_draws_every_network():
    drawings = cnnstat.compare("lenet5", "alexnet").draw(by="params")
    assert list(drawings) == ["lenet5", "alexnet"] and drawings["alexnet"] == zoo("alexnet").draw(by="params")


THEMES = {
    "light": "<body>",
    "jupyter": '<body data-jp-theme-light="false" style="--jp-content-font-color1:#ddd">',
    "code": '<body class="vscode-dark" style="--vscode-editor-foreground:#ddd">',
}


@needs_chromium
def test_it_takes_the_theme_of_the_notebook(tmp_path):
    pages = {name: f"<!doctype html>{body}<table><tr><td id=other>x</td></tr></table>{zoo('lenet5')._repr_html_()}"
             for name, body in THEMES.items()}  # fmt: skip
    found = measured(
        pages,
        """
        const look = (selector, name) => view.getComputedStyle(page.querySelector(selector))[name];
        return [look(".cnnstat", "color"), look(".cnnstat .charts text", "fill"), look(".cnnstat text.ink", "fill"),
                look("#other", "padding")];
        """,
        tmp_path,
        900,
    )
    dark = "rgb(221, 221, 221)"
    assert found["light"] == ["rgb(0, 0, 0)", "rgb(0, 0, 0)", "rgb(27, 31, 36)", "1px"]
    for theme in ("jupyter", "code"):
        assert found[theme] == [dark, dark, "rgb(238, 241, 244)", "1px"]

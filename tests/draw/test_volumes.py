"""Volumes: planes, boxes and towers as lectures draw them, and their TikZ where TeX has it."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from drawings import SVG, Drawing, faults_of

import cnnstat

TEX = shutil.which("pdflatex")
HAS_TIKZ = TEX is not None and not subprocess.run(["kpsewhich", "tikz.sty"], capture_output=True).returncode


def texts(box: ET.Element) -> list[str]:
    return [text.text or "" for text in box.iter(f"{SVG}text")]


def faces(box: ET.Element) -> list[ET.Element]:
    return [path for path in box.iter(f"{SVG}path") if path.get("class") == "face"]


def named(drawing: str, layer: str) -> ET.Element:
    return next(box for box in Drawing(drawing).boxes if layer in box.get("data-layers", "").split())


def test_lenet_is_planes_with_the_sizes_of_1998() -> None:
    drawing = cnnstat.draw("lenet5_1998", style="volumes")
    first = [texts(named(drawing, layer))[0] for layer in ("C1", "S2", "C3", "S4")]
    assert first == ["6@28×28", "6@14×14", "16@10×10", "16@5×5"]
    assert len(faces(named(drawing, "C1"))) == 6  # one a map


def test_alexnet_has_two_towers_as_far_as_its_groups_reach() -> None:
    drawing = cnnstat.draw("alexnet_2012", style="volumes")
    halves = {layer: texts(named(drawing, layer))[0] for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6")}
    assert halves == {
        "conv1": "2 × 48×55×55", "conv2": "2 × 128×27×27", "conv3": "2 × 192×13×13", "conv4": "2 × 192×13×13",
        "conv5": "2 × 128×13×13", "fc6": "4096",
    }  # fmt: skip
    assert len(faces(named(drawing, "conv2"))) == 6 and len(faces(named(drawing, "fc6"))) == 3


def test_single_towers_stay_single() -> None:
    drawing = cnnstat.draw("alexnet", style="volumes")
    assert texts(named(drawing, "features.0") if "features.0" in drawing else named(drawing, "conv1"))[0] == "64×55×55"


def test_what_stands_in_a_repeated_block_says_how_often() -> None:
    box = named(cnnstat.draw("resnet18", style="volumes"), "layer1.1.conv2")
    assert "×2" in texts(box)[1] and "layer1.0.conv2" in box.get("data-layers", "")


def test_kernels_are_windows_on_what_they_read() -> None:
    drawing = Drawing(cnnstat.draw("vgg16", style="volumes"))
    windows = {box.get("data-layers", "").split()[0]: "window" in ET.tostring(box, "unicode") for box in drawing.boxes}
    assert windows["conv1_1"] and windows["pool1"] and not windows["fc6"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "macs"}, 'shares are shown in style="blocks"; leave out by, or the style'),
        ({"style": "volume"}, "there is no such style"),
    ],
)
def test_what_does_not_go_with_volumes_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(cnnstat.CnnstatError, match=said):
        cnnstat.draw("lenet5", **{"style": "volumes", **options})  # type: ignore[arg-type]


@pytest.mark.skipif(not HAS_TIKZ, reason="needs pdflatex with TikZ")
@pytest.mark.parametrize(("source", "style"), [("alexnet_2012", "volumes"), ("resnet18", "blocks")])
def test_tikz_compiles_to_one_page(source: str, style: str, tmp_path: Path) -> None:
    cnnstat.draw(source, style=style).save(tmp_path / "net.tex")  # type: ignore[arg-type]
    done = subprocess.run(
        [str(TEX), "-interaction=nonstopmode", "-halt-on-error", "net.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0 and b"1 page" in done.stdout, done.stdout[-2000:]


def test_hostile_names_are_text_in_tikz(tmp_path: Path) -> None:
    from cnnstat.draw.formats.tikz import escaped

    assert escaped("\\end{x}$#_^~%&") == (r"\textbackslash{}end\{x\}\$\#\_\textasciicircum{}\textasciitilde{}\%\&")
    assert faults_of(cnnstat.draw("lenet5", style="volumes"), cnnstat.load("lenet5")) == []

"""Draw the pictures of README.md and draw.md: `python docs/screenshots.py [FOLDER]` writes *.svg, here unless told.

Charts are the product's own. Text of the terminal is set in the reader's own fonts, each piece as wide as its columns,
and rules are lines, so that nothing is loaded and nothing falls apart in a browser.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cnnstat
from cnnstat.draw.elements import element, number, text_element
from cnnstat.report.charts.picture import DARK_INK, DARK_PAPER, INK, PAPER
from cnnstat.report.document import Document
from cnnstat.report.formats.terminal import page
from cnnstat.report.subjects import analysis, explanation, ops
from cnnstat.report.terminal_text import Line, plain, width_of

FOLDER = Path(__file__).parent

COLUMNS, CHARACTER, LINE, SIZE, EDGE = 104, 7.6, 18.0, 12.6, 18.0
"""Characters of a line; pixels of a character and of a line; font size; pixels around the text."""

COLOURS = {"cyan": ("#00617a", "#6fd3e8"), "yellow": ("#7a5200", "#e8b04b"), "green": ("#14692f", "#6fd08c")}
COLOURS |= {"magenta": ("#8a2a7a", "#e39cc7"), "red": ("#b3161b", "#ff8b85"), "dim": ("#57606a", "#a2adb9")}
"""The colours of a terminal's styles on light and on dark paper."""

FONT = "ui-monospace, 'Cascadia Mono', 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def terminal_picture(command: str, document: Document) -> str:
    """Return what a command prints, as vector graphics."""
    lines: list[Line] = [plain(f"$ {command}", "bold"), (), *page(document, COLUMNS, has_charts=False).lines]
    width, height = COLUMNS * CHARACTER + 2 * EDGE, len(lines) * LINE + 2 * EDGE
    dark = "".join(f".{name}{{fill:{colours[1]}}}" for name, colours in COLOURS.items())
    style = f"@media (prefers-color-scheme:dark){{.paper{{fill:{DARK_PAPER}}}.ink{{fill:{DARK_INK}}}{dark}}}"
    parts = [element("style", style), element("rect", class_="paper", width=width, height=height, rx=8, fill=PAPER)]
    for row, line in enumerate(lines):
        parts += _spans(line, EDGE + (row + 0.72) * LINE)
    size = f'width="{number(width)}" height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{command}" font-family="{FONT}">'
    return "\n".join([head, element("title", command), *parts, "</svg>", ""])


def _spans(line: Line, y: float) -> Iterator[str]:
    """Yield the pieces of a line, words that stand together as one; rules are drawn."""
    column = 0
    for text, style in line:
        colour = next((name for name in COLOURS if name in style), "ink")
        fill = COLOURS[colour][0] if colour in COLOURS else INK
        for piece in re.finditer(r"─+|[^─\s]+(?: [^─\s]+)*", text):
            x = EDGE + (column + width_of(text[: piece.start()])) * CHARACTER
            length = width_of(piece[0]) * CHARACTER
            if piece[0].startswith("─"):
                rule = f"M{number(x)} {number(y - 4)}h{number(length)}"
                yield element("path", d=rule, stroke="#808890", stroke_opacity="0.6")
                continue
            weight = "600" if "bold" in style else None
            yield text_element(
                piece[0], x, y, SIZE, class_=colour, fill=fill, font_weight=weight, textLength=length,
                lengthAdjust="spacingAndGlyphs",
            )  # fmt: skip
        column += width_of(text)


GALLERY: dict[str, tuple[str, dict[str, Any]]] = {
    "lenet5": ("lenet5_1998", {"style": "volumes"}),
    "alexnet": ("alexnet_2012", {"style": "volumes"}),
    "vgg16": ("vgg16", {"style": "volumes"}),
    "plain34": ("plain34", {}),
    "resnet34": ("resnet34", {}),
    "residual_block": ("resnet18", {"depth": 1, "expand": "layer2.0"}),
    "resnet50": ("resnet50", {"by": "macs"}),
    "unet": ("unet", {"by": "memory"}),
    "fcn8s": ("fcn8s", {}),
    "deeplabv3": ("deeplabv3", {}),
    "ssd300": ("ssd300", {}),
    "faster_rcnn": ("faster_rcnn", {}),
    "maskrcnn_head": ("maskrcnn_head", {}),
    "growing_field": ("vgg16", {"field": ["conv1_1", "conv2_2", "conv3_3", "conv4_3", "pool5"]}),
}
"""The drawings of draw.md: networks, and options of `cnnstat.draw`."""


def pictures() -> dict[str, str]:
    """Return every picture by its name."""
    vgg16, alexnet = cnnstat.analyze("vgg16"), cnnstat.analyze("alexnet")
    conv1 = cnnstat.explain(alexnet, "conv1")
    activations = ops.document("Sigmoid", "Tanh", "ReLU", "LeakyReLU")
    return {
        "analyze": terminal_picture("cnnstat analyze vgg16", analysis.document(vgg16)),
        "explain": terminal_picture("cnnstat explain alexnet conv1", explanation.document(conv1)),
        "compare": cnnstat.compare(alexnet, vgg16).chart().standalone(),
        "fields": vgg16.chart("receptive_field").standalone(),
        "drawing": str(cnnstat.draw("resnet18")),
        "activations": activations.picture().standalone(),
        **{f"drawings/{name}": str(cnnstat.draw(network, **options)) for name, (network, options) in GALLERY.items()},
    }


def main() -> None:
    """Write all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, svg in pictures().items():
        path = folder / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_text(svg, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

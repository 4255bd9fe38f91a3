"""Draw the pictures of README.md: `python docs/screenshots.py [FOLDER]` writes *.svg, here unless told otherwise.

Charts are the product's own. Text of the terminal is set in the reader's own fonts, each piece as wide as its columns,
and rules are lines, so that nothing is loaded and nothing falls apart in a browser.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

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
    }


def main() -> None:
    """Write all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, svg in pictures().items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

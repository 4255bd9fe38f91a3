"""Draw the terminal pictures of README.md: `python docs/screenshots.py` writes docs/*.svg."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

import cnnstat
from cnnstat import report
from cnnstat.report.op_reference import Reference
from cnnstat.report.subjects import analysis, comparison, explanation

FOLDER = Path(__file__).parent


def draw(name: str, command: str, write: Callable[[Console], None], width: int = 104) -> None:
    """Write what a command prints at a given width as docs/NAME.svg."""
    console = Console(
        record=True, width=width, file=io.StringIO(), highlight=False, markup=False, emoji=False, force_terminal=True
    )
    console.print(f"$ {command}")
    write(console)
    console.save_svg(str(FOLDER / f"{name}.svg"), title="cnnstat")


def main() -> None:
    """Draw all pictures."""
    vgg16, alexnet = cnnstat.analyze("vgg16"), cnnstat.analyze("alexnet")
    draw("analyze", "cnnstat analyze vgg16", lambda out: report.write(analysis.document(vgg16), "table", out))
    both = cnnstat.compare(alexnet, vgg16)
    draw("compare", "cnnstat compare alexnet vgg16", lambda out: report.write(comparison.document(both), "table", out))
    draw(
        "explain",
        "cnnstat explain alexnet conv1",
        lambda out: report.write(explanation.document(cnnstat.explain(alexnet, "conv1")), "table", out),
    )
    (FOLDER / "activations.svg").write_text(plots("Sigmoid", "Tanh", "ReLU", "LeakyReLU"), encoding="utf-8")


REACH, UNIT, MARGIN = 4, 60, 30
"""The plot goes from −4 to 4 along both axes; pixels of 1, and around it."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Colours that colour-blind people tell apart (Okabe & Ito 2008)."""


def plots(*names: str) -> str:
    """Return activations in one plot as vector graphics; terminals' glyphs fall apart in browsers."""
    width, height = 2 * REACH * UNIT + 2 * MARGIN, 5 * UNIT + 2 * MARGIN
    zero = MARGIN + REACH * UNIT
    size = f'viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for x in range(-REACH, REACH + 1):
        at = zero + x * UNIT
        parts.append(f'<path d="M{at} {MARGIN}V{height - MARGIN}" stroke="{"#888" if x == 0 else "#ddd"}"/>')
        parts.append(f'<text x="{at + 3}" y="{zero + 14}" fill="#555">{str(x).replace("-", "−")}</text>')
    for y in range(-1, REACH + 1):
        at = zero - y * UNIT
        parts.append(f'<path d="M{MARGIN} {at}H{width - MARGIN}" stroke="{"#888" if y == 0 else "#ddd"}"/>')
        parts += [f'<text x="{zero + 3}" y="{at - 3}" fill="#555">{str(y).replace("-", "−")}</text>'] if y else []
    for number, (name, colour) in enumerate(zip(names, COLOURS)):
        curve = Reference(name).curve
        points = ((zero + x / 20 * UNIT, zero - curve(x / 20) * UNIT) for x in range(-20 * REACH, 20 * REACH + 1))
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{MARGIN + 12}" y="{MARGIN + 20 + 18 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()

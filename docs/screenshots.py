"""Draw the terminal pictures of README.md: `python docs/screenshots.py` writes docs/*.svg."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

import cnnstat
from cnnstat import report
from cnnstat.report.subjects import analysis, comparison, explanation, ops

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
        lambda out: report.write(explanation.document(alexnet, "conv1"), "table", out),
    )
    draw("ops", "cnnstat ops ELU", lambda out: report.write(ops.document("ELU"), "table", out))


if __name__ == "__main__":
    main()

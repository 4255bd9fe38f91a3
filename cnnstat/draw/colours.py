"""Colours: one for each kind of work, told apart by colour-blind people, in light and dark."""

from __future__ import annotations

from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw.scene import Box
from cnnstat.ir.op import Family


class Colour(NamedTuple):
    """The inside and the edge of a box, on light and on dark paper."""

    fill: str
    stroke: str
    dark_fill: str
    dark_stroke: str


INK, PALE_INK, PAPER = "#1b1f24", "#4d5560", "#ffffff"
"""Text, text of less weight, and paper; every text has a contrast of at least 4.5 to every box."""
DARK_INK, DARK_PALE_INK, DARK_PAPER = "#eef1f4", "#b4bdc8", "#0d1117"
LINE, DARK_LINE = "#57606a", "#9aa4b0"
FRAME, DARK_FRAME = "#c3cad3", "#3d4651"

FAMILIES = {
    Family.CONVOLUTION: Colour("#dbeaf7", "#0072b2", "#10334d", "#56b4e9"),
    Family.LINEAR: Colour("#fbe2d3", "#b84f00", "#4b260f", "#f0935a"),
    Family.ATTENTION: Colour("#f4e0ed", "#a04578", "#45203a", "#e39cc7"),
    Family.RECURRENT: Colour("#ece3d6", "#75561f", "#3a2d1b", "#cfa968"),
    Family.NORMALIZATION: Colour("#e5e8f6", "#5562a6", "#262d4d", "#9ca8ec"),
    Family.ACTIVATION: Colour("#faf2c6", "#857000", "#3c360f", "#e2cd49"),
    Family.POOLING: Colour("#d6f0e5", "#007d59", "#0e3a2c", "#3cc79a"),
    Family.ELEMENTWISE: Colour("#eceef1", "#57606a", "#2b3038", "#a6b0bc"),
    Family.RESAMPLING: Colour("#fde5ea", "#ab4058", "#47202a", "#ee91a4"),
    Family.LAYOUT: Colour("#f6f7f8", "#858d98", "#20252b", "#7d8793"),
    Family.EMBEDDING: Colour("#d7eff6", "#25788f", "#11353f", "#6cc7df"),
    Family.OTHER: Colour("#f0f0f0", "#6f6f6f", "#2a2a2a", "#a5a5a5"),
}
"""After Okabe & Ito 2008, in tints; a box says in words what it is, so colour is never all that tells."""

BLOCK = Colour("#ffffff", "#57606a", "#171c23", "#9aa4b0")
"""A block that is not opened."""

INPUT = Colour("#ffffff", "#858d98", "#0d1117", "#7d8793")


def class_name(family: Family) -> str:
    """Return the class of the boxes of a family."""
    return family.value.replace(" ", "-")


def family_of(analysis: Analysis, box: Box) -> Family | None:
    """Return the family of a box, which is that of its first layer; None for inputs and blocks that are not opened."""
    if box.input is not None or box.part.parts:
        return None
    return analysis.graph.nodes[box.nodes[0]].op.family


def colour_of(analysis: Analysis, box: Box) -> Colour:
    """Return the colours of a box."""
    if box.input is not None:
        return INPUT
    family = family_of(analysis, box)
    return BLOCK if family is None else FAMILIES[family]

"""SVG: a drawing as it is."""

from __future__ import annotations

from cnnstat.draw.drawing import Drawing


def render(drawing: Drawing) -> str:
    """Return the text of the picture."""
    return str(drawing)

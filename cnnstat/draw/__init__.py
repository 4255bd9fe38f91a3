"""Drawings of networks, by what has been found out about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnstat.analysis.analysis import Analysis
    from cnnstat.choices import DrawShare
    from cnnstat.draw.drawing import Drawing


def draw_analysis(
    analysis: Analysis,
    *,
    by: DrawShare | None = None,
    depth: int | None = None,
    expand: str | Iterable[str] = (),
    full: bool = False,
    times: Mapping[str, float] | None = None,
) -> Drawing:
    """Return a drawing of a network, which is the text of an SVG.

    by: the figure whose share each box shows: `macs`, `params`, `memory`, or `time` with `times`.
    depth: components of names that are shown; as much as fits on a page unless given.
    expand: blocks that are opened with all that is in them. full: draw every layer by itself.
    times: measured seconds by the name of a layer.
    Raises CnnstatError where a block or figure is not there, or there is too much to draw.
    """
    from cnnstat.draw.blocks import blocks_picture
    from cnnstat.draw.drawing import Drawing
    from cnnstat.draw.folding import Folding
    from cnnstat.draw.scene import scene_of
    from cnnstat.draw.shares import shares_of

    names = (expand,) if isinstance(expand, str) else tuple(expand)
    folding = Folding(depth=depth, expand=names, is_full=full)
    shares = shares_of(analysis, by, times)
    return Drawing.of(blocks_picture(scene_of(analysis, folding), shares))

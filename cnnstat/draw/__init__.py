"""Drawings of networks, by what has been found out about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cnnstat.analysis.analysis import Analysis


def draw_analysis(
    analysis: Analysis,
    *,
    by: str | None = None,
    depth: int | None = None,
    expand: str | Iterable[str] = (),
    full: bool = False,
) -> str:
    """Return a drawing of a network as SVG.

    Every box is `<g class="box" data-layers="conv1 bn1">`, and together they name every layer once; blanks and `%` in a
    name are percent-encoded there.
    by: the figure whose share each box shows: `macs`, `params` or `memory`.
    depth: components of names that are shown; as much as fits on a page unless given.
    expand: blocks that are opened with all that is in them. full: draw every layer by itself.
    Raises CnnstatError where a block is not there, or there is too much to draw.
    """
    from cnnstat.draw.blocks import blocks_svg
    from cnnstat.draw.folding import Folding
    from cnnstat.draw.scene import scene_of
    from cnnstat.draw.shares import shares_of

    names = (expand,) if isinstance(expand, str) else tuple(expand)
    scene = scene_of(analysis, Folding(depth=depth, expand=names, is_full=full))
    return blocks_svg(scene, None if by is None else shares_of(analysis, by))

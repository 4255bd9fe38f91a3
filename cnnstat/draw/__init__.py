"""Drawings of networks, by what has been found out about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cnnstat.errors import CnnstatError

if TYPE_CHECKING:
    from cnnstat.analysis.analysis import Analysis
    from cnnstat.choices import DrawShare, DrawStyle
    from cnnstat.draw.drawing import Drawing


def draw_analysis(
    analysis: Analysis,
    *,
    style: DrawStyle = "blocks",
    by: DrawShare | None = None,
    depth: int | None = None,
    expand: str | Iterable[str] = (),
    full: bool = False,
    times: Mapping[str, float] | None = None,
    field: str | Iterable[str] = (),
    image: Path | None = None,
) -> Drawing:
    """Return a drawing of a network, which is the text of an SVG.

    style: `blocks`, folded by structure, or `volumes`, tensors as boxes of their size.
    by: the figure whose share each box shows: `macs`, `params`, `memory`, or `time` with `times`.
    depth: components of names that are shown; as much as fits on a page unless given.
    expand: blocks that are opened with all that is in them. full: draw every layer by itself.
    times: measured seconds by the name of a layer.
    field: layers whose receptive field is drawn instead, on the input or on the photo `image`, a PNG or JPEG.
    Raises CnnstatError where a block or figure is not there, or there is too much to draw.
    """
    from cnnstat.draw.block_style import blocks_picture
    from cnnstat.draw.drawing import Drawing
    from cnnstat.draw.opened_blocks import Folding
    from cnnstat.draw.scene import scene_of
    from cnnstat.draw.shares import shares_of

    layers, blocks = _names(field), _names(expand)
    if layers:
        if by is not None or depth is not None or blocks or full or times is not None or style != "blocks":
            raise CnnstatError("--field draws what layers see of the input; it goes with --image alone")
        from cnnstat.draw.field import field_picture

        return Drawing.of(field_picture(analysis, layers, image))
    if image is not None:
        raise CnnstatError("--image is what --field LAYER draws on; name a layer")
    shares = shares_of(analysis, by, times)
    scene = scene_of(analysis, Folding(depth=depth, expand=blocks, is_full=full))
    if style == "blocks":
        return Drawing.of(blocks_picture(scene, shares))
    if style != "volumes":
        raise CnnstatError(f"--style {style[:40]}: there is no such style; write blocks or volumes")
    if shares is not None:
        raise CnnstatError("shares are shown in --style blocks; leave out --by, or the style")
    from cnnstat.draw.volumes import volumes_picture

    return Drawing.of(volumes_picture(scene))


def _names(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)

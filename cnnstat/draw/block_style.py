"""Blocks: a network as boxes folded by structure, with sizes on the edges, skips as rails and blocks as frames."""

from __future__ import annotations

from collections.abc import Iterator

from cnnstat.draw import colours
from cnnstat.draw.captions import Caption, caption, frame_title, sizes
from cnnstat.draw.colours import Colour, colour_of
from cnnstat.draw.drawing import Picture
from cnnstat.draw.elements import element, fitted, number, text_element, text_width, title_element
from cnnstat.draw.page_columns import Page
from cnnstat.draw.page_layout import BESIDE, laid_out
from cnnstat.draw.places import FrameArea, Label, Rectangle
from cnnstat.draw.scene import Box, Scene
from cnnstat.draw.shares import Shares
from cnnstat.draw.sheet import SMALL, TOP, arrow, box_group, heading, least_width, legend_of, pale_text, sheet
from cnnstat.numbers import percent

WIDTH = 216.0
"""Pixels of a box."""
INSIDE = 10.0
"""Pixels between the edge of a box and its text."""
TITLE = 12.0
"""Font size of the first line of a box."""
LINE_HEIGHT = 14.0
BAR = 6.0
"""Pixels of the bar that shows a share."""
PERCENT = 52.0
"""Pixels beside it for the share in words."""


def blocks_picture(scene: Scene, shares: Shares | None = None) -> Picture:
    """Return a scene as a picture; shares: what the bars in boxes show."""
    return _Blocks(scene, shares).picture()


class _Blocks:
    """One drawing in the style blocks."""

    def __init__(self, scene: Scene, shares: Shares | None) -> None:
        self.scene, self.shares = scene, shares
        self.captions = [caption(scene.analysis, box) for box in scene.boxes]

    def picture(self) -> Picture:
        """Return the whole drawing."""
        scene, head, legend = self.scene, heading(self.scene.analysis), legend_of(self.scene)
        layout = laid_out(scene, [self._size(box) for box in scene.boxes], Page(TOP, least_width(head, legend)))
        content = [
            *map(self._frame, layout.frames),
            *(part for line in layout.lines for part in arrow(line.points)),
            *(part for label in layout.labels for part in self._label(label)),
            *(self._box(box, rectangle) for box, rectangle in layout.boxes),
        ]
        boxes = sum(box.input is None for box in scene.boxes)
        description = f"{boxes} boxes for {len(scene.analysis.graph.nodes):,} layers."
        notes = [] if self.shares is None else [f"bars: share of {self.shares.name}"]
        return sheet(head, description, (layout.width, layout.height), content, legend, notes, scene, self.shares)

    def _size(self, box: Box) -> tuple[float, float]:
        lines = len(self.captions[box.number].lines)
        bar = BAR + 8 if self.shares is not None and box.input is None else 0
        return WIDTH, 14 + TITLE + lines * LINE_HEIGHT + bar

    def _box(self, box: Box, place: Rectangle) -> str:
        own = self.captions[box.number]
        colour = colour_of(self.scene.analysis, box)
        rectangle = element(
            "rect", class_="face", x=place.x, y=place.y, width=place.width, height=place.height,
            rx=6 if box.input is None else place.height / 2, fill=colour.fill, stroke=colour.stroke, stroke_width=1.2,
            stroke_dasharray=None if box.input is None else "4 3",
        )  # fmt: skip
        return box_group(self.scene, box, own.tooltip, [rectangle, *self._box_text(box, own, place, colour)])

    def _box_text(self, box: Box, own: Caption, place: Rectangle, colour: Colour) -> Iterator[str]:
        room = place.width - 2 * INSIDE
        right = place.x + place.width - INSIDE
        y = place.y + 6 + TITLE
        if own.times > 1:
            times = f"×{own.times:,}"
            room -= text_width(times, TITLE) + 6
            yield text_element(times, right, y, TITLE, class_="ink", font_weight=700, text_anchor="end",
                               fill=colours.INK)  # fmt: skip
        if box.input is not None:
            middle = place.x + place.width / 2
            yield text_element(fitted(own.title, TITLE, room), middle, y, TITLE, class_="ink", text_anchor="middle",
                               fill=colours.INK)  # fmt: skip
            return
        left = place.x + INSIDE
        size = TITLE if text_width(own.title, TITLE) <= room else SMALL
        yield text_element(fitted(own.title, size, room), left, y, size, class_="ink", font_weight=600,
                           fill=colours.INK)  # fmt: skip
        share = None if self.shares is None else self.shares.of(box.nodes)
        for line in own.lines:
            y += LINE_HEIGHT
            yield pale_text(fitted(line, SMALL, place.width - 2 * INSIDE), left, y)
        if share is not None:
            yield from _bar(place, share, colour)

    def _frame(self, frame: FrameArea) -> str:
        place = frame.place
        name, kind = frame_title(self.scene.analysis.graph.nodes, frame.part, frame.around)
        room = place.width / 2 - 20
        rectangle = element("rect", x=place.x, y=place.y, width=place.width, height=place.height, rx=8, fill="none",
                            stroke=colours.FRAME, stroke_width=1.2)  # fmt: skip
        texts = [title_element(f"{name} {kind}".strip()), rectangle]
        name = f"{name} (continued)" if frame.is_continued else name
        if name:
            texts.append(pale_text(fitted(name, SMALL, room), place.x + 8, place.y + 14, font_weight=600))
        if kind and not frame.is_continued:
            texts.append(
                pale_text(fitted(kind, SMALL, room), place.x + place.width - 8, place.y + 14, text_anchor="end")
            )
        return element("g", "".join(texts), class_="frame")

    def _label(self, label: Label) -> Iterator[str]:
        analysis, box = self.scene.analysis, label.box
        if box.input is not None:
            return
        value = analysis.graph.arity + box.nodes[-1]
        shape = analysis.values.outputs[value][0]
        yield pale_text(fitted(sizes(shape), SMALL - 0.5, label.room), label.x, label.y, SMALL - 0.5)
        if label.is_output:
            x = label.x - BESIDE
            yield from arrow(((x, label.bottom), (x, label.y + 4)))


def _bar(place: Rectangle, share: float, colour: Colour) -> Iterator[str]:
    text = f"{percent(share)} %"
    room = place.width - 2 * INSIDE - PERCENT
    y, left = place.y + place.height - BAR - 7, place.x + INSIDE
    yield element("path", class_="track", d=_strip(left, y, room), fill=colour.stroke, fill_opacity="0.18")
    if share:
        yield element("path", class_="bar", d=_strip(left, y, max(1, room * share)), fill=colour.stroke)
    yield text_element(text, place.x + place.width - INSIDE, y + BAR, SMALL - 0.5, class_="ink", text_anchor="end",
                       fill=colours.INK)  # fmt: skip


def _strip(x: float, y: float, width: float) -> str:
    return f"M{number(x)} {number(y)} H{number(x + width)} V{number(y + BAR)} H{number(x)}Z"

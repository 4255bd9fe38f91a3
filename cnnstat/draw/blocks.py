"""Blocks: a network as boxes folded by structure, with sizes on the edges, skips as rails and blocks as frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw import colours
from cnnstat.draw.captions import Caption, caption, frame_title, sizes
from cnnstat.draw.colours import Colour, class_name, colour_of, family_of
from cnnstat.draw.drawing import Picture
from cnnstat.draw.elements import dark_style, document, element, number, text_element, title_element
from cnnstat.draw.layout import BESIDE, FrameArea, Label, Line, Rectangle, laid_out
from cnnstat.draw.scene import Box, Scene, token
from cnnstat.draw.shares import Shares
from cnnstat.draw.text_width import fitted, text_width
from cnnstat.errors import printable
from cnnstat.ir.op import Family, shape_text
from cnnstat.numbers import count, percent

WIDTH = 216.0
"""Pixels of a box."""
INSIDE = 10.0
"""Pixels between the edge of a box and its text."""
TITLE, SMALL, HEAD = 12.0, 10.5, 17.0
"""Font sizes of the first line of a box, of the others, and of the drawing's title."""
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
        found = {family_of(scene.analysis, box) for box in scene.boxes}
        self.families = [family for family in Family if family in found]
        title, facts = _head(scene.analysis)
        self.title, self.facts = title, facts
        legend = self._legend_entries()
        least = max(
            48 + text_width(facts, SMALL), 48 + min(720, sum(30 + text_width(name, SMALL) for _, name in legend))
        )
        self.layout = laid_out(scene, [self._size(box) for box in scene.boxes], 52, least)

    def _size(self, box: Box) -> tuple[float, float]:
        lines = len(self.captions[box.number].lines)
        bar = BAR + 8 if self.shares is not None and box.input is None else 0
        return WIDTH, 14 + TITLE + lines * LINE_HEIGHT + bar

    def picture(self) -> Picture:
        """Return the whole drawing."""
        layout = self.layout
        legend, foot = self._legend(layout.width, layout.height)
        height = layout.height + foot
        content = [
            element("rect", class_="paper", width=layout.width, height=height, fill=colours.PAPER),
            text_element(fitted(self.title, HEAD, layout.width - 48), 24, 36, HEAD, class_="ink", font_weight=600,
                         fill=colours.INK),
            text_element(self.facts, 24, 56, SMALL, class_="pale", fill=colours.PALE_INK),
            *map(self._frame, layout.frames),
            *(part for line in layout.lines for part in self._line(line)),
            *(part for label in layout.labels for part in self._label(label)),
            *(self._box(box, rectangle) for box, rectangle in layout.boxes),
            *legend,
        ]  # fmt: skip
        svg = document(layout.width, height, self.title, self._description(), self._style(), content)
        return Picture(svg, self.title, (layout.width, height), self.scene)

    def _description(self) -> str:
        boxes = sum(box.input is None for box in self.scene.boxes)
        return f"{boxes} boxes for {len(self.scene.analysis.graph.nodes):,} layers. {self.facts}"

    # Elements --------------------------------------------------------------------------------------------------------

    def _box(self, box: Box, place: Rectangle) -> str:
        own = self.captions[box.number]
        colour = colour_of(self.scene.analysis, box)
        rectangle = element(
            "rect", x=place.x, y=place.y, width=place.width, height=place.height, rx=6 if box.input is None else 14,
            fill=colour.fill, stroke=colour.stroke, stroke_width=1.2,
            stroke_dasharray="none" if box.input is None else "4 3",
        )  # fmt: skip
        content = "".join([title_element(own.tooltip), rectangle, *self._box_text(box, own, place, colour)])
        if box.input is not None:
            return element("g", content, class_="input")
        layers = " ".join(token(self.scene.analysis.graph.nodes[index].name) for index in box.nodes)
        family = family_of(self.scene.analysis, box)
        name = "block" if family is None else class_name(family)
        return element("g", content, class_=f"box {name}", data_layers=layers)

    def _box_text(self, box: Box, own: Caption, place: Rectangle, colour: Colour) -> Iterator[str]:
        room = place.width - 2 * INSIDE
        right = place.x + place.width - INSIDE
        y = place.y + 6 + TITLE
        if own.times > 1:
            times = f"×{own.times:,}"
            room -= text_width(times, TITLE) + 6
            yield text_element(times, right, y, TITLE, class_="edge", font_weight=700, text_anchor="end",
                               fill=colour.stroke)  # fmt: skip
        if box.input is not None:
            middle = place.x + place.width / 2
            yield text_element(fitted(own.title, TITLE, room), middle, y, TITLE, class_="ink", text_anchor="middle",
                               fill=colours.INK)  # fmt: skip
            return
        left = place.x + INSIDE
        yield text_element(fitted(own.title, TITLE, room), left, y, TITLE, class_="ink", font_weight=600,
                           fill=colours.INK)  # fmt: skip
        share = None if self.shares is None else self.shares.of(box.nodes)
        for line in own.lines:
            y += LINE_HEIGHT
            line = fitted(line, SMALL, place.width - 2 * INSIDE)
            yield text_element(line, left, y, SMALL, class_="pale", fill=colours.PALE_INK)
        if share is not None:
            yield from _bar(place, share, colour)

    def _frame(self, frame: FrameArea) -> str:
        place = frame.place
        name, kind = frame_title(frame.part, frame.around)
        room = place.width / 2 - 20
        rectangle = element("rect", x=place.x, y=place.y, width=place.width, height=place.height, rx=8, fill="none",
                            stroke=colours.FRAME, stroke_width=1.2)  # fmt: skip
        texts = [title_element(f"{name} {kind}".strip()), rectangle]
        name = f"{name} (continued)" if frame.is_continued else name
        if name:
            texts.append(text_element(fitted(name, SMALL, room), place.x + 8, place.y + 14, SMALL, class_="pale",
                                      font_weight=600, fill=colours.PALE_INK))  # fmt: skip
        if kind and not frame.is_continued:
            texts.append(text_element(fitted(kind, SMALL, room), place.x + place.width - 8, place.y + 14, SMALL,
                                      class_="pale", text_anchor="end", fill=colours.PALE_INK))  # fmt: skip
        return element("g", "".join(texts), class_="frame")

    def _line(self, line: Line) -> Iterator[str]:
        *_, before, (x, y) = line.points
        dx, dy = x - before[0], y - before[1]
        step = 7 / (abs(dx) + abs(dy) or 1)
        foot = x - dx * step, y - dy * step
        points = [*line.points[:-1], foot]
        path = "M" + " L".join(f"{number(px)} {number(py)}" for px, py in points)
        yield element("path", class_="edge", d=path, fill="none", stroke=colours.LINE, stroke_width=1.2)
        # Arrow heads are paths: not every renderer knows markers.
        wide = (3.5, 0) if dx == 0 else (0, 3.5)
        corners = [(x, y), (foot[0] + wide[0], foot[1] + wide[1]), (foot[0] - wide[0], foot[1] - wide[1])]
        head = "M" + " L".join(f"{number(px)} {number(py)}" for px, py in corners) + "Z"
        yield element("path", class_="head", d=head, fill=colours.LINE)

    def _label(self, label: Label) -> Iterator[str]:
        analysis, box = self.scene.analysis, label.box
        if box.input is not None:
            return
        value = analysis.graph.arity + (box.nodes[-1])
        shape = analysis.values.outputs[value][0]
        text = fitted(sizes(shape), SMALL - 0.5, label.room)
        yield text_element(text, label.x, label.y, SMALL - 0.5, class_="pale", fill=colours.PALE_INK)
        if label.is_output:
            x = label.x - BESIDE
            yield from self._line(Line(box.number, box.number, value, ((x, label.bottom), (x, label.y + 4))))

    # Around it -------------------------------------------------------------------------------------------------------

    def _legend_entries(self) -> list[tuple[Colour, str]]:
        entries = [(colours.FAMILIES[family], family.value) for family in self.families]
        if any(box.part.parts for box in self.scene.boxes):
            entries.append((colours.BLOCK, "block, not opened"))
        return entries

    def _legend(self, width: float, top: float) -> tuple[list[str], float]:
        x, y = 24.0, top + 2
        parts: list[str] = []
        for colour, name in self._legend_entries():
            room = 30 + text_width(name, SMALL)
            if x + room > width - 24 and x > 24:
                x, y = 24.0, y + 20
            classes = next((f"swatch {class_name(f)}" for f in Family if colours.FAMILIES[f] is colour), "swatch block")
            swatch = element("rect", x=x, y=y, width=12, height=12, rx=3, fill=colour.fill, stroke=colour.stroke)
            parts.append(element("g", swatch, class_=classes))
            parts.append(text_element(name, x + 18, y + 10, SMALL, class_="pale", fill=colours.PALE_INK))
            x += room
        if self.shares is not None:
            y += 20 if parts else 0
            text = f"bars: share of {self.shares.name}"
            parts.append(text_element(text, 24, y + 10, SMALL, class_="pale", fill=colours.PALE_INK))
        return parts, (y + 12 + 20 - top if parts else 0)

    def _style(self) -> str:
        rules: dict[str, Mapping[str, str]] = {
            ".paper": {"fill": colours.DARK_PAPER},
            "text.ink": {"fill": colours.DARK_INK},
            "text.pale": {"fill": colours.DARK_PALE_INK},
            ".frame rect": {"stroke": colours.DARK_FRAME},
            "path.edge": {"stroke": colours.DARK_LINE},
            "path.head": {"fill": colours.DARK_LINE},
        }
        named = {"input": colours.INPUT, "block": colours.BLOCK}
        named |= {class_name(family): colours.FAMILIES[family] for family in self.families}
        for name, colour in sorted(named.items()):
            rules[f".{name} rect"] = {"fill": colour.dark_fill, "stroke": colour.dark_stroke}
            rules[f".{name} text.edge,.cnnstat-drawing .{name} path.bar,.cnnstat-drawing .{name} path.track"] = {
                "fill": colour.dark_stroke
            }
        return dark_style(rules)


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


def _head(analysis: Analysis) -> tuple[str, str]:
    """Return the name of a network, and its main figures in one line."""
    graph = analysis.graph
    totals = f"{count(sum(analysis.parameters.params))} parameters · {count(sum(analysis.work.macs))} MACs"
    inputs = ", ".join(shape_text(each.shape) for each in graph.inputs[:3])
    about = graph.about.get("title")
    name = f"{graph.name}: {about}" if about and str(about).lower() != graph.name.lower() else graph.name
    return printable(str(name)), f"{totals} · input {inputs}"

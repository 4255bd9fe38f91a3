"""Sheets: what stands around the boxes of any style, and what their elements have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw import colours
from cnnstat.draw.colours import Colour, class_name, family_of
from cnnstat.draw.drawing import Picture
from cnnstat.draw.elements import dark_style, document, element, fitted, number, text_element, text_width, title_element
from cnnstat.draw.places import Point
from cnnstat.draw.scene import Box, Scene, token
from cnnstat.draw.shares import Shares
from cnnstat.errors import printable
from cnnstat.ir.op import Family, shape_text
from cnnstat.numbers import count

SMALL, HEAD = 10.5, 17.0
"""Font sizes of what is said about a drawing, and of its title."""
MARGIN, TOP = 24.0, 52.0
"""Pixels at both sides, and for the title."""
ARROW = 7.0
"""Pixels of the head of an arrow."""


class Entry(NamedTuple):
    """One line of a legend: the class of the boxes that it explains, their colour, and what it says."""

    name: str
    colour: Colour
    text: str


class Heading(NamedTuple):
    """The name of a network and its main figures in one line."""

    title: str
    facts: str


def heading(analysis: Analysis) -> Heading:
    """Return what stands above a drawing."""
    graph = analysis.graph
    totals = f"{count(sum(analysis.parameters.params))} parameters · {count(sum(analysis.work.macs))} MACs"
    inputs = ", ".join(shape_text(each.shape) for each in graph.inputs[:3])
    about = graph.about.get("title")
    name = f"{graph.name}: {about}" if about and str(about).lower() != graph.name.lower() else graph.name
    return Heading(printable(str(name)), f"{totals} · input {inputs}")


def legend_of(scene: Scene) -> list[Entry]:
    """Return what the colours of a scene's boxes mean."""
    found = {family_of(scene.analysis, box) for box in scene.boxes}
    entries = [
        Entry(class_name(family), colours.FAMILIES[family], family.value) for family in Family if family in found
    ]
    if any(box.part.parts for box in scene.boxes):
        entries.append(Entry("block", colours.BLOCK, "block, not opened"))
    return entries


def least_width(head: Heading, legend: Sequence[Entry]) -> float:
    """Return how wide a drawing has to be for its figures, and for most of its title and its legend."""
    legend_width = sum(30 + text_width(entry.text, SMALL) for entry in legend)
    title_width = text_width(head.title, HEAD)
    return 2 * MARGIN + max(text_width(head.facts, SMALL), min(720.0, legend_width), min(520.0, title_width))


def sheet(
    head: Heading,
    description: str,
    size: tuple[float, float],
    content: Iterable[str],
    legend: Sequence[Entry] = (),
    notes: Sequence[str] = (),
    scene: Scene | None = None,
    shares: Shares | None = None,
) -> Picture:
    """Return a whole drawing; size: of title and content, below which legend and notes stand."""
    width, height = size
    below, foot = _legend(legend, notes, width, height)
    height += foot
    elements = [
        element("rect", class_="paper", width=width, height=height, fill=colours.PAPER),
        text_element(fitted(head.title, HEAD, width - 2 * MARGIN), MARGIN, 36, HEAD, class_="ink", font_weight=600,
                     fill=colours.INK),
        pale_text(fitted(head.facts, SMALL, width - 2 * MARGIN), MARGIN, 56),
        *content,
        *below,
    ]  # fmt: skip
    svg = document(width, height, head.title, f"{description} {head.facts}", _style(legend), elements)
    return Picture(svg, head.title, (width, height), scene, shares)


def pale_text(content: str, x: float, y: float, size: float = SMALL, **attributes: object) -> str:
    """Return a line of text of less weight."""
    return text_element(content, x, y, size, class_="pale", fill=colours.PALE_INK, **attributes)


def box_group(scene: Scene, box: Box, tooltip: str, content: Iterable[str]) -> str:
    """Return the group of a box, which names its layers; content: its rectangle first."""
    inside = "".join([title_element(tooltip), *content])
    if box.input is not None:
        return element("g", inside, class_="input")
    layers = " ".join(token(scene.analysis.graph.nodes[index].name) for index in box.nodes)
    family = family_of(scene.analysis, box)
    name = "block" if family is None else class_name(family)
    return element("g", inside, class_=f"box {name}", data_layers=layers)


def arrow(points: Sequence[Point], name: str = "edge") -> Iterator[str]:
    """Yield the line of a route and the head at its end, which is a path: not every renderer knows markers.

    name: class of the line, `edge` between boxes and `lead` within one.
    """
    *_, before, (x, y) = points
    dx, dy = x - before[0], y - before[1]
    step = ARROW / (abs(dx) + abs(dy) or 1)
    foot = x - dx * step, y - dy * step
    yield element("path", class_=name, d=path_of([*points[:-1], foot]), fill="none", stroke=colours.LINE,
                  stroke_width=1.2)  # fmt: skip
    wide = (ARROW / 2, 0) if dx == 0 else (0, ARROW / 2)
    corners = [(x, y), (foot[0] + wide[0], foot[1] + wide[1]), (foot[0] - wide[0], foot[1] - wide[1])]
    yield element("path", class_="head", d=f"{path_of(corners)}Z", fill=colours.LINE)


def path_of(points: Sequence[Point]) -> str:
    """Return a line through points as the data of a path."""
    return "M" + " L".join(f"{number(x)} {number(y)}" for x, y in points)


def _legend(legend: Sequence[Entry], notes: Sequence[str], width: float, top: float) -> tuple[list[str], float]:
    """Return swatches and notes below a drawing, and how high they are."""
    x, y = MARGIN, top + 2
    parts: list[str] = []
    for entry in legend:
        room = 30 + text_width(entry.text, SMALL)
        if x + room > width - MARGIN and x > MARGIN:
            x, y = MARGIN, y + 20
        colour = entry.colour
        swatch = element("rect", x=x, y=y, width=12, height=12, rx=3, fill=colour.fill, stroke=colour.stroke)
        parts += [element("g", swatch, class_=f"swatch {entry.name}"), pale_text(entry.text, x + 18, y + 10)]
        x += room
    for note in notes:
        y += 20 if parts else 0
        parts.append(pale_text(fitted(note, SMALL, width - 2 * MARGIN), MARGIN, y + 10))
    return parts, (y + 32 - top if parts else 0)


def _style(legend: Sequence[Entry]) -> str:
    rules: dict[str, Mapping[str, str]] = {
        ".paper": {"fill": colours.DARK_PAPER},
        "text.ink": {"fill": colours.DARK_INK},
        "text.pale": {"fill": colours.DARK_PALE_INK},
        ".frame rect": {"stroke": colours.DARK_FRAME},
        "rect.plane": {"fill": colours.DARK_PAPER},
        "path.edge": {"stroke": colours.DARK_LINE},
        "path.lead": {"stroke": colours.DARK_LINE},
        "path.head": {"fill": colours.DARK_LINE},
    }
    for name, colour in {"input": colours.INPUT, **{entry.name: entry.colour for entry in legend}}.items():
        rules[f".{name} .face"] = {"fill": colour.dark_fill, "stroke": colour.dark_stroke}
        rules[f".swatch.{name} rect"] = {"fill": colour.dark_fill, "stroke": colour.dark_stroke}
        for part in ("path.bar", "path.track"):
            rules[f".{name} {part}"] = {"fill": colour.dark_stroke}
        rules[f".{name} path.window"] = {"stroke": colour.dark_stroke}
    return dark_style(rules)

"""Field: which part of the input one output of a layer sees, on the input itself or on a photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.layer_lookup import find_layer
from cnnstat.analysis.receptive_field.fields import Extent
from cnnstat.draw import colours
from cnnstat.draw.colours import FAMILIES, Colour
from cnnstat.draw.drawing import Picture
from cnnstat.draw.elements import element, fitted, text_element, title_element
from cnnstat.draw.photo import photo_link
from cnnstat.draw.sheet import MARGIN, SMALL, TOP, Entry, heading, least_width, pale_text, path_of, sheet
from cnnstat.errors import CnnstatError, printable
from cnnstat.ir.op import Family, shape_text
from cnnstat.numbers import number_text

SIDE = 300.0
"""Pixels of the longer side of an input with all that fields reach beyond it."""
STRIP = 46.0
"""Pixels of the other side of an input with one axis."""
GAP = 36.0
MOST_PANELS = 12
"""Most layers that are drawn side by side."""
HATCH = 7.0
"""Pixels between hatching lines."""
MOST_DOTS = 32
"""Most positions of a lattice along a side; of more, every second, fourth … is drawn."""
PIXEL = 7.0
"""Pixels from which those of the input are drawn one by one."""

FIELD, BEYOND = FAMILIES[Family.LINEAR], FAMILIES[Family.ELEMENTWISE]
"""Colours of the field, and of what lies beyond the input."""


class _Axis(NamedTuple):
    """One axis of the input as a layer sees it: how long it is, and what each of its outputs reads (first, last)."""

    length: int
    reads: Sequence[tuple[int, int]]
    is_whole: bool = False

    @property
    def first(self) -> int:
        """The first position that any output reads, or 0."""
        return min(0, *(low for low, _ in self.reads))

    @property
    def last(self) -> int:
        """The last position that any output reads, or the input's last."""
        return max(self.length - 1, *(high for _, high in self.reads))

    @property
    def middle(self) -> tuple[int, int]:
        """What the output in the middle reads."""
        return self.reads[len(self.reads) // 2]


@dataclass(frozen=True)
class _Panel:
    """One layer's field: rows and columns of the input, and what is said below."""

    title: str
    rows: _Axis
    columns: _Axis
    lines: tuple[str, ...]


def field_picture(analysis: Analysis, layers: Sequence[str], photo: Path | None = None) -> Picture:
    """Return the fields of layers side by side, each as a box on the input; photo: a PNG or JPEG to draw them on.

    Raises CnnstatError where there is no such layer, it sees no part of the input, or the photo cannot be read.
    """
    if not 0 < len(layers) <= MOST_PANELS:
        raise CnnstatError(f"--field: name 1 to {MOST_PANELS} layers, not {len(layers)}")
    panels = [_panel(analysis, name) for name in layers]
    link = None if photo is None else photo_link(photo)
    head = heading(analysis)
    legend = [Entry("field", FIELD, "what one output sees"), Entry("beyond", BEYOND, "padding")]
    spans = [max(axis.last - axis.first + 1 for axis in (p.rows, p.columns)) for p in panels]
    scale = SIDE / max(spans)
    content: list[str] = []
    x, bottom = MARGIN, 0.0
    for panel in panels:
        drawn, right, low = _drawn(panel, x, TOP + 44, scale, link)
        content += drawn
        x, bottom = right + GAP, max(bottom, low)
    size = max(x - GAP + MARGIN, least_width(head, legend)), bottom + 16
    notes = ["dots: middles of the fields of all outputs, or of every second, fourth … where they are many"]
    description = " ".join(f"{panel.title}: {'; '.join(panel.lines)}." for panel in panels)
    return sheet(head, description, size, content, legend, notes)


# What a layer sees ---------------------------------------------------------------------------------------------------


def _panel(analysis: Analysis, name: str) -> _Panel:
    index = find_layer(analysis.graph, name)
    layer, value = analysis.layers[index], analysis.graph.arity + index
    field, seen = layer.receptive_field, analysis.fields.coordinates(value)
    title = printable(layer.name)
    if field is None or seen is None:
        raise CnnstatError(f"--field {title}: {_WHY_NOT[layer.field_extent]}; name a layer before it")
    axes = []
    for axis, coordinate in seen.items():
        length = analysis.fields.lengths[axis]
        if coordinate is None or coordinate.field is None:
            axes.append(_Axis(length, [(0, length - 1)], True))
            continue
        reads = [each for each in map(coordinate.field.at, range(coordinate.extent)) if each is not None]
        axes.append(_Axis(length, reads or [(0, length - 1)]))
    sides = axes[-2:] if len(axes) > 1 else [_Axis(1, [(0, 0)]), axes[0]]
    lines = [f"field {shape_text(field.size)}, stride {_strides(field.stride)}"]
    if not field.exact:
        lines[0] += ", a bound"
    if field.misaligned_at is not None:
        lines[0] += ", of the middle"
    lines.append(f"{shape_text(tuple(len(axis.reads) for axis in axes))} positions")
    where = [f"{low}…{high}" for low, high in (axis.middle for axis in sides[2 - min(len(axes), 2) :])]
    lines.append("the middle one reads " + " × ".join(where).replace("-", "−"))
    return _Panel(title, sides[0], sides[1], tuple(lines))


_WHY_NOT = {
    Extent.WHOLE: "every output depends on the whole input",
    Extent.NOT_FOLLOWED: "how it reads the input is not followed",
    Extent.NONE: "it does not depend on the input",
    Extent.LOCAL: "it has no field",
}


def _strides(strides: Sequence[object]) -> str:
    return "×".join(number_text(each) for each in strides)  # type: ignore[arg-type]  # fractions, None for misaligned


# Pixels --------------------------------------------------------------------------------------------------------------


class _Scale(NamedTuple):
    """Where positions of the input stand in the drawing."""

    left: float
    top: float
    across: float
    down: float

    def box(self, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return left, top, width and height of a range of rows and columns, ends included."""
        (first, last), (low, high) = rows, columns
        x, y = self.left + low * self.across, self.top + first * self.down
        return x, y, (high - low + 1) * self.across, (last - first + 1) * self.down


def _drawn(panel: _Panel, x: float, y: float, scale: float, link: str | None) -> tuple[list[str], float, float]:
    """Return the elements of a panel whose upper left corner is given, its right end and its lower one."""
    rows, columns = panel.rows, panel.columns
    down = STRIP if rows.length == 1 else scale
    to = _Scale(x - columns.first * scale, y - rows.first * down, scale, down)
    outer = to.box((rows.first, rows.last), (columns.first, columns.last))
    inner = to.box((0, rows.length - 1), (0, columns.length - 1))
    width = max(outer[2], 230.0)
    parts = [
        text_element(fitted(panel.title, 12, width), x, y - 12, 12, class_="ink", font_weight=600, fill=colours.INK),
        *_hatched(outer, BEYOND),
        _rectangle(inner, "plane", colours.PAPER, "#858d98"),
    ]
    if link is not None:
        left, top, wide, high = inner
        parts.append(element("image", x=left, y=top, width=wide, height=high, href=link, preserveAspectRatio="none"))
    elif scale >= PIXEL:
        parts.append(_grid(inner, rows.length, columns.length))
    field = to.box(rows.middle, columns.middle)
    parts += [
        *_lattice(panel, to),
        element("g", title_element(f"{panel.title}: {panel.lines[0]}") + _rectangle(field, "face", FIELD.fill,
                FIELD.stroke, fill_opacity="0.55", stroke_width=2), class_="field"),
    ]  # fmt: skip
    bottom = outer[1] + outer[3]
    for index, line in enumerate(panel.lines):
        parts.append(pale_text(fitted(line, SMALL, width), x, bottom + 18 + 14 * index))
    return parts, x + width, bottom + 18 + 14 * len(panel.lines)


def _rectangle(box: tuple[float, float, float, float], name: str, fill: str, stroke: str, **more: object) -> str:
    x, y, width, height = box
    attributes = {"class_": name, "x": x, "y": y, "width": width, "height": height, "fill": fill, "stroke": stroke}
    return element("rect", "", **{**attributes, **more})


def _hatched(box: tuple[float, float, float, float], colour: Colour) -> Iterator[str]:
    """Yield a rectangle with slanted lines, each cut at its edges."""
    x, y, width, height = box
    yield element("g", _rectangle(box, "face", colour.fill, colour.stroke, stroke_dasharray="4 3"), class_="beyond")
    lines = []
    for index in range(1, int((width + height) / HATCH) + 1):
        offset = index * HATCH
        start = (x + min(offset, width), y + max(0.0, offset - width))
        end = (x + max(0.0, offset - height), y + min(offset, height))
        lines.append(path_of([start, end]))
    yield element("path", class_="lead", d=" ".join(lines), fill="none", stroke=colour.stroke, stroke_width=0.6)


def _grid(box: tuple[float, float, float, float], rows: int, columns: int) -> str:
    x, y, width, height = box
    lines = [path_of([(x + i * width / columns, y), (x + i * width / columns, y + height)]) for i in range(1, columns)]
    lines += [path_of([(x, y + i * height / rows), (x + width, y + i * height / rows)]) for i in range(1, rows)]
    return element("path", class_="grid", d=" ".join(lines), fill="none", stroke="#c3cad3", stroke_width=0.5)


def _lattice(panel: _Panel, to: _Scale) -> Iterator[str]:
    """Yield the middle of the field of each output, as small squares, which every renderer draws alike."""
    rows, columns = (_thinned(axis) for axis in (panel.rows, panel.columns))
    squares = []
    for row in rows:
        for column in columns:
            x, y = to.left + column * to.across, to.top + row * to.down
            squares.append(f"{path_of([(x - 1, y - 1), (x + 1, y - 1), (x + 1, y + 1), (x - 1, y + 1)])}Z")
    if squares and not (panel.rows.is_whole and panel.columns.is_whole):
        yield element("path", class_="dots", d=" ".join(squares), fill=FIELD.stroke)


def _thinned(axis: _Axis) -> list[float]:
    """Return the middles of fields along an axis, in positions of the input."""
    step = 1
    while len(axis.reads) / step > MOST_DOTS:
        step *= 2
    first = len(axis.reads) // 2 % step
    return [(low + high + 1) / 2 for low, high in axis.reads[first::step]]

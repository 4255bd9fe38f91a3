"""Layer charts: a figure against the layers in the order in which they run, and how the receptive field grows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.figures import Figure
from cnnstat.analysis.receptive_field.fields import Extent
from cnnstat.draw.elements import element, number
from cnnstat.numbers import Unit, percent, plural
from cnnstat.report.charts.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    grid,
    steps,
    ticked,
    titled,
    upward,
)
from cnnstat.report.charts.picture import COLOURS, PALE, Picture, hint, label
from cnnstat.report.network_text import size_text
from cnnstat.report.table import block_of
from cnnstat.report.terminal_text import cut_end, cut_start

MOST_COLUMNS = 600
"""Columns that are still seen apart; where there are more layers, neighbours share one."""

MOST_BLOCKS = 16
"""Blocks that are named below a chart."""

NAMED = 3
"""Columns, the highest, that are named."""

ROOM, LETTER = 90.0, 6.6
"""Pixels that a name over a column takes at most, and those of a letter."""


class LayerChart(NamedTuple):
    """One figure of every layer, as columns in execution order; model: what the network is called."""

    model: str
    names: Sequence[str]
    values: Sequence[int]
    figure: Figure

    def picture(self) -> Picture:
        """Return the columns, the highest with their names, and below them the blocks of the network."""
        names, values, unit = self.names, self.values, self.figure.unit
        together = max(1, -(-len(names) // MOST_COLUMNS))
        columns = [sum(values[i : i + together]) for i in range(0, len(values), together)]
        step_of = _binary_unit(max(columns, default=0)) if unit is Unit.BYTES else 1.0
        x, y = Axis(0, max(1, len(names)), LEFT, WIDTH - RIGHT), upward(max(columns, default=0), step_of)
        ticks = ticked(y, lambda value: unit.brief(round(value)), step_of)
        parts = list(grid(x, y, [], ticks, ("", self.figure.title)))
        parts += _blocks(names, x)
        total = sum(values) or 1
        for i, value in enumerate(columns):
            inside = names[i * together : (i + 1) * together]
            left, right = x.at(i * together), x.at(i * together + len(inside))
            gap = min(1.0, (right - left) / 5)
            name = inside[0] if len(inside) == 1 else f"{inside[0]} to {inside[-1]}"
            share = percent(value / total)
            parts += [
                element(
                    "rect", hint(f"{name}: {unit.exact(value)} ({share} %)"), x=left + gap / 2, y=y.at(value),
                    width=right - left - gap, height=y.start - y.at(value), fill=COLOURS[0],
                )
            ] * (value > 0)  # fmt: skip
        parts += _names(columns, names[::together], x, y, together)
        shared = f"; {together} layers a column" if together > 1 else ""
        title = f"{self.model}: {self.figure.title} layer by layer"
        whole = f"{unit.rounded(total if any(values) else 0)} in {plural(len(names), 'layer')}{shared}"
        parts.append(label(f"{whole}, in the order in which they run", WIDTH - RIGHT, TOP - 10, text_anchor="end",
                           fill_opacity=PALE))  # fmt: skip
        return titled(title, f"{whole}. {self.figure.sentence}", parts)


class FieldChart(NamedTuple):
    """The receptive field of every layer along the main path, as a line that grows with the layers."""

    analysis: Analysis

    def picture(self) -> Picture:
        """Return one line for each spatial axis that differs, and the size of the input."""
        layers = self.analysis.layers
        sizes = [None if layer.receptive_field is None else layer.receptive_field.size for layer in layers]
        axes = max((len(size) for size in sizes if size), default=0)
        lines = list(dict.fromkeys(tuple(size[-1 - i] if size and i < len(size) else None for size in sizes)
                                   for i in range(axes)))  # fmt: skip
        largest = max((size for line in lines for size in line if size is not None), default=1)
        inputs = [shape[-1] for shape in (each.shape for each in self.analysis.graph.inputs) if len(shape) > 2]
        x, y = Axis(0, max(1, len(layers)), LEFT, WIDTH - RIGHT), upward(float(largest))
        parts = list(grid(x, y, [], ticked(y, "{:,.0f}".format), ("", "receptive field, in input pixels")))
        parts += _blocks([layer.name for layer in layers], x)
        for line, colour in zip(lines, COLOURS):
            path = steps(line, x, y)
            parts.append(element("path", d=path, stroke=colour, fill="none", stroke_width=2.5, stroke_linejoin="round"))
        for size in sorted({size for size in inputs if 1 < size <= y.high}):
            level = f"M{number(x.start)} {number(y.at(size))}H{number(x.end)}"
            parts.append(element("path", d=level, stroke="currentColor", stroke_opacity=PALE, stroke_dasharray="6 4"))
            parts.append(label(f"input {size:,}", x.start + 6, y.at(size) - 4, fill_opacity=PALE))
        parts += self._whole(x, y)
        total = self.analysis.totals.receptive_field
        end = "none" if total is None else size_text(total)
        title = f"{self.analysis.graph.name}: receptive field layer by layer"
        return titled(title, f"It is {end} input pixels at the last map that has one.", parts)

    def _whole(self, x: Axis, y: Axis) -> Iterator[str]:
        """Yield a hint behind the layers that see the whole input."""
        layers = self.analysis.layers
        first = next((i for i, layer in enumerate(layers) if layer.field_extent is Extent.WHOLE), None)
        if first is None:
            return
        width = x.end - x.at(first)
        rectangle = {"x": x.at(first), "y": y.end, "width": width, "height": y.start - y.end}
        text = f"from {layers[first].name} on the whole input is seen"
        yield element("rect", hint(text), **rectangle, fill="currentColor", fill_opacity="0.07")
        yield label("whole input", x.end, TOP - 10, text_anchor="end", fill_opacity=PALE)


def _blocks(names: Sequence[str], x: Axis) -> Iterator[str]:
    """Yield a line before each block of names, with its name where there is room; numbers where there are no blocks."""
    spans, start = [], 0
    for name, inside in groupby(block_of(name, 1)[0] for name in names):
        length = len(list(inside))
        spans.append((name, start, start + length))
        start += length
    base = HEIGHT - BOTTOM
    if not 1 < len(spans) <= MOST_BLOCKS:
        for value in x.ticks():
            yield label(f"{value:,.0f}", x.at(value), base + 16, text_anchor="middle", fill_opacity=PALE)
        yield label("layer", (x.start + x.end) / 2, base + 34, text_anchor="middle", fill_opacity=PALE)
        return
    for name, first, last in spans:
        room = x.at(last) - x.at(first)
        tick = f"M{number(x.at(first))} {number(base)}v6"
        yield element("path", d=tick, stroke="currentColor", stroke_opacity=PALE)
        if room >= 4 * LETTER:
            middle = (x.at(first) + x.at(last)) / 2
            yield label(cut_end(name, int(room / LETTER)), middle, base + 16, text_anchor="middle", fill_opacity=PALE)


def _names(columns: Sequence[int], names: Sequence[str], x: Axis, y: Axis, together: int) -> Iterator[str]:
    """Yield the names of the highest columns, those that stand far enough apart and have nothing higher beside them."""
    taken: list[float] = []
    reach = math.ceil(len(columns) * ROOM / 2 / (x.end - x.start))
    for i in sorted(range(len(columns)), key=lambda i: (-columns[i], i)):
        if len(taken) == NAMED or not columns[i]:
            return
        place = x.at((i + 0.5) * together)
        is_highest = columns[i] == max(columns[max(0, i - reach) : i + reach + 1])
        if is_highest and all(abs(place - other) > ROOM for other in taken):
            taken.append(place)
            side = "start" if place < x.start + ROOM / 2 else "end" if place > x.end - ROOM / 2 else "middle"
            name = cut_start(names[i], int(ROOM / LETTER))
            yield label(name, place, y.at(columns[i]) - 4, text_anchor=side, font_weight="600")


def _binary_unit(value: float) -> float:
    unit = 1.0
    while unit * 1024 <= value:
        unit *= 1024
    return unit

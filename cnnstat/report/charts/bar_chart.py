"""Charts: output memory, parameters and MACs of each convolution and linear layer as bars, networks side by side.

The comparison of AlexNet and VGG-16 that lectures draw (Chen, Computer Vision: Convolutional neural networks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, zip_longest
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis, Layer
from cnnstat.draw.elements import element
from cnnstat.report.charts.axes import WIDTH
from cnnstat.report.charts.picture import COLOURS as PICTURE_COLOURS
from cnnstat.report.charts.picture import PALE, Picture, hint, label
from cnnstat.report.table import block_of
from cnnstat.report.terminal_text import Line, cut_end, cut_start, padded, plain, printable, widest, wrapped

MOST_BARS = 40
"""Bars that one network gets; one with more layers is drawn block by block."""

NARROWEST = 36
"""Columns that one network needs."""

GAP = 4
"""Spaces between two networks."""

EIGHTHS = " ▏▎▍▌▋▊▉"
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")


class Measure(NamedTuple):
    """What a chart shows: its value for one layer, and the units it may be printed in, largest first."""

    key: str
    title: str
    value: Callable[[Layer], int]
    units: tuple[tuple[int, str], ...]


class Bar(NamedTuple):
    """One bar: a layer, or a block with its layers summed."""

    name: str
    value: int


MEASURES = (
    Measure("memory", "output memory", lambda layer: layer.output_bytes, ((2**10, "KiB"),)),
    Measure("params", "parameters", lambda layer: layer.params, ((10**6, "M"), (10**3, "K"))),
    Measure("macs", "multiply-accumulates", lambda layer: layer.macs, ((10**6, "M"), (10**3, "K"))),
)


class BarChart:
    """One measure of several networks on one scale, beside each other as far as they fit."""

    def __init__(self, analyses: Sequence[Analysis], headings: Sequence[str], measure: Measure) -> None:
        self._analyses = analyses
        self._headings = headings
        self._measure = measure

    def lines(self, width: int) -> list[Line]:
        """Return a title, and the networks in groups of as many as fit a width."""
        abreast = max(1, min(len(self._analyses), (width + GAP) // (NARROWEST + GAP)))
        room = (width - GAP * (abreast - 1)) // abreast
        return _chart(self._measure, self._analyses, self._headings, abreast, room)

    def picture(self) -> Picture:
        """Return the same as vector graphics."""
        sets = [bars(analysis, self._measure) for analysis in self._analyses]
        title = _title(self._measure, self._analyses, sets)
        return _picture(title, self._headings, sets, _unit(self._measure, sets)[0])


def bars(analysis: Analysis, measure: Measure) -> list[Bar]:
    """Return the bars of one network: its convolutions and linear layers, block by block if there are many."""
    layers = [layer for layer in analysis.layers if layer.op.counted_as_weighted]
    single = [Bar(layer.name, measure.value(layer)) for layer in layers]
    if len(single) <= MOST_BARS:
        return single
    blocks = groupby(single, lambda bar: block_of(bar.name, 1)[0])
    return [Bar(name, sum(bar.value for bar in inside)) for name, inside in blocks]


def _chart(
    measure: Measure, analyses: Sequence[Analysis], headings: Sequence[str], abreast: int, room: int
) -> list[Line]:
    # One scale for all networks, so that lengths can be compared across them.
    sets = [bars(analysis, measure) for analysis in analyses]
    longest, scale, title = _longest(sets), _unit(measure, sets)[0], _title(measure, analyses, sets)
    lines: list[Line] = [plain(line, "bold") for line in wrapped(title, (room + GAP) * abreast - GAP)]
    length = min((_widths(bars_of_one, scale, room)[2] for bars_of_one in sets), default=1)  # one scale for all
    for first in range(0, len(analyses), abreast):
        places = range(first, min(first + abreast, len(analyses)))
        columns = [
            _column(headings[i], sets[i], scale, longest, length, room, COLOURS[i % len(COLOURS)]) for i in places
        ]
        for row in zip_longest(*columns, fillvalue=((" " * room, ""),)):
            lines.append(tuple(span for i, cells in enumerate(row) for span in (*((" " * GAP, ""),) * (i > 0), *cells)))
    return lines


def _longest(sets: Sequence[Sequence[Bar]]) -> int:
    return max((bar.value for bars_of_one in sets for bar in bars_of_one), default=0)


def _title(measure: Measure, analyses: Sequence[Analysis], sets: Sequence[Sequence[Bar]]) -> str:
    weighted = (sum(layer.op.counted_as_weighted for layer in analysis.layers) for analysis in analyses)
    is_folded = any(len(bars_of_one) < count for bars_of_one, count in zip(sets, weighted))
    folded = ", the layers of a block together" if is_folded else ""
    return f"{measure.title} of convolutions and linear layers, {_unit(measure, sets)[1]}{folded}"


def _unit(measure: Measure, sets: Sequence[Sequence[Bar]]) -> tuple[int, str]:
    """Return the largest unit in which the longest bar is at least a tenth."""
    longest = _longest(sets)
    return next((unit for unit in measure.units if longest * 10 >= unit[0]), measure.units[-1])


def _widths(network_bars: Sequence[Bar], scale: int, room: int) -> tuple[int, int, int]:
    """Return the columns of one network's names and numbers, and what these leave for bars."""
    values = (bar.value for bar in (*network_bars, Bar("total", sum(bar.value for bar in network_bars))))
    value_width = widest(chart_number(value / scale) for value in values)
    names = ("total", *(printable(bar.name) for bar in network_bars))
    name_width = min(widest(names), max(8, room - value_width - 14))
    return name_width, value_width, max(1, room - name_width - value_width - 3)


def _column(
    heading: str, network_bars: Sequence[Bar], scale: int, longest: int, length: int, room: int, colour: str
) -> list[Line]:
    """Return the lines of one network, each `room` columns wide, with bars of at most `length`."""
    total = sum(bar.value for bar in network_bars)
    name_width, value_width, own = _widths(network_bars, scale, room)
    lines: list[Line] = [((padded(cut_end(printable(heading), room), room, "left"), colour),)]
    for bar in network_bars:
        name, value = printable(bar.name), chart_number(bar.value / scale)
        head = f"{padded(cut_start(name, name_width), name_width, 'left')} {padded(value, value_width, 'right')} "
        lines.append(((head, ""), (padded(bar_text(bar.value, longest, length), own + 1, "left"), colour)))
    head = f"{padded('total', name_width, 'left')} {padded(chart_number(total / scale), value_width, 'right')} "
    lines.append(((padded(head, room, "left"), "bold"),))
    return lines


def bar_text(value: int, longest: int, length: int) -> str:
    """Return a bar in eighths of a character; whatever is not 0 shows at least one."""
    # 1 at least, as a bar of no length would say that there is nothing.
    eighths = max(1, round(8 * length * value / longest)) if value else 0
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def chart_number(value: float) -> str:
    """Return a number with about three significant digits, and never more than three decimals."""
    if not value:
        return "0"
    if value < 0.0005:
        return "<0.001"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


# Vector graphics ------------------------------------------------------------------------------------------------------

ABREAST = 3
"""Networks beside each other; more stand below them."""

NETWORK, BETWEEN = 300.0, 28.0
"""Pixels of one network at least, and between two."""

NAME, VALUE = 104.0, 56.0
"""Pixels of the names and of the numbers."""

LINE, HEAD = 16.0, 46.0
"""Pixels of a bar's line, and above the first."""

LETTER = 6.4


def _picture(title: str, headings: Sequence[str], sets: Sequence[Sequence[Bar]], scale: int) -> Picture:
    """Return networks in rows of a few; numbers are in the unit `scale`, which the title names."""
    abreast = min(ABREAST, len(sets))
    width = max(WIDTH, abreast * NETWORK + BETWEEN * (abreast - 1))
    room = (width - BETWEEN * (abreast - 1)) / abreast
    parts, top = [label(title, 0, 16, 13, font_weight="600")], 20.0
    for first in range(0, len(sets), abreast):
        numbers = range(first, min(first + abreast, len(sets)))
        for place, i in enumerate(numbers):
            left = place * (room + BETWEEN)
            parts += _picture_column(
                headings[i],
                sets[i],
                (_longest(sets), scale),
                left,
                top,
                room,
                PICTURE_COLOURS[i % len(PICTURE_COLOURS)],
            )
        top += HEAD + LINE * (1 + max((len(sets[i]) for i in numbers), default=0))
    totals = (f"{name} {chart_number(sum(bar.value for bar in bars) / scale)}" for name, bars in zip(headings, sets))
    return Picture(title, f"In total: {', '.join(totals)}.", width, top, "".join(parts))


def _picture_column(
    heading: str, bars: Sequence[Bar], of: tuple[int, int], left: float, top: float, room: float, colour: str
) -> Iterator[str]:
    """Yield the heading, the bars and the total of one network; of: the value of the longest bar, and the unit."""
    longest, scale = of
    yield element("rect", x=left, y=top + 12, width=10, height=10, rx=2, fill=colour)
    yield label(cut_end(heading, int(room / LETTER) - 3), left + 16, top + 21, 12, font_weight="600")
    y = top + HEAD - 6
    length = room - NAME - VALUE - 14
    for bar in bars:
        name, value = cut_start(bar.name, int(NAME / LETTER)), chart_number(bar.value / scale)
        yield label(name, left, y)
        yield label(value, left + NAME + VALUE, y, text_anchor="end", fill_opacity=PALE)
        # whatever is not 0 shows, as in a terminal
        width = max(1.0, length * bar.value / longest) if bar.value else 0.0
        x = left + NAME + VALUE + 8
        yield element("rect", hint(f"{bar.name}: {bar.value:,}"), x=x, y=y - 9, width=width, height=10, fill=colour)
        y += LINE
    yield label("total", left, y, font_weight="600")
    total = chart_number(sum(bar.value for bar in bars) / scale)
    yield label(total, left + NAME + VALUE, y, text_anchor="end", font_weight="600")

"""Volumes: the tensors of a network as planes and boxes of their size, as lectures draw LeNet-5, AlexNet and VGG.

Lengths go with the logarithm of sizes, so that 224 and 7 pixels, 3 and 512 channels fit on one page. A tensor whose
channels are split into groups, because the layer that makes it or one that reads it is grouped, is drawn in as many
towers (Krizhevsky et al. 2012, figure 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw import colours
from cnnstat.draw.captions import applied, caption, sizes
from cnnstat.draw.colours import Colour, colour_of
from cnnstat.draw.drawing import Picture
from cnnstat.draw.elements import element, fitted, text_element, text_width
from cnnstat.draw.page_columns import Page
from cnnstat.draw.page_layout import laid_out
from cnnstat.draw.places import Line, Point, Rectangle
from cnnstat.draw.scene import Box, Frame, Scene
from cnnstat.draw.sheet import TOP, arrow, box_group, heading, least_width, legend_of, pale_text, path_of, sheet
from cnnstat.draw.solids import Volume, solid
from cnnstat.ir.op import Shape

TEXT = 10.0
"""Font size of all that is written."""
CAPTION = 30.0
"""Pixels above and below a volume for its size and its name."""
NARROWEST, WIDEST = 60.0, 144.0
"""Pixels of the room for one volume, unless it needs more."""
MOST_PLANE_CHANNELS = 16
"""Most channels of a network that is drawn as planes."""
MOST_TOWERS = 4
TOWER_GAP = 14.0
LINE_LENGTH = 1500.0
"""Pixels up to which all volumes stand in one line."""


def volumes_picture(scene: Scene) -> Picture:
    """Return a scene as volumes from left to right."""
    return _Volumes(scene).picture()


class _Volumes:
    """One drawing in the style volumes."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.analysis = scene, scene.analysis
        self.volumes = _volumes(scene)
        spread = [volume.size[1] for volume in self.volumes if volume.towers > 1]
        self.step = max(spread, default=0.0) + TOWER_GAP
        """From the middle of a tower to that of the next, the same for all, so that lines between them are straight."""

    def picture(self) -> Picture:
        """Return the whole drawing."""
        scene, head, legend = self.scene, heading(self.analysis), legend_of(self.scene)
        flat = Scene(self.analysis, Frame(None, list(scene.boxes)), scene.boxes, scene.links)
        # Laid out from top to bottom and then turned, with x for y.
        turned = laid_out(flat, [self._size(volume)[::-1] for volume in self.volumes], Page(0, 0, LINE_LENGTH, 0.6))
        places = {box.number: _turned(place) for box, place in turned.boxes}
        self.read = {link.source for link in scene.links}
        self.reading = {link.target for link in scene.links}
        content = [
            *(part for line in turned.lines for part in self._route(line)),
            *(self._card(self.volumes[number], place) for number, place in places.items()),
        ]
        size = max(turned.height, least_width(head, legend)), turned.width + TOP
        description = f"{len(self.volumes)} tensors as boxes of their size, on a logarithmic scale."
        return sheet(head, description, size, content, legend, ["lengths are logarithms of sizes"], scene)

    def _size(self, volume: Volume) -> tuple[float, float]:
        """Return the room of a volume with its texts."""
        texts = max(text_width(text, TEXT) for text in (*self._texts(volume), sizes((1, *volume.shape))))
        width = max(NARROWEST, min(WIDEST, texts + 8), volume.size[0] + 12)
        return width, volume.size[1] + (volume.towers - 1) * self.step + 2 * CAPTION

    def _texts(self, volume: Volume) -> tuple[str, str]:
        own, box = volume.text, volume.box
        # Frames, which say elsewhere how often all that they hold is there, are not drawn.
        number = max(own.times, len(box.nodes) // (box.part.size or 1))
        times = f" ×{number}" if number > 1 else ""
        return f"{own.title}{times}", own.lines[0] if own.lines and not volume.box.part.parts else ""

    # Elements --------------------------------------------------------------------------------------------------------

    def _card(self, volume: Volume, place: Rectangle) -> str:
        colour = colour_of(self.analysis, volume.box)
        middle = place.x + place.width / 2
        title, name = self._texts(volume)
        room = place.width - 4
        y = place.y + place.height
        parts = [
            element("rect", x=place.x, y=place.y, width=place.width, height=place.height, fill="none", stroke="none"),
            *(part for below in self._spread(volume) for part in self._tower(volume, below, colour, place)),
            _middle(_sizes(volume), middle, place.y + 11, room, is_strong=True),
            _middle(title, middle, y - 15, room, is_strong=True),
            _middle(name, middle, y - 4, room),
        ]
        return box_group(self.scene, volume.box, volume.text.tooltip, filter(None, parts))

    def _tower(self, volume: Volume, below: float, colour: Colour, place: Rectangle) -> Iterator[str]:
        """Yield one tower, and what leads to it from the left edge of its room and from it to the right one."""
        middle, half, centre = place.x + place.width / 2, volume.size[0] / 2, place.y + place.height / 2 + below
        number = volume.box.number
        has_window = volume.window is not None and not volume.is_vector
        if number in self.reading:
            yield from arrow([(place.x, centre), (middle - half, centre)], name="lead")
        if number in self.read and not has_window:
            start = middle + half - volume.back[0] / 2
            yield _line((start, centre), (place.x + place.width, centre), name="lead")
        yield from solid(volume, middle, centre, colour, place.x + place.width)

    def _spread(self, volume: Volume) -> list[float]:
        """Return how far the middle of each tower is below the middle of its volume, from top to bottom."""
        return [(index - (volume.towers - 1) / 2) * self.step for index in range(volume.towers)]

    def _route(self, line: Line) -> Iterator[str]:
        points = [(y, x + TOP) for x, y in line.points]
        source, target = self.volumes[line.source], self.volumes[line.target]
        *_, before, last = points
        if before[1] != last[1]:
            yield from arrow(points)  # it comes from below, where nothing leads on
            return
        if max(source.towers, target.towers) == 1:
            yield _line(*points)
            return
        yield from self._between(points, source, target)

    def _between(self, points: Sequence[Point], source: Volume, target: Volume) -> Iterator[str]:
        """Yield the lines between towers: those of one side only where groups do not mix, else each to each."""
        (left, y), *_, (right, end) = points
        starts = [y + place for place in self._spread(source)]
        ends = [end + place for place in self._spread(target)]
        if len(points) > 2:  # to the next line of the page: one route, which parts at both ends
            yield _line(*points)
            yield _line((left, starts[0]), (left, starts[-1]), name="lead")
            yield _line((right, ends[0]), (right, ends[-1]), name="lead")
            return
        is_grouped = source.towers == target.towers and _groups(self.analysis, target.box) in (source.towers, 0)
        for one, start in enumerate(starts):
            for other, stop in enumerate(ends):
                if one == other or not is_grouped:
                    yield _line((left, start), (right, stop))


def _line(*points: Point, name: str = "edge") -> str:
    return element("path", class_=name, d=path_of(points), fill="none", stroke=colours.LINE, stroke_width=1.2)


def _turned(place: Rectangle) -> Rectangle:
    return Rectangle(place.y, place.x + TOP, place.height, place.width)


def _middle(content: str, x: float, y: float, room: float, *, is_strong: bool = False) -> str:
    content = fitted(content, TEXT, room)
    if not content:
        return ""
    if not is_strong:
        return pale_text(content, x, y, TEXT, text_anchor="middle")
    return text_element(content, x, y, TEXT, class_="ink", text_anchor="middle", fill=colours.INK)


def _sizes(volume: Volume) -> str:
    """Return the size of a volume, of planes as LeCun et al. 1998 write it: `6@28×28`."""
    if volume.is_planes and len(volume.shape) > 1:
        return f"{volume.shape[0]}@{sizes(volume.shape)}"
    each = sizes((1, volume.channels, *volume.shape[1:]))
    return f"{volume.towers} × {each}" if volume.towers > 1 else each


# Which tensors -------------------------------------------------------------------------------------------------------


def _volumes(scene: Scene) -> list[Volume]:
    analysis = scene.analysis
    shapes = [_shape(analysis, box) for box in scene.boxes]
    maps = [shape for shape in shapes if any(size > 1 for size in shape[1:])]
    is_planes = bool(maps) and all(len(shape) == 3 and shape[0] <= MOST_PLANE_CHANNELS for shape in maps)
    towers = _towers(scene, shapes)
    windows = {link.source: _kernel(analysis, scene.boxes[link.target]) for link in reversed(scene.links)}
    return [
        Volume(box, caption(analysis, box), shape, count, is_planes, windows.get(box.number))
        for box, shape, count in zip(scene.boxes, shapes, towers)
    ]


def _shape(analysis: Analysis, box: Box) -> Shape:
    """Return what a box makes, without the batch."""
    value = box.input if box.input is not None else analysis.graph.arity + box.nodes[-1]
    return analysis.values.outputs[value][0][1:]


def _kernel(analysis: Analysis, box: Box) -> tuple[int, int] | None:
    """Return height and width of the window with which a box reads; None where it has none."""
    if box.part.parts:
        return None
    size = getattr(applied(analysis.graph.nodes[box.nodes[0]].op), "kernel_size", None)
    if isinstance(size, int):
        return size, size
    return (size[-2], size[-1]) if isinstance(size, tuple) and len(size) > 1 else None


def _groups(analysis: Analysis, box: Box) -> int:
    """Return into how many groups the first layer of a box splits channels; 0 where it mixes none, as pools."""
    if box.input is not None:
        return 1
    op = analysis.graph.nodes[box.nodes[0]].op
    groups = getattr(applied(op), "groups", None)
    if isinstance(groups, int):
        return groups
    return 1 if op.counted_as_weighted else 0


def _towers(scene: Scene, shapes: Sequence[Shape]) -> list[int]:
    """Return in how many towers each tensor is drawn."""
    groups = [1 if box.part.parts else _groups(scene.analysis, box) for box in scene.boxes]
    towers = [number if 1 < number <= MOST_TOWERS else 1 for number in groups]
    for link in scene.links:  # what mixes no channels keeps the towers that it reads
        source, target = shapes[link.source], shapes[link.target]
        if groups[link.target] == 0 and min(len(source), len(target)) > 1 and source[0] == target[0]:
            towers[link.target] = max(towers[link.target], towers[link.source])
    for link in reversed(scene.links):  # what is read in groups is as many towers already
        number, shape = towers[link.target], shapes[link.source]
        if groups[link.target] in (0, number) and len(shape) > 1 and shape[0] % number == 0:
            towers[link.source] = max(towers[link.source], number)
    return [1 if box.input is not None else number for box, number in zip(scene.boxes, towers)]

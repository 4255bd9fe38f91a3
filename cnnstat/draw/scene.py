"""Scenes: the boxes of a drawing, the frames around them and the tensors between them, before anything has a place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw.opened_blocks import Folding, opened
from cnnstat.draw.parts import Part, parts_of
from cnnstat.errors import CnnstatError

MOST_DRAWN = 4000
"""Boxes beyond which nobody can look at a drawing."""


@dataclass(eq=False)
class Box:
    """What is drawn as one box: layers, or an input of the network.

    number: its place among all boxes. nodes: the layers it stands for, those of all copies. input: which input it is.
    """

    number: int
    part: Part
    nodes: tuple[int, ...] = ()
    input: int | None = None
    is_output: bool = False


@dataclass(eq=False)
class Frame:
    """An opened block; the outermost stands for the whole network and is not drawn."""

    part: Part | None
    children: list[Frame | Box] = field(default_factory=list)


class Link(NamedTuple):
    """A tensor that one box makes and another reads; value: which tensor, the first where there are several."""

    source: int
    target: int
    value: int


@dataclass(frozen=True, eq=False)
class Scene:
    """A network as boxes, frames and links; boxes are in the order in which the network runs them."""

    analysis: Analysis
    root: Frame
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]


def scene_of(analysis: Analysis, folding: Folding) -> Scene:
    """Return what is drawn of a network; raises CnnstatError where it is too much, or a block is not there."""
    graph = analysis.graph
    if folding.is_full and len(graph.nodes) > MOST_DRAWN:
        raise CnnstatError(
            f"--full: {len(graph.nodes):,} layers are too many to draw one by one, {MOST_DRAWN:,} at most; "
            "leave it out, or open a block with --expand"
        )
    parts = parts_of(analysis, is_full=folding.is_full)
    is_open = opened(analysis, parts, folding)
    drawn = sum(1 for _ in _leaves(parts, is_open))
    if drawn > MOST_DRAWN:
        raise CnnstatError(f"{drawn:,} boxes are too many to draw, {MOST_DRAWN:,} at most; open fewer blocks")
    return _Builder(analysis, is_open).scene(parts)


def _leaves(parts: Sequence[Part], is_open: set[int]) -> Iterator[Part]:
    for part in parts:
        if part.parts and id(part) in is_open:
            yield from _leaves(part.parts, is_open)
        else:
            yield part


class _Builder:
    """Makes boxes of parts, and links of edges."""

    def __init__(self, analysis: Analysis, is_open: set[int]) -> None:
        self.analysis, self.is_open = analysis, is_open
        self.boxes: list[Box] = []
        graph = analysis.graph
        self.box_of = [-1] * (graph.arity + len(graph.nodes))
        self.copy_of: dict[int, list[tuple[int, int]]] = {}
        """For boxes within repeats: the first node and the size of a copy, of each repeat around them."""

    def scene(self, parts: Sequence[Part]) -> Scene:
        graph = self.analysis.graph
        root = Frame(None)
        for index in range(graph.arity):
            self.box_of[index] = len(self.boxes)
            root.children.append(self._new(Box(len(self.boxes), Part(0, 0), input=index)))
        self._add(root, parts, [0], [])
        for edge in graph.outputs:
            self.boxes[self.box_of[edge.value]].is_output = True
        return Scene(self.analysis, root, tuple(self.boxes), tuple(self._links()))

    def _new(self, box: Box) -> Box:
        self.boxes.append(box)
        return box

    def _add(self, frame: Frame, parts: Sequence[Part], shifts: list[int], repeats: list[tuple[int, int]]) -> None:
        """Add parts to a frame; shifts: how far on the copies of what is around them stand."""
        for part in parts:
            if part.parts and id(part) in self.is_open:
                # What is only a run of blocks has no name and no frame of its own.
                inner = Frame(part) if part.path or part.times > 1 else frame
                if inner is not frame:
                    frame.children.append(inner)
                copies = [shift + copy * part.size for shift in shifts for copy in range(part.times)]
                around = [*repeats, (part.start, part.size)] if part.times > 1 else repeats
                self._add(inner, part.parts, copies, around)
                continue
            number = len(self.boxes)
            nodes = tuple(shift + index for shift in shifts for index in range(part.start, part.end))
            frame.children.append(self._new(Box(number, part, nodes)))
            for index in nodes:
                self.box_of[self.analysis.graph.arity + index] = number
            if repeats:
                self.copy_of[number] = repeats

    def _links(self) -> Iterator[Link]:
        graph = self.analysis.graph
        seen: set[tuple[int, int]] = set()
        for index, node in enumerate(graph.nodes):
            target = self.box_of[graph.arity + index]
            for edge in node.inputs:
                source = self.box_of[edge.value]
                if source == target or (source, target) in seen:
                    continue
                if source > target or self._is_between_copies(edge.value - graph.arity, index, source, target):
                    continue
                seen.add((source, target))
                yield Link(source, target, edge.value)

    def _is_between_copies(self, read: int, reader: int, source: int, target: int) -> bool:
        """Whether a tensor goes from one copy of a repeat to the next, which is drawn as a number of copies."""
        repeats = self.copy_of.get(source, []), self.copy_of.get(target, [])
        for one, other in zip(*repeats):
            if one != other:
                return False
            start, size = one
            copies = (read - start) // size, (reader - start) // size
            if copies[0] != copies[1]:
                return True
            # Repeats within this one were placed by its first copy.
            read, reader = read - copies[0] * size, reader - copies[1] * size
        return False


def token(name: str) -> str:
    """Return a layer's name as one word of `data-layers`: blanks, `%` and what is not printed are percent-encoded."""
    return "".join(
        c if c.isprintable() and not c.isspace() and c != "%" else quote(c, safe="", errors="replace") for c in name
    )

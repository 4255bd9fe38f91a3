"""Parts: the layers of a graph as a drawing has them, in blocks, with repeats counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cnnstat.analysis.analysis import Analysis
from cnnstat.ir.graph import Node
from cnnstat.ir.op import Family
from cnnstat.ir.scopes import Unit, grouped

FOLLOWERS = (Family.NORMALIZATION, Family.ACTIVATION, Family.LAYOUT, Family.ELEMENTWISE)
"""What stands in the box of the layer before it, where nothing else reads that layer."""

GENERAL_KINDS = ("group", "Sequential", "ModuleList", "ModuleDict", "")
"""What blocks are called whose name says nothing about what they do."""

MOST_FOLLOWERS = 5
FEWEST_ALIKE = 3
"""Fewest blocks of one structure, but of different sizes, that are drawn as one."""
LONGEST_PERIOD = 16
"""Most parts that repeat as a whole in a long list of layers without blocks."""
SHORT_PERIOD = 3
"""Most that are looked for in any list."""
MOST_LISTED = 40
"""Most parts of one list that are not put into stages."""


@dataclass(frozen=True, eq=False)
class Part:
    """Layers that are one box, or a frame around the boxes of its own parts.

    start, stop: the nodes of its first copy.
    times: how many equal copies follow one another, each reading the one before.
    path: the beginning of the layers' names, where it is a block; kind: what it is called.
    parts: what it consists of; empty for a box that cannot be opened.
    is_alike: whether its parts have one structure and differ in sizes only; is_stage: whether it is no block of the
        model, but layers in a row.
    """

    start: int
    stop: int
    times: int = 1
    path: str = ""
    kind: str = ""
    parts: tuple[Part, ...] = ()
    is_alike: bool = False
    is_stage: bool = False

    @property
    def size(self) -> int:
        """Nodes of one copy."""
        return self.stop - self.start

    @property
    def end(self) -> int:
        """The node behind its last copy."""
        return self.start + self.times * self.size


def parts_of(analysis: Analysis, *, is_full: bool = False) -> tuple[Part, ...]:
    """Return the parts of a network; `is_full` leaves every layer and every copy a part of its own."""
    return tuple(_Partition(analysis, is_full).parts(grouped(analysis.graph)))


class _Partition:
    """The structure of one graph."""

    def __init__(self, analysis: Analysis, is_full: bool) -> None:
        self.graph, self.values, self.is_full = analysis.graph, analysis.values, is_full
        reads = [edge.value for node in self.graph.nodes for edge in node.inputs]
        self._readers = Counter([*reads, *(edge.value for edge in self.graph.outputs)])
        self._numbers: dict[Hashable, int] = {}
        self._tokens = [] if is_full else [self._token(index, node) for index, node in enumerate(self.graph.nodes)]

    def parts(self, units: Sequence[Unit]) -> list[Part]:
        """Return units as parts, with equal ones as one."""
        parts: list[Part] = []
        for unit in units:
            if unit.scope:
                parts.append(self._block(unit))
            elif unit.node is not None:
                self._add_layer(parts, unit.node)
        return parts if self.is_full else self._staged(self._repeated(parts))

    def _block(self, unit: Unit) -> Part:
        inner = tuple(self.parts(unit.lists[0]))
        kind = self.graph.blocks.get(unit.scope, "")
        if len(inner) == 1 and not inner[0].parts and inner[0].times == 1:
            return replace(inner[0], path=unit.scope, kind=kind)
        if len(inner) == 1 and inner[0].parts and inner[0].times == 1:
            # A list within a block that is all that the block holds is no level of its own.
            return replace(inner[0], path=unit.scope, kind=kind or inner[0].kind)
        return Part(inner[0].start, inner[-1].end, path=unit.scope, kind=kind, parts=inner)

    def _add_layer(self, parts: list[Part], index: int) -> None:
        """Append a layer, or put it into the box before it."""
        before = parts[-1] if parts else None
        if before is not None and not self.is_full and not before.path and self._follows(before, index):
            parts[-1] = replace(before, stop=index + 1)
        else:
            parts.append(Part(index, index + 1))

    def _follows(self, before: Part, index: int) -> bool:
        node, last = self.graph.nodes[index], self.graph.arity + index - 1
        if before.stop != index or before.size > MOST_FOLLOWERS or node.op.family not in FOLLOWERS:
            return False
        kinds = {self.graph.nodes[each].op.kind for each in range(before.start, index)}
        is_only_reader = [edge.value for edge in node.inputs] == [last] and self._readers[last] == 1
        return is_only_reader and node.op.kind not in kinds

    # Repeats ---------------------------------------------------------------------------------------------------------

    def _token(self, index: int, node: Node) -> int:
        """Return a number that is the same for nodes of one op, with equal shapes, that read as far back."""
        value = self.graph.arity + index
        reads = tuple((value - edge.value if edge.value >= self.graph.arity else -edge.value, edge.output)
                      for edge in node.inputs)  # fmt: skip
        token = (
            node.op,
            self.values.inputs[index],
            self.values.outputs[value],
            reads,
            node.trainable,
            node.shares is None,
        )
        return self._numbers.setdefault(token, len(self._numbers))

    def _structure(self, part: Part) -> Hashable:
        return tuple(self._tokens[part.start : part.end])

    def likeness(self, part: Part) -> Hashable:
        """Return what parts have in common that differ in sizes only."""
        return part.kind, tuple(self.graph.nodes[index].op.kind for index in range(part.start, part.end))

    def _repeated(self, parts: list[Part]) -> list[Part]:
        parts = self._runs(parts, 1, self._structure)
        for period in range(2, LONGEST_PERIOD + 1):
            if period <= SHORT_PERIOD or len(parts) > MOST_LISTED:
                parts = self._runs(parts, period, self._structure)
        return self._alike(parts)

    def _runs(self, parts: list[Part], period: int, key: Callable[[Part], Hashable]) -> list[Part]:
        """Return parts with each run of `period` that repeat, one copy reading the other, as one part."""
        keys = [key(part) for part in parts]
        done: list[Part] = []
        first = 0
        while first < len(parts):
            end = first + period
            while keys[end : end + period] == keys[first : first + period] and self._reads(parts, end, period):
                end += period
            times = (end - first) // period
            if times < min(period + 1, FEWEST_ALIKE) or end > len(parts):
                done.append(parts[first])
                first += 1
                continue
            if period == 1:
                part = parts[first]
                done.append(replace(part, times=times) if part.times == 1 else _wrapped((part,), times))
            else:
                done.append(_wrapped(tuple(parts[first : first + period]), times))
            first = end
        return done

    def _reads(self, parts: list[Part], at: int, period: int) -> bool:
        """Whether the copy that begins at a part reads a layer of the copy before it."""
        first, last = self.graph.arity + parts[at - period].start, self.graph.arity + parts[at].start
        nodes = range(parts[at].start, parts[at + period - 1].end)
        return any(first <= edge.value < last for index in nodes for edge in self.graph.nodes[index].inputs)

    def _alike(self, parts: list[Part]) -> list[Part]:
        """Return parts with blocks that differ in sizes only as one."""
        done: list[Part] = []
        for (_, is_block), run in groupby(parts, lambda part: (self.likeness(part), bool(part.parts))):
            members = tuple(run)
            if is_block and len(members) >= FEWEST_ALIKE:
                kind = members[0].kind
                done.append(Part(members[0].start, members[-1].end, kind=kind, parts=members, is_alike=True))
            else:
                done += members
        return done

    def _staged(self, parts: list[Part]) -> list[Part]:
        """Return parts; those of one spatial size are one where there are very many."""
        if len(parts) <= MOST_LISTED:
            return parts
        stages = [tuple(run) for _, run in groupby(parts, lambda part: self._sides(part.end - 1))]
        if not 1 < len(stages) <= MOST_LISTED:
            length = -(-len(parts) // MOST_LISTED)
            stages = [tuple(parts[first : first + length]) for first in range(0, len(parts), length)]
        return [part for stage in stages for part in _as_stage(stage)]

    def _sides(self, index: int) -> tuple[int, ...]:
        return self.values.outputs[self.graph.arity + index][0][2:]


def _wrapped(parts: tuple[Part, ...], times: int) -> Part:
    last = parts[-1]
    return Part(parts[0].start, last.end, times, parts=parts, is_stage=True)


def _as_stage(parts: tuple[Part, ...]) -> Iterator[Part]:
    if len(parts) < FEWEST_ALIKE:
        yield from parts
    else:
        yield Part(parts[0].start, parts[-1].end, parts=parts, is_stage=True)

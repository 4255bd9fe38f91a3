"""Folding: which blocks of a network a drawing opens, so that it fits on a page or as its user wants it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw.parts import GENERAL_KINDS, Part
from cnnstat.errors import CnnstatError, did_you_mean, printable

MOST_BOXES = 30
"""Boxes of a drawing whose user has not said what to open."""


@dataclass(frozen=True, kw_only=True)
class Folding:
    """What a user wants to see opened.

    depth: components of names that are shown, as in `analyze --depth`; None for as much as fits on a page.
    expand: blocks that are opened with all that is in them: a path, the end of one, or what several are called.
    is_full: whether every layer is a box of its own.
    """

    depth: int | None = None
    expand: tuple[str, ...] = ()
    is_full: bool = False

    def __post_init__(self) -> None:
        """Check that they can go together; raises CnnstatError."""
        if self.depth is not None and self.depth < 1:
            raise CnnstatError(f"--depth {self.depth} must be at least 1")
        if self.is_full and (self.depth is not None or self.expand):
            raise CnnstatError(f"--full opens everything; leave --{'expand' if self.expand else 'depth'} out")


def opened(analysis: Analysis, parts: Sequence[Part], folding: Folding) -> set[int]:
    """Return the parts that are opened, by their `id`; raises CnnstatError where there is no block to expand."""
    if folding.is_full:
        return {id(part) for part in _all(parts)}
    if folding.depth is None:
        chosen = _fitting(analysis, parts)
    else:
        chosen = {id(part) for part in _all(parts) if not part.is_stage and _components(part) < folding.depth}
    for name in folding.expand:
        chosen |= _expanded(analysis, parts, name)
    return chosen


def _all(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield all parts that can be opened."""
    for part in parts:
        if part.parts:
            yield part
            yield from _all(part.parts)


def _components(part: Part) -> int:
    """Return of how many words the name of a block is; blocks in a row that have no name together are in one."""
    return part.path.count(".") + 1 if part.path else part.parts[0].path.count(".")


def _fitting(analysis: Analysis, parts: Sequence[Part]) -> set[int]:
    """Open blocks, level by level and those of one structure together, as long as all boxes fit on a page."""
    chosen: set[int] = set()
    boxes, level = len(parts), list(parts)
    while level:
        alike: dict[Hashable, list[Part]] = {}
        for part in level:
            if part.parts and not (part.is_stage and part.times == 1):
                # Runs of blocks that differ in sizes are opened together or not at all.
                kind = _kinds(analysis, part) if part.kind in GENERAL_KINDS else part.kind
                key: Hashable = "alike" if part.is_alike else (kind, part.times > 1)
                alike.setdefault(key, []).append(part)
        level = []
        groups = sorted(alike.values(), key=lambda group: group[0].start)
        if boxes + sum(_more_boxes(group) for group in groups) <= MOST_BOXES:
            groups = [[part for group in groups for part in group]]
        for group in groups:
            if group and boxes + _more_boxes(group) <= MOST_BOXES:
                boxes += _more_boxes(group)
                chosen.update(map(id, group))
                level += [inner for part in group for inner in part.parts]
    return chosen


def _kinds(analysis: Analysis, part: Part) -> tuple[str, ...]:
    return tuple(analysis.graph.nodes[index].op.kind for index in range(part.start, part.stop))


def _more_boxes(group: Sequence[Part]) -> int:
    return sum(len(part.parts) - 1 for part in group)


def _expanded(analysis: Analysis, parts: Sequence[Part], name: str) -> set[int]:
    """Return the blocks that a name means, all within them and all around them."""
    blocks: set[int] = set()
    for around, part in _with_those_around(parts):
        if _is_meant(analysis, part, name):
            blocks.update(map(id, (*around, part, *_all(part.parts))))
    if not blocks:
        known = dict.fromkeys(path for _, part in _with_those_around(parts) for path in (part.path, part.kind) if path)
        hint = did_you_mean(name, known) or (f"; it has {', '.join(list(known)[:6])}" if known else "")
        raise CnnstatError(
            f"--expand {printable(name[:60])}: {printable(analysis.graph.name)} has no such block{printable(hint)}"
        )
    return blocks


def _with_those_around(parts: Sequence[Part], around: tuple[Part, ...] = ()) -> Iterator[tuple[tuple[Part, ...], Part]]:
    for part in parts:
        if part.parts or part.path:
            yield around, part
            yield from _with_those_around(part.parts, (*around, part))


def _is_meant(analysis: Analysis, part: Part, name: str) -> bool:
    """Whether a name is that of a block or of one of its copies, the end of its path, or what it is called."""
    if not name or not part.path:
        return bool(name) and part.kind == name
    paths = {part.path}
    depth = _components(part)
    for copy in range(1, part.times):
        first = analysis.graph.nodes[part.start + copy * part.size].name
        paths.add(".".join(first.split(".")[:depth]))
    return part.kind == name or any(path == name or path.endswith(f".{name}") for path in paths)

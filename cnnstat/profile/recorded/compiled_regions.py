"""Compiled regions: which layers a kernel comes from that torch.compile fused, by the ops in its name and by its place.

Inductor calls a kernel `triton_poi_fused_add_relu_3`: a pointwise one of an addition and a ReLU. It runs between the
convolutions and products that Inductor does not fuse, whose layers are known. Of a kernel of several layers each gets
a part of the time in proportion to its floor, so that the parts are whole nanoseconds and add up to the kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from cnnstat.profile.recorded.op_rows import Row, spellings
from cnnstat.profile.traces.kernel_attribution import Pass, Piece, divide
from cnnstat.profile.traces.kernel_owners import Owner
from cnnstat.profile.traces.kineto_trace import Kernel

_FUSED = re.compile(r"(?:^|_)(?:triton_[a-z]+|cpp)_fused_(?P<ops>\w+?)_\d+\w?$")
"""What Inductor calls its kernels, on a GPU and on a CPU."""

_BACKWARD = {"relu": ("threshold",), "batch_norm": ("native_batch_norm",), "adaptive_avg_pool2d": ("div",)}
"""Ops of a backward pass whose names are not those of the forward pass with `_backward` behind."""

_PLAIN = ("div", "mul", "cat")
"""Ops that a backward pass calls as it does the forward one."""


def fused_ops(kernel: str) -> str | None:
    """Return the ops in the name of a kernel that Inductor made, joined as they stand there; None for other kernels."""
    match = _FUSED.search(kernel)
    return match["ops"] if match else None


@dataclass(frozen=True, slots=True)
class SharedPass:
    """A pass whose fused kernels are parts; how many of them have layers, how many layers these are, and the rest."""

    one: Pass
    shared: int
    layers: int
    unknown: int


def share_fused(
    one: Pass, is_backward: Callable[[Kernel], bool], rows: Sequence[Row], floors: Sequence[float]
) -> SharedPass:
    """Return a pass in which fused kernels are divided among their layers; floors: the least seconds of each row."""
    owners: dict[int, tuple[int, ...]] = {}
    for backward in (False, True):
        places = [place for place, piece in enumerate(one.pieces) if is_backward(piece.kernel) is backward]
        owners.update(_Direction(one.pieces, places, rows, backward).owners())
    fused = [place for place, piece in enumerate(one.pieces) if _is_open(piece)]
    pieces: list[Piece] = []
    for place, piece in enumerate(one.pieces):
        parts = owners.get(place, ())
        pieces += _parts(piece, parts, floors, is_backward(piece.kernel)) if parts else [piece]
    known = [place for place in fused if owners.get(place)]
    layers = {row for place in known for row in owners[place]}
    shared = replace(divide(tuple(pieces)), span=one.span, idle=one.idle)
    return SharedPass(shared, len(known), len(layers), len(fused) - len(known))


def _is_open(piece: Piece) -> bool:
    return piece.owner is None and fused_ops(piece.kernel.name) is not None


def _parts(piece: Piece, rows: Sequence[int], floors: Sequence[float], backward: bool) -> Iterator[Piece]:
    """Yield a kernel cut into one part for each row, as long as the row's floor is of all their floors."""
    kernel = piece.kernel
    weights = [floors[row] for row in rows]
    if not sum(weights):
        weights = [1.0] * len(rows)
    ends = [kernel.start + round((kernel.end - kernel.start) * part / sum(weights)) for part in accumulate(weights)]
    for place, (row, end) in enumerate(zip(rows, ends)):
        start = ends[place - 1] if place else kernel.start
        yield Piece(replace(kernel, start=start, end=end), Owner(row, backward), is_continued=place > 0)


class _Direction:
    """The kernels of the forward or of the backward pass, and what of the network they have computed so far.

    A row can be in a kernel once all is computed that it reads: in a backward pass, of all rows that read its result.
    """

    def __init__(self, pieces: Sequence[Piece], places: Sequence[int], rows: Sequence[Row], backward: bool) -> None:
        self._pieces = pieces
        self._places = places
        self._rows = rows
        self._backward = backward
        self._order = range(len(rows) - 1, -1, -1) if backward else range(len(rows))
        self._needs = _readers(rows) if backward else [row.inputs for row in rows]
        owners = (pieces[place].owner for place in places)
        self._own = {owner.row for owner in owners if owner is not None}
        self._done: set[int] = set()
        self._matching = [self._names_of(row) for row in rows]

    def owners(self) -> dict[int, tuple[int, ...]]:
        """Return the rows of each fused kernel by its place; nothing where no kernel beside them has a row."""
        rows: dict[int, tuple[int, ...]] = {}
        waiting: list[int] = []
        before: int | None = None
        for place in self._places:
            owner = self._pieces[place].owner
            if _is_open(self._pieces[place]):
                waiting.append(place)
            elif owner is not None and owner.row < len(self._rows):
                rows.update(self._between(waiting, before, owner.row))
                self._done.add(owner.row)
                waiting, before = [], owner.row
        return rows if before is None else {**rows, **self._between(waiting, before, None)}

    def _between(self, waiting: Sequence[int], before: int | None, after: int | None) -> dict[int, tuple[int, ...]]:
        if not waiting:
            return {}
        kernels = [self._pieces[place].kernel.name for place in waiting]
        texts = [fused_ops(kernel) or "" for kernel in kernels]
        ready = self._ready()
        named = [self._named(kernel, text, ready) for kernel, text in zip(kernels, texts)]
        own = _aligned([self._matching[row] for row in ready], named)
        rows = [[row for row, item in zip(ready, own) if item == number] for number in range(len(waiting))]
        shared = {row for some in rows for row in some}
        for number, names in enumerate(named):
            mine = frozenset[str]().union(*(self._matching[row] & names for row in rows[number]))
            # A layer may need several kernels, such as a norm in training: statistics first.
            rows[number] += [row for row in shared if self._matching[row] & (names - mine) and row not in rows[number]]
            if not rows[number] and "convolution" in texts[number]:
                # A bias that is added, or weights in another layout.
                rows[number] = [row for row in (before, after) if row is not None][:1]
        self._done |= shared
        return {place: tuple(sorted(some)) for place, some in zip(waiting, rows) if some}

    def _ready(self) -> list[int]:
        """Return the rows that no kernel has computed and none of their own will, and that can be computed now."""
        ready: list[int] = []
        reached = set(self._done)
        for row in self._order:
            if row not in reached and row not in self._own and all(need in reached for need in self._needs[row]):
                reached.add(row)
                ready.append(row)
        return ready

    def _names_of(self, row: Row) -> frozenset[str]:
        """Return the ops that a row's kernel may be called after."""
        ops = frozenset[str]().union(*map(spellings, row.ops))
        if not self._backward:
            return ops
        other = {name for forward, names in _BACKWARD.items() if forward in ops for name in names}
        return frozenset(name if name in _PLAIN else f"{name}_backward" for name in ops | other)

    def _named(self, kernel: str, text: str, rows: Iterable[int]) -> frozenset[str]:
        """Return the ops of some rows that stand in a kernel's name; only templates multiply."""
        can_multiply = "triton_tem" in kernel
        names = {name for row in rows if can_multiply or self._rows[row].weight is None for name in self._matching[row]}
        return frozenset(name for name in names if re.search(rf"(?:^|_){re.escape(name)}(?:_|$)", text))


def _readers(rows: Sequence[Row]) -> list[tuple[int, ...]]:
    """Return for each row those that read its result."""
    readers: list[list[int]] = [[] for _ in rows]
    for number, row in enumerate(rows):
        for read in row.inputs:
            readers[read].append(number)
    return list(map(tuple, readers))


def _aligned(rows: Sequence[frozenset[str]], items: Sequence[frozenset[str]]) -> list[int | None]:
    """Return for each row the fused kernel that it is in, both in order, so that as many rows as can be are in one."""
    best = [[0] * len(items) for _ in range(len(rows) + 1)]
    for number in range(len(rows) - 1, -1, -1):
        for item in range(len(items) - 1, -1, -1):
            later = best[number][item + 1] if item + 1 < len(items) else 0
            best[number][item] = max(best[number + 1][item] + bool(rows[number] & items[item]), later)
    places: list[int | None] = []
    item = 0
    for number, names in enumerate(rows):
        while item + 1 < len(items) and best[number][item + 1] == best[number][item]:
            if names & items[item] and best[number + 1][item] + 1 == best[number][item]:
                break
            item += 1
        places.append(item if items and names & items[item] else None)
    return places

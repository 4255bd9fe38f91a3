"""Arena: an address for every tensor of an inference pass, so that those alive together do not overlap.

Finding the smallest arena is NP-hard (it is dynamic storage allocation). Greedy by size (Pisarchyk & Lee 2020,
arXiv:2001.03288, which TFLite plans by) comes close: the largest tensor is placed first, each one into the smallest gap
between those that live at the same time. Other orders are sometimes better, so the best of several is taken.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

ALIGNMENT = 16
"""Addresses are multiples of it, as TFLite Micro has them (MicroArenaBufferAlignment)."""

MOST_IN_ALL_ORDERS = 10_000
"""Most storages for which all orders are tried; for more, the first one has to do."""

MOST_PAIRS = 1_000_000
"""Most pairs of storages that live together which are looked at; beyond, they are placed as an allocator would."""


class Life(NamedTuple):
    """One storage: its bytes, and the first and the last step at which it is in use."""

    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Arena:
    """A plan: bytes is its size, offsets the address of each storage in the order they were given.

    order: the order in which storages were placed, in words.
    """

    bytes: int
    offsets: tuple[int, ...]
    order: str


ORDERS: dict[str, Callable[[Life], tuple[int, ...]]] = {
    "by size": lambda life: (-life.bytes, life.first),
    "by size × time": lambda life: (-life.bytes * (life.last - life.first + 1), life.first),
    "by time": lambda life: (life.first - life.last, -life.bytes),
    "as they are made": lambda life: (life.first, -life.bytes),
}
"""Orders to place storages in, by what sorts them."""


def plan(lives: Sequence[Life], least: int = 0) -> Arena:
    """Return the smallest arena that the orders find; least: bytes below which none can be, to stop at.

    Takes time in proportion to the pairs of storages that live together, up to a bound; n·log n beyond.
    """
    neighbours = _neighbours(lives)
    if neighbours is None:
        return _allocated(lives)
    best: Arena | None = None
    for (name, key), is_lowest in product(ORDERS.items(), (False, True)):
        order = sorted(range(len(lives)), key=lambda number: key(lives[number]))
        offsets = _placed(lives, order, neighbours, is_lowest)
        size = max((offset + life.bytes for offset, life in zip(offsets, lives)), default=0)
        if best is None or size < best.bytes:
            best = Arena(size, tuple(offsets), f"{name}, {'lowest' if is_lowest else 'smallest'} gap")
        if best.bytes <= least or len(lives) > MOST_IN_ALL_ORDERS:
            break
    assert best is not None
    return best


def _neighbours(lives: Sequence[Life]) -> list[list[int]] | None:
    """Return for each storage those that live at the same time; None where there are too many pairs."""
    together: list[list[int]] = [[] for _ in lives]
    alive: list[tuple[int, int]] = []  # by last step, so that the dead are in front
    pairs = 0
    for number in sorted(range(len(lives)), key=lambda number: lives[number].first):
        life = lives[number]
        del alive[: bisect_left(alive, (life.first, -1))]
        if not life.bytes:
            continue  # takes no place
        pairs += len(alive)
        if pairs > MOST_PAIRS:
            return None
        for _, other in alive:
            together[number].append(other)
            together[other].append(number)
        insort(alive, (life.last, number))
    return together


def _aligned(address: int) -> int:
    return -(-address // ALIGNMENT) * ALIGNMENT


def _placed(lives: Sequence[Life], order: Sequence[int], neighbours: list[list[int]], is_lowest: bool) -> list[int]:
    """Return the offset of each storage, where each is put into the smallest or the lowest gap of its neighbours."""
    offsets = [-1] * len(lives)
    for number in order:
        size = lives[number].bytes
        taken = sorted((offsets[each], lives[each].bytes) for each in neighbours[number] if offsets[each] >= 0)
        end, best, spare = 0, -1, 0
        for start, length in taken:
            gap = start - end
            if size <= gap and (best < 0 or gap < spare):
                best, spare = end, gap
                if is_lowest:
                    break
            end = max(end, _aligned(start + length))
        offsets[number] = end if best < 0 else best
    return offsets


def _allocated(lives: Sequence[Life]) -> Arena:
    """Return the arena of an allocator that gives each storage the smallest free piece when it is made."""
    offsets = [0] * len(lives)
    free: list[tuple[int, int]] = []  # length and start
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    top = size = 0

    def release(start: int, length: int) -> None:
        if start in ends:  # joined with the free piece before it
            before = ends.pop(start)
            piece = starts.pop(before)
            free.pop(bisect_left(free, (piece, before)))
            start, length = before, piece + length
        if start + length in starts:
            piece = starts.pop(start + length)
            free.pop(bisect_left(free, (piece, start + length)))
            del ends[start + length + piece]
            length += piece
        starts[start], ends[start + length] = length, start
        insort(free, (length, start))

    dying: list[tuple[int, int]] = []
    for number in sorted(range(len(lives)), key=lambda number: (lives[number].first, -lives[number].bytes)):
        life = lives[number]
        dead = bisect_left(dying, (life.first, -1))
        for _, other in dying[:dead]:
            release(offsets[other], _aligned(lives[other].bytes))
        del dying[:dead]
        if not life.bytes:
            continue
        length = _aligned(life.bytes)
        place = bisect_left(free, (length, -1))
        if place < len(free):
            piece, start = free.pop(place)
            del starts[start], ends[start + piece]
            if piece > length:
                release(start + length, piece - length)
        else:
            start, top = top, top + length
        offsets[number] = start
        size = max(size, start + life.bytes)
        insort(dying, (life.last, number))
    return Arena(size, tuple(offsets), "as they are made")

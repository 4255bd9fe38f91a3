"""Tiles: how a large image is run in parts so that every output is what the whole image gives.

An output position is exact in a tile where its receptive field lies inside the tile, since outside it the network would
see padding instead of image. Fields depend on the phase of the output: a network that pools and upsamples repeats
itself only every so many outputs, so that tiles have to start at multiples of the inputs that this takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from math import ceil, lcm
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.receptive_field.intervals import MAX_LISTED, Field
from cnnstat.display import Displayed
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Edge


class AxisTiles(NamedTuple):
    """Tiles along one axis, in inputs unless it says outputs.

    size, outputs: a tile, and what the network makes of it. first, valid: the first exact output of a tile inside an
    image, and how many there are in a row. halo: inputs before and behind those that the valid outputs stand for.
    period, advance: outputs after which fields repeat themselves, and the inputs that they move on by then: tiles start
    at multiples of it. step, step_outputs: from one tile to the next, so that every output is exact in one of them.
    needed: for each number of inputs that an output needs to be exact, how many phases of the period need so many.
    smallest: inputs below which no tile has exact outputs of every phase; smallest_like: the smallest tile that has
    them among those that differ from `size` by multiples of the advance, for which the network is the same. There is
    no largest.
    """

    size: int
    outputs: int
    first: int
    valid: int
    halo: tuple[int, int]
    period: int
    advance: int
    step: int
    step_outputs: int
    needed: Mapping[int, int]
    smallest: int
    smallest_like: int

    @property
    def range(self) -> tuple[int, int]:
        """The fewest and the most inputs that an output needs to be exact."""
        return min(self.needed), max(self.needed)


@dataclass(frozen=True, repr=False)
class Tiling(Displayed):
    """How images are run in tiles: the network at the size of one, and for each result its tiles along each axis."""

    analysis: Analysis
    results: Mapping[str, tuple[AxisTiles, ...]]

    def __hash__(self) -> int:
        """Return a hash of the network: results are a mapping, which has none."""
        return hash(self.analysis)


def tiling(analysis: Analysis, at_sizes: Callable[[tuple[int, ...]], Analysis]) -> Tiling:
    """Return how images are run in tiles of the size that an analysis is of.

    at_sizes: returns the analysis at other sizes of the spatial axes.
    Raises CnnstatError where no tile is exact, with the reason, and where the tile is too small.
    """
    results = {}
    for edge in analysis.graph.outputs:
        name = analysis.graph.value_name(edge.value)
        results[name if not edge.output else f"{name}[{edge.output}]"] = _result(analysis, edge, at_sizes)
    return Tiling(analysis, results)


def _result(analysis: Analysis, edge: Edge, at_sizes: Callable[[tuple[int, ...]], Analysis]) -> tuple[AxisTiles, ...]:
    name, sizes = analysis.graph.value_name(edge.value), _spatial(analysis)
    fields = _fields(analysis, edge)
    moves = [_period(field, name) for field, _ in fields]
    larger = _fields(at_sizes(tuple(size + advance for size, (_, advance) in zip(sizes, moves))), edge)
    for (field, _), (other, _) in zip(fields, larger):
        if field.components != other.components:
            raise CnnstatError(f"no tile is exact: how {name} reads the input depends on the size of the input")
    return tuple(_axis(field, outputs, size, move) for (field, outputs), size, move in zip(fields, sizes, moves))


def _spatial(analysis: Analysis) -> tuple[int, ...]:
    """Return the sizes of the first input behind batch and channels."""
    return next((each.shape[2:] for each in analysis.graph.inputs if len(each.shape) > 2), ())


def _fields(analysis: Analysis, edge: Edge) -> list[tuple[Field, int]]:
    """Return the field of a result along each axis, and how many outputs there are; raises where none is exact."""
    name = analysis.graph.value_name(edge.value)
    field = analysis.fields.of(*edge)
    along = analysis.fields.coordinates(*edge)
    if field is None or along is None or field.whole:
        at = analysis.fields.total_at
        last = (
            "" if at is None or at == edge else f"; {analysis.graph.value_name(at.value)} is the last map that does not"
        )
        raise CnnstatError(f"no tile is exact: every position of {name} depends on the whole input{last}")
    if field.global_context:
        raise CnnstatError(f"no tile is exact: gates or statistics over space let {name} see the whole input")
    if not field.exact:
        raise CnnstatError(f"the field of {name} is only bounded, so that no tile is known to be exact")
    return [(each.field, each.extent) for each in along.values() if each is not None and each.field is not None]


def _period(field: Field, name: str) -> tuple[int, int]:
    """Return the outputs after which a field repeats itself, and the inputs that it has moved on by then."""
    period = lcm(*(len(each.lo) for each in field.components))
    advances = {Fraction(each.advance) * (period // len(each.lo)) for each in field.components}
    if len(advances) != 1:
        raise CnnstatError(f"no tile is exact: branches of different stride meet before {name}")
    (advance,) = advances
    if advance <= 0:
        raise CnnstatError(f"no tile is exact: {name} does not move forward over the input, as where it is flipped")
    return period, int(advance)


def _axis(field: Field, outputs: int, size: int, move: tuple[int, int]) -> AxisTiles:
    period, advance = move
    if outputs > MAX_LISTED:
        raise CnnstatError(f"a tile of {size:,} inputs is too long to be looked at; use one of at most {MAX_LISTED:,}")
    first = _first_inside(field, period)
    intervals = [field.at(index) or (0, -1) for index in range(max(outputs, first + period))]
    valid = 0
    while first + valid < outputs and intervals[first + valid][1] < size:
        valid += 1
    owned = Fraction(advance, period)
    # The inputs that one period reads, and those that it takes to make so many outputs at all, as where some are cut.
    made = ceil(size - (outputs - first - period) * owned)
    smallest = max(made, *(hi + 1 for _, hi in intervals[first : first + period]))
    if valid < period:
        like = size + -(-(smallest - size) // advance) * advance
        raise CnnstatError(f"tiles of {size} inputs are too small; outputs of every phase are exact from {like} on")
    lost = size - outputs * owned
    before = first * owned + lost / 2
    steps = valid // period
    return AxisTiles(
        size=size,
        outputs=outputs,
        first=first,
        valid=valid,
        halo=(int(before), int(size - valid * owned - int(before))),
        period=period,
        advance=advance,
        step=steps * advance,
        step_outputs=steps * period,
        needed=dict(sorted(Counter(hi - lo + 1 for lo, hi in intervals[:period]).items())),
        smallest=smallest,
        smallest_like=size - (size - smallest) // advance * advance,
    )


def _first_inside(field: Field, period: int) -> int:
    """Return the first output from which on none reads padding before the input."""
    run = 0
    for index in count():  # fields move on from period to period, so that there is one
        interval = field.at(index)
        run = run + 1 if interval is None or interval[0] >= 0 else 0
        if run == period:
            return index + 1 - period
    raise AssertionError

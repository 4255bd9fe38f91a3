"""Tiles: halo, valid size and step of the tiles that a large image is run in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from cnnstat.analysis.tiles import AxisTiles, Tiling
from cnnstat.numbers import plural
from cnnstat.report.document import SCHEMA, Document, Fact, Facts
from cnnstat.report.network_text import heading, input_text
from cnnstat.report.network_values import model_values
from cnnstat.report.table import Column, Table

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


class Row(NamedTuple):
    """One axis of one result."""

    result: str
    axis: str
    tiles: AxisTiles


def document(tiling: Tiling) -> Document:
    """Return the tiles along each axis of each result."""
    rows = [
        Row(result, axis, tiles)
        for result, axes in tiling.results.items()
        for axis, tiles in zip(AXES.get(len(axes), tuple(f"axis {n}" for n in range(len(axes)))), axes)
    ]
    table = Table(COLUMNS, rows)
    return Document(
        title=heading(tiling.analysis),
        subtitle=input_text(tiling.analysis),
        blocks=lambda: (table, Facts(tuple(_facts(rows)))),
        data=lambda: {
            "schema": SCHEMA,
            "model": model_values(tiling.analysis),
            "tiles": [{"result": row.result, "axis": row.axis, **_values(row.tiles)} for row in rows],
        },
        listed=("tiles",),
        records=table,
        caption="sizes of tiles, in input positions unless they say outputs",
    )


def _values(tiles: AxisTiles) -> dict[str, Any]:
    least, most = tiles.range
    needed = [{"inputs": inputs, "phases": phases} for inputs, phases in tiles.needed.items()]
    return {**tiles._asdict(), "halo": list(tiles.halo), "needed": needed, "needed_least": least, "needed_most": most}


COLUMNS = (
    Column("result", "result", lambda row: row.result, least=8, is_code=True, importance=5),
    Column("axis", "axis", lambda row: row.axis, importance=1),
    Column("size", "tile", lambda row: row.tiles.size, align="right", importance=1),
    Column("outputs", "outputs", lambda row: row.tiles.outputs, align="right", importance=4),
    Column(
        "halo", "halo", lambda row: row.tiles.halo, lambda row: " + ".join(map(str, row.tiles.halo)), "right",
        importance=1,
    ),
    Column("first", "first valid", lambda row: row.tiles.first, align="right", importance=3),
    Column("valid", "valid outputs", lambda row: row.tiles.valid, align="right", importance=1),
    Column("step", "step", lambda row: row.tiles.step, align="right", importance=1),
    Column("step_outputs", "step in outputs", lambda row: row.tiles.step_outputs, align="right", importance=6),
    Column(
        "needed", "inputs needed", lambda row: row.tiles.range,
        lambda row: " or ".join(map(str, row.tiles.needed)), "right", importance=2,
    ),
    Column("smallest_like", "smallest tile", lambda row: row.tiles.smallest_like, align="right", importance=2),
)  # fmt: skip


def _facts(rows: list[Row]) -> Iterator[Fact]:
    """Yield what the columns mean, with the numbers of the first axis."""
    tiles = rows[0].tiles
    yield Fact("halo", "inputs before and behind those that the valid outputs stand for: they are read, not written")
    yield Fact(
        "valid",
        "outputs in a row whose field lies inside the tile; at the border of the image all are exact, unless padding "
        "goes around it",
    )
    phases = ", ".join(f"{inputs} for {count} of {tiles.period}" for inputs, count in tiles.needed.items())
    again = plural(tiles.period, "output")
    yield Fact("phases", f"fields repeat themselves every {again}, {tiles.advance} inputs on; an output needs {phases}")
    yield Fact("step", f"tiles start at multiples of {tiles.advance}, the step keeps every output exact in one of them")
    yield Fact(
        "sizes",
        f"{tiles.smallest_like} + k·{tiles.advance} inputs: the network reads alike for them, and outputs of every "
        "phase are exact; there is no largest, a larger tile has more valid outputs",
    )

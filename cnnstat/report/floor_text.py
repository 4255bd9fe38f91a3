"""Floor: the least time that a device can take, as column, facts and values; never called a prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from cnnstat.analysis.analysis import Analysis, Layer
from cnnstat.analysis.device_floor import DeviceFloor
from cnnstat.numbers import binary_bytes, seconds_text
from cnnstat.report.document import Fact
from cnnstat.report.table import Column, Group
from cnnstat.report.terminal_text import printable


def floor_column(analysis: Analysis, floor: DeviceFloor) -> Column:
    """Return the column of the least time of each layer."""
    # By identity: equal layers of a network may take different times.
    seconds = {id(layer): time for layer, time in zip(analysis.layers, floor.layers)}

    def value(group: Group[Layer]) -> float:
        return sum(seconds[id(layer)] for layer in group.items)

    def text(group: Group[Layer]) -> str:
        return seconds_text(value(group)) if value(group) else ""

    return Column(
        "floor",
        "floor",
        value,
        text,
        "right",
        importance=3,
        doc="least seconds on the device of the sheet, no prediction",
    )


def floor_facts(floor: DeviceFloor) -> Iterator[Fact]:
    """Yield the floor of the whole pass, and whether RAM and flash suffice."""
    sheet = floor.sheet
    yield Fact("device", printable(sheet.name))
    kinds = Counter(kind for kind in floor.bound if kind)
    bound = ", ".join(f"{count} by {kind}" for kind, count in kinds.most_common())
    unstated = "; the sheet states no launch cost, which is left out" if sheet.launch is None else ""
    yield Fact(
        "floor", f"{seconds_text(floor.seconds)} at least, which is no prediction; layers bound {bound}{unstated}"
    )
    rows = [("RAM", floor.ram_bytes, sheet.ram, floor.ram_suffices)]
    if sheet.flash is not None:
        rows.append(("flash", floor.flash_bytes, sheet.flash, floor.flash_suffices))
    for what, needed, there, suffices in rows:
        verdict = "suffices" if suffices else "does not suffice"
        yield Fact(what, f"{verdict}: {binary_bytes(needed)} of {binary_bytes(there)}", "" if suffices else "yellow")


def floor_values(analysis: Analysis, floor: DeviceFloor) -> dict[str, Any]:
    """Return the same for JSON, with the seconds of every layer."""
    sheet = floor.sheet
    return {
        "device": {
            "name": sheet.name,
            "sources": list(sheet.sources),
            "peak": {dtype: float(rate) for dtype, rate in sheet.peak.items()},
            "bandwidth": float(sheet.bandwidth),
            "ram": sheet.ram,
            "flash": sheet.flash,
            "launch": None if sheet.launch is None else float(sheet.launch),
        },
        "floor": {
            "seconds": floor.seconds,
            "ram_bytes": floor.ram_bytes,
            "ram_suffices": floor.ram_suffices,
            "flash_bytes": floor.flash_bytes,
            "flash_suffices": floor.flash_suffices,
            "layers": [
                {"name": layer.name, "seconds": seconds, "bound": bound}
                for layer, seconds, bound in zip(analysis.layers, floor.layers, floor.bound)
            ],
        },
    }

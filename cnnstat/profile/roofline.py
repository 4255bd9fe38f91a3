"""Roofline: the best rates of a device, and the file in the user's folder for caches that keeps measured ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cnnstat.errors import old_name
from cnnstat.files import cache_folder, read_bytes, write_text

Bound = Literal["compute", "memory", "latency"]


ROOFLINE_UNITS = {"flops_per_second": "operations", "bandwidth": "bytes per second", "launch": "seconds"}
"""The rates of a roofline and their units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The best rates measured on one device in one dtype.

    flops_per_second: operations of the best large matrix product (two for a multiply-accumulate).
    bandwidth: bytes read and written per second by a copy much larger than the caches.
    launch: seconds of the smallest kernel (on a CPU: of the smallest op call).
    measured: date and time, ISO 8601.
    source: where the rates come from, where they were not measured on the device; then `measured` is empty.
    """

    flops_per_second: float
    bandwidth: float
    launch: float
    measured: str
    source: str = ""

    flops = old_name("flops", "flops_per_second")
    """The name of `flops_per_second` in the first releases."""

    def bound(self, flops: float, moved: float) -> tuple[float, Bound]:
        """Return the least seconds that work of `flops` operations over `moved` bytes takes, and what sets it."""
        bounds: dict[Bound, float] = {
            "compute": flops / self.flops_per_second,
            "memory": moved / self.bandwidth,
            "latency": self.launch,
        }
        bound = max(bounds, key=lambda key: bounds[key])
        return bounds[bound], bound


MAX_BYTES = 2**20

SCHEMA = "cnnstat-ceilings/1"


def cache_file() -> Path | None:
    """Return where rooflines are kept, in the user's folder for caches; None where there is to be no cache."""
    folder = cache_folder()
    return None if folder is None else folder / "ceilings.json"


def read_roofline(key: Mapping[str, str]) -> Roofline | None:
    """Return what was measured under these circumstances; None where nothing was, or the file is damaged."""
    for entry in _entries():
        if entry.get("circumstances") == dict(key):
            return _roofline(entry.get("ceilings"))
    return None


def write_roofline(key: Mapping[str, str], roofline: Roofline) -> bool:
    """Keep what was measured; returns False where the file cannot be written, which is no error."""
    file = cache_file()
    if file is None:
        return False
    entry = {"circumstances": dict(key), "ceilings": asdict(roofline)}
    entries = [*(old for old in _entries() if old.get("circumstances") != dict(key)), entry]
    content = {
        "schema": SCHEMA,
        "units": ROOFLINE_UNITS,
        "entries": entries,
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except OSError:
        return False
    return True


def _entries() -> list[dict[str, Any]]:
    """Return the entries of the file; none where it is missing, damaged, or of another version."""
    file = cache_file()
    try:
        content = None if file is None else json.loads(read_bytes(file, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        return []
    entries = content.get("entries")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _roofline(entry: Any) -> Roofline | None:
    """Return a roofline as it was written; None where a figure is missing or cannot be."""
    if not isinstance(entry, dict):
        return None
    rates = {name: entry.get(name) for name in ROOFLINE_UNITS}
    # A user may have edited the file; 1e30 is beyond any machine, and refuses infinity.
    sound = {name: float(rate) for name, rate in rates.items() if isinstance(rate, (int, float)) and 0 < rate < 1e30}
    if sound.keys() != rates.keys():
        return None
    return Roofline(
        flops_per_second=sound["flops_per_second"],
        bandwidth=sound["bandwidth"],
        launch=sound["launch"],
        measured=str(entry.get("measured", "")),
    )

"""Roofline: the best rates of a device, the file in the cache folder that keeps measured ones, and data sheets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

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


# Data sheets: what GPUs can do on paper, for recordings of machines that are not at hand to be measured --------------


class DataSheet(NamedTuple):
    """What a vendor states: TFLOP/s in float32, and of dense products in half precision; GB/s of memory."""

    float32: float
    half: float
    bandwidth: float


DATA_SHEETS = (
    (r"V100.*PCI", DataSheet(14.0, 112, 900)),
    (r"V100", DataSheet(15.7, 125, 900)),
    (r"\bT4\b", DataSheet(8.1, 65, 320)),
    (r"A100.*80GB", DataSheet(19.5, 312, 2039)),
    (r"A100", DataSheet(19.5, 312, 1555)),
    (r"\bA10\b", DataSheet(31.2, 125, 600)),
    (r"\bL4\b", DataSheet(30.3, 121, 300)),
    (r"\bL40S\b", DataSheet(91.6, 362, 864)),
    (r"H100.*PCI", DataSheet(51, 756, 2000)),
    (r"H100", DataSheet(67, 989, 3350)),
    (r"H200", DataSheet(67, 989, 4800)),
    (r"B200", DataSheet(80, 2250, 8000)),
    (r"RTX 3090\b", DataSheet(35.6, 71, 936)),
    (r"RTX 4090\b", DataSheet(82.6, 165, 1008)),
    (r"MI210", DataSheet(22.6, 181, 1638)),
    (r"MI250X", DataSheet(23.9, 191.5, 1638)),
    (r"MI250", DataSheet(22.6, 181, 1638)),
    (r"MI300X", DataSheet(163.4, 1307, 5300)),
)
"""By a pattern of the GPU's name, the first that fits; of an MI250 one of its two dies, which is a device."""

LAUNCH = 2e-6
"""Seconds of the smallest kernel where a recording has none."""


def data_sheet(name: str, dtype: str, launch: float) -> Roofline | None:
    """Return the roofline of a GPU on paper; None where its data sheet is not known or has no such dtype."""
    sheet = next((sheet for pattern, sheet in DATA_SHEETS if re.search(pattern, name)), None)
    rate = (
        None if sheet is None else {"float32": sheet.float32, "float16": sheet.half, "bfloat16": sheet.half}.get(dtype)
    )
    if sheet is None or rate is None:
        return None
    source = "of the data sheet, not measured; smallest kernel of this recording"
    return Roofline(
        flops_per_second=rate * 1e12,
        bandwidth=sheet.bandwidth * 1e9,
        launch=launch or LAUNCH,
        measured="",
        source=source,
    )

"""Roofline: the best rates measured on a machine, the bound they put on a layer's time, and the file that keeps them.

The file is JSON in the user's folder for caches, readable and safe to delete.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Bound = Literal["compute", "memory", "latency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The best rates measured on one device in one dtype.

    flops: floating-point operations per second of the best large matrix product (two for a multiply-accumulate).
    bandwidth: bytes read and written per second by a copy much larger than the caches.
    launch: seconds of the smallest kernel (on a CPU: of the smallest op call).
    measured: date and time, ISO 8601.
    """

    flops: float
    bandwidth: float
    launch: float
    measured: str

    @property
    def flops_per_second(self) -> float:
        """The name of `flops` in JSON."""
        return self.flops

    def bound(self, flops: float, moved: float) -> tuple[float, Bound]:
        """Return the least seconds that work of `flops` operations over `moved` bytes takes, and what sets it."""
        bounds: dict[Bound, float] = {
            "compute": flops / self.flops,
            "memory": moved / self.bandwidth,
            "latency": self.launch,
        }
        bound = max(bounds, key=lambda key: bounds[key])
        return bounds[bound], bound


SCHEMA = "cnnstat-ceilings/1"

FOLDER_VARIABLE = "CNNSTAT_CACHE"
"""The environment variable that names another folder; empty for no cache at all."""


def cache_file() -> Path:
    """Return where rooflines are kept: `ceilings.json` in $CNNSTAT_CACHE, else in the platform's folder for caches."""
    return _folder() / "ceilings.json"


def _folder() -> Path:
    """Return the folder, which need not exist."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() raises where there is none
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "cnnstat"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "cnnstat" / "Cache"
    # The specification has relative paths ignored (XDG Base Directory, version 0.8).
    xdg_folder = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg_folder) if Path(xdg_folder).is_absolute() else home / ".cache") / "cnnstat"


def read_roofline(key: Mapping[str, str]) -> Roofline | None:
    """Return what was measured under these circumstances; None where nothing was, or the file is damaged."""
    if os.environ.get(FOLDER_VARIABLE) == "":
        return None
    for entry in _entries():
        if entry.get("circumstances") == dict(key):
            return _roofline(entry.get("ceilings"))
    return None


def write_roofline(key: Mapping[str, str], roofline: Roofline) -> bool:
    """Keep what was measured; returns False where the file cannot be written, which is no error."""
    if os.environ.get(FOLDER_VARIABLE) == "":
        return False
    entry = {
        "circumstances": dict(key),
        "ceilings": {
            "flops": roofline.flops,
            "bandwidth": roofline.bandwidth,
            "launch": roofline.launch,
            "measured": roofline.measured,
        },
    }
    entries = [*(old for old in _entries() if old.get("circumstances") != dict(key)), entry]
    content = {
        "schema": SCHEMA,
        "units": {"flops": "operations per second", "bandwidth": "bytes per second", "launch": "seconds"},
        "entries": entries,
    }
    try:
        _replace(cache_file(), json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except OSError:
        return False
    return True


def _entries() -> list[dict[str, Any]]:
    """Return the entries of the file; none where it is missing, damaged, or of another version."""
    try:
        content = json.loads(cache_file().read_text(encoding="utf-8"))
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
    rates = [entry.get(name) for name in ("flops", "bandwidth", "launch")]
    sound = [float(rate) for rate in rates if isinstance(rate, (int, float)) and 0 < rate < 1e30]
    if len(sound) < len(rates):
        return None
    flops, bandwidth, launch = sound
    return Roofline(flops=flops, bandwidth=bandwidth, launch=launch, measured=str(entry.get("measured", "")))


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, so that two runs at once cannot damage it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".ceilings-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)  # noqa: PTH105  # the temporary file is known by name
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise

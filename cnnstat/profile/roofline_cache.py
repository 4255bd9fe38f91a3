"""The file that keeps measured rooflines: JSON in the user's folder for caches, readable and safe to delete."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnnstat.files import read_bytes, write_text
from cnnstat.profile.result import ROOFLINE_UNITS, Roofline

MAX_BYTES = 2**20

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
    entry = {"circumstances": dict(key), "ceilings": asdict(roofline)}
    entries = [*(old for old in _entries() if old.get("circumstances") != dict(key)), entry]
    content = {
        "schema": SCHEMA,
        "units": ROOFLINE_UNITS,
        "entries": entries,
    }
    try:
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        write_text(cache_file(), json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except OSError:
        return False
    return True


def _entries() -> list[dict[str, Any]]:
    """Return the entries of the file; none where it is missing, damaged, or of another version."""
    try:
        content = json.loads(read_bytes(cache_file(), MAX_BYTES))
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
    return Roofline(**sound, measured=str(entry.get("measured", ""))) if sound.keys() == rates.keys() else None

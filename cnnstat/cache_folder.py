"""The user's folder for caches: measured rooflines and traces of PyTorch models, safe to delete."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "CNNSTAT_CACHE"
"""The environment variable that names another folder; empty for no cache at all."""


def cache_folder() -> Path | None:
    """Return $CNNSTAT_CACHE, else the platform's folder for caches, which need not exist; None for no cache."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() raises where there is none
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "cnnstat"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "cnnstat" / "Cache"
    # The specification has relative paths ignored (XDG Base Directory, version 0.8).
    xdg_folder = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg_folder) if Path(xdg_folder).is_absolute() else home / ".cache") / "cnnstat"

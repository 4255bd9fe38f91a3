"""Recordings of real GPUs with answers, read in place beside the project; each with what it must come to."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "traces"
NAMES = (
    "a100-alexnet-forward",
    "a100-ddp-training-step",
    "b200-eager-driver-launches",
    "h100-bert-small-forward",
    "mi250-rocm-training",
)
"""Recordings of one ordinary pass each."""

REPLAYS = "v100-graph-replays"


def recording(name: str) -> dict[str, Any]:
    """Return a recording; skips the test where it is not there."""
    path = _path(name)
    if path is None:
        pytest.skip(f"{name}.json.gz is not there: recordings are read in place from ../shared/traces")
    return _read(path)


def _path(name: str) -> Path | None:
    """Return the recording beside this checkout, or beside one of which this is a work tree."""
    folders = [FOLDER]
    link = Path(__file__).resolve().parents[2] / ".git"
    if link.is_file():
        folders.append(Path(link.read_text().partition("gitdir:")[2].strip()).parents[3] / "shared" / "traces")
    return next((path for folder in folders if (path := folder / f"{name}.json.gz").is_file()), None)


@cache
def _read(path: Path) -> dict[str, Any]:
    return json.loads(gzip.decompress(path.read_bytes()), parse_float=Decimal)  # type: ignore[no-any-return]


def mutated(events: list[dict[str, Any]], *, drop: Any = None, change: Any = None) -> list[dict[str, Any]]:
    """Return copies of events without those that `drop` is true of, each as `change` returns it."""
    kept = [{**event, "args": dict(event.get("args", {}))} for event in events if drop is None or not drop(event)]
    return kept if change is None else [change(event) for event in kept]

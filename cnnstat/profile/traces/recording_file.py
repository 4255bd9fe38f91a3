"""Files of recordings: read within bounds, gzipped or not, with times that stay exact."""

from __future__ import annotations

import json
import zlib
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cnnstat.errors import CnnstatError
from cnnstat.files import read_bytes

MAX_BYTES = 4 * 2**30
"""Largest recording that is read, unpacked."""

_GZIP = b"\x1f\x8b"


def read_recording(path: Path) -> Any:
    """Return the JSON of a recording; numbers with a point are exact decimals. Raises CnnstatError with a remedy."""
    try:
        content = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise CnnstatError(f"{path}: cannot be read: {error.strerror or error}") from None
    if content.startswith(_GZIP):
        content = _unpacked(content, path)
    if len(content) > MAX_BYTES:
        raise CnnstatError(f"{path}: larger than {MAX_BYTES >> 30} GiB; record fewer steps")
    try:
        # Kernels' names come from compilers; some Kineto versions write their control characters as they are.
        return json.loads(content.decode("utf-8", "replace"), parse_float=Decimal, strict=False)
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CnnstatError(
            f"{path}{place}: not valid JSON; was the program stopped while it wrote? "
            "torch.profiler's export_chrome_trace writes whole recordings"
        ) from None


def recorded_events(profiler: Any) -> list[dict[str, Any]]:
    """Return the events that a session of torch.profiler recorded; their times are exact decimals."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        events: list[dict[str, Any]] = read_recording(file)["traceEvents"]
    return events


def _unpacked(content: bytes, path: Path) -> bytes:
    """Return what a gzip file holds, at most one byte more than is read."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(content, MAX_BYTES + 1)
    except zlib.error as error:
        raise CnnstatError(f"{path}: damaged gzip file ({error}); copy it again") from None
    if not unpacking.eof and len(unpacked) <= MAX_BYTES:
        raise CnnstatError(f"{path}: this gzip file ends too early; copy it again")
    return unpacked

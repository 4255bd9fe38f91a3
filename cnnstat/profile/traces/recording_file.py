"""Files of recordings: read within bounds, gzipped or not, with times that stay exact."""

from __future__ import annotations

import zlib
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cnnstat.errors import CnnstatError
from cnnstat.files import parse_json, read_whole

MAX_BYTES = 4 * 2**30
"""Largest recording that is read, unpacked."""

_GZIP = b"\x1f\x8b"
_REMEDY = "record fewer steps"


def read_recording(path: Path) -> Any:
    """Return the JSON of a recording; numbers with a point are exact decimals. Raises CnnstatError with a remedy."""
    content = read_whole(path, MAX_BYTES, str(path), _REMEDY)
    if content.startswith(_GZIP):
        content = _unpacked(content, path)
    remedy = "was the program stopped while it wrote? torch.profiler's export_chrome_trace writes whole recordings"
    # Kernels' names come from compilers; some Kineto versions write their control characters as they are.
    return parse_json(content.decode("utf-8", "replace"), str(path), remedy, parse_float=Decimal, strict=False)


def recorded_events(profiler: Any) -> list[dict[str, Any]]:
    """Return the events that a session of torch.profiler recorded; their times are exact decimals."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        events: list[dict[str, Any]] = read_recording(file)["traceEvents"]
    return events


def _unpacked(content: bytes, path: Path) -> bytes:
    """Return what a gzip file holds."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(content, MAX_BYTES + 1)
    except zlib.error as error:
        raise CnnstatError(f"{path}: damaged gzip file ({error}); copy it again") from None
    if len(unpacked) > MAX_BYTES:
        raise CnnstatError(f"{path}: larger than {MAX_BYTES >> 20} MiB when unpacked; {_REMEDY}")
    if not unpacking.eof:
        raise CnnstatError(f"{path}: this gzip file ends too early; copy it again")
    return unpacked

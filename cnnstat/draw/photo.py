"""Photos: PNG and JPEG files as links that hold them, looked through so that no page shows a broken image."""

from __future__ import annotations

import zlib
from base64 import b64encode
from pathlib import Path

from cnnstat.errors import CnnstatError
from cnnstat.files import read_whole

MOST_BYTES = 20 * 2**20
"""Largest photo that is embedded."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


def photo_link(path: Path) -> str:
    """Return a photo as a link that holds it (`data:image/png;base64,…`); raises CnnstatError."""
    content = read_whole(path, MOST_BYTES, f"--image {path}", "save it smaller")
    if content.startswith(_PNG):
        kind, is_whole = "png", _is_whole_png(content)
    elif content.startswith(_JPEG):
        kind, is_whole = "jpeg", _is_whole_jpeg(content)
    else:
        raise CnnstatError(f"--image {path}: is neither PNG nor JPEG")
    if not is_whole:
        raise CnnstatError(f"--image {path}: is a damaged {kind.upper()}, cut off perhaps; save it again")
    return f"data:image/{kind};base64,{b64encode(content).decode('ascii')}"


def _is_whole_png(content: bytes) -> bool:
    """Whether chunk follows chunk, each with its checksum, from a header with sizes to the end (PNG, section 5)."""
    place, seen = len(_PNG), []
    while place + 12 <= len(content) and b"IEND" not in seen:
        length = int.from_bytes(content[place : place + 4], "big")
        body, end = content[place + 4 : place + 8 + length], place + 12 + length
        if zlib.crc32(body) != int.from_bytes(content[end - 4 : end], "big"):
            return False
        seen.append(body[:4])
        if seen == [b"IHDR"] and not (any(body[4:8]) and any(body[8:12])):
            return False
        place = end
    return seen[:1] == [b"IHDR"] and b"IDAT" in seen and b"IEND" in seen


def _is_whole_jpeg(content: bytes) -> bool:
    """Whether segment follows segment to a frame with sizes and a scan, which comes to its end (JPEG, annex B)."""
    place, has_frame = 2, False
    while place + 9 < len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            has_frame = any(content[place + 7 : place + 9])  # the height may follow the first scan
        if marker == 0xDA:
            return has_frame and content.find(b"\xff\xd9", place) > 0
        place += 2 + length
    return False

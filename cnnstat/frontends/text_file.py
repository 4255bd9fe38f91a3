"""Text files: reading a spec from disk, whatever may lie there."""

from __future__ import annotations

from pathlib import Path

from cnnstat.errors import Location
from cnnstat.frontends.problems import fail

MAX_BYTES = 16 * 2**20
"""Largest spec file that is read; 100,000 layers, each on a line of its own, take 3 MiB."""


def read_text(path: Path, most: int = MAX_BYTES, what: str = "a spec is a page or two of text") -> str:
    """Return the text of a file; raises SpecError if it is not a readable UTF-8 text file of at most `most` bytes."""
    where = Location(str(path), 1, 1)
    try:
        if not path.is_file():
            kind = "a directory" if path.is_dir() else "not a file" if path.exists() else "no such file"
            fail(where, f"{kind}; name a .yaml file")
        if path.stat().st_size > most:
            fail(where, f"larger than {most >> 20} MiB; {what}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(where, f"not UTF-8 text (byte {error.start}); save it as a UTF-8 text file")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        fail(where, f"cannot be read: {said or error}")

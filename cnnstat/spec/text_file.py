"""Text files: reading a spec from disk, whatever may lie there."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

from cnnstat.errors import Location, nearest
from cnnstat.sources import zoo
from cnnstat.spec.problems import fail

MAX_BYTES = 16 * 2**20
"""Largest spec file that is read; 100,000 layers, each on a line of its own, take 3 MiB."""

MOST_BESIDE = 1000
"""Files of a folder that are looked at for one with a similar name."""


def read_text(path: Path, most: int = MAX_BYTES, what: str = "a spec is a page or two of text") -> str:
    """Return the text of a file; raises SpecError if it is not a readable UTF-8 text file of at most `most` bytes."""
    where = Location(str(path), 0, 0)
    try:
        if not path.is_file():
            kind = "a directory" if path.is_dir() else "not a file" if path.exists() else ""
            fail(where, f"{kind}; name a .yaml file" if kind else f"no such file{_instead_of(path)}")
        if path.stat().st_size > most:
            fail(where, f"larger than {most >> 20} MiB; {what}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(where, f"not UTF-8 text (byte {error.start}); save it as a UTF-8 text file")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        fail(where, f"cannot be read: {said or error}")


def read_stdin() -> str:
    """Return the text on standard input; raises SpecError where it is too long or no UTF-8 text."""
    where = Location("stdin", 0, 0)
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            fail(where, f"larger than {MAX_BYTES >> 20} MiB; a spec is a page or two of text")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(where, f"not UTF-8 text (byte {error.start}); send UTF-8 text")
    except (OSError, AttributeError) as error:  # there is no standard input at all
        fail(where, f"cannot be read: {error}")


def _instead_of(path: Path) -> str:
    """Return what may be meant by a file that is not there: one beside it, or a network of the zoo."""
    if path.stem in zoo.names():
        return f"; the zoo's network is called {path.stem}"
    try:
        found = islice(path.parent.iterdir(), MOST_BESIDE)
        beside = {file.stem: file.name for file in found if file.suffix in zoo.SUFFIXES}
    except OSError:
        beside = {}
    near = nearest(path.stem, beside)  # the endings are alike anyway
    return f"; did you mean {beside[near]}?" if near else "; name a .yaml file"

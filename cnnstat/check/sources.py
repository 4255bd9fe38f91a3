"""Sources: where the file of a model lies, and how to name it from the folder the user stands in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cnnstat.sources import zoo


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a model is read from.

    written: what `load_source` takes, from the current folder. file: its file, None for a module or a library's model.
    rest: what stands behind the file, as `:Class`. is_spec: whether it is a spec of this language.
    is_named: whether it goes by a name (a network of the zoo) rather than by its path.
    """

    written: str
    file: Path | None
    rest: str = ""
    is_spec: bool = True
    is_named: bool = False


def locate(source: str, folder: Path) -> Source:
    """Return where a source lies that is written in a configuration in `folder`, or on the command line there."""
    if source in zoo.names():
        return Source(written=source, file=zoo.path(source), is_named=True)
    head, separator, rest = source.partition(":")
    if len(head) == 1 and os.name == "nt":  # a drive letter
        drive, (head, separator, rest) = head, rest.partition(":")
        head = f"{drive}:{head}"
    is_spec = head.endswith(zoo.SUFFIXES)
    if not is_spec and not head.endswith(".py"):
        return Source(written=source, file=None, is_spec=False)
    file = folder / head
    return Source(written=f"{from_here(file)}{separator}{rest}", file=file, rest=f"{separator}{rest}", is_spec=is_spec)


def from_here(path: Path) -> str:
    """Return a path from the current folder where that is shorter, as a person would write it."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return Path(relative).as_posix() if len(relative) <= len(str(path.absolute())) else str(path)

"""SOURCE: what the user names, a network of the zoo or a spec file, to a layer graph."""

from __future__ import annotations

import os
from pathlib import Path

from cnnstat.errors import SourceError, did_you_mean
from cnnstat.frontends import zoo
from cnnstat.frontends.request import Request
from cnnstat.frontends.spec import read_spec
from cnnstat.ir.graph import Graph


def load_source(source: str, request: Request) -> Graph:
    """Return the graph of a zoo name or a .yaml file; raises SourceError or SpecError."""
    if source in zoo.names():
        return read_spec(zoo.path(source), request, zoo.find, source=source)
    if _is_path(source):
        return read_spec(Path(source), request, zoo.find, source=source)
    hint = did_you_mean(source, zoo.names()) or "; `cnnstat list` shows the zoo"
    raise SourceError(f"{source[:100]}: no network of the zoo and no .yaml file{hint}")


def _is_path(source: str) -> bool:
    """Whether a source means a file."""
    if "\0" in source:
        return False
    looks = source.endswith(zoo.SUFFIXES) or "/" in source or os.sep in source
    return looks or (len(source) < 256 and Path(source).exists())

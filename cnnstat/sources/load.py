"""SOURCE: what the user names, a network of the zoo or a spec file, to a layer graph."""

from __future__ import annotations

import os
from pathlib import Path

from cnnstat.errors import SourceError, did_you_mean
from cnnstat.ir.graph import Graph
from cnnstat.sources import zoo
from cnnstat.sources.request import Request, RequestError
from cnnstat.spec.text_file import read_stdin

STDIN = "-"
"""The SOURCE that means a spec on standard input."""


def load_source(source: str, request: Request) -> Graph:
    """Return the graph of a zoo name, a .yaml file, a spec on standard input, or (with a colon) a PyTorch model.

    Raises SourceError, SpecError, RequestError, or for a PyTorch model ModelError.
    """
    if is_torch(source):
        return _load_torch(source, request)
    if request.arguments:
        raise RequestError("--arg is for PyTorch models; a spec takes --set")
    from cnnstat.spec.spec import parse_spec, read_spec

    if source == STDIN:
        return parse_spec(read_stdin(), request, file="stdin", find=zoo.find)
    if source in zoo.names():
        return read_spec(zoo.path(source), request, zoo.find, source=source, shown=f"{source}.yaml")
    if not source.strip():
        raise SourceError("SOURCE is empty; name a network of the zoo (`cnnstat list`) or a .yaml file")
    if source.endswith(".py"):
        raise SourceError(f"{source[:100]}: name the class, function or model in it, as in {Path(source).name}:Net")
    if _is_path(source):
        return read_spec(Path(source), request, zoo.find, source=source)
    hint = did_you_mean(source, zoo.names()) or "; `cnnstat list` shows the zoo"
    raise SourceError(f"{source[:100]}: no network of the zoo and no .yaml file{hint}")


def is_torch(source: str) -> bool:
    """Whether a source means a PyTorch model, as `file.py:Class` does; a path such as `C:\\net.yaml` does not."""
    return (
        ":" in source
        and "\0" not in source
        and len(source) < 4096
        and not source.endswith(zoo.SUFFIXES)
        and not Path(source).exists()
    )


def _load_torch(source: str, request: Request) -> Graph:
    """Return the graph of a PyTorch model; raises SourceError where PyTorch is missing."""
    try:
        from cnnstat.pytorch.load import load_torch_source
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise SourceError(
            f"{source[:100]} needs PyTorch, which is not installed; pip install 'cnnstat[torch]'"
        ) from None
    return load_torch_source(source, request)


def _is_path(source: str) -> bool:
    """Whether a source means a file."""
    if "\0" in source:
        return False
    looks = source.endswith(zoo.SUFFIXES) or "/" in source or os.sep in source
    return looks or (len(source) < 256 and Path(source).exists())

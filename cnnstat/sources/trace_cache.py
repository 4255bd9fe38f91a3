"""The trace cache: layer graphs of PyTorch models, kept as specs, so that a second command need not trace again.

Only commands use it: in a process of the user's, modules may have been changed since they were imported. A graph is
kept only where its spec gives the same figures, and taken only where everything that it was made from is unchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from cnnstat.errors import CnnstatError
from cnnstat.files import cache_folder, read_bytes, write_text
from cnnstat.ir.graph import Graph
from cnnstat.sources.dependencies import Dependencies, machine_key, recording
from cnnstat.sources.request import Request
from cnnstat.version import __version__

SCHEMA = "cnnstat-trace/1"
FOLDER = "traces"
MAX_ENTRY = 16 << 20
"""Largest entry in bytes that is written or read."""

MAX_FOLDER = 256 << 20
"""Most bytes of all entries; the ones that were not used for longest go first."""

PACKAGES = ("torch", "torchvision", "timm", "numpy")


def loaded(source: str, request: Request, load: Callable[[], Graph]) -> Graph:
    """Return a graph from the cache, or else from `load`; the cache never makes an error of its own.

    load: traces the model; it imports PyTorch, which is not done where the graph is in the cache.
    """
    folder = cache_folder()
    if not request.uses_cache or folder is None or request.values is not None or request.keeps_values:
        return load()
    path = folder / FOLDER / f"{_key(source, request)}.json"
    graph = _read(path, request, source)
    if graph is not None:
        return graph
    if not _is_first(source):
        return load()
    with suppress(ImportError):
        import torch  # noqa: F401  # what PyTorch itself opens and asks when it is imported is not the model's doing
    with recording() as dependencies:
        graph = load()
        noted = dependencies()
    with suppress(OSError, CnnstatError, ValueError, TypeError, RecursionError):
        _write(path, graph, noted)
    return graph


_others: list[str] = []


def _is_first(source: str) -> bool:
    """Whether no code of the user's has run in this process, which might have changed what this model is made from."""
    is_first = not _others
    if source.partition(":")[0] not in PACKAGES:
        _others.append(source)
    return is_first


def _key(source: str, request: Request) -> str:
    """Return what names an entry: everything that is known before the model's code runs."""
    place = source.rpartition(":")[0]
    file = os.path.realpath(place) if place.endswith(".py") else ""
    # A library's model is the same from any folder, unless Python looks for modules there.
    has_place = source.partition(":")[0] not in PACKAGES or "" in sys.path
    cwd = str(Path.cwd()) if has_place else ""
    options = sorted(asdict(replace(request, deploy=None)).items(), key=str)
    parts = (SCHEMA, __version__, _own_files(), source, file, cwd, repr(options), machine_key(), versions())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


@cache
def _own_files() -> str:
    """Return what changes with any file of cnnstat: in a checkout the version does not tell."""
    package = Path(__file__).resolve().parent.parent
    marks = []
    for path in sorted(package.rglob("*.py")):
        status = path.stat()
        marks.append((str(path), status.st_mtime_ns, status.st_size))
    return hashlib.sha256(repr(marks).encode()).hexdigest()


@cache
def versions() -> tuple[str, ...]:
    """Return the versions of PyTorch and of the libraries of models, empty for those that are not installed."""
    result = []
    for name in PACKAGES:
        try:
            result.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            result.append("")
    return tuple(result)


# Entries --------------------------------------------------------------------------------------------------------------


def _read(path: Path, request: Request, source: str) -> Graph | None:
    """Return the graph of an entry; None where there is none, it is damaged, another's, or no longer true."""
    try:
        if not _is_own(path):
            return None
        entry = json.loads(read_bytes(path, MAX_ENTRY))
        if entry["schema"] != SCHEMA or not Dependencies.from_json(entry["dependencies"]).are_unchanged():
            return None
        graph = _graph(entry["spec"], entry["about"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, CnnstatError):
        return None
    with suppress(OSError):
        os.utime(path)  # the last ones used stay where the folder grows too large
    return graph


def _is_own(path: Path) -> bool:
    """Whether a file is a plain one of this user's that nobody else may write."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return False
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def _graph(spec: str, about: Mapping[str, Any]) -> Graph:
    """Return the graph that an entry's spec gives, with what a spec does not hold."""
    from cnnstat.spec.spec_graph import parse_spec

    graph = parse_spec(spec)
    notes = {key: tuple(value) if isinstance(value, list) else value for key, value in about["about"].items()}
    copies = {name: tuple((int(i), int(size)) for i, size in each) for name, each in about["copies"].items()}
    return replace(
        graph,
        name=about["name"],
        source=about["source"],
        blocks=about["blocks"],
        saved_bytes=about["saved_bytes"],
        nodes=tuple(replace(node, location=None, copies=copies.get(node.name, ())) for node in graph.nodes),
        about=notes,
    )


def _about(graph: Graph) -> dict[str, Any] | None:
    """Return what a spec does not hold of a graph; None where JSON cannot hold it either."""
    notes = _plain(graph.about)
    if notes is None:
        return None
    return {
        "name": graph.name,
        "source": graph.source,
        "blocks": dict(graph.blocks),
        "saved_bytes": graph.saved_bytes,
        "copies": {node.name: node.copies for node in graph.nodes if node.copies},
        "about": notes,
    }


def _write(path: Path, graph: Graph, dependencies: Dependencies) -> None:
    """Keep a graph, if nothing speaks against it and its spec gives the same figures; raises OSError."""
    if dependencies.refused or "other_paths" in graph.about:
        return  # what random numbers decide is to be seen anew
    from cnnstat.export import export_graph

    spec = export_graph(graph, "json")
    about = _about(graph)
    if about is None or not _is_same(graph, _graph(spec, json.loads(json.dumps(about)))):
        return
    entry = {"schema": SCHEMA, "about": about, "spec": spec, "dependencies": dependencies.to_json()}
    text = json.dumps(entry)
    if len(text) > MAX_ENTRY:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _private():
        write_text(path, text)
    _shrink(path.parent)


def _plain(about: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a graph says about itself, if JSON holds it; None otherwise."""
    values: dict[str, Any] = {}
    for key, value in about.items():
        if isinstance(value, (str, int)) or (
            isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
        ):
            values[key] = value
        elif value:
            return None
    return values


def _is_same(graph: Graph, other: Graph) -> bool:
    """Whether two graphs have the same names, ops, labels and figures."""
    from cnnstat.analysis.analysis import analyze_graph

    if (
        graph.blocks != other.blocks
        or dict(graph.about) != dict(other.about)
        or [n.name for n in graph.nodes] != [n.name for n in other.nodes]
    ):
        return False
    for optimizer, strict in (("adam", False), ("sgd", True)):
        one, two = (analyze_graph(each, optimizer=optimizer, strict=strict) for each in (graph, other))
        if one.to_dict() != two.to_dict() or one.layers[-1:] == ():
            return False
    return True


@contextmanager
def _private() -> Iterator[None]:
    """While active, new files are for the owner only."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _shrink(folder: Path) -> None:
    """Remove the entries that were not used for longest until the folder is within its limit."""
    entries = []
    for path in folder.glob("*.json"):
        with suppress(OSError):
            status = path.stat()
            entries.append((status.st_mtime_ns, status.st_size, path))
    size = sum(entry[1] for entry in entries)
    for _, length, path in sorted(entries):
        if size <= MAX_FOLDER:
            return
        with suppress(OSError):
            path.unlink()
            size -= length


def clear() -> tuple[int, int]:
    """Remove all entries; returns how many there were and their bytes. Raises CnnstatError where one stays."""
    count = size = 0
    for path, length in entries():
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CnnstatError(f"{path}: cannot be removed: {error.strerror or error}") from None
        count, size = count + 1, size + length
    return count, size


def entries() -> list[tuple[Path, int]]:
    """Return the entries and their sizes in bytes."""
    folder = cache_folder()
    result = []
    for path in [] if folder is None else sorted((folder / FOLDER).glob("*.json")):
        with suppress(OSError):
            result.append((path, path.stat().st_size))
    return result

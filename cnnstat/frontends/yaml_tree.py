"""YAML text to a tree that remembers where everything stands, safe for untrusted input.

The tree is built from parser events without recursion: tags are refused (so nothing is ever constructed), nesting and
the expanded size of aliases are bounded, duplicate keys and several documents are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cnnstat.errors import Location, Problem, SpecError, did_you_mean

MAX_BYTES = 32 * 2**20
"""Largest spec file that is read."""
MAX_DEPTH = 64
"""Deepest nesting of lists and mappings."""
MAX_SIZE = 2_000_000
"""Most YAML nodes, an alias counted as all that it stands for."""

_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z")
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "~": None, "": None}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Tree:
    """A YAML node and the place where it begins."""

    location: Location


@dataclass(slots=True)
class Scalar(Tree):
    """A word, number or quoted text; `column` is where the text itself begins, behind a quote."""

    text: str
    is_plain: bool

    @property
    def value(self) -> Any:
        """The number, truth value or null that a plain scalar means; otherwise its text."""
        if not self.is_plain:
            return self.text
        if self.text in _CONSTANTS:
            return _CONSTANTS[self.text]
        if len(self.text) <= 40 and _INTEGER.match(self.text):
            return int(self.text.replace("_", ""))
        if len(self.text) <= 40 and _FLOAT.match(self.text):
            return float(self.text.replace("_", ""))
        return self.text


@dataclass(slots=True)
class Sequence(Tree):
    """A list."""

    items: list[Tree] = field(default_factory=list)


@dataclass(slots=True)
class Mapping(Tree):
    """Keys with their values, in the order of the file."""

    entries: dict[str, tuple[Scalar, Tree]] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def get(self, key: str) -> Tree | None:
        """Return the value of `key`, or None."""
        return self.entries[key][1] if key in self.entries else None

    def unknown_keys(self, known: tuple[str, ...]) -> Iterator[Problem]:
        """Yield a problem for every key that is not in `known`."""
        for key, (scalar, _) in self.entries.items():
            if key not in known:
                hint = did_you_mean(key, known) or f"; known: {', '.join(known)}"
                yield Problem(scalar.location, f"unknown key {key[:60]}{hint}")


def read_text(path: Path) -> str:
    """Return the text of a spec file; raises SpecError if it is not a readable UTF-8 text file of sane size."""
    where = Location(str(path), 1, 1)
    try:
        if not path.is_file():
            kind = "a directory" if path.is_dir() else "not a file"
            raise SpecError([Problem(where, f"this is {kind}; name a .yaml file")])
        if path.stat().st_size > MAX_BYTES:
            raise SpecError([Problem(where, f"larger than {MAX_BYTES >> 20} MiB; a spec is a page or two of text")])
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SpecError([Problem(where, f"cannot be read: {error.strerror or error}")]) from None
    except UnicodeDecodeError as error:
        raise SpecError(
            [Problem(where, f"not UTF-8 text (byte {error.start}); save it as a UTF-8 text file")]
        ) from None


def parse(text: str, file: str) -> Tree:
    """Return the tree of a YAML text; raises SpecError with the place of the first thing that is not allowed."""
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file, 1, 1)
        said = " ".join(filter(None, (error.context, error.problem))) or "broken syntax"
        raise SpecError([Problem(place, f"not valid YAML: {said}")]) from None
    except (yaml.YAMLError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else "broken text"
        raise SpecError([Problem(Location(file, 1, 1), f"not valid YAML: {first[:200]}")]) from None
    if builder.root is None:
        raise SpecError([Problem(Location(file, 1, 1), "the file is empty; a spec has at least input: and layers:")])
    return builder.root


def _rejoined(before: Tree, node: Tree) -> bool:
    """Join a call text that a flow list or mapping split at a comma: `[Conv2d(64, 3), ReLU]` is two items, not three.

    Returns whether `node` was taken in by `before`.
    """
    if not (isinstance(before, Scalar) and isinstance(node, Scalar) and before.is_plain and node.is_plain):
        return False
    if before.text.count("(") <= before.text.count(")"):
        return False
    gap = node.location.column - before.location.column - len(before.text) - 1
    is_same_line = node.location.line == before.location.line
    before.text += "," + " " * (gap if is_same_line and 0 <= gap < 200 else 1) + node.text
    return True


class _Builder:
    """Puts parser events together to a tree."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Tree | None = None
        self.open: list[tuple[Tree, int, str | None]] = []
        self.keys: list[Scalar | None] = []
        self.anchors: dict[str, tuple[Tree, int]] = {}
        self.size = 0

    def take(self, event: Any) -> None:
        """Take one event."""
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event)
            is_plain = event.style is None or event.style == ""
            location = self._location(event)
            self._add(Scalar(location, event.value, is_plain), 1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self._error(event, f"alias *{event.anchor} stands inside or before what it refers to")
            target, size = self.anchors[event.anchor]
            self._add(target, size, None, event)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            self._open(event)
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            node, before, anchor = self.open.pop()
            self.keys.pop()
            self._attach(node)
            if anchor:
                self.anchors[anchor] = (node, self.size - before)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise self._error(event, "a second document begins; a spec is one document")

    def _open(self, event: Any) -> None:
        """Begin a list or mapping."""
        self._check_tag(event)
        if len(self.open) >= MAX_DEPTH:
            raise self._error(event, f"nested more than {MAX_DEPTH} deep")
        location = self._location(event)
        node: Tree = Sequence(location) if isinstance(event, yaml.SequenceStartEvent) else Mapping(location)
        if self._wants_key():
            raise self._error(event, "a key must be a word, not a list or mapping; quote it if it begins with [ or {")
        self._grow(1, event)
        self.open.append((node, self.size - 1, event.anchor))
        self.keys.append(None)

    def _add(self, node: Tree, size: int, anchor: str | None, event: Any = None) -> None:
        """Add a finished node of `size` nodes to whatever is open."""
        self._grow(size, event or node)
        if anchor:
            self.anchors[anchor] = (node, size)
        if self._wants_key():
            if not isinstance(node, Scalar):
                raise SpecError([Problem(node.location, "a key must be a word")])
            mapping = self.open[-1][0]
            assert isinstance(mapping, Mapping)
            if node.text in mapping.entries:
                first = mapping.entries[node.text][0].location.line
                raise SpecError([Problem(node.location, f"{node.text[:60]} is written twice; first in line {first}")])
            self.keys[-1] = node
            return
        self._attach(node)

    def _attach(self, node: Tree) -> None:
        """Make a node the child of whatever is open."""
        if not self.open:
            self.root = node
            return
        parent = self.open[-1][0]
        if isinstance(parent, Sequence):
            if not (parent.items and _rejoined(parent.items[-1], node)):
                parent.items.append(node)
            return
        assert isinstance(parent, Mapping)
        key = self.keys[-1]
        assert key is not None
        self.keys[-1] = None
        last = next(reversed(parent.entries.values()), None)
        is_split = last is not None and isinstance(node, Scalar) and node.is_plain and node.text == ""
        if not (is_split and last is not None and _rejoined(last[1], key)):
            parent.entries[key.text] = (key, node)

    def _wants_key(self) -> bool:
        """Whether the next node is the key of an open mapping."""
        return bool(self.open) and isinstance(self.open[-1][0], Mapping) and self.keys[-1] is None

    def _grow(self, size: int, event: Any) -> None:
        """Count nodes, aliases as all that they stand for."""
        self.size += size
        if self.size > MAX_SIZE:
            raise self._error(event, f"the file expands to more than {MAX_SIZE:,} values; use repeat: or blocks:")

    def _check_tag(self, event: Any) -> None:
        """Refuse tags."""
        if event.tag is not None and event.tag != "!":
            raise self._error(event, f"tags are not allowed ({event.tag[:60]}); write the plain value")

    def _location(self, event: Any) -> Location:
        """Return where an event begins."""
        return Location(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _error(self, event: Any, message: str) -> SpecError:
        """Return the error for an event or node."""
        location = event.location if isinstance(event, Tree) else self._location(event)
        return SpecError([Problem(location, message)])

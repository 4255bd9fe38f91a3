"""YAML files: their text, whatever lies on the disk, and the tree it means, safe for untrusted input.

The tree is built from parser events without recursion: tags are refused (so nothing is ever constructed), nesting and
the expanded size of aliases are bounded, duplicate keys and several documents are errors.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from cnnstat.errors import CnnstatError, Location, SpecError, nearest
from cnnstat.files import read_bytes
from cnnstat.spec import SUFFIXES
from cnnstat.spec.tree import Mapping, Scalar, Sequence, Tree, fail, problem

Finder = Callable[[str, Path], Path]
"""Maps what stands behind `extends:` and the directory of the spec to a path, or raises CnnstatError."""

MAX_BYTES = 16 * 2**20
"""Largest spec file that is read; 100,000 layers, each on a line of its own, take 3 MiB."""
MAX_NEIGHBOURS = 1000
"""Files of a folder that are looked at for one with a similar name."""

MAX_DEPTH = 64
"""Deepest nesting of lists and mappings."""
MAX_SIZE = 1_000_000
"""Most YAML values, an alias counted as all that it stands for."""
MAX_ITEMS = 150_000
"""Most values of one list."""
MAX_SEPARATORS = 600_000
"""Most commas and line ends, counted before parsing, so that a file of millions of values is refused at once."""
MAX_DIRECTIVES = 100
"""Most tag directives; the parser holds each against all before it, and none is needed, since tags are refused."""
MAX_CALL = 4_000
"""Longest call text that is put together again after YAML split it at its commas."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Control characters, marks that change the writing direction, and halves of characters."""

_REMEDIES = (
    ("cannot start any token", "a character that YAML does not allow here; put the text into quotes"),
    (
        "mapping values are not allowed",
        "a second colon in one line, a line too deep, or keys below a layer without a colon, as in ReLU:",
    ),
    ("simple key", "a key without its colon, or a text over several lines; check the indentation"),
    ("',' or '", "brackets are not closed; or they hold a text that has [ or { itself, which needs quotes"),
    ("node content", "a value is missing here, or one begins with a character that needs quotes"),
    ("document start", "the indentation fits nothing above, or brackets are closed too often"),
    ("block end", "the indentation fits nothing above; line the items of one list up"),
    ("expected '-' indicator", "the indentation fits nothing above; line the items of one list up"),
    ("expected key", "the indentation fits nothing above; line the keys of one mapping up"),
    ("unexpected end of stream", "a quote is never closed"),
    ("undefined alias", "an alias (*) stands for nothing that comes before it"),
)
"""Messages of PyYAML's two parsers, and what the author of the file has to change."""


def read_text(
    path: Path, most: int = MAX_BYTES, what: str = "a spec is a page or two of text", find: Finder | None = None
) -> str:
    """Return the text of a file; raises SpecError if it is not a readable UTF-8 text file of at most `most` bytes.

    find: maps the names of networks to their files; tells of a network whose name with an ending is asked for.
    """
    where = Location(str(path), 0, 0)
    try:
        if not path.is_file():
            kind = "a directory" if path.is_dir() else "not a file" if path.exists() else ""
            fail(where, f"{kind}; name a .yaml file" if kind else f"no such file{_instead_of(path, find)}")
        content = read_bytes(path, most)
        if len(content) > most:
            fail(where, f"larger than {f'{most >> 20} MiB' if most >> 20 else f'{most >> 10} KiB'}; {what}")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(where, f"not UTF-8 text (byte {error.start}); save it as a UTF-8 text file")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        fail(where, f"cannot be read: {reason or error}")


def read_stdin() -> str:
    """Return the text on standard input; raises SpecError where it is too long or no UTF-8 text."""
    where = Location("stdin", 0, 0)
    try:
        # One byte more than allowed tells a text that is too long from one that just fits, without reading on.
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            fail(where, f"larger than {MAX_BYTES >> 20} MiB; a spec is a page or two of text")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(where, f"not UTF-8 text (byte {error.start}); send UTF-8 text")
    except (OSError, AttributeError) as error:  # there is no standard input at all
        fail(where, f"cannot be read: {error}")


def _instead_of(path: Path, find: Finder | None) -> str:
    """Return what may be meant by a file that is not there: a network of the zoo, or a file beside it."""
    name = path.stem.lower()
    if find is not None and not name.endswith(SUFFIXES):
        try:
            find(name, path.parent)
            return f"; the zoo's network is called {name}"
        except CnnstatError:
            pass
    try:
        neighbours = islice(path.parent.iterdir(), MAX_NEIGHBOURS)
        beside = {file.stem: file.name for file in neighbours if file.suffix in SUFFIXES}
    except OSError:
        beside = {}
    near = nearest(path.stem, beside)  # the endings are alike anyway
    return f"; did you mean {beside[near]}?" if near else "; name a .yaml file"


LARGE_TEXT = 1 << 16
"""Characters from which the tree of a text is not kept for the next one that is equal."""


def parse(text: str, file: str) -> Tree:
    """Return the tree of a YAML text; raises SpecError with the place of the first thing that is not allowed.

    Nobody changes a tree, so that a sweep over the variables of a spec reads the same one again and again.
    """
    return (_kept if len(text) < LARGE_TEXT else _parsed)(text, file)


def _parsed(text: str, file: str) -> Tree:
    _check_text(text, file)
    builder = _Builder(file, text)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        fail(Location(file, 1, 1), f"not valid YAML: {str(error)[:200] or 'broken text'}")
    if builder.root is None:
        fail(Location(file, 1, 1), "the file is empty; a spec has at least input: and layers:")
    return builder.root


_kept = lru_cache(maxsize=32)(_parsed)


def _check_text(text: str, file: str) -> None:
    """Refuse what no spec needs before any time is spent on it."""
    # PyYAML keeps an event, and this builder a node, of a few hundred bytes for every value: count before parsing.
    if text.count(",") + text.count("\n") > MAX_SEPARATORS:
        fail(Location(file, 1, 1), "the file holds too many values; write repetitions with repeat: or blocks:")
    if text.count("%TAG") > MAX_DIRECTIVES:
        fail(Location(file, 1, 1), "tags are not allowed; delete the lines that begin with %TAG")
    match = _INVISIBLE.search(text)
    if match:
        lines = _LINE_END.split(text[: match.start()])
        fail(Location(file, len(lines), len(lines[-1]) + 1), f"invisible character U+{ord(match[0]):04X}; delete it")


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> SpecError:
    """Return what a parser found, in words that say what to do."""
    mark = error.problem_mark or error.context_mark
    place = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file, 1, 1)
    message = " ".join(filter(None, (error.context, error.problem)))
    remedy = next((remedy for part, remedy in _REMEDIES if part in message), message or "broken syntax")
    line = _LINE_END.split(text)[place.line - 1 : place.line] if mark else []
    if line and "\t" in line[0][: place.column]:
        remedy = "a tab; indent with spaces"
    return SpecError([problem(place, f"not valid YAML: {remedy}")])


class _Builder:
    """Puts parser events together to a tree, with a stack of its own: deep nesting must not overflow Python's.

    open: the lists and mappings that have not ended, the size before each, and the event that opened it.
    keys: of each open mapping the key whose value comes next.
    anchors: nodes by anchor, with the values they stand for.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.lines: list[str] = []
        self.root: Tree | None = None
        self.open: list[tuple[Tree, int, Any]] = []
        self.keys: list[Scalar | None] = []
        self.anchors: dict[str, tuple[Tree, int]] = {}
        self.size = 0

    def take(self, event: Any) -> None:
        """Take one event of the parser."""
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event)
            self._add(self._scalar(event), 1, event.anchor)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            self._open(event)
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            node, before, start = self.open.pop()
            self.keys.pop()
            self._attach(node)
            if start.anchor:
                self.anchors[start.anchor] = (node, self.size - before)
        elif isinstance(event, yaml.AliasEvent):
            # An anchor is known only once its node has ended, so that no alias can make a tree that contains itself.
            if event.anchor not in self.anchors:
                name = str(event.anchor)[:60]
                fail(self._location(event), f"alias *{name} stands inside or before what it refers to")
            target, size = self.anchors[event.anchor]
            self._add(target, size, None, event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            fail(self._location(event), "a second document begins; a spec is one document")

    def _scalar(self, event: Any) -> Scalar:
        mark, text = event.start_mark, event.value
        line, column = mark.line + 1, mark.column + 1
        style = event.style or ""
        # Escapes (\u202e) bring in characters that the check of the whole text cannot see.
        if style == '"' and (match := _INVISIBLE.search(text)):
            fail(self._location(event), f"invisible character U+{ord(match[0]):04X}; delete it")
        if event.end_mark.line == mark.line or not text:
            return Scalar(self.file, line, column, text, style)
        if style:
            return Scalar(self.file, line, column, text, "|")
        return Scalar(self.file, line, column, text, "", self._breaks(event))

    def _breaks(self, event: Any) -> tuple[tuple[int, int, int], ...]:
        """Return where the further lines of a plain scalar begin, in its text and in the file."""
        self.lines = self.lines or _LINE_END.split(self.text)
        first, last = event.start_mark, event.end_mark
        breaks = []
        offset, empty_lines = len(self.lines[first.line][first.column :].rstrip()), 0
        for number in range(first.line + 1, min(last.line + 1, len(self.lines))):
            line = self.lines[number]
            inner = line.lstrip()
            if not inner:
                empty_lines += 1
                continue
            offset += max(1, empty_lines)  # YAML joins lines with a blank, or with as many line ends as there are gaps
            breaks.append((offset, number + 1, len(line) - len(inner) + 1))
            offset, empty_lines = offset + len(inner.rstrip()), 0
        return tuple(breaks)

    def _open(self, event: Any) -> None:
        self._check_tag(event)
        if len(self.open) >= MAX_DEPTH:
            fail(self._location(event), f"nested more than {MAX_DEPTH} deep")
        if self._wants_key():
            fail(self._location(event), "a key must be a word, not a list or mapping; put it into quotes")
        mark = event.start_mark
        kind = Sequence if isinstance(event, yaml.SequenceStartEvent) else Mapping
        self._grow(1, event)
        self.open.append((kind(self.file, mark.line + 1, mark.column + 1), self.size - 1, event))
        self.keys.append(None)

    def _add(self, node: Tree, size: int, anchor: str | None, alias: Any = None) -> None:
        """Add a finished node of `size` nodes to whatever is open."""
        self._grow(size, alias)  # an alias is the same object, but counts as a copy: expanding it will take that long
        if anchor:
            self.anchors[anchor] = (node, size)
        if not self._wants_key():
            self._attach(node)
            return
        if not isinstance(node, Scalar):
            fail(self._location(alias), "a key must be a word, not a list or mapping")
        if node.text == "<<" and not node.style:
            fail(node.location, "merge keys (<<) are not known here; write the keys out, or use let: and blocks:")
        mapping = self.open[-1][0]
        assert isinstance(mapping, Mapping)
        if node.text in mapping.entries:
            first = mapping.entries[node.text][0].line
            fail(node.location, f"{node.text[:60]} is written twice, first in line {first}; keep one")
        self.keys[-1] = node

    def _attach(self, node: Tree) -> None:
        """Make a node the child of whatever is open."""
        if not self.open:
            self.root = node
            return
        parent, _, start = self.open[-1]
        if isinstance(parent, Sequence):
            if not (start.flow_style and parent.items and _rejoined(parent.items[-1], node)):
                parent.items.append(node)
            if len(parent.items) > MAX_ITEMS:
                fail(parent.location, f"a list of more than {MAX_ITEMS:,} values; write repetitions with repeat:")
            return
        assert isinstance(parent, Mapping)
        key = self.keys[-1]
        assert key is not None
        self.keys[-1] = None
        if start.flow_style and parent.entries:
            # YAML split `{a: f(1, 2), b: 3}` at the comma inside the call: what follows is a key without a value.
            before, last = next(reversed(parent.entries.values()))
            if _is_empty(node) and _rejoined(last, key):
                return
            if _is_empty(last) and _rejoined(before, key):
                parent.entries.popitem()
                key = before
        parent.entries[key.text] = (key, node)

    def _wants_key(self) -> bool:
        return bool(self.open) and self.keys[-1] is None and isinstance(self.open[-1][0], Mapping)

    def _grow(self, size: int, event: Any) -> None:
        self.size += size
        if self.size > MAX_SIZE:
            where = Location(self.file, 1, 1) if event is None else self._location(event)
            fail(where, f"the file expands to more than {MAX_SIZE:,} values; use repeat: or blocks:")

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None and event.tag != "!":
            fail(self._location(event), f"tags are not allowed ({event.tag[:60]}); write the plain value")

    def _location(self, event: Any) -> Location:
        return Location(self.file, event.start_mark.line + 1, event.start_mark.column + 1)


def _is_empty(node: Tree) -> bool:
    return isinstance(node, Scalar) and not node.text and not node.style


def _rejoined(before: Tree, node: Tree) -> bool:
    """Join a call text that a flow list or mapping split at a comma: `[Conv2d(64, 3), ReLU]` is two items, not three.

    Returns whether `node` was taken in by `before`.
    """
    if not (isinstance(before, Scalar) and isinstance(node, Scalar)) or before.style or node.style:
        return False
    if before.text.count("(") <= before.text.count(")"):
        return False
    if len(before.text) + len(node.text) > MAX_CALL:
        fail(before.location, "a ( in this list is never closed; add )")
    start = len(before.text) + 2
    moved = tuple((first + start, line, column) for first, line, column in node.breaks)
    before.breaks += ((start, node.line, node.column), *moved)
    before.text += f", {node.text}"
    return True

"""Configuration files: TOML or YAML as plain values, with the place of every key and the faults found in them."""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cnnstat.check.check_result import Place
from cnnstat.errors import CnnstatError, ConfigurationError, Location, Problem, did_you_mean
from cnnstat.files import path_from_here
from cnnstat.spec.tree import Mapping as TreeMapping
from cnnstat.spec.tree import Scalar, Tree
from cnnstat.spec.tree import Sequence as TreeSequence
from cnnstat.spec.yaml_file import parse, read_text

MAX_FAULTS = 50
"""Most faults reported at once, as for specs."""
MAX_BYTES = 2**20
"""Largest configuration that is read."""
MAX_VALUES = 50_000
"""Most values of a configuration in YAML, an alias counted as all that it stands for."""
MAX_PARTS = 100
"""Most parts of a dotted key; reading one takes time in proportion to the square of its length."""

Value = TypeVar("Value")

Keys = tuple[str | int, ...]
"""The path to a value: keys and list indices, as in `("models", 0, "source")`."""
Places = Mapping[Keys, tuple[int, int]]
"""Line and column of keys and list entries."""

_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{MAX_PARTS}}}""")
_TOML_PLACE = re.compile(r"\s*\(at line (?P<line>\d+), column (?P<column>\d+)\)|\s*\(at end of document\)")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r'[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_BARE = re.compile(r"[^,\]}#\n]*")


class ConfigurationReader:
    """Reads typed values from a configuration and collects its faults, and notes on names of before.

    file: how messages call it. values: its content. places: line and column of each key and list entry.
    root: the path to the part that belongs to this program.
    """

    def __init__(self, file: str, values: Any, places: Places, root: Keys = ()) -> None:
        self.file = file
        self.values = values
        self.places = places
        self.root = root
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def place(self, path: Keys) -> Place:
        """Return where a value is written, or the nearest table around it."""
        whole = (*self.root, *path)
        while whole and whole not in self.places:
            whole = whole[:-1]
        line, column = self.places.get(whole, (1, 1))
        return Place(file=self.file, line=line, column=column)

    def fault(self, path: Keys, message: str) -> None:
        """Add a fault; raises ConfigurationError once there are enough."""
        place = self.place(path)
        self.problems.append(Problem(Location(place.file, place.line, place.column), message))
        if len(self.problems) >= MAX_FAULTS:
            self.finish()

    def finish(self) -> None:
        """Raise ConfigurationError if there are faults."""
        if self.problems:
            unique = dict.fromkeys(self.problems)
            raise ConfigurationError(
                sorted(unique, key=lambda p: (p.location.line, p.location.column) if p.location else (0, 0))
            )

    def get(self, path: Keys) -> Any:
        """Return the value at a path, None if it does not exist."""
        value = self.values
        for step in (*self.root, *path):
            is_key = isinstance(value, Mapping) and step in value
            if not is_key and not (isinstance(value, Sequence) and isinstance(step, int) and step < len(value)):
                return None
            value = value[step]
        return value

    def table(self, path: Keys, known: tuple[str, ...]) -> Mapping[str, Any]:
        """Return a table without the keys that are not `known`; those are faults."""
        value = self.get(path)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            name = path[-1] if path else "this"
            self.fault(path, f"{name} must be a table with {', '.join(known[:4])}{', …' * (len(known) > 4)}")
            return {}
        for key in value:
            if key not in known:
                hint = did_you_mean(str(key), known) or f"; known: {', '.join(known)}"
                self.fault((*path, key), f"unknown key {str(key)[:60]}{hint}")
        return {key: inner for key, inner in value.items() if key in known}

    def text(self, path: Keys) -> str | None:
        """Return a text; None if it is absent, or is no text, which is a fault."""
        value = self.get(path)
        if isinstance(value, str) and value.strip():
            return value
        if value is not None:
            self.fault(path, f"{path[-1]} must be a text")
        return None

    def flag(self, path: Keys) -> bool:
        """Return a truth value; False if it is absent."""
        value = self.get(path)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.fault(path, f"{path[-1]} must be true or false")
        return False

    def integer(self, path: Keys, at_least: int = 1) -> int | None:
        """Return an integer that is large enough; None if it is absent, or is none, which is a fault."""
        value = self.get(path)
        if isinstance(value, int) and not isinstance(value, bool) and value >= at_least:
            return value
        if value is not None:
            self.fault(path, f"{path[-1]} must be an integer of at least {at_least}")
        return None

    def parsed(self, path: Keys, parse: Callable[[], Value], name: str = "") -> Value | None:
        """Return what a function reads; its CnnstatError is a fault, behind the name of what it reads."""
        try:
            return parse()
        except CnnstatError as error:
            self.fault(path, f"{name}{str(error).removeprefix('--')}")
            return None

    def choice(self, path: Keys, allowed: Sequence[str]) -> str:
        """Return one of several words; anything else is a fault and gives the first."""
        value = self.get(path)
        if value in allowed:
            return str(value)
        hint = did_you_mean(str(value), allowed) or f"; write {' or '.join(allowed)}"
        self.fault(path, f"{path[-1]}: {str(value)[:40]}{hint}")
        return allowed[0]


def read_configuration_file(path: Path) -> ConfigurationReader | None:
    """Return the part of a file that configures `check`, None if it has none; raises ConfigurationError."""
    file = path_from_here(path)
    text = read_text(path, MAX_BYTES, "this is no configuration")
    if not text.strip():
        return None
    is_yaml = path.suffix in (".yaml", ".yml")
    values, places = _yaml(text, file) if is_yaml else _toml(text, file)
    root: Keys = ("tool", "cnnstat") if path.name == "pyproject.toml" else ()
    reader = ConfigurationReader(file, values, places, root)
    ours = reader.get(())
    if ours is None:
        return None
    reader.table((), ("check",))  # there is one tool so far, so that any other key is a slip
    reader.finish()
    if not isinstance(ours, dict) or "check" not in ours:
        return None
    reader.root = (*root, "check")
    return reader


def _toml(text: str, file: str) -> tuple[Any, Places]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    def error(message: str, line: int = 1, column: int = 1) -> ConfigurationError:
        return ConfigurationError([Problem(Location(file, line, column), message)])

    if match := _LONG_KEY.search(text):
        raise error(f"a key has more than {MAX_PARTS} parts", text.count("\n", 0, match.start()) + 1)
    try:
        values = tomllib.loads(text)
        _check_values(values)
        # most pyproject.toml files that are looked at on the way up do not concern this program
        is_needed = "cnnstat" in text or file.endswith("cnnstat.toml")
        return values, toml_places(text) if is_needed else {}
    except tomllib.TOMLDecodeError as fault:
        match = _TOML_PLACE.search(str(fault))
        line, column = (match["line"] or 1, match["column"] or 1) if match else (1, 1)
        raise error(f"not valid TOML: {_TOML_PLACE.sub('', str(fault))}", int(line), int(column)) from None
    except ValueError:
        raise error("a number has too many digits; TOML's have 64 bits") from None
    except RecursionError:
        raise error("nested too deeply") from None


def _check_values(value: Any, depth: int = 0) -> None:
    """Raise ValueError if an integer in a value has more than 64 bits, RecursionError if it is nested too deeply."""
    if depth > 4 * MAX_PARTS:  # Python's own limit is the caller's to change
        raise RecursionError
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_values(inner, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError


def _yaml(text: str, file: str) -> tuple[Any, Places]:
    places: dict[Keys, tuple[int, int]] = {}
    return _plain(parse(text, file), (), places), places


def _plain(tree: Tree, path: Keys, places: dict[Keys, tuple[int, int]]) -> Any:
    """Return the plain value of a tree, and add the places of its parts to `places`."""
    if len(places) > MAX_VALUES:
        raise ConfigurationError([Problem(tree.location, f"more than {MAX_VALUES:,} values by here; keep it short")])
    places.setdefault(path, (tree.location.line, tree.location.column))
    if isinstance(tree, TreeMapping):
        values = {}
        for key, (scalar, value) in tree.entries.items():
            inside = (*path, key)
            places[inside] = (scalar.location.line, scalar.location.column)
            values[key] = _plain(value, inside, places)
        return values
    if isinstance(tree, TreeSequence):
        return [_plain(item, (*path, number), places) for number, item in enumerate(tree.items)]
    assert isinstance(tree, Scalar)
    return tree.value


def toml_places(text: str) -> Places:
    """Return line and column of every key, table and list entry of a valid TOML document.

    The standard library's reader does not report them.
    """
    scanner = _TomlScanner(text)
    scanner.document()
    return scanner.places


class _TomlScanner:
    """Walks over the text of a document that is known to be valid."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.position = 0
        self.places: dict[Keys, tuple[int, int]] = {}
        self.array_lengths: dict[Keys, int] = {}

    def document(self) -> None:
        table: Keys = ()
        self._skip(_BLANK)
        while self.position < len(self.text):
            if self._peek() == "[":
                table = self._header()
            else:
                self._assignment(table)
            self._skip(_BLANK)

    def _header(self) -> Keys:
        """Read `[a.b]` or `[[a.b]]` and return its path."""
        start = self.position
        is_array = self.text.startswith("[[", start)
        self.position += 1 + is_array
        keys = self._dotted_key()
        self.position += 1 + is_array
        path: Keys = ()
        for key in keys[:-1]:
            path = (*path, key)
            if path in self.array_lengths:  # `[a.b]` below `[[a]]` belongs to the last entry of the array
                path = (*path, self.array_lengths[path] - 1)
            self._add(path, start)
        path = (*path, keys[-1])
        self._add(path, start)
        if is_array:
            number = self.array_lengths.get(path, 0)
            self.array_lengths[path] = number + 1
            path = (*path, number)
            self._add(path, start)
        return path

    def _dotted_key(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            key = self._take(_KEY)
            keys.append(key[1:-1] if key[:1] in "\"'" else key)
            self._skip(_SPACE)
            if self._peek() != ".":
                return keys
            self.position += 1

    def _assignment(self, table: Keys) -> None:
        start = self.position
        path = table
        for key in self._dotted_key():
            path = (*path, key)
            self._add(path, start)
        self.position += 1  # the equals sign
        self._value(path)

    def _value(self, path: Keys) -> None:
        self._skip(_BLANK)
        character = self._peek()
        if character == "[":
            self._items(path, "]")
        elif character == "{":
            self._items(path, "}")
        elif character in "\"'":
            self._take(_STRING)
        else:
            self._take(_BARE)

    def _items(self, path: Keys, end: str) -> None:
        self.position += 1
        number = 0
        self._skip(_BLANK)
        while self._peek() not in (end, ""):
            if end == "}":
                self._assignment(path)
            else:
                self._add((*path, number), self.position)
                self._value((*path, number))
            number += 1
            self._skip(_BLANK)
            if self._peek() == ",":
                self.position += 1
                self._skip(_BLANK)
        self.position += 1

    def _add(self, path: Keys, start: int) -> None:
        if path not in self.places:
            line = bisect_right(self.line_starts, start)
            self.places[path] = line, start - self.line_starts[line - 1] + 1

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        """Return what a pattern matches here, and move behind it."""
        match = pattern.match(self.text, self.position)
        if match is None or not match[0]:
            self.position += 1  # cannot happen in a valid document; never stand still
            return ""
        self.position = match.end()
        return match[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.position)
        if match is not None:
            self.position = match.end()

"""Trees: what YAML holds, with the place in the file where it stands, and the faults that are found there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cnnstat.errors import Location, Problem, SpecError, did_you_mean

MAX_PROBLEMS = 50
"""Most faults that are reported at once."""


class Abandoned(Exception):  # noqa: N818  # not an error of its own: it carries one past every handler of SpecError
    """Reading further would take too long or tell nothing new; `location` may be filled in on the way out."""

    def __init__(self, message: str = "", location: Location | None = None) -> None:
        super().__init__(message)
        self.location = location


class Problems:
    """The faults of a spec so far; raises Abandoned once there are enough."""

    def __init__(self) -> None:
        self.faults: list[Problem] = []

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add faults."""
        for each in problems:
            self.faults.append(each)
            if len(self.faults) >= MAX_PROBLEMS:
                raise Abandoned

    def add(self, location: Location, message: str) -> None:
        """Add one fault."""
        self.extend([problem(location, message)])

    def error(self) -> SpecError:
        """Return all faults as one error."""
        return SpecError(self.faults)


def problem(location: Location, message: str) -> Problem:
    """Return a problem whose message is one line, whatever text of the spec it quotes."""
    return Problem(location, " ".join(message.split()))


def fail(location: Location, message: str) -> NoReturn:
    """Raise a SpecError with one problem."""
    raise SpecError([problem(location, message)])


# YAML 1.1 also reads 017 as octal, 12:30 as base 60 and yes as true; here these stay texts, so that nothing surprises.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,39})\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z")
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "~": None, "": None}


@dataclass(slots=True)
class Tree:
    """A YAML value; line and column count from 1."""

    file: str
    line: int
    column: int

    @property
    def location(self) -> Location:
        """Where the value begins."""
        return Location(self.file, self.line, self.column)


@dataclass(slots=True)
class Scalar(Tree):
    """A word, number or text.

    style: empty for a plain scalar, else its quote; `|` where the places inside the text are not known.
    breaks: (characters before, line, column) of each further line that a plain scalar runs over.
    """

    text: str
    style: str = ""
    breaks: tuple[tuple[int, int, int], ...] = ()

    @property
    def value(self) -> Any:
        """The number, truth value or null that a plain scalar means; otherwise its text."""
        text = self.text
        if self.style:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if len(text) <= 40 and _INTEGER.match(text):
            return int(text.replace("_", ""))
        if len(text) <= 40 and _FLOAT.match(text):
            return float(text.replace("_", ""))
        return text

    def place(self, offset: int) -> Location:
        """Return where the part of the text stands that has `offset` bytes of UTF-8 before it, leading blanks apart."""
        if self.style == "|":
            return self.location
        # Python's parser counts columns in bytes, and a person in characters.
        inner = self.text.lstrip()
        characters = len(inner.encode()[:offset].decode(errors="ignore")) + len(self.text) - len(inner)
        line, column, begin = self.line, self.column + len(self.style), 0
        for first, next_line, next_column in self.breaks:
            if first <= characters:
                line, column, begin = next_line, next_column, first
        return Location(self.file, line, column + characters - begin)


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
                yield problem(scalar.location, f"unknown key {key[:60]}{hint}")

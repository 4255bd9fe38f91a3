"""Errors that people read: what is wrong, where, and what to write instead."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a text file; line and column count from 1, and are 0 where the file as a whole is meant."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def argument(self, name: str) -> Location:
        """Return where the argument `name` of what stands here is written; this place where that is not known."""
        return self


class CnnstatError(Exception):
    """Base of every error that cnnstat raises on purpose; the command line prints it and exits with 2."""


class OpError(CnnstatError):
    """An operation cannot take these arguments or inputs; the message names the field to change."""


class GraphError(CnnstatError):
    """A layer graph is not well formed."""


class SourceError(CnnstatError):
    """A SOURCE names no network, no file and no model."""


class RequestError(CnnstatError):
    """An option does not fit the model; the message says what to write instead."""


class ModelError(CnnstatError):
    """A PyTorch model cannot be built or run; the model's own error is the cause."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a spec: the place, and one line that says what is wrong and what to write instead."""

    location: Location | None
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.message}" if self.location else self.message


class SpecError(CnnstatError):
    """A spec has faults; `problems` lists all that could be told apart, one a place, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        first: dict[object, Problem] = {}
        for problem in problems:
            place = problem.location
            first.setdefault(problem.message if place is None else (place.file, place.line, place.column), problem)
        nowhere = Location("", 0, 0)
        self.problems = tuple(
            sorted(first.values(), key=lambda p: ((w := p.location or nowhere).file, w.line, w.column))
        )
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Problem, ...]]]:
        # Pickle would call the class with the message, and a process pool would break on the error of one model.
        return type(self), (self.problems,)


class ConfigurationError(SpecError):
    """A configuration has faults; `problems` lists them all."""


PACKAGES = {
    "torch": ("PyTorch", "'cnnstat[torch]'"),
    "onnx": ("the package onnx", "'cnnstat[onnx]'"),
    "resvg_py": ("resvg-py", "'cnnstat[draw]'"),
    "fpdf": ("fpdf2", "'cnnstat[draw]'"),
}
"""What packages are called and what pip takes to install them, where that is not their name."""


@contextmanager
def needing(package: str, what: str, kind: type[CnnstatError] = CnnstatError) -> Iterator[None]:
    """Let what is imported here name the package that is missing: `what` needs it, and how it is installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        name, install = PACKAGES.get(package, (package, package))
        raise kind(f"{what} needs {name}, which is not installed; pip install {install}") from None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean X?` for the candidate nearest to `word`, or an empty string."""
    near = nearest(word, candidates)
    return f"; did you mean {near}?" if near else ""


def nearest(word: str, candidates: Iterable[str], likeness: float = 0.6) -> str:
    """Return the candidate that is spelt most like `word`, or an empty string if none is so like it (0 to 1)."""
    by_folded = {candidate.lower(): candidate for candidate in candidates}
    folded = word.lower()[:80]
    close = difflib.get_close_matches(folded, by_folded, n=8, cutoff=likeness)
    letters = sorted(folded)
    close += [each for each in by_folded if len(each) == len(folded) and sorted(each) == letters and each not in close]
    # Swapped letters are the commonest slip: `vgg61` means vgg16 rather than vgg19. Of Conv1d, Conv2d and Conv3d, which
    # are equally near to `Conv`, images are the commonest.
    ratios = {each: round(difflib.SequenceMatcher(None, each, folded).ratio(), 6) for each in close}
    close.sort(key=lambda each: (sorted(each) != letters, -ratios[each], not each.endswith("2d")))
    return by_folded[close[0]] if close else ""


def old_name(old: str, new: str) -> property:
    """Return a property that reads on what is called `new` now, with a DeprecationWarning where it is read."""

    def read(holder: Any) -> Any:
        message = f"{type(holder).__name__}.{old} is called {new} now"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(holder, new)

    return property(read)


def printable(text: str) -> str:
    """Return `text` with control characters, line ends and direction marks written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def inert_line(line: str) -> str:
    """Return a line that a GitHub job takes for no command, at the same width: `::` at its start, or `##[` anywhere.

    The runner reads both output streams, and passes over blanks at the start (ActionCommand.cs in actions/runner).
    """
    if "::" in line and line.lstrip().startswith("::"):
        line = line.replace("::", "\N{RATIO}:", 1)
    return line.replace("##[", "# [")

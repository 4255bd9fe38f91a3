"""Tables: a configuration as plain values with the place of every key, and the faults found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnstat.check.report import Place
from cnnstat.errors import Location, Problem, SpecError, did_you_mean

MAX_FAULTS = 50
"""Most faults told at once, as for specs."""

Path = tuple[str | int, ...]
"""The way to a value: keys and list indices."""


class ConfigurationError(SpecError):
    """A configuration has faults; `problems` lists them all."""


class Tables:
    """A configuration being read.

    file: how messages call it. values: what it holds. places: line and column of each key and list entry.
    root: the way to the part that belongs to this program.
    """

    def __init__(self, file: str, values: Any, places: Mapping[Path, tuple[int, int]], root: Path = ()) -> None:
        self.file = file
        self.values = values
        self.places = places
        self.root = root
        self.problems: list[Problem] = []

    def place(self, path: Path) -> Place:
        """Return where a value is written, or the nearest table around it."""
        whole = (*self.root, *path)
        while whole and whole not in self.places:
            whole = whole[:-1]
        line, column = self.places.get(whole, (1, 1))
        return Place(file=self.file, line=line, column=column)

    def fault(self, path: Path, message: str) -> None:
        """Note a fault; raises ConfigurationError once there are enough."""
        place = self.place(path)
        self.problems.append(Problem(Location(place.file, place.line, place.column), message))
        if len(self.problems) >= MAX_FAULTS:
            self.finish()

    def finish(self) -> None:
        """Raise ConfigurationError if faults were noted."""
        if self.problems:
            unique = dict.fromkeys(self.problems)
            raise ConfigurationError(
                sorted(unique, key=lambda p: (p.location.line, p.location.column) if p.location else (0, 0))
            )

    def get(self, path: Path) -> Any:
        """Return the value at a path that exists, or None."""
        value = self.values
        for step in (*self.root, *path):
            is_key = isinstance(value, Mapping) and step in value
            if not is_key and not (isinstance(value, Sequence) and isinstance(step, int) and step < len(value)):
                return None
            value = value[step]
        return value

    def table(self, path: Path, known: tuple[str, ...]) -> Mapping[str, Any]:
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

    def text(self, path: Path) -> str | None:
        """Return a text, or None after noting that it is none."""
        value = self.get(path)
        if isinstance(value, str) and value.strip():
            return value
        if value is not None:
            self.fault(path, f"{path[-1]} must be a text")
        return None

    def flag(self, path: Path) -> bool:
        """Return a truth value; False if it is not there."""
        value = self.get(path)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.fault(path, f"{path[-1]} must be true or false")
        return False

    def whole(self, path: Path) -> int | None:
        """Return an integer of at least 1, or None after noting that it is none."""
        value = self.get(path)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        if value is not None:
            self.fault(path, f"{path[-1]} must be an integer of at least 1")
        return None

    def choice(self, path: Path, allowed: Sequence[str]) -> str:
        """Return one of several words; the first after noting that it is none of them."""
        value = self.get(path)
        if value in allowed:
            return str(value)
        hint = did_you_mean(str(value), allowed) or f"; write {' or '.join(allowed)}"
        self.fault(path, f"{path[-1]}: {str(value)[:40]}{hint}")
        return allowed[0]

"""The variables of a forward method: short names for its tensors, and lists of those that layers collect."""

from __future__ import annotations

import keyword
import re
from collections.abc import Container, Sequence
from itertools import chain, count
from typing import NamedTuple

from cnnstat.ir.graph import Edge

_GENERIC = ("x", "y", "z", "w", "v", "u")
_TAKEN = frozenset(("self", "torch", "nn", "F", "math", "Tensor", "Sequence", "Any"))
_IN_PLACE = {"add": "+=", "sub": "-=", "mul": "*=", "div": "/="}
MOST_TARGETS = 6
"""Most results that an assignment takes apart; more are numbered."""


class Step(NamedTuple):
    """A call: its label, the tensors it reads and makes, and how its results are nested (see `Layer.pattern`)."""

    label: str
    reads: tuple[Edge, ...]
    makes: tuple[Edge, ...]
    pattern: str = "{0}"


def in_a_row(count: int) -> str:
    """Return the pattern of so many results that are not nested."""
    return ", ".join(f"{{{number}}}" for number in range(count))


class Variables:
    """Gives tensors names, step by step; lists: the lists that tensors are members of, with how many there are."""

    def __init__(self, steps: Sequence[Step], results: Sequence[Edge], arguments: dict[Edge, str]) -> None:
        self._steps = steps
        self._last = {edge: place for place, step in enumerate(steps) for edge in step.reads}
        self._last.update(dict.fromkeys(results, len(steps)))
        self._names = dict(arguments)
        self._place = -1
        self.lists: dict[str, int] = {}

    def __getitem__(self, edge: Edge) -> str:
        return self._names[edge]

    @property
    def live(self) -> set[str]:
        """The names that hold a tensor, and those that modules of Python have."""
        return {name.partition("[")[0] for name in self._names.values()} | _TAKEN | self.lists.keys()

    def collect(self, edges: Sequence[Edge], name: str) -> None:
        """Let tensors be the members of a list from now on."""
        self._names.update({edge: f"{name}[{number}]" for number, edge in enumerate(edges)})
        self.lists[name] = len(edges)

    def targets(self, step: Step) -> str:
        """Return what the results of the next step are assigned to."""
        self._place += 1
        free = [self._names[e] for e in step.reads if self._last[e] == self._place and self._names[e].isidentifier()]
        for edge in set(step.reads):
            if self._last[edge] == self._place:
                del self._names[edge]
        if len(step.makes) > MOST_TARGETS:
            name = self._new(step.label, is_reused=False)
            self._names.update({edge: f"{name}[{number}]" for number, edge in enumerate(step.makes)})
            return name
        written = []
        for edge in step.makes:
            if edge not in self._last:
                written.append("_")
                continue
            live = set(self._names.values())
            name = next((each for each in free if each not in live), "") or self._new(step.label, self._is_reused(edge))
            self._names[edge] = name
            written.append(name)
        if step.pattern == "{0}, ({1}, {2})" and written[1:] == ["_", "_"]:
            return f"{written[0]}, _"
        return step.pattern.format(*written)

    def _is_reused(self, edge: Edge) -> bool:
        """Whether the variable of a tensor goes on to hold what is made of it."""
        last = self._last[edge]
        if last >= len(self._steps):
            return False
        reader = self._steps[last]
        return next((e for e in reader.reads if self._last[e] == last), None) == edge and bool(reader.makes)

    def _new(self, label: str, is_reused: bool) -> str:
        """Return a name that no tensor has: the layer's where it says something, else a letter."""
        live = {name.partition("[")[0] for name in self._names.values()}
        own = variable_name(label.rpartition(".")[2])
        if not is_reused and own and own not in live:
            return own
        letters = chain(_GENERIC, (f"x{number}" for number in count(2)))
        return next(letter for letter in letters if letter not in live)


def variable_name(label: str) -> str:
    """Return a label as the name of a variable, an empty text where it says nothing."""
    name = re.sub(r"\W", "_", label)
    if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN or name == "_":
        return ""
    return name


def assignment(targets: str, text: str) -> str:
    """Return a line that assigns, in the short form where it only adds to a variable or the like."""
    match = re.fullmatch(r"(\w+)\.(add|sub|mul|div)_\((\w+)\)", text)
    if match and match[1] == targets:
        return f"{targets} {_IN_PLACE[match[2]]} {match[3]}"
    return f"{targets} = {text}" if targets else text


LIST, ARGUMENTS = "features", "tensors"
"""What the list is called, and the arguments of a method that takes any number of them."""
SHORTEST = 3
"""Fewest layers that get a list."""


def growing_run(steps: Sequence[Step], first: int, taken: Container[str]) -> int:
    """Return how many steps from one on each read what it reads, and the results of those between; 0 for too few.

    taken: names of variables; where one of them is called as the list is, there is none.
    """
    if LIST in taken:
        return 0
    reads: tuple[Edge, ...] = steps[first].reads
    end = first
    while end < len(steps) and steps[end].reads == reads and len(steps[end].makes) == 1:
        reads += steps[end].makes
        end += 1
    run = end - first - 1  # the last of them is who reads the list
    return run if run >= SHORTEST and steps[first].reads else 0


def collapsed(text: str, name: str, count: int) -> str:
    """Return a text in which the first `count` members of a list, one after the other, are the list."""
    members = ", ".join(f"{name}[{number}]" for number in range(count))
    for tuple_text in (f"(({members}), ", f"(({members},), "):
        text = text.replace(tuple_text, f"({name}, ")
    return text.replace(f"({members})", f"(*{name})").replace(f"({members}, ", f"(*{name}, ")

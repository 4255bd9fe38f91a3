"""Problems: faults collected while a spec is read on, and the budget of work after which reading is given up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from cnnstat.errors import Location, Problem, SpecError

MAX_PROBLEMS = 50
"""Most faults reported at once; whoever has made more mends these first."""
MAX_EVALUATIONS = 3_000_000
"""Most steps of evaluation for one spec; 100,000 layers with ten numbers each take a million."""


class Abandoned(Exception):  # noqa: N818  # not an error of its own: it carries one past every handler of SpecError
    """Reading further would take too long or tell nothing new; `location` may be filled in on the way out."""

    def __init__(self, message: str = "", location: Location | None = None) -> None:
        super().__init__(message)
        self.location = location


class Budget:
    """Steps that may still be taken."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_EVALUATIONS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Take steps; raises Abandoned when none are left."""
        self.left -= steps
        if self.left < 0:
            raise Abandoned("the spec takes too long to evaluate; use smaller lists, or fewer repeats and expressions")


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

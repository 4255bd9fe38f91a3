"""Problems: faults collected while a spec is read on, so that one run tells of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from cnnstat.errors import Location, Problem, SpecError

MAX_PROBLEMS = 50
"""Most faults told at once; whoever has made more mends these first."""


class Abandoned(Exception):  # noqa: N818  # not an error of its own: it carries one past every handler of SpecError
    """Reading further would take too long or tell nothing new; `location` may be filled in on the way out."""

    def __init__(self, message: str = "", location: Location | None = None) -> None:
        super().__init__(message)
        self.location = location


class Problems:
    """The faults found so far; raises Abandoned once there are enough."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add faults."""
        for each in problems:
            self.found.append(each)
            if len(self.found) >= MAX_PROBLEMS:
                raise Abandoned

    def error(self) -> SpecError:
        """Return all faults as one error."""
        return SpecError(self.found)


def problem(location: Location, message: str) -> Problem:
    """Return a problem whose message is one line, whatever text of the spec it quotes."""
    return Problem(location, " ".join(message.split()))


def fail(location: Location, message: str) -> NoReturn:
    """Raise a SpecError with one problem."""
    raise SpecError([problem(location, message)])

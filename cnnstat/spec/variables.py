"""Variables: what the names in expressions stand for, and how much work evaluating them may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cnnstat.spec.problems import Abandoned

MAX_STEPS = 3_000_000
"""Most steps of evaluation for one spec; 100,000 layers with ten numbers each take a million."""

_MISSING = object()


class Budget:
    """Steps that may still be taken."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Take steps; raises Abandoned when none are left."""
        self.left -= steps
        if self.left < 0:
            raise Abandoned("the spec takes too long to evaluate; use smaller lists, or fewer repeats and expressions")


class Variables(Mapping[str, Any]):
    """Variables of one scope in front of those around it; nothing is copied, however often a scope is entered."""

    __slots__ = ("_outer", "_own", "budget")

    def __init__(self, own: Mapping[str, Any], outer: Variables | None = None, budget: Budget | None = None) -> None:
        self._own = own
        self._outer = outer
        self.budget: Budget = outer.budget if outer is not None else budget or Budget()

    def inside(self, own: Mapping[str, Any]) -> Variables:
        """Return a scope inside this one."""
        return Variables(own, self)

    def __getitem__(self, name: str) -> Any:
        value = self.get(name, _MISSING)
        if value is _MISSING:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a variable, the innermost of that name, or `default`."""
        scope: Variables | None = self
        while scope is not None:
            if name in scope._own:
                return scope._own[name]
            scope = scope._outer
        return default

    def __contains__(self, name: object) -> bool:
        scope: Variables | None = self
        while scope is not None:
            if name in scope._own:
                return True
            scope = scope._outer
        return False

    def __iter__(self) -> Iterator[str]:
        names = {} if self._outer is None else dict.fromkeys(self._outer)
        return iter(names | dict.fromkeys(self._own))

    def __len__(self) -> int:
        return sum(1 for _ in self)

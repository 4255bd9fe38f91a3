"""Classes: groups that work alike as instances of one class, with what differs between them as its parameters."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, dataclass, field

from cnnstat.export.blocks import block_kind
from cnnstat.export.entries import Argument, Call, Entry
from cnnstat.export.parameters import MOST_PARAMETERS, Parameters, parameters_of
from cnnstat.export.pytorch.module_tree import Scope
from cnnstat.export.template_slots import Slot, changed, slots_of, structure

Instance = tuple[Entry, Scope]
"""A group as its parent holds it, and how it works."""


@dataclass(eq=False)
class Class:
    """A class of the file: what it is called, what its constructor takes, and a scope that shows how it works."""

    name: str
    parameters: tuple[Argument, ...]
    children: list[Entry]
    scope: Scope
    paths: list[str]


@dataclass
class Classes:
    """The classes found so far; kinds: what kind of module each scope is; taken: names that no class can have."""

    kinds: Mapping[str, str]
    taken: set[str]
    found: list[Class] = field(default_factory=list)

    def define(self, groups: list[Instance]) -> None:
        """Define classes for all groups, those within others first, and make calls of the groups."""
        left = list(groups)
        while left:
            waiting = {id(entry) for entry, _ in left}
            ready = [each for each in left if not _holds(each[0], waiting)]
            left = [each for each in left if _holds(each[0], waiting)]
            alike: dict[Hashable, list[Instance]] = {}
            for entry, scope in ready:
                works = (tuple(scope.setup), tuple(scope.lines), tuple(scope.arguments))
                alike.setdefault((structure(entry, is_outermost=True), works), []).append((entry, scope))
            for instances in sorted(alike.values(), key=len, reverse=True):
                self._define(instances)

    def _define(self, instances: list[Instance]) -> None:
        """Define a class for groups that work alike; where too much differs, one for each set of equal ones."""
        slots = [slots_of(entry) for entry, _ in instances]
        parameters = parameters_of(slots, {"self", "nn", "torch", "F"})
        if len(parameters.found) <= MOST_PARAMETERS:
            self._define_one(instances, parameters)
            return
        equal: dict[str, list[Instance]] = {}
        for instance, own in zip(instances, slots):
            equal.setdefault(repr([slot.value for slot in own]), []).append(instance)
        for same in equal.values():
            self._define_one(same, parameters_of([slots_of(same[0][0])] * len(same), ()))

    def _define_one(self, instances: list[Instance], parameters: Parameters) -> None:
        """Define one class, and make calls of its instances."""
        filled = iter(parameters.filled)

        def fill(slot: Slot) -> object:
            expression = next(filled)
            return slot.value if expression is None else expression

        entry, scope = instances[0]
        children = changed(entry, fill)
        name = self._name(entry.path)
        calls = []
        for number in range(len(instances)):
            found = parameters.values(number)
            calls.append(Call(name, tuple(Argument(p.name, v, p.default, p.default is MISSING) for p, v in found)))
        self.found.append(Class(name, calls[0].arguments, children, scope, [each.path for each, _ in instances]))
        for (each, _), call in zip(instances, calls):
            each.call, each.lists = call, None

    def _name(self, path: str) -> str:
        """Return a name for the class of a group that nothing else has."""
        kind = block_kind(path, self.kinds)
        name = kind[:1].upper() + kind[1:]
        found, number = name, 1
        while found in self.taken:
            number += 1
            found = f"{name}{number}"
        self.taken.add(found)
        return found


def _holds(entry: Entry, groups: set[int]) -> bool:
    """Whether a group holds others that still have to become instances of classes."""
    return any(id(inner) in groups or _holds(inner, groups) for inner in entry.inner)

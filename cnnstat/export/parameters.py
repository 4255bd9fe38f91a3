"""Parameters: what differs between groups of one structure, as few names and simple expressions."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import MISSING, dataclass, field
from typing import Any

from cnnstat.export.entries import Expression
from cnnstat.export.slots import Slot

MOST_PARAMETERS = 8
"""More than these are harder to read than the groups themselves."""

_CHANNELS = ("out_channels", "out_features", "groups", "num_groups", "channels", "num_channels", "hidden_size")
_SHORT = {"out_channels": "channels", "out_features": "features", "from": "source", "kernel_size": "kernel_size"}
_ODD = re.compile(r"\W+")


@dataclass
class Parameter:
    """A parameter of a block: its values, one for each group, and its default (MISSING where there is none)."""

    values: tuple[Any, ...]
    slot: Slot
    defaults: list[Any] = field(default_factory=list)
    name: str = ""

    @property
    def default(self) -> Any:
        """The default that all its places share, if one of the groups has it."""
        first = self.defaults[0]
        is_shared = all(type(each) is type(first) and each == first for each in self.defaults)
        return first if is_shared and first is not MISSING and first in self.values else MISSING


@dataclass
class Parameters:
    """The parameters of a block, and what stands in each of its slots; None where the slot is the same in all groups."""

    found: list[Parameter]
    filled: list[Expression | None]

    def values(self, group: int) -> Iterator[tuple[Parameter, Any]]:
        """Yield each parameter with its value in one group, those without a default first."""
        for parameter in sorted(self.found, key=lambda each: each.default is not MISSING):
            yield parameter, parameter.values[group]


def parameters_of(groups: list[list[Slot]], reserved: Container[str]) -> Parameters:
    """Return the parameters that tell groups apart; `reserved` are names that they cannot have."""
    columns = [tuple(group[place].value for group in groups) for place in range(len(groups[0]))]
    slots = groups[0]
    found: list[Parameter] = []
    which: list[tuple[Parameter, int] | None] = [None] * len(slots)
    order = sorted(range(len(slots)), key=lambda place: (_weight(columns[place]), place))
    for place in order:
        if not _is_constant(columns[place]):
            parameter, factor = _parameter_for(columns[place], slots[place], found)
            which[place] = parameter, factor
            if factor == 1:
                parameter.defaults.append(slots[place].default)
    found.sort(key=lambda each: min(p for p, w in enumerate(which) if w is not None and w[0] is each))
    _name(found, reserved)
    return Parameters(found, [w and Expression(_text(*w, slots[place])) for place, w in enumerate(which)])


def _is_constant(values: tuple[Any, ...]) -> bool:
    """Whether all groups have the same value."""
    return all(type(value) is type(values[0]) and value == values[0] for value in values)


def _weight(values: tuple[Any, ...]) -> float:
    """Return a number by which multiples come after what they are multiples of."""
    return sum(values) if all(isinstance(value, (int, float)) for value in values) else 0


def _parameter_for(values: tuple[Any, ...], slot: Slot, found: list[Parameter]) -> tuple[Parameter, int]:
    """Return the parameter behind a slot, which may be new, and what it is multiplied by."""
    for parameter in found:
        if not _are_alike(parameter.slot, slot):
            continue
        factor = _factor(parameter.values, values, slot)
        if factor is not None:
            return parameter, factor
    found.append(Parameter(values, slot))
    return found[-1], 1


def _are_alike(one: Slot, other: Slot) -> bool:
    """Whether two slots mean the same sort of thing, so that equal values are no accident."""
    return one.is_name == other.is_name and _nature(one) == _nature(other)


def _nature(slot: Slot) -> str:
    """Return what sort of thing a slot holds."""
    return "channels" if slot.field.endswith(_CHANNELS) else slot.field


def _factor(base: tuple[Any, ...], values: tuple[Any, ...], slot: Slot) -> int | None:
    """Return the whole number that makes `values` of `base`, None if there is none."""
    if values == base and all(type(a) is type(b) for a, b in zip(base, values)):
        return 1
    is_whole = all(type(value) is int and value > 0 for value in (*base, *values))
    if not is_whole or _nature(slot) != "channels" or values[0] % base[0]:
        return None
    factor: int = values[0] // base[0]
    return factor if all(b * factor == value for b, value in zip(base, values)) else None


def _text(parameter: Parameter, factor: int, slot: Slot) -> str:
    """Return what stands in a slot."""
    if slot.is_name:
        return f"{{{parameter.name}}}"
    return parameter.name if factor == 1 else f"{factor} * {parameter.name}"


# Names ---------------------------------------------------------------------------------------------------------------


def _name(found: list[Parameter], reserved: Container[str]) -> None:
    """Name parameters after their arguments, and after their layers where that does not tell them apart."""
    short = [_short(parameter.slot) for parameter in found]
    taken: set[str] = set()
    for parameter, name in zip(found, short):
        if short.count(name) > 1:
            name = "_".join((*map(_plain, parameter.slot.labels), name))
        name = _sound(name)
        count = 1
        unique = name
        while unique in taken or unique in reserved:
            count += 1
            unique = f"{name}_{count}"
        taken.add(unique)
        parameter.name = unique


def _short(slot: Slot) -> str:
    """Return what a parameter is called if nothing else is called so."""
    last = slot.field.rpartition(".")[2]
    known = _SHORT.get(last)
    if known:
        return known
    return next((end for end in ("channels", "features") if last.endswith(f"_{end}")), last)


def _plain(label: str) -> str:
    """Return a label as part of a variable's name."""
    return _ODD.sub("_", label).strip("_")


def _sound(name: str) -> str:
    """Return a name that a variable can have."""
    sound = _ODD.sub("_", name)[:50]
    return sound if sound[:1].isalpha() and sound.isascii() else f"value_{sound}".rstrip("_")

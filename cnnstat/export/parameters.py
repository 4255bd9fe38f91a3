"""Parameters: what differs between groups of one structure, as few names and simple expressions."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import MISSING, dataclass, field
from typing import Any

from cnnstat.export.entries import Expression
from cnnstat.export.template_slots import Slot

MOST_PARAMETERS = 8
"""More than these are harder to read than the groups themselves."""

_CHANNEL_NAMES = """
out_channels out_features groups num_groups num_channels hidden_size normalized_shape shape sections operands parameters
buffers inputs output outputs
"""
_CHANNELS = frozenset(_CHANNEL_NAMES.split())
"""Arguments and keys that hold channels, or sizes among which channels are."""
_SHORT = {"out_channels": "channels", "out_features": "features"} | {
    name: name for name in ("hidden_size", "groups", "in_channels", "in_features")
}
"""What parameters are called after an argument."""
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
    """The parameters of a block, and what stands in each slot; None where the slot is the same in all groups."""

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
    for place, values in enumerate(columns):
        if not _is_constant(values):
            parameter, factor = _parameter_for(values, slots[place], found)
            which[place] = parameter, factor
            if factor == 1:
                parameter.defaults.append(slots[place].default)
    _name(found, reserved)
    return Parameters(found, [w and Expression(_text(*w, slots[place])) for place, w in enumerate(which)])


def _is_constant(values: tuple[Any, ...]) -> bool:
    """Whether all groups have the same value."""
    return all(type(value) is type(values[0]) and value == values[0] for value in values)


def _parameter_for(values: tuple[Any, ...], slot: Slot, found: list[Parameter]) -> tuple[Parameter, int]:
    """Return the parameter behind a slot, which may be new, and what it is multiplied or (if negative) divided by."""
    for parameter in found:
        if not _are_alike(parameter.slot, slot):
            continue
        factor = _factor(parameter.values, values, slot)
        if factor is not None:
            if factor == 1 and _rank(slot) < _rank(parameter.slot):
                parameter.slot = slot
            return parameter, factor
    found.append(Parameter(values, slot))
    return found[-1], 1


def _rank(slot: Slot) -> int:
    """Return how well a slot names a parameter, the best first."""
    order = ("channels", "features", "hidden_size", "groups")
    name = _short(slot)
    return order.index(name) if name in order else len(order) + (name == "size")


def _are_alike(one: Slot, other: Slot) -> bool:
    """Whether two slots mean the same sort of thing, so that equal values are no accident."""
    return one.is_name == other.is_name and _nature(one) == _nature(other)


def _nature(slot: Slot) -> str:
    """Return what sort of thing a slot holds."""
    if slot.field.partition(".")[0] in _CHANNELS or slot.field.endswith(("channels", "features", "size")):
        return "kernel" if slot.field.endswith("kernel_size") else "channels"
    return slot.field


def _factor(base: tuple[Any, ...], values: tuple[Any, ...], slot: Slot) -> int | None:
    """Return by what `base` is multiplied or (if negative) divided to make `values`; None if by no whole number."""
    if values == base and all(type(a) is type(b) for a, b in zip(base, values)):
        return 1
    is_whole = all(type(value) is int and value > 0 for value in (*base, *values))
    if not is_whole or _nature(slot) != "channels":
        return None
    factor, divisor = values[0] // base[0], base[0] // values[0]
    if factor > 1 and all(b * factor == value for b, value in zip(base, values)):
        return int(factor)
    return -divisor if divisor > 1 and all(b == value * divisor for b, value in zip(base, values)) else None


def _text(parameter: Parameter, factor: int, slot: Slot) -> str:
    """Return what stands in a slot."""
    if slot.is_name:
        return f"{{{parameter.name}}}"
    if factor < 0:
        return f"{parameter.name} // {-factor}"
    return parameter.name if factor == 1 else f"{factor} * {parameter.name}"


# Names ---------------------------------------------------------------------------------------------------------------


def _name(found: list[Parameter], reserved: Container[str]) -> None:
    """Name parameters after their arguments, and after their layers where that does not tell them apart."""
    short = [_short(parameter.slot) for parameter in found]
    taken: set[str] = set()
    for parameter, name in zip(found, short):
        if short.count(name) > 1:
            name = "_".join((*_words(parameter.slot.labels), name))
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
    if slot.is_name:
        return "source" if isinstance(slot.value, str) else "sources"
    known = _SHORT.get(slot.field)
    if known or _nature(slot) != "channels":
        return known or slot.field
    return next((end for end in ("channels", "features") if slot.field.endswith(end)), "size")


def _words(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return labels as parts of a variable's name; numbers alone say nothing."""
    words = tuple(_ODD.sub("_", label).strip("_") for label in labels)
    return words if any(not word.isdigit() for word in words) else ()


def _sound(name: str) -> str:
    """Return a name that a variable can have."""
    sound = _ODD.sub("_", name)[:50]
    return sound if sound[:1].isalpha() and sound.isascii() else f"value_{sound}".rstrip("_")

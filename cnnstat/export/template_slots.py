"""Template slots: the places where groups of one structure differ, and the parameters that stand for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import MISSING, dataclass, field, replace
from typing import Any, NamedTuple

from cnnstat.export.entries import Argument, Call, Entry, Expression, unused

NAMES = ("share",)
"""Keys that hold names of layers."""
SHAPES = ("shape", "normalized_shape", "sections", "unflattened_size")
"""Arguments that hold sizes of different meaning."""


class Slot(NamedTuple):
    """A value, with the labels it stands under, the argument or key it is, its default, and whether it is a name."""

    labels: tuple[str, ...]
    field: str
    value: Any
    default: Any = MISSING
    is_name: bool = False


Change = Callable[[Slot], Any]


def structure(entry: Entry, *, is_outermost: bool = False) -> Hashable:
    """Return what two groups must have in common to be one block; the outermost label is each one's own."""
    call: Hashable = None
    if entry.call is not None:
        call = entry.call.callee, tuple(_argument_structure(each) for each in entry.call.arguments)
    lists = None
    if entry.lists is not None:
        lists = tuple(tuple(structure(inner) for inner in each) for each in entry.lists)
    if is_outermost:
        return lists
    return entry.label, call, entry.reads is None, _frame(entry.keys), lists, entry.repeat, entry.variable


def _argument_structure(argument: Argument) -> Hashable:
    is_shape = argument.name in SHAPES and isinstance(argument.value, tuple)
    return argument.name, len(argument.value) if is_shape else None


def _frame(value: Any) -> Hashable:
    """Return keys and texts of nested values, without numbers and names of layers."""
    if isinstance(value, dict):
        return tuple((key, key if key in NAMES else _frame(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return tuple(map(_frame, value))
    return "number" if _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def slots_of(entry: Entry) -> list[Slot]:
    """Return the slots of a group, always in the same order."""
    slots: list[Slot] = []

    def note(slot: Slot) -> Any:
        slots.append(slot)
        return slot.value

    changed(entry, note)
    return slots


def changed(entry: Entry, change: Change) -> list[Entry]:
    """Return what is inside a group with the value of every slot changed."""
    assert entry.lists is not None
    return [_changed(inner, change, ()) for inner in entry.lists[0]]


def _changed(entry: Entry, change: Change, above: tuple[str, ...]) -> Entry:
    """Return an entry with its slots changed."""
    labels = above if entry.label is None else (*above, entry.label)
    call = entry.call
    if call is not None:
        call = call._replace(arguments=tuple(_changed_argument(each, change, labels) for each in call.arguments))
    reads = entry.reads
    if reads is not None:
        read = change(Slot(labels, "from", reads[0] if len(reads) == 1 else tuple(reads), is_name=True))
        reads = [read] if isinstance(read, str) else list(read)
    keys = {key: _changed_value(value, key, change, labels) for key, value in entry.keys.items()}
    lists = None
    if entry.lists is not None:
        # Branches are no scopes: their labels stand beside that of the layer that joins them.
        within = labels if call is None else above
        lists = [[_changed(inner, change, within) for inner in each] for each in entry.lists]
    return replace(entry, call=call, reads=reads, keys=keys, lists=lists)


def _changed_argument(argument: Argument, change: Change, labels: tuple[str, ...]) -> Argument:
    """Return an argument with its value changed; of a shape every size is a slot of its own."""
    name, value, default = argument.name, argument.value, argument.default
    if name in SHAPES and isinstance(value, tuple):
        return argument._replace(value=tuple(change(Slot(labels, name, size)) for size in value))
    return argument._replace(value=change(Slot(labels, name, value, default)))


def _changed_value(value: Any, key: str, change: Change, labels: tuple[str, ...]) -> Any:
    if key in NAMES:
        return change(Slot(labels, key, value, is_name=True))
    if isinstance(value, dict):
        return {name: _changed_value(inner, f"{key}.{name}", change, labels) for name, inner in value.items()}
    if isinstance(value, list):
        return [_changed_value(inner, key, change, labels) for inner in value]
    return change(Slot(labels, key, value)) if _is_number(value) else value


def groups_within(entries: list[Entry]) -> Iterator[Entry]:
    """Yield all groups, the innermost first."""
    for entry in entries:
        yield from groups_within(list(entry.inner))
        if entry.is_group and entry.repeat is None:
            yield entry


def calls_within(entry: Entry) -> int:
    """Return how many layers and blocks are called in an entry."""
    return sum(each.call is not None for each in entry.walk())


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

    distinct: list[Parameter]
    filled: list[Expression | None]

    def values(self, group: int) -> Iterator[tuple[Parameter, Any]]:
        """Yield each parameter with its value in one group, those without a default first."""
        for parameter in sorted(self.distinct, key=lambda each: each.default is not MISSING):
            yield parameter, parameter.values[group]


def parameters_of(groups: list[list[Slot]], reserved: Collection[str]) -> Parameters:
    """Return the parameters that tell groups apart; `reserved` are names that they cannot have."""
    columns = [tuple(group[place].value for group in groups) for place in range(len(groups[0]))]
    slots = groups[0]
    distinct: list[Parameter] = []
    which: list[tuple[Parameter, int] | None] = [None] * len(slots)
    for place, values in enumerate(columns):
        if not _is_constant(values):
            parameter, factor = _parameter_for(values, slots[place], distinct)
            which[place] = parameter, factor
            # The default of an argument is one of the parameter only where the argument is the parameter itself.
            if factor == 1:
                parameter.defaults.append(slots[place].default)
    _name(distinct, reserved)
    return Parameters(distinct, [w and Expression(_text(*w, slots[place])) for place, w in enumerate(which)])


def sharing(groups: list[Entry], most: int, reserved: Collection[str]) -> Iterator[tuple[list[Entry], Parameters]]:
    """Yield groups that can share a template, with its parameters: all, or with more than `most` only equal ones."""
    slots = [slots_of(group) for group in groups]
    parameters = parameters_of(slots, reserved)
    if len(parameters.distinct) <= most:
        yield groups, parameters
        return
    equal: dict[str, list[Entry]] = {}
    for group, own in zip(groups, slots):
        # As text: values may be lists, which are not hashable, and 1 must differ from True.
        equal.setdefault(repr([slot.value for slot in own]), []).append(group)
    for same in equal.values():
        yield same, parameters_of([slots_of(same[0])] * len(same), ())


def body_of(group: Entry, parameters: Parameters) -> list[Entry]:
    """Return what is inside a group, with the parameters in place of their values."""
    # `changed` visits the slots in the order of `slots_of`, from which the parameters were found.
    filled = iter(parameters.filled)

    def fill(slot: Slot) -> Any:
        expression = next(filled)
        if expression is None:
            return slot.value
        return expression.text if slot.is_name else expression

    return changed(group, fill)


def call_groups(name: str, groups: list[Entry], parameters: Parameters, *, is_text: bool) -> Call:
    """Turn each group into a call of the template of this name, and return the first; is_text: see `Argument`."""
    for number, group in enumerate(groups):
        values = parameters.values(number)
        arguments = (Argument(p.name, v, p.default, p.default is MISSING, is_text) for p, v in values)
        group.call, group.lists = Call(name, tuple(arguments)), None
    assert groups[0].call is not None
    return groups[0].call


def _is_constant(values: tuple[Any, ...]) -> bool:
    # With the type, as 1 == True in Python but not in a spec.
    return all(type(value) is type(values[0]) and value == values[0] for value in values)


def _parameter_for(values: tuple[Any, ...], slot: Slot, distinct: list[Parameter]) -> tuple[Parameter, int]:
    """Return the parameter behind a slot, which may be new, and what it is multiplied or (if negative) divided by."""
    for parameter in distinct:
        if not _are_alike(parameter.slot, slot):
            continue
        factor = _factor(parameter.values, values, slot)
        if factor is not None:
            # The place with the best name names the parameter, wherever it stands.
            if factor == 1 and _rank(slot) < _rank(parameter.slot):
                parameter.slot = slot
            return parameter, factor
    distinct.append(Parameter(values, slot))
    return distinct[-1], 1


def _rank(slot: Slot) -> int:
    """Return how well a slot names a parameter, the best first."""
    order = ("channels", "features", "hidden_size", "groups")
    name = _short(slot)
    return order.index(name) if name in order else len(order) + (name == "size")


def _are_alike(one: Slot, other: Slot) -> bool:
    """Whether two slots mean the same sort of thing, so that equal values are no accident."""
    return one.is_name == other.is_name and _nature(one) == _nature(other)


def _nature(slot: Slot) -> str:
    if slot.field.partition(".")[0] in _CHANNELS or slot.field.endswith(("channels", "features", "size")):
        return "kernel" if slot.field.endswith("kernel_size") else "channels"
    return slot.field


def _factor(base: tuple[Any, ...], values: tuple[Any, ...], slot: Slot) -> int | None:
    """Return by what `base` is multiplied or (if negative) divided to make `values`; None if by no whole number."""
    if values == base and all(type(a) is type(b) for a, b in zip(base, values)):
        return 1
    is_whole = all(type(value) is int and value > 0 for value in (*base, *values))
    # Channels are multiples of one another by design; of other numbers an equal ratio is an accident.
    if not is_whole or _nature(slot) != "channels":
        return None
    factor, divisor = values[0] // base[0], base[0] // values[0]
    if factor > 1 and all(b * factor == value for b, value in zip(base, values)):
        return int(factor)
    return -divisor if divisor > 1 and all(b == value * divisor for b, value in zip(base, values)) else None


def _text(parameter: Parameter, factor: int, slot: Slot) -> str:
    if slot.is_name:
        return f"{{{parameter.name}}}"
    if factor < 0:
        return f"{parameter.name} // {-factor}"
    return parameter.name if factor == 1 else f"{factor} * {parameter.name}"


# Names ---------------------------------------------------------------------------------------------------------------


def _name(parameters: list[Parameter], reserved: Collection[str]) -> None:
    """Name parameters after their arguments, and after their layers where that does not tell them apart."""
    short = [_short(parameter.slot) for parameter in parameters]
    taken: set[str] = set()
    for parameter, name in zip(parameters, short):
        if short.count(name) > 1:
            name = "_".join((*_words(parameter.slot.labels), name))
        name = _sound(name)
        parameter.name = unused(name, {*taken, *reserved})
        taken.add(parameter.name)


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
    sound = _ODD.sub("_", name)[:50]
    return sound if sound[:1].isalpha() and sound.isascii() else f"value_{sound}".rstrip("_")

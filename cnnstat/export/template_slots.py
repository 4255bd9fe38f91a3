"""Slots: the places of an entry that may differ between two groups of the same structure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import MISSING, replace
from typing import Any, NamedTuple

from cnnstat.export.entries import Argument, Entry

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
    """Return the name of an argument, and of a shape its length."""
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
    """Whether a value is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def slots_of(entry: Entry) -> list[Slot]:
    """Return the slots of a group, always in the same order."""
    found: list[Slot] = []

    def note(slot: Slot) -> Any:
        found.append(slot)
        return slot.value

    changed(entry, note)
    return found


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
    """Return the value of a key with its numbers and names changed."""
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
    return (entry.call is not None) + sum(map(calls_within, entry.inner))

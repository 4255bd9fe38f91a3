"""Blocks: groups of one structure, written once and called with what differs between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field

from cnnstat import ops
from cnnstat.export.entries import Call, Entry, spec_value, unused
from cnnstat.export.template_slots import (
    MOST_PARAMETERS,
    Parameters,
    body_of,
    call_groups,
    calls_within,
    groups_within,
    sharing,
    structure,
)
from cnnstat.spec.expressions import FUNCTIONS, RESERVED
from cnnstat.spec.item_reader import ITEM_KEYS

_GENERAL = ("group", "Sequential", "ModuleList", "ModuleDict", "Module", "Scope", "")
"""Kinds of modules that say nothing about what they hold."""
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_NUMBER = re.compile(r"\d+d?\Z")
SHORTEST_RUN = 3
"""Fewest equal calls that are written with repeat:."""
LONGEST_WORD = 20
"""Longest word that is added to the name of a block."""


@dataclass
class Blocks:
    """The blocks of a spec by `name(parameters)`; kinds: what kind of module each scope is."""

    kinds: Mapping[str, str]
    bodies: dict[str, list[Entry]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    _labels: set[str] = field(default_factory=set)
    _variants: dict[str, list[frozenset[str]]] = field(default_factory=dict)

    def extract(self, entries: list[Entry]) -> None:
        """Replace groups of one structure by calls of blocks, from the inside to the outside."""
        self._labels = {entry.label for entry in _all(entries) if entry.label is not None}
        by_height: dict[int, list[Entry]] = {}
        for group in groups_within(entries):
            by_height.setdefault(_height(group), []).append(group)
        # From the inside out: outer groups are alike only once the groups within them are calls.
        for height in sorted(by_height):
            alike: dict[Hashable, list[Entry]] = {}
            for group in by_height[height]:
                alike.setdefault(structure(group, is_outermost=True), []).append(group)
            # The most frequent structure gets the plain name; variants of it are named after what they add.
            for groups in sorted(alike.values(), key=len, reverse=True):
                self._unite(groups)
            for items in (entries, *self.bodies.values()):
                repeat_runs(items)
        self._sort(entries)

    def _sort(self, entries: list[Entry]) -> None:
        """Put the blocks into the order in which they are first called."""
        by_name = {head.partition("(")[0]: head for head in self.bodies}
        order: dict[str, None] = {}

        def visit(inside: list[Entry]) -> None:
            called = [by_name[e.call.callee] for e in _all(inside) if e.call is not None and e.call.callee in by_name]
            new = [head for head in dict.fromkeys(called) if head not in order]
            order.update(dict.fromkeys(new))
            for head in new:
                visit(self.bodies[head])

        visit(entries)
        self.bodies = {head: self.bodies[head] for head in order}

    def _unite(self, groups: list[Entry]) -> None:
        """Make a block of groups of one structure, or of those that are equal, where that is shorter."""
        size = calls_within(groups[0])
        if not _pays(len(groups), size):
            return
        for same, parameters in sharing(groups, min(MOST_PARAMETERS, 2 * size), self._reserved()):
            if _pays(len(same), size):
                self._define(same, parameters)

    def _define(self, groups: list[Entry], parameters: Parameters) -> None:
        name = self._name(groups)
        body = body_of(groups[0], parameters)
        self.bodies[_head(name, call_groups(name, groups, parameters, is_text=True))] = body

    def _reserved(self) -> set[str]:
        return {*ops.names(), *RESERVED, *FUNCTIONS, *self.names, "i", "input"}

    def _name(self, groups: list[Entry]) -> str:
        """Return a name for the block of groups that neither a layer nor a label has."""
        ((name, _),) = Counter(block_kind(group.path, self.kinds) for group in groups).most_common(1)
        words = _telling_words(groups[0].lists[0] if groups[0].lists else [])
        variants = self._variants.setdefault(name, [])
        if variants and (extra := [word for word in words if word not in variants[0]]):
            name += f"With{_capital(extra[0])}" if name[:1].isupper() else f"_with_{extra[0].lower()}"
        variants.append(frozenset(words))
        taken = {*ops.names(), *self.names, *self._labels, *ITEM_KEYS, *RESERVED, *FUNCTIONS}
        if name in taken and name not in self.names:
            name = f"{name[:1].upper()}{name[1:]}" if name[:1].islower() else f"{name}Block"
        name = unused(name, taken)
        self.names.add(name)
        return name


def block_kind(path: str, kinds: Mapping[str, str]) -> str:
    """Return what kind of module a scope is, or else its label after the kind around it."""
    own = kinds.get(path, "")
    if _is_telling(own):
        return own
    above = path.rpartition(".")[0]
    while above and not _is_telling(kinds.get(above, "")):
        above = above.rpartition(".")[0]
    label, around = _camel(path), kinds.get(above, "")
    return f"{around}{label}" if around[:1].isupper() else f"{around}_{label.lower()}" if around else label


def _is_telling(kind: str) -> bool:
    return kind not in _GENERAL and kind.isidentifier() and kind.isascii()


def _telling_words(entries: list[Entry]) -> list[str]:
    """Return the labels of what is within, and then what is called, by which variants of a block differ."""
    leaves = [entry for entry in _all(entries) if entry.lists is None]
    labels = [entry.label for entry in leaves if entry.label is not None and _WORD.fullmatch(entry.label)]
    called = [_NUMBER.sub("", entry.call.callee) for entry in leaves if entry.call is not None]
    return [word for word in (*labels, *called) if len(word) <= LONGEST_WORD]


def _all(entries: list[Entry]) -> Iterator[Entry]:
    return (each for entry in entries for each in entry.walk())


def _pays(count: int, size: int) -> bool:
    """Whether a block is shorter than its groups, each of so many calls."""
    # All groups in full against one body, a call for each group, and the line with the block's name.
    return count > 1 and size > 1 and count * size > size + count + 1


def _head(name: str, call: Call) -> str:
    """Return name and parameters of a block as a spec writes them."""
    written = [
        argument.name if argument.default is MISSING else f"{argument.name}={spec_value(argument.default, True)}"
        for argument in call.arguments
    ]
    return f"{name}({', '.join(written)})"


def _height(group: Entry) -> int:
    deepest = max((_height(inner) for inner in group.inner), default=0)
    return deepest + group.is_group


def _camel(path: str) -> str:
    """Return the last word of a path as the name of a kind: `Downsample` for `layer1.0.downsample`."""
    for part in reversed(path.split(".")):
        if words := _WORD.findall(_NUMBER.sub("", part)):
            return "".join(map(_capital, words))
    return "Block"


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


# Repetitions ---------------------------------------------------------------------------------------------------------


def repeat_runs(entries: list[Entry]) -> None:
    """Write equal calls under running numbers with repeat:, here and in all lists within."""
    for entry in entries:
        for inner in entry.lists or ():
            repeat_runs(inner)
    first = 0
    while first < len(entries):
        end = first + 1
        while end < len(entries) and _continues(entries[first], entries[end], end - first):
            end += 1
        if end - first >= SHORTEST_RUN:
            entries[first:end] = [_repeated(entries[first], end - first)]
        first += 1


def _continues(first: Entry, entry: Entry, distance: int) -> bool:
    """Whether an entry is another one again, with a label counted up by `distance`."""
    if any(each.call is None or each.lists or each.keys or each.reads is not None for each in (first, entry)):
        return False
    stem, number = _numbered(first.label)
    return number is not None and entry.label == f"{stem}{number + distance}" and str(first.call) == str(entry.call)


def _numbered(label: str | None) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.*?)(0|[1-9]\d{0,8})", label or "")
    return (match[1], int(match[2])) if match else ("", None)


def _repeated(entry: Entry, times: int) -> Entry:
    stem, number = _numbered(entry.label)
    counter = "{i}" if number == 0 else f"{{i + {number}}}"
    single = Entry(label=f"{stem}{counter}", call=entry.call)
    return Entry(lists=[[single]], repeat=times, variable="i")

"""Layer count: how many layers a spec expands to, known before anything is built.

Blocks are counted once for each set of arguments and repeats are multiplied, so that nested repeats and blocks that
double each other cost nothing to refuse.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

from cnnstat.errors import SpecError
from cnnstat.spec.expression_syntax import words_in
from cnnstat.spec.item_reader import ItemReader
from cnnstat.spec.items import Block, Call, Choice, Group, Item, Join, Meta
from cnnstat.spec.scope import MAX_LAYERS, Scope
from cnnstat.spec.tree import Abandoned

MAX_DEPTH = 100
"""Deepest nesting of lists within blocks within lists."""
MAX_STEPS = 5 * MAX_LAYERS
"""Most items to go through, those included that add no layer, and names behind `from:`."""
MAX_LISTS = 150_000
"""Most lists that are gone through while counting."""
MAX_EXAMINED = 3
"""Most blocks within blocks whose bodies are searched for the arguments that decide a size."""


class Size(NamedTuple):
    """What an item expands to: layers, and steps that are taken on the way, at least one."""

    layers: int
    steps: int


class LayerCount:
    """Counts layers; raises Abandoned where a spec has too many or a block calls itself.

    known: sizes of blocks by their arguments. deciding: the words that the size of each list depends on. examined: the
    blocks that are being searched for such words. active: the blocks that are being counted. faults: items that could
    not be evaluated.
    """

    def __init__(self, reader: ItemReader) -> None:
        self.reader = reader
        self.blocks = reader.blocks
        self.known: dict[Hashable, Size] = {}
        self.deciding: dict[int, frozenset[str]] = {}
        self.examined: set[str] = set()
        self.active: list[str] = []
        self.depth = 0
        self.lists = 0
        self.faults = 0

    def items(self, items: tuple[Item, ...], scope: Scope) -> Size:
        """Return the size of a list."""
        self.lists += 1
        if self.lists > MAX_LISTS and items:
            raise Abandoned("more repetitions and blocks than can be counted, by here", items[0].meta.location)
        scope.budget.spend(len(items))
        layers, steps = 0, 1
        self.depth += 1
        for item in items:
            # Plain layers, which are nearly all items, are counted without a call for each.
            if isinstance(item, Call) and item.callee not in self.blocks and item.callee not in scope:
                layers, steps = layers + 1, steps + _steps(item)
                continue
            if self.depth > MAX_DEPTH:
                raise Abandoned(f"lists and blocks are nested more than {MAX_DEPTH} deep here", item.meta.location)
            size = self.item(item, scope)
            layers, steps = layers + size.layers, steps + size.steps
            _check(layers, steps, item.meta)
        self.depth -= 1
        if items:
            _check(layers, steps, items[-1].meta)
        return Size(layers, steps)

    def item(self, item: Item, scope: Scope) -> Size:
        """Return the size of one item; what cannot be evaluated counts once and is reported later."""
        depth, active = self.depth, len(self.active)
        try:
            match scope.chosen(item):
                case Call() as call:
                    return self._call(call, scope)
                case Group() as group:
                    return self._group(group, scope)
                case Join() as join:
                    return self._join(join, scope)
            return Size(0, 1)
        except SpecError:
            # The fault is reported when the item is expanded; here only the counters are put back.
            self.faults += 1
            self.depth = depth
            del self.active[active:]
            return Size(1, 1)

    def _call(self, call: Call, scope: Scope) -> Size:
        """Return the size of a layer or a block."""
        name = scope.callee(call, self.blocks)
        if name not in self.blocks:
            return Size(1, _steps(call))
        block = self.blocks[name]
        if name in self.active:
            raise Abandoned(f"the block {name} calls itself; write the repetition with repeat:", call.meta.location)
        body = scope.body(block, call)
        # By its arguments: a block that doubles itself through others would be counted 2ⁿ times otherwise.
        key = scope.key(name, [body[parameter] for parameter, _ in block.parameters])
        if key in self.known:
            return self.known[key]
        self.active.append(name)
        size = self.items(self.reader.items(block.body), body)
        self.active.pop()
        self.known[key] = size
        return size

    def _group(self, group: Group, scope: Scope) -> Size:
        """Return the size of a group with its repetitions."""
        values = scope.repetitions(group)
        # Where the variable decides nothing, one repetition is counted and multiplied: nested repeats of 100,000 would
        # otherwise take the time that the bound is there to save.
        if values and (group.variable is None or group.variable not in self._deciding(group.items)):
            faults = self.faults
            size = self.items(group.items, next(scope.rounds(group, values)))
            if group.variable is None or self.faults == faults:  # a fault of one round tells nothing of the others
                layers, steps = len(values) * size.layers, len(values) * size.steps
                _check(layers, steps, group.meta)
                return Size(layers, steps)
        layers, steps = 0, 1
        for inner in scope.rounds(group, values):
            size = self.items(group.items, inner)
            layers, steps = layers + size.layers, steps + size.steps
            _check(layers, steps, group.meta)
        return Size(layers, steps)

    def _deciding(self, items: tuple[Item, ...]) -> frozenset[str]:
        """Return the words that the size of a list may depend on."""
        if id(items) not in self.deciding:
            self.deciding[id(items)] = frozenset(word for item in items for word in self._words(item))
        return self.deciding[id(items)]

    def _words(self, item: Item) -> Iterator[str]:
        """Yield the words that decide the size of an item: of conditions, repeats and arguments of blocks."""
        if item.meta.condition is not None:
            yield from words_in(item.meta.condition.written)
        if isinstance(item, Call) and item.callee in self.blocks:
            yield from self._argument_words(item, self.blocks[item.callee])
        elif isinstance(item, Call) and item.callee not in self.reader.callables:
            yield item.callee  # a variable, which may hold the name of a block
            yield from item.names
        groups: tuple[Group, ...] = ()
        if isinstance(item, Group):
            groups = (item,)
        elif isinstance(item, Join):
            groups = item.branches
        elif isinstance(item, Choice):
            groups = (item.then, item.otherwise)
        for group in groups:
            if group.repeat is not None:
                yield from words_in(group.repeat.written)
            yield from self._deciding(group.items)

    def _argument_words(self, call: Call, block: Block) -> Iterator[str]:
        """Yield the words of those arguments that the size of a block may depend on: depths, and seldom widths."""
        if block.name in self.examined or len(self.examined) == MAX_EXAMINED:
            # Too many words only cost time; one too few would let a network through that fills the memory.
            yield from call.names
            return
        self.examined.add(block.name)
        deciding = set(self._deciding(self.reader.items(block.body)))
        self.examined.discard(block.name)
        for _, default in block.parameters:  # which may mention other parameters
            if default is not None:
                deciding.update(words_in(default.written))
        names = [name for name, _ in block.parameters]
        for name, value in (*zip(names, call.positional), *call.keywords):
            if name in deciding:
                yield from words_in(value.written)

    def _join(self, join: Join, scope: Scope) -> Size:
        sizes = [self._group(branch, scope) for branch in join.branches]
        return Size(1 + sum(size.layers for size in sizes), 1 + sum(size.steps for size in sizes))


def _steps(call: Call) -> int:
    return 1 if call.meta.reads is None else 1 + len(call.meta.reads)


def _check(layers: int, steps: int, meta: Meta) -> None:
    if layers > MAX_LAYERS:
        raise Abandoned(f"the network grows to more than {MAX_LAYERS:,} layers here", meta.location)
    if steps > MAX_STEPS:
        message = f"more than {MAX_STEPS:,} items and names behind from: by here, all repetitions counted"
        raise Abandoned(message, meta.location)

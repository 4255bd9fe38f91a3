"""Measuring: how many layers a spec expands to, found out before anything is built.

Blocks are measured once for each set of arguments and repeats are multiplied, so that nested repeats and blocks that
double each other cost nothing to refuse.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from cnnstat.errors import Location, SpecError
from cnnstat.frontends.document import Block
from cnnstat.frontends.evaluation import MAX_LAYERS, block_variables, each, holds, resolved, rounds
from cnnstat.frontends.item_reader import ItemReader
from cnnstat.frontends.items import Call, Choice, Faulty, Group, Item, Join
from cnnstat.frontends.problems import Abandoned
from cnnstat.frontends.variables import Variables

MAX_DEPTH = 100
"""Deepest nesting of lists within blocks within lists."""
MAX_STEPS = 5 * MAX_LAYERS
"""Most items to go through, those included that add no layer."""


class Size(NamedTuple):
    """What an item expands to: layers, and steps that are taken on the way, at least one."""

    layers: int
    steps: int


class Measure:
    """Counts layers; raises Abandoned where a spec has too many or a block calls itself."""

    def __init__(self, reader: ItemReader, blocks: dict[str, Block], variables: Variables) -> None:
        self.reader = reader
        self.blocks = blocks
        self.variables = variables
        self.known: dict[Hashable, Size] = {}
        self.active: list[str] = []
        self.depth = 0

    def items(self, items: tuple[Item, ...], variables: Variables) -> Size:
        """Return the size of a list."""
        variables.budget.spend(len(items))
        layers, steps = 0, 1
        for item in items:
            if isinstance(item, Call) and item.callee not in self.blocks and item.callee not in variables:
                layers, steps = layers + 1, steps + 1
                continue
            with self._deeper(item.meta.location):
                size = self.item(item, variables)
            layers, steps = layers + size.layers, steps + size.steps
            _check(layers, steps, item.meta.location)
        if items:
            _check(layers, steps, items[-1].meta.location)
        return Size(layers, steps)

    @contextmanager
    def _deeper(self, location: Location) -> Iterator[None]:
        """Go one level down and come back up whatever happens."""
        if self.depth >= MAX_DEPTH:
            raise Abandoned(f"lists and blocks are nested more than {MAX_DEPTH} deep here", location)
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def item(self, item: Item, variables: Variables) -> Size:
        """Return the size of one item; what cannot be evaluated counts once and is reported later."""
        try:
            if isinstance(item, Choice):
                chosen = item.then if holds(item.meta.condition, variables) else item.otherwise
                return self._group(chosen, variables)
            if isinstance(item, Faulty) or not holds(item.meta.condition, variables):
                return Size(0, 1)
            if isinstance(item, Call):
                return self._call(item, variables)
            if isinstance(item, Group):
                return self._group(item, variables)
            return self._join(item, variables)
        except SpecError:
            return Size(1, 1)

    def _call(self, call: Call, variables: Variables) -> Size:
        """Return the size of a layer or a block."""
        name = resolved(call, variables, self.blocks)
        if name not in self.blocks:
            return Size(1, 1)
        block = self.blocks[name]
        if name in self.active:
            said = f"the block {name} calls itself; write the repetition with repeat:"
            raise Abandoned(said, call.meta.location)
        body = block_variables(block, call, self.variables, variables, self.reader.callables)
        key = identity(name, [body[parameter] for parameter, _ in block.parameters])
        if key is not None and key in self.known:
            return self.known[key]
        self.active.append(name)
        try:
            size = self.items(self.reader.items(block.body), body)
        finally:
            self.active.pop()
        if key is not None:
            self.known[key] = size
        return size

    def _group(self, group: Group, variables: Variables) -> Size:
        """Return the size of a group with its repetitions."""
        values = rounds(group, variables, self.reader.callables)
        if group.variable is None and values:
            size = self.items(group.items, variables)
            layers, steps = len(values) * size.layers, len(values) * size.steps
            _check(layers, steps, group.meta.location)
            return Size(layers, steps)
        layers, steps = 0, 1
        for inner in each(group, values, variables):
            size = self.items(group.items, inner)
            layers, steps = layers + size.layers, steps + size.steps
            _check(layers, steps, group.meta.location)
        return Size(layers, steps)

    def _join(self, join: Join, variables: Variables) -> Size:
        """Return the size of all branches and the op that joins them."""
        sizes = [self._group(branch, variables) for branch in join.branches]
        return Size(1 + sum(size.layers for size in sizes), 1 + sum(size.steps for size in sizes))


def _check(layers: int, steps: int, location: Location) -> None:
    """Raise Abandoned if there are too many layers."""
    if layers > MAX_LAYERS or steps > MAX_STEPS:
        raise Abandoned(f"the network grows to more than {MAX_LAYERS:,} layers here", location)


def identity(what: str, values: list[Any]) -> Hashable:
    """Return a key that is equal for equal values of equal types, or None if there is a list among them."""
    if any(isinstance(value, list) for value in values):
        return None
    return (what, *values, *map(type, values))

"""Measuring: how many layers a spec expands to, found out before anything is built.

Blocks are counted once for each set of arguments and repeats are multiplied, so that nested repeats and blocks that
double each other cost nothing to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnstat.errors import SpecError
from cnnstat.frontends.document import Block
from cnnstat.frontends.evaluation import MAX_LAYERS, block_variables, each, holds, resolved, rounds
from cnnstat.frontends.expression import Variables
from cnnstat.frontends.items import Call, Choice, Group, Item, ItemReader, Join, fail


class Measure:
    """Counts layers; raises SpecError where a spec has too many or a block calls itself."""

    def __init__(self, reader: ItemReader, blocks: dict[str, Block], variables: Mapping[str, Any]) -> None:
        self.reader = reader
        self.blocks = blocks
        self.variables = variables
        self.known: dict[str, int] = {}
        self.active: list[str] = []

    def items(self, items: tuple[Item, ...], variables: Variables) -> int:
        """Return the number of layers of a list."""
        total = 0
        for item in items:
            total += max(1, self.item(item, variables))  # an empty item takes a step all the same
            if total > MAX_LAYERS:
                fail(item.meta.location, f"the network grows to more than {MAX_LAYERS:,} layers here")
        return total

    def item(self, item: Item, variables: Variables) -> int:
        """Return the number of layers of one item; what cannot be evaluated counts once and is reported later."""
        if isinstance(item, Call) and item.callee not in self.blocks and item.callee not in variables:
            return 1
        try:
            if not holds(item.meta.condition, variables) and not isinstance(item, Choice):
                return 0
            if isinstance(item, Call):
                return self._call(item, variables)
            if isinstance(item, Group):
                return self._group(item, variables)
            if isinstance(item, Join):
                return 1 + sum(self._group(branch, variables) for branch in item.branches)
            chosen = item.then if holds(item.meta.condition, variables) else item.otherwise
            return self._group(chosen, variables)
        except SpecError as error:
            if any("layers" in p.message or "itself" in p.message for p in error.problems):
                raise
            return 1

    def _call(self, call: Call, variables: Variables) -> int:
        """Return the number of layers of a layer (one) or a block."""
        name = resolved(call, variables, self.blocks)
        if name not in self.blocks:
            return 1
        block = self.blocks[name]
        if name in self.active:
            fail(call.meta.location, f"the block {name} calls itself; write the repetition with repeat:")
        body = block_variables(block, call, self.variables, variables)
        key = f"{name} {[body[parameter] for parameter, _ in block.parameters]}"
        if key not in self.known:
            self.active.append(name)
            self.known[key] = self.items(self.reader.items(block.body), body)
            self.active.pop()
        return self.known[key]

    def _group(self, group: Group, variables: Variables) -> int:
        """Return the number of layers of a group with its repetitions; each counts at least one."""
        values, name = rounds(group, variables)
        if not values:
            return 0
        ends = [self.items(group.items, {**variables, name: v} if name else variables) for v in (values[0], values[-1])]
        estimate = len(values) * max(1, min(ends))
        if estimate > MAX_LAYERS:
            fail(group.meta.location, f"{estimate:,} layers here, more than the {MAX_LAYERS:,} a network may have")
        if name is None:
            return estimate
        total = 0
        for inner in each(group, variables):
            total += max(1, self.items(group.items, inner))
            if total > MAX_LAYERS:
                fail(group.meta.location, f"the network grows to more than {MAX_LAYERS:,} layers here")
        return total

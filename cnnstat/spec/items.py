"""Items: what may stand in a list of layers, as written; nothing is evaluated yet."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cnnstat.errors import Location, OpError
from cnnstat.spec.signature import signature
from cnnstat.spec.tree import Scalar, Tree


class Value(NamedTuple):
    """An argument as written: an expression inside a call text, or a YAML value.

    inside, offset: the text or key it is found in, and how many bytes of that come before it (or before its name).
    """

    written: ast.expr | Tree
    inside: Scalar | None = None
    offset: int = 0

    @property
    def location(self) -> Location:
        """Where the argument begins, with its name if it is written with one."""
        if self.inside is not None:
            return self.inside.place(self.offset)
        assert isinstance(self.written, Tree)
        return self.written.location


@dataclass(frozen=True, slots=True, eq=False)
class LayerLocation(Location):
    """Where a layer stands, and where each of its arguments does."""

    callee: str
    positional: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]

    def argument(self, name: str) -> Location:
        """Return where the argument `name` is written, or the place of the layer if it is not."""
        for keyword, value in self.keywords:
            if keyword == name:
                return value.location
        try:
            names, _, _ = signature(self.callee)
        except OpError:
            return self
        index = names.index(name) if name in names else len(names)
        return self.positional[index].location if index < len(self.positional) else self


class Template(NamedTuple):
    """A name with expressions in braces (`conv{stage}_{i + 1}`): literal text and expressions by turns."""

    parts: tuple[str | ast.expr, ...]
    location: Location


class Meta(NamedTuple):
    """What every item may carry; `given` are the keys of `cnnstat.spec.layer_overrides`, on single layers only."""

    location: Location
    name: Template | None = None
    reads: tuple[Template, ...] | None = None
    share: Template | None = None
    frozen: Value | None = None
    condition: Value | None = None
    given: Mapping[str, Tree] | None = None


class Call(NamedTuple):
    """A layer or a block with its arguments.

    text: the call as written, or whatever else tells it from every other call.
    names: the words its arguments mention; calls of one text with equal values for them mean the same.
    """

    meta: Meta
    callee: str
    text: str
    names: tuple[str, ...] = ()
    positional: tuple[Value, ...] = ()
    keywords: tuple[tuple[str, Value], ...] = ()


class Group(NamedTuple):
    """A list of items, run once or repeated; with a name it is a scope of its own."""

    meta: Meta
    items: tuple[Item, ...]
    repeat: Value | None = None
    variable: str | None = None


class Join(NamedTuple):
    """Parallel branches that start from the same tensor, and the op that joins them."""

    meta: Meta
    call: Call
    branches: tuple[Group, ...]


class Choice(NamedTuple):
    """`if:` with `then:` and `else:`."""

    meta: Meta
    then: Group
    otherwise: Group


class Faulty(NamedTuple):
    """An item that could not be read; it is known already, and what follows from it need not be told."""

    meta: Meta


Item = Call | Group | Join | Choice | Faulty

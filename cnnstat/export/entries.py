"""Entries: the items of a spec before they are text, with arguments that can still be told from one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

from cnnstat.ir.op import Op


class Expression(NamedTuple):
    """A text that a spec evaluates, such as `4 * width`."""

    text: str


class Argument(NamedTuple):
    """An argument: its value, its default (MISSING where there is none), and whether it is written without its name."""

    name: str
    value: Any
    default: Any = MISSING
    is_positional: bool = False
    is_text: bool = False


class Call(NamedTuple):
    """A layer or a block with its arguments."""

    callee: str
    arguments: tuple[Argument, ...] = ()

    def __str__(self) -> str:
        """The call as a spec writes it: arguments that differ from their defaults."""
        written = []
        for name, value, default, is_positional, is_text in self.arguments:
            if is_positional:
                written.append(shown(value, is_text))
            elif default is MISSING or value != default or type(value) is not type(default):
                written.append(f"{name}={shown(value, is_text)}")
        return f"{self.callee}({', '.join(written)})" if written else self.callee


def shown(value: Any, is_text: bool = False) -> str:
    """Return a value as an expression; words that are texts, not arguments of layers, get quotes."""
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(shown(each, is_text) for each in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and (is_text or not value.isidentifier()):
        return repr(value)  # `nearest-exact` would be a difference
    return str(value)


def call_of(op: Op) -> Call:
    """Return the call of an op of the library."""
    declared = fields(op)  # type: ignore[arg-type]  # every registered op is a dataclass
    arguments = (
        Argument(f.name, getattr(op, f.name), f.default, f.default is MISSING and not f.kw_only) for f in declared
    )
    return Call(op.kind, tuple(arguments))


@dataclass(slots=True, eq=False)
class Entry:
    """An item: a layer or block (`call`), a group (one list), a join (`call` and its branches), or a repetition.

    label: the name in front; None where the automatic one will do.
    reads: what stands behind `from:`; keys: what else stands beside the item.
    learns: whether its weights are learnt; None where it has none.
    path: the full name of a group. repeat, variable: how often a group runs, and what counts.
    """

    label: str | None = None
    call: Call | None = None
    lists: list[list[Entry]] | None = None
    reads: list[str] | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    learns: bool | None = None
    path: str = ""
    repeat: int | None = None
    variable: str = ""

    @property
    def is_group(self) -> bool:
        """Whether it is a list of items with a name."""
        return self.call is None and self.lists is not None

    @property
    def inner(self) -> Iterator[Entry]:
        """The entries directly within this one."""
        for entries in self.lists or ():
            yield from entries

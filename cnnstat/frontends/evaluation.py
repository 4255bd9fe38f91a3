"""What items mean under given variables: conditions, repeats, names, and the arguments of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnnstat.frontends.binding import value_of
from cnnstat.frontends.document import Block
from cnnstat.frontends.expression import ExpressionError, Variables, evaluate_tree
from cnnstat.frontends.items import Call, Group, Template, Value, fail

MAX_LAYERS = 200_000
"""Most layers of one network; enough for any real one, few enough to be refused at once."""


def holds(condition: Value | None, variables: Variables) -> bool:
    """Return whether a condition is true; no condition is."""
    return condition is None or bool(value_of(condition, variables))


def rounds(group: Group, variables: Variables) -> tuple[list[Any] | range, str | None]:
    """Return the values that the group's variable takes, one for each repetition, and the variable's name."""
    if group.repeat is None:
        return range(1), None
    times = value_of(group.repeat, variables)
    if isinstance(times, list):
        return times, group.variable
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        fail(group.repeat.location, f"repeat: takes a whole number or a list, not {str(times)[:40]}")
    if times > MAX_LAYERS:
        fail(group.repeat.location, f"repeat: {times:,} is more than the {MAX_LAYERS:,} layers a network may have")
    return range(times), group.variable


def block_variables(block: Block, call: Call, variables: Variables, outer: Variables) -> dict[str, Any]:
    """Return the variables of a block's body: those of the document and the block's parameters."""
    names = [name for name, _ in block.parameters]
    if len(call.positional) > len(names):
        fail(call.meta.location, f"{block.name} takes {_listed(names)}, but is given {len(call.positional)} values")
    given: dict[str, Any] = {}
    for name, value in (*zip(names, call.positional), *call.keywords):
        if name not in names:
            fail(value.location, f"the block {block.name} has no parameter {name[:60]}; it takes {_listed(names)}")
        if name in given:
            fail(value.location, f"the block {block.name} is given {name} twice")
        given[name] = value_of(value, outer)
    body = {**variables, **given}
    for name, default in block.parameters:
        if name in given:
            continue
        if default is None:
            fail(call.meta.location, f"the block {block.name} needs {name}; it takes {_listed(names)}")
        body[name] = value_of(Value(default, block.location), body)
    return body


def _listed(names: list[str]) -> str:
    """Return names as a list for a message."""
    return ", ".join(names) or "no parameters"


def filled(template: Template, variables: Variables) -> str:
    """Return a name with its expressions evaluated; raises SpecError."""
    try:
        parts = [p if isinstance(p, str) else str(evaluate_tree(p, variables)) for p in template.parts]
    except ExpressionError as error:
        fail(template.location, str(error))
    return "".join(parts)


def resolved(call: Call, variables: Variables, blocks: dict[str, Block]) -> str:
    """Return what a call calls: a variable that holds the name of a layer or block stands for it."""
    value = variables.get(call.callee)
    return value if isinstance(value, str) and call.callee not in blocks else call.callee


def each(group: Group, variables: Variables) -> Iterator[Variables]:
    """Yield the variables of each repetition."""
    values, name = rounds(group, variables)
    for value in values:
        yield {**variables, name: value} if name else variables

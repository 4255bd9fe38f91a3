"""What items mean under given variables: conditions, repeats, names, and the arguments of blocks."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

from cnnstat.errors import did_you_mean
from cnnstat.spec.arithmetic import ExpressionError
from cnnstat.spec.binding import value_of
from cnnstat.spec.document import Block
from cnnstat.spec.expression import evaluate_tree
from cnnstat.spec.items import Call, Group, Template, Value
from cnnstat.spec.problems import Abandoned, fail
from cnnstat.spec.variables import Variables

MAX_LAYERS = 120_000
"""Most layers of one network; enough for any real one, few enough to be refused at once."""


def holds(condition: Value | None, variables: Variables) -> bool:
    """Return whether a condition is true; no condition is."""
    return condition is None or bool(value_of(condition, variables))


def rounds(group: Group, variables: Variables, layers: Container[str]) -> Sequence[Any]:
    """Return the values that the group's variable takes, one for each repetition."""
    if group.repeat is None:
        return range(1)
    times = value_of(group.repeat, variables, layers=layers)
    if isinstance(times, list):
        return times
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        fail(group.repeat.location, f"repeat: takes a whole number or a list, not {str(times)[:40]}")
    if times > MAX_LAYERS:
        fail(group.repeat.location, f"repeat: {times:,} is more than the {MAX_LAYERS:,} layers a network may have")
    return range(times)


def each(group: Group, values: Sequence[Any], variables: Variables) -> Iterator[Variables]:
    """Yield the variables of each repetition."""
    name = group.variable
    for value in values:
        yield variables if name is None else variables.inside({name: value})


def block_variables(
    block: Block, call: Call, variables: Variables, outer: Variables, layers: Container[str]
) -> Variables:
    """Return the variables of a block's body: the block's parameters in front of those of the document.

    outer: the variables of whoever calls it, which its arguments are evaluated with.
    """
    names = [name for name, _ in block.parameters]
    if len(call.positional) > len(names):
        fail(call.positional[len(names)].location, f"the block {block.name} takes {_listed(names)}; leave this out")
    own: dict[str, Any] = {}
    for name, value in (*zip(names, call.positional), *call.keywords):
        if name not in names:
            hint = did_you_mean(name, names) or f"; it takes {_listed(names)}"
            fail(value.location, f"the block {block.name} has no parameter {name[:60]}{hint}")
        if name in own:
            fail(value.location, f"the block {block.name} is given {name} twice; keep one")
        own[name] = value_of(value, outer, layers=layers)
    body = variables.inside(own)
    for name, default in block.parameters:
        if name in own:
            continue
        if default is None:
            fail(call.meta.location, f"the block {block.name} needs {name}; it takes {_listed(names)}")
        own[name] = value_of(default, body, layers=layers)
    return body


def _listed(names: list[str]) -> str:
    """Return names as a list for a message."""
    return ", ".join(names) or "no parameters"


def filled(template: Template, variables: Variables) -> str:
    """Return a name with its expressions evaluated; raises SpecError."""
    try:
        parts = [part if isinstance(part, str) else _text(evaluate_tree(part, variables)) for part in template.parts]
    except ExpressionError as error:
        fail(template.location, str(error))
    except Abandoned as stop:
        stop.location = stop.location or template.location
        raise
    return "".join(parts)


def filled_names(template: Template, variables: Variables) -> list[str]:
    """Return the names behind `from:`: one, or as many as a list has where the whole is one expression, `{skips}`."""
    if (
        len(template.parts) == 3
        and template.parts[0] == template.parts[2] == ""
        and not isinstance(template.parts[1], str)
    ):
        try:
            value = evaluate_tree(template.parts[1], variables)
        except ExpressionError as error:
            fail(template.location, str(error))
        except Abandoned as stop:
            stop.location = stop.location or template.location
            raise
        if isinstance(value, list):
            return [_checked_name(each, template) for each in value]
    return [filled(template, variables)]


def _checked_name(value: Any, template: Template) -> str:
    """Return a name out of a list."""
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        fail(template.location, "a list behind from: holds names in quotes, as in ['conv1', 'conv2']")
    return str(value)


def _text(value: Any) -> str:
    """Return a value as part of a name."""
    if isinstance(value, list):
        raise ExpressionError("a list cannot be part of a name; pick one of its values, as in {sizes[0]}")
    return str(value)


def resolved(call: Call, variables: Variables, blocks: dict[str, Block]) -> str:
    """Return what a call calls: a variable that holds the name of a layer or block stands for it."""
    if call.callee in blocks:
        return call.callee
    value = variables.get(call.callee)
    return value if isinstance(value, str) else call.callee

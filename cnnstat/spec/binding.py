"""Binding: arguments as written to the fields of an op."""

from __future__ import annotations

import ast
from collections.abc import Container
from typing import Any

from cnnstat import ops
from cnnstat.errors import Location, OpError, did_you_mean
from cnnstat.ir.op import Op
from cnnstat.spec.arithmetic import ExpressionError, bounded
from cnnstat.spec.expression import evaluate_tree
from cnnstat.spec.grammar import parse_expression
from cnnstat.spec.items import Call, Value
from cnnstat.spec.problems import Abandoned, fail
from cnnstat.spec.signature import Signature, example, signature
from cnnstat.spec.tree import Scalar, Sequence, Tree
from cnnstat.spec.variables import Variables

NO_WORDS: Container[str] = ()


def value_of(value: Value, variables: Variables, words: tuple[str, ...] = (), layers: Container[str] = NO_WORDS) -> Any:
    """Return what an argument means; raises SpecError at its place.

    words: bare words that mean themselves, where no variable has their name.
    layers: names of layers and blocks; one of them, with or without arguments, means its own text.
    """
    if isinstance(value.written, Tree):
        return tree_value(value.written, variables, words, layers)
    assert value.inside is not None
    try:
        return _evaluated(value.written, variables, words, layers)
    except ExpressionError as error:
        fail(value.inside.place(error.offset), str(error))
    except Abandoned as stop:
        stop.location = stop.location or value.location
        raise


def tree_value(tree: Tree, variables: Variables, words: tuple[str, ...] = (), layers: Container[str] = NO_WORDS) -> Any:
    """Return what a YAML value means: numbers and truth values themselves, text as an expression, lists of those."""
    value = _tree_value(tree, variables, words, layers)
    try:
        return bounded(value)
    except ExpressionError as error:
        fail(tree.location, str(error))


def _tree_value(tree: Tree, variables: Variables, words: tuple[str, ...], layers: Container[str]) -> Any:
    """Return what a YAML value means, however large."""
    try:
        variables.budget.spend(1)
        if isinstance(tree, Sequence):
            return [_tree_value(item, variables, words, layers) for item in tree.items]
        if not isinstance(tree, Scalar):
            fail(tree.location, "a mapping cannot be a value here; write a number, a word or a list")
        value = tree.value
        return value if not isinstance(value, str) else _evaluated(parse_expression(value), variables, words, layers)
    except ExpressionError as error:
        assert isinstance(tree, Scalar)
        fail(tree.place(error.offset), str(error))
    except Abandoned as stop:
        stop.location = stop.location or tree.location
        raise


def _evaluated(node: ast.expr, variables: Variables, words: tuple[str, ...], layers: Container[str]) -> Any:
    """Return the value of an expression, or the text of a layer."""
    head = node.func if isinstance(node, ast.Call) else node
    if isinstance(head, ast.Name) and head.id in layers and head.id not in variables:
        return ast.unparse(node)
    return evaluate_tree(node, variables, words)


def bind(callee: str, call: Call, variables: Variables) -> Op:
    """Return the op called `callee` with a call's arguments; raises SpecError where they do not fit."""
    op, known = ops.lookup(callee), signature(callee)
    written = call.positional
    arguments: dict[str, Any] = {}
    if len(written) > len(known.positional):
        if len(known.positional) != 1:
            fail(written[len(known.positional)].location, _too_many(op, known))
        arguments[known.positional[0]] = [value_of(value, variables) for value in written]
        written = ()
    for name, value in (*zip(known.positional, written), *call.keywords):
        if name not in known.kinds:
            fail(value.location, f"{callee} {_unknown(op, name, known)}")
        if name in arguments:
            hint = _inferred(op) if name in known.positional[1 : len(written)] else ""
            fail(value.location, f"{callee}: {name} is given twice{hint or '; keep one'}")
        arguments[name] = value_of(value, variables, known.kinds[name].words)
    missing = [name for name in known.required if name not in arguments]
    if missing:
        fail(call.meta.location, f"{callee} needs {' and '.join(missing)}; write {example(op)}")
    try:
        return op(**arguments)
    except OpError as error:
        name = str(error).partition("=")[0]
        # A count where something else belongs is most often PyTorch's order, in_channels first.
        is_shifted = name in known.positional[1 : len(written)] and type(arguments[name]) is int and arguments[name] > 0
        place: Location = call.meta.location.argument(name)
        fail(place, f"{callee}: {error}{_inferred(op) if is_shifted else ''}")


def _too_many(op: type[Op], known: Signature) -> str:
    """Return the message for too many positional arguments."""
    if not known.positional:
        return f"{op.__name__} takes no arguments without a name{_inferred(op)}; write {example(op)}"
    names = ", ".join(known.positional)
    return f"{op.__name__} takes at most {len(known.positional)} arguments without a name: {names}{_inferred(op)}"


def _unknown(op: type[Op], name: str, known: Signature) -> str:
    """Return the message for an argument that the op does not have."""
    if name in op.inferred:
        return f"takes no {name}: the graph knows it; leave it out"
    hint = did_you_mean(name, known.kinds)
    if not hint:
        hint = f"; it takes {', '.join(known.kinds)}" if known.kinds else "; it takes none"
    return f"has no argument {name[:60]}{hint}"


def _inferred(op: type[Op]) -> str:
    """Return a reminder of the arguments that are not written."""
    return f"; {' and '.join(op.inferred)} is not written, the graph knows it" if op.inferred else ""

"""Binding: arguments as written to the fields of an op."""

from __future__ import annotations

import ast
from dataclasses import MISSING, fields
from typing import Any

from cnnstat.errors import Location, OpError, Problem, SpecError, did_you_mean
from cnnstat.frontends.expression import ExpressionError, Variables, evaluate, evaluate_tree
from cnnstat.frontends.items import Call, Value, fail
from cnnstat.frontends.yaml_tree import Mapping, Scalar, Sequence, Tree
from cnnstat.ir.argument import Kind
from cnnstat.ir.op import Op


def value_of(value: Value, variables: Variables, words: tuple[str, ...] = ()) -> Any:
    """Return what an argument means; raises SpecError at its place."""
    try:
        if isinstance(value.written, Tree):
            return tree_value(value.written, variables, words)
        return evaluate_tree(value.written, variables, words)
    except ExpressionError as error:
        raise SpecError([Problem(_place(value, error), str(error))]) from None


def _place(value: Value, error: ExpressionError) -> Location:
    """Return where in the file an expression failed."""
    if isinstance(value.written, Tree):
        return value.location
    where, start = value.location, value.written.col_offset
    return Location(where.file, where.line, where.column + max(0, error.offset - start))


def tree_value(tree: Tree, variables: Variables, words: tuple[str, ...] = ()) -> Any:
    """Return what a YAML value means: numbers and truth values themselves, text as an expression, lists of those."""
    if isinstance(tree, Scalar):
        value = tree.value
        if not isinstance(value, str) or (value in words and value not in variables):
            return value
        return evaluate(value, variables)
    if isinstance(tree, Sequence):
        return [tree_value(item, variables, words) for item in tree.items]
    assert isinstance(tree, Mapping)
    fail(tree.location, "a mapping cannot be an argument; write a number, a word or a list")


Signature = tuple[tuple[str, ...], dict[str, Kind], tuple[str, ...]]
_SIGNATURES: dict[type[Op], Signature] = {}


def signature(op: type[Op]) -> Signature:
    """Return an op's positional arguments, the kinds of all its arguments, and those without a default."""
    if op not in _SIGNATURES:
        _SIGNATURES[op] = _signature(op)
    return _SIGNATURES[op]


def _signature(op: type[Op]) -> Signature:
    """Return what `signature` keeps."""
    declared = fields(op)  # type: ignore[arg-type]  # every registered op is a dataclass
    positional = tuple(f.name for f in declared if not f.kw_only)
    required = tuple(f.name for f in declared if f.default is MISSING)
    return positional, {f.name: f.metadata["kind"] for f in declared}, required


def bind(op: type[Op], call: Call, variables: Variables) -> Op:
    """Return the op that a call means; raises SpecError for arguments that do not fit."""
    positional, kinds, required = signature(op)
    written = call.positional
    arguments: dict[str, Any] = {}
    if len(written) > len(positional):
        if len(positional) != 1:
            fail(call.meta.location, f"{_too_many(op, positional)}")
        arguments[positional[0]] = [value_of(value, variables) for value in written]
        written = ()
    for name, value in (*zip(positional, written), *call.keywords):
        if name not in kinds:
            fail(value.location, f"{op.__name__} {_unknown(op, name, kinds)}")
        if name in arguments:
            fail(value.location, f"{op.__name__}: {name} is given twice{_inferred_hint(op)}")
        arguments[name] = value_of(value, variables, kinds[name].words)
    missing = [name for name in required if name not in arguments]
    if missing:
        fail(call.meta.location, f"{op.__name__} needs {' and '.join(missing)}; write {example(op)}")
    try:
        return op(**arguments)
    except OpError as error:
        fail(_argument_location(call, positional, str(error)), f"{op.__name__}: {error}")


def _argument_location(call: Call, positional: tuple[str, ...], message: str) -> Location:
    """Return the place of the argument that an error message begins with, or of the layer."""
    places = {name: value.location for name, value in (*zip(positional, call.positional), *call.keywords)}
    return places.get(message.split("=")[0], call.meta.location)


def _too_many(op: type[Op], positional: tuple[str, ...]) -> str:
    """Return the message for too many positional arguments."""
    if not positional:
        return f"{op.__name__} takes no positional arguments{_inferred_hint(op)}; write {example(op)}"
    return f"{op.__name__} takes at most {len(positional)} positional arguments: {', '.join(positional)}"


def _unknown(op: type[Op], name: str, kinds: dict[str, Kind]) -> str:
    """Return the message for an argument that the op does not have."""
    if name in op.inferred:
        return f"takes no {name}: the graph knows it; leave it out"
    hint = did_you_mean(name, kinds)
    if not hint:
        hint = f"; it takes {', '.join(kinds)}" if kinds else "; it takes none"
    return f"has no argument {name[:60]}{hint}"


def _inferred_hint(op: type[Op]) -> str:
    """Return a reminder of the arguments that are not written."""
    return f" ({' and '.join(op.inferred)} is not written: the graph knows it)" if op.inferred else ""


def example(op: type[Op]) -> str:
    """Return a call of the op as one would write it."""
    return str(op.examples()[0].op)


def constant(call: Call) -> bool:
    """Whether a call means the same wherever it stands: no argument names a variable."""
    values = (*call.positional, *(value for _, value in call.keywords))
    return all(_is_constant(value.written) for value in values)


def _is_constant(written: ast.expr | Tree) -> bool:
    """Whether an argument contains no name."""
    if isinstance(written, Scalar):
        return not isinstance(written.value, str)
    if isinstance(written, Sequence):
        return all(map(_is_constant, written.items))
    return isinstance(written, ast.expr) and not any(isinstance(node, ast.Name) for node in ast.walk(written))

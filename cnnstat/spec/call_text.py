"""Call texts: layers and blocks written as PyTorch prints them, taken apart."""

from __future__ import annotations

import ast
from functools import lru_cache

from cnnstat.spec.arithmetic import ExpressionError, quoted
from cnnstat.spec.grammar import parse_expression
from cnnstat.spec.problems import fail
from cnnstat.spec.tree import Scalar, Sequence, Tree

Parts = tuple[str, list[ast.expr], list[ast.keyword], tuple[str, ...]]


def taken_apart(scalar: Scalar) -> Parts:
    """Return callee, positional and keyword arguments of a call text, and the words the arguments mention."""
    try:
        return _parts(scalar.text)
    except ExpressionError as error:
        fail(scalar.place(error.offset), str(error))


@lru_cache(maxsize=8192)
def _parts(text: str) -> Parts:
    """Return the parts of a call text; raises ExpressionError."""
    node = parse_expression(text)
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if isinstance(call.func, ast.Attribute):
        raise ExpressionError(f"{quoted(ast.unparse(call.func))} has a dot; write {call.func.attr} alone")
    if not isinstance(call.func, ast.Name):
        raise ExpressionError(f"{text[:60]} is not a layer; write one as in Conv2d(64, 3)")
    for argument in call.args:
        if isinstance(argument, ast.Starred):
            raise ExpressionError("* is not allowed in a spec; write the arguments out", argument.col_offset)
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ExpressionError("** is not allowed in a spec; write the arguments out", keyword.col_offset)
    return call.func.id, call.args, call.keywords, _words(*call.args, *call.keywords)


def words_in(written: ast.expr | Tree) -> tuple[str, ...]:
    """Return the words that a YAML value mentions."""
    if isinstance(written, Sequence):
        return tuple(name for item in written.items for name in words_in(item))
    if not isinstance(written, Scalar) or not isinstance(written.value, str):
        return ()
    try:
        return _words(parse_expression(written.text))
    except ExpressionError:
        return ()


def _words(*nodes: ast.AST) -> tuple[str, ...]:
    """Return the words that expressions mention."""
    return tuple(dict.fromkeys(n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)))

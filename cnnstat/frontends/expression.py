"""Expressions of the spec language: arithmetic over a closed whitelist, bounded in size, never executed as Python.

The text is parsed with Python's own grammar and walked; anything outside the whitelist (attributes, comprehensions,
calls to anything but a few functions) is an error with the place where it stands.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cnnstat.errors import did_you_mean
from cnnstat.frontends.arithmetic import FUNCTIONS, OPERATORS, ExpressionError, bounded, elements, quoted
from cnnstat.frontends.variables import Variables

MAX_TEXT = 4_000
"""Longest expression; lists that are longer are written as YAML."""
MAX_BRACKETS = 30
"""Deepest brackets within brackets; Python's parser is safe well beyond that."""
MAX_NESTING = 120
"""Deepest syntax tree that is walked."""

_BRACKETS = re.compile(r"'[^']*'|\"[^\"]*\"|([(\[{])|([)\]}])")
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_FOREIGN = (("&&", "and"), ("||", "or"), ("×", "*"), ("÷", "/"))
_ENGLISH = {"yes": "true", "on": "true", "no": "false", "off": "false", "nil": "null", "TRUE": "true", "FALSE": "false"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}
RESERVED = frozenset({*_WORDS, *_ENGLISH})
"""Words that never mean themselves."""


@lru_cache(maxsize=8192)
def parse_expression(text: str) -> ast.expr:
    """Return the syntax tree of an expression; raises ExpressionError."""
    text = text.strip().replace("\n", " ")
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"longer than {MAX_TEXT} characters; write it as YAML, or in parts under let:")
    _check_brackets(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        offset = len(text[: max(0, (error.offset or 1) - 1)].encode())
        raise ExpressionError(f"cannot read {quoted(text)}{_syntax_hint(text, error)}", offset) from None
    except (RecursionError, MemoryError, ValueError):
        raise ExpressionError(f"cannot read {quoted(text)}; it is nested too deeply or broken") from None
    _check_nesting(tree, text)
    return tree


def _check_brackets(text: str) -> None:
    """Raise ExpressionError unless brackets come in pairs and are nested no deeper than is sane."""
    opened: list[re.Match[str]] = []
    for match in _BRACKETS.finditer(text):
        if match[1]:
            opened.append(match)
        elif match[2]:
            if not opened:
                raise ExpressionError(f"a {match[2]} too many in {quoted(text)}; delete it", _bytes(text, match))
            first = opened.pop()
            if _PAIRS[first[0]] != match[2]:
                said = f"{first[0]} is closed by {match[2]} in {quoted(text)}; write {_PAIRS[first[0]]}"
                raise ExpressionError(said, _bytes(text, match))
        if len(opened) > MAX_BRACKETS:
            raise ExpressionError(f"{quoted(text)} is nested more than {MAX_BRACKETS} deep", _bytes(text, match))
    if opened:
        last = opened[-1]
        said = f"{last[0]} is never closed in {quoted(text)}; add {_PAIRS[last[0]]}"
        raise ExpressionError(said, _bytes(text, last))


def _bytes(text: str, match: re.Match[str]) -> int:
    """Return the bytes before a match, which is how Python's parser counts columns."""
    return len(text[: match.start()].encode())


def _syntax_hint(text: str, error: SyntaxError) -> str:
    """Return what to write instead, where that can be told."""
    for foreign, own in _FOREIGN:
        if foreign in text:
            return f"; write {own} for {foreign}"
    said = str(error.msg)
    if "comma" in said:
        return "; is a comma missing?"
    if "positional argument follows" in said:
        return "; arguments without a name come first"
    if "repeated" in said:
        return "; an argument is given twice"
    if "leading zeros" in said:
        return "; a number does not begin with 0"
    if "=" in text:
        return "; arguments are written as name=value, comparisons with =="
    return "; write numbers, names, + - * / // % **, comparisons, and, or, not"


def _check_nesting(tree: ast.expr, text: str) -> None:
    """Raise ExpressionError if the tree is nested too deeply to be walked safely."""
    level: list[ast.AST] = [tree]
    for _ in range(MAX_NESTING):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ExpressionError(f"{quoted(text)} is nested too deeply; write it in parts under let:")


def evaluate(text: str, variables: Variables) -> Any:
    """Return the value of an expression text; raises ExpressionError."""
    return evaluate_tree(parse_expression(text), variables)


def evaluate_tree(node: ast.expr, variables: Variables, words: tuple[str, ...] = ()) -> Any:
    """Return the value of a parsed expression; a bare word out of `words` that is no variable means itself.

    Raises ExpressionError, and Abandoned when the budget of the variables is spent.
    """
    if words and isinstance(node, ast.Name) and node.id in words and node.id not in variables:
        return node.id
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise ExpressionError(f"{quoted(ast.unparse(node))} is not allowed in a spec", node.col_offset)
    variables.budget.spend(1)
    try:
        return handler(node, variables)
    except ExpressionError as error:
        if words and isinstance(node, ast.Name):
            hint = did_you_mean(node.id, (*words, *variables)) or f"; known: {', '.join(words)}"
            raise ExpressionError(f"there is no word or variable called {node.id[:60]}{hint}", error.offset) from None
        raise


def _result(value: Any, node: ast.expr, variables: Variables) -> Any:
    """Return a computed value unless it is too large; lists cost as many steps as they are long."""
    if isinstance(value, list):
        variables.budget.spend(elements(value))
    return bounded(value, node.col_offset)


def _constant(node: ast.Constant, variables: Variables) -> Any:
    """Return a literal."""
    if isinstance(node.value, (int, float, str)) or node.value is None:
        return bounded(node.value, node.col_offset)
    raise ExpressionError(f"{quoted(ast.unparse(node))} is not allowed in a spec", node.col_offset)


def _name(node: ast.Name, variables: Variables) -> Any:
    """Return a variable, or true, false and null as YAML writes them."""
    if node.id in variables:
        return variables[node.id]
    if node.id in _WORDS:
        return _WORDS[node.id]
    if node.id in _ENGLISH:
        raise ExpressionError(f"there is no variable called {node.id}; write {_ENGLISH[node.id]}", node.col_offset)
    known = f"; known: {', '.join(sorted(variables)[:12])}" if len(variables) else "; this spec has none"
    hint = did_you_mean(node.id, variables) or known
    raise ExpressionError(f"there is no variable called {node.id[:60]}{hint}", node.col_offset)


def _list(node: ast.List | ast.Tuple, variables: Variables) -> Any:
    """Return a list."""
    return _result([evaluate_tree(entry, variables) for entry in node.elts], node, variables)


def _binary(node: ast.BinOp, variables: Variables) -> Any:
    """Return the result of + − * / // % **; lists can be joined with + and repeated with *."""
    left, right = evaluate_tree(node.left, variables), evaluate_tree(node.right, variables)
    lists = isinstance(left, list) + isinstance(right, list)
    if not (lists == 1 and isinstance(node.op, ast.Mult) or lists == 2 and isinstance(node.op, ast.Add)):
        for operand, side in ((left, node.left), (right, node.right)):
            if isinstance(operand, bool) or not isinstance(operand, (int, float)):
                raise ExpressionError(f"cannot calculate with {_shown(operand)}", side.col_offset)
    return _result(_apply(node.op, left, right, node, variables), node, variables)


def _apply(kind: ast.AST, left: Any, right: Any, node: ast.expr, variables: Variables) -> Any:
    """Return the result of one whitelisted operator."""
    function = OPERATORS.get(type(kind))
    if function is None:
        hint = "; a power is written **" if isinstance(kind, ast.BitXor) else ""
        raise ExpressionError(f"{quoted(ast.unparse(node))} is not allowed in a spec{hint}", node.col_offset)
    return _calculated(function, (left, right), node, variables)


def _calculated(function: Callable[..., Any], operands: tuple[Any, ...], node: ast.expr, variables: Variables) -> Any:
    """Return what a function makes of its operands; raises ExpressionError where it cannot."""
    for operand in operands:
        if isinstance(operand, list):
            variables.budget.spend(elements(operand))
    try:
        return function(*operands)
    except ZeroDivisionError:
        raise ExpressionError(f"division by zero in {quoted(ast.unparse(node))}", node.col_offset) from None
    except OverflowError:
        raise ExpressionError(f"{quoted(ast.unparse(node))} is too large a number", node.col_offset) from None
    except (TypeError, ValueError, ArithmeticError):
        raise ExpressionError(f"cannot calculate {quoted(ast.unparse(node))}", node.col_offset) from None


def _unary(node: ast.UnaryOp, variables: Variables) -> Any:
    """Return −x, +x or not x."""
    value = evaluate_tree(node.operand, variables)
    if isinstance(node.op, ast.Not):
        return not value
    if isinstance(node.op, ast.Invert) or isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExpressionError(f"cannot calculate {quoted(ast.unparse(node))}", node.col_offset)
    return -value if isinstance(node.op, ast.USub) else value


def _logical(node: ast.BoolOp, variables: Variables) -> Any:
    """Return the result of and/or, evaluated from the left and only as far as needed."""
    stops_at = isinstance(node.op, ast.Or)
    value: Any = None
    for operand in node.values:
        value = evaluate_tree(operand, variables)
        if bool(value) is stops_at:
            return value
    return value


def _comparison(node: ast.Compare, variables: Variables) -> bool:
    """Return the result of a chain of comparisons."""
    left = evaluate_tree(node.left, variables)
    for kind, right_node in zip(node.ops, node.comparators):
        right = evaluate_tree(right_node, variables)
        if not _apply(kind, left, right, node, variables):
            return False
        left = right
    return True


def _conditional(node: ast.IfExp, variables: Variables) -> Any:
    """Return `a if condition else b`."""
    return evaluate_tree(node.body if evaluate_tree(node.test, variables) else node.orelse, variables)


def _subscript(node: ast.Subscript, variables: Variables) -> Any:
    """Return one element of a list, or a slice of it."""
    values = evaluate_tree(node.value, variables)
    if not isinstance(values, list):
        raise ExpressionError(f"{quoted(ast.unparse(node.value))} is not a list", node.col_offset)
    if isinstance(node.slice, ast.Slice):
        parts = (node.slice.lower, node.slice.upper, node.slice.step)
        lower, upper, step = (None if part is None else evaluate_tree(part, variables) for part in parts)
        if any(not isinstance(part, (int, type(None))) for part in (lower, upper, step)) or step == 0:
            raise ExpressionError("a slice takes whole numbers", node.slice.col_offset)
        return _result(values[lower:upper:step], node, variables)
    index = evaluate_tree(node.slice, variables)
    if isinstance(index, bool) or not isinstance(index, int) or not -len(values) <= index < len(values):
        shown = f"{quoted(ast.unparse(node.value))} has {len(values)} elements, [0] to [{len(values) - 1}]"
        raise ExpressionError(f"{shown}, but not [{str(index)[:40]}]", node.slice.col_offset)
    return values[index]


def _call(node: ast.Call, variables: Variables) -> Any:
    """Return the result of one of the few functions."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in FUNCTIONS or node.keywords:
        known = ", ".join(FUNCTIONS)
        raise ExpressionError(f"{quoted(ast.unparse(node))}: only {known} can be called", node.col_offset)
    values = tuple(evaluate_tree(argument, variables) for argument in node.args)
    for value, argument in zip(values, node.args):
        if isinstance(value, str):
            raise ExpressionError(f"{name} takes numbers, not {quoted(value)}", argument.col_offset)
    return _result(_calculated(FUNCTIONS[name], values, node, variables), node, variables)


def _shown(value: Any) -> str:
    """Return a value for a message."""
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return quoted(str(value).lower().replace("none", "null"))
    return quoted(str(value))


_HANDLERS: dict[type[ast.AST], Callable[[Any, Variables], Any]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.List: _list,
    ast.Tuple: _list,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _logical,
    ast.Compare: _comparison,
    ast.IfExp: _conditional,
    ast.Subscript: _subscript,
    ast.Call: _call,
}

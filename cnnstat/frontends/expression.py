"""Expressions of the spec language: arithmetic over a closed whitelist, bounded in size, never executed as Python.

The text is parsed with Python's own grammar and walked; anything outside the whitelist (attributes, comprehensions,
calls to anything but the few functions below) is an error with the column where it stands.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from cnnstat.errors import CnnstatError, did_you_mean

MAX_TEXT = 20_000
MAX_NESTING = 40
MAX_MAGNITUDE = 2**62
MAX_LENGTH = 10_000

Variables = Mapping[str, Any]


class ExpressionError(CnnstatError):
    """An expression cannot be evaluated; `offset` counts the characters before the fault."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


@lru_cache(maxsize=8192)
def parse_expression(text: str) -> ast.expr:
    """Return the syntax tree of an expression; raises ExpressionError."""
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"longer than {MAX_TEXT} characters; write it as YAML")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"cannot read {_quoted(text)}", max(0, (error.offset or 1) - 1)) from None
    except (RecursionError, MemoryError, ValueError):
        raise ExpressionError(f"cannot read {_quoted(text)}: too deeply nested or broken") from None
    _check_nesting(tree, text)
    return tree


def _check_nesting(tree: ast.expr, text: str) -> None:
    """Raise ExpressionError if the tree is nested too deeply to be walked safely."""
    level: list[ast.AST] = [tree]
    for _ in range(3 * MAX_NESTING):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ExpressionError(f"{_quoted(text)} is too deeply nested")


def evaluate(text: str, variables: Variables) -> Any:
    """Return the value of an expression text; raises ExpressionError."""
    return evaluate_tree(parse_expression(text), variables)


def evaluate_tree(node: ast.expr, variables: Variables, words: tuple[str, ...] = ()) -> Any:
    """Return the value of a parsed expression; a bare word out of `words` that is no variable means itself."""
    if words and isinstance(node, ast.Name) and node.id not in variables and node.id not in _WORDS:
        if node.id in words:
            return node.id
        hint = did_you_mean(node.id, (*words, *variables)) or f"; known: {', '.join(words)}"
        raise ExpressionError(f"there is no word or variable called {node.id[:60]}{hint}", node.col_offset)
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise ExpressionError(f"{_quoted(ast.unparse(node))} is not allowed in a spec", node.col_offset)
    value = handler(node, variables)
    return _bounded(value, node)


def _bounded(value: Any, node: ast.expr) -> Any:
    """Return `value` unless it is too large, or not a number at all."""
    if isinstance(value, int) and abs(value) > MAX_MAGNITUDE:
        raise ExpressionError("the number is too large", node.col_offset)
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("the result is not a finite number", node.col_offset)
    if isinstance(value, str) and len(value) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters", node.col_offset)
    if isinstance(value, list) and not isinstance(node, ast.Name) and _elements(value, MAX_LENGTH) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} elements", node.col_offset)
    return value


def _elements(values: list[Any], limit: int) -> int:
    """Return how many elements a nested list has in all; stops counting beyond `limit`."""
    count = len(values)
    for value in values:
        if count > limit:
            break
        if isinstance(value, list):
            count += _elements(value, limit - count)
    return count


def _constant(node: ast.Constant, variables: Variables) -> Any:
    """Return a literal."""
    if isinstance(node.value, (int, float, str, bool)) or node.value is None:
        return node.value
    raise ExpressionError(f"{_quoted(ast.unparse(node))} is not allowed in a spec", node.col_offset)


def _name(node: ast.Name, variables: Variables) -> Any:
    """Return a variable, or true, false and null as YAML writes them."""
    if node.id in variables:
        return variables[node.id]
    if node.id in _WORDS:
        return _WORDS[node.id]
    known = did_you_mean(node.id, variables) or (f"; known: {', '.join(sorted(variables)[:12])}" if variables else "")
    raise ExpressionError(f"there is no variable called {node.id[:60]}{known}", node.col_offset)


def _list(node: ast.List | ast.Tuple, variables: Variables) -> list[Any]:
    """Return a list."""
    return [evaluate_tree(entry, variables) for entry in node.elts]


def _divide(left: Any, right: Any) -> Any:
    """Return the quotient, as an integer where it is one."""
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return left / right


def _power(left: Any, right: Any) -> Any:
    """Return a power of bounded size."""
    if abs(right) > 64 or (abs(left) > 1 and abs(right) * math.log2(abs(left)) > 63):
        raise OverflowError
    result = left**right
    if isinstance(result, complex):
        raise ArithmeticError
    return result


_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def _binary(node: ast.BinOp, variables: Variables) -> Any:
    """Return the result of + − * / // % **; lists can be joined with + and repeated with *."""
    left, right = evaluate_tree(node.left, variables), evaluate_tree(node.right, variables)
    lists = isinstance(left, list) + isinstance(right, list)
    if lists == 1 and isinstance(node.op, ast.Mult):
        values, times = (left, right) if isinstance(left, list) else (right, left)
        if not isinstance(times, int) or len(values) * times > MAX_LENGTH:
            raise ExpressionError(f"a list of more than {MAX_LENGTH} elements", node.col_offset)
        return values * times
    if lists == 2 and isinstance(node.op, ast.Add):
        return left + right
    for operand, side in ((left, node.left), (right, node.right)):
        if isinstance(operand, bool) or not isinstance(operand, (int, float)):
            raise ExpressionError(f"cannot calculate with {_quoted(str(operand))}", side.col_offset)
    return _apply(node.op, left, right, node)


def _apply(kind: ast.AST, left: Any, right: Any, node: ast.expr) -> Any:
    """Return the result of one whitelisted operator."""
    if type(kind) not in _OPERATORS:
        raise ExpressionError(f"{_quoted(ast.unparse(node))} is not allowed in a spec", node.col_offset)
    try:
        return _OPERATORS[type(kind)](left, right)
    except ZeroDivisionError:
        raise ExpressionError("division by zero", node.col_offset) from None
    except OverflowError:
        raise ExpressionError("the number is too large", node.col_offset) from None
    except (TypeError, ArithmeticError):
        raise ExpressionError(f"cannot calculate {_quoted(ast.unparse(node))}", node.col_offset) from None


def _unary(node: ast.UnaryOp, variables: Variables) -> Any:
    """Return −x, +x or not x."""
    value = evaluate_tree(node.operand, variables)
    if isinstance(node.op, ast.Not):
        return not value
    if isinstance(node.op, ast.Invert) or isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExpressionError(f"cannot calculate {_quoted(ast.unparse(node))}", node.col_offset)
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
        if not _apply(kind, left, right, node):
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
        raise ExpressionError(f"{_quoted(ast.unparse(node.value))} is not a list", node.col_offset)
    if isinstance(node.slice, ast.Slice):
        parts = (node.slice.lower, node.slice.upper, node.slice.step)
        lower, upper, step = (None if part is None else evaluate_tree(part, variables) for part in parts)
        if any(not isinstance(part, (int, type(None))) for part in (lower, upper, step)) or step == 0:
            raise ExpressionError("a slice takes whole numbers", node.col_offset)
        return values[lower:upper:step]
    index = evaluate_tree(node.slice, variables)
    if not isinstance(index, int) or not -len(values) <= index < len(values):
        raise ExpressionError(
            f"{_quoted(ast.unparse(node.value))} has {len(values)} elements, not [{index}]", node.col_offset
        )
    return values[index]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "int": int,
    "len": len,
    "max": max,
    "min": min,
    "round": lambda value: round(value),
    "sum": sum,
}


def _call(node: ast.Call, variables: Variables) -> Any:
    """Return the result of one of the few functions: abs, ceil, floor, int, len, max, min, round, sum."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in _FUNCTIONS or node.keywords:
        known = ", ".join(_FUNCTIONS)
        raise ExpressionError(f"only these functions can be called: {known}", node.col_offset)
    values = [evaluate_tree(argument, variables) for argument in node.args]
    if any(isinstance(value, str) for value in values):
        raise ExpressionError(f"{name} takes numbers", node.col_offset)
    try:
        return _FUNCTIONS[name](*values)
    except (TypeError, ValueError, OverflowError):
        raise ExpressionError(f"cannot calculate {_quoted(ast.unparse(node))}", node.col_offset) from None


_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}

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


def _quoted(text: str) -> str:
    """Return a text short enough for an error message."""
    short = " ".join(text.split())
    return f"‘{short[:60]}…’" if len(short) > 60 else f"‘{short}’"

"""Expressions of the spec language: arithmetic over a closed whitelist, bounded in size, never executed as Python.

The syntax tree is walked; anything outside the whitelist (attributes, comprehensions, calls to anything but a few
functions) is an error with the place where it stands.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cnnstat.errors import did_you_mean
from cnnstat.spec.expression_syntax import MAX_LENGTH, ExpressionError, bounded, count_elements, quoted
from cnnstat.spec.problems import Budget

_ENGLISH = {"yes": "true", "on": "true", "no": "false", "off": "false", "nil": "null", "TRUE": "true", "FALSE": "false"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}
RESERVED = frozenset({*_WORDS, *_ENGLISH})
"""Words that never mean themselves."""

_MISSING = object()


class Variables(Mapping[str, Any]):
    """Variables of one scope in front of those around it; nothing is copied, however often a scope is entered."""

    __slots__ = ("_outer", "_own", "budget")

    def __init__(self, own: Mapping[str, Any], outer: Variables | None = None, budget: Budget | None = None) -> None:
        self._own = own
        self._outer = outer
        self.budget: Budget = outer.budget if outer is not None else budget or Budget()

    def __getitem__(self, name: str) -> Any:
        value = self.get(name, _MISSING)
        if value is _MISSING:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a variable, the innermost of that name, or `default`."""
        scope: Variables | None = self
        while scope is not None:
            if name in scope._own:
                return scope._own[name]
            scope = scope._outer
        return default

    def __contains__(self, name: object) -> bool:
        scope: Variables | None = self
        while scope is not None:
            if name in scope._own:
                return True
            scope = scope._outer
        return False

    def __iter__(self) -> Iterator[str]:
        names = {} if self._outer is None else dict.fromkeys(self._outer)
        return iter(names | dict.fromkeys(self._own))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _multiply(left: Any, right: Any) -> Any:
    for values, times in ((left, right), (right, left)):
        if isinstance(values, list):
            if isinstance(times, bool) or not isinstance(times, int):
                raise TypeError
            # Refused before it is made: the list alone could fill the memory.
            if count_elements(values) * times > MAX_LENGTH:
                raise OverflowError
    return left * right


def _divide(left: Any, right: Any) -> Any:
    """Return the quotient, as an integer where it is one."""
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return left / right


def _power(left: Any, right: Any) -> Any:
    """Return a power of bounded size."""
    # By its logarithm, since a power of this size takes minutes to compute before its value can be checked.
    if abs(right) > 64 or (abs(left) > 1 and abs(right) * math.log2(abs(left)) > 63):
        raise OverflowError
    result = left**right
    if isinstance(result, complex):
        raise ArithmeticError
    return result


OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _multiply,
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

FUNCTIONS: dict[str, Callable[..., Any]] = {
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


def evaluate(node: ast.expr, variables: Variables, words: tuple[str, ...] = ()) -> Any:
    """Return the value of a parsed expression; a bare word out of `words` that is no variable means itself.

    Raises ExpressionError, and Abandoned when the budget of the variables is spent.
    """
    if isinstance(node, ast.Constant):
        return node.value
    variables.budget.spend(1)
    if isinstance(node, ast.Name):
        return _name(node, variables, words)
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise ExpressionError(f"{quoted(ast.unparse(node))} is not allowed in a spec", node.col_offset)
    return handler(node, variables)


def _result(value: Any, node: ast.expr, variables: Variables) -> Any:
    """Return a computed value unless it is too large; lists cost as many steps as they are long."""
    if isinstance(value, list):
        variables.budget.spend(count_elements(value))
    return bounded(value, node.col_offset)


def _name(node: ast.Name, variables: Variables, words: tuple[str, ...]) -> Any:
    """Return a variable, true, false and null as YAML writes them, or one of `words` as it stands."""
    name = node.id
    value = variables.get(name, _MISSING)
    if value is not _MISSING:
        return value
    if name in _WORDS:
        return _WORDS[name]
    if name in words:
        return name
    if name in _ENGLISH:
        raise ExpressionError(f"there is no variable called {name}; write {_ENGLISH[name]}", node.col_offset)
    known = (*words, *sorted(variables)[:12])
    hint = did_you_mean(name, (*words, *variables)) or did_you_mean(name, ("true", "false", "null"))
    hint = hint or (f"; known: {', '.join(known)}" if known else "; write a number, or set it under let:")
    what = "word or variable" if words else "variable"
    raise ExpressionError(f"there is no {what} called {name[:60]}{hint}", node.col_offset)


def _list(node: ast.List | ast.Tuple, variables: Variables) -> Any:
    return _result([evaluate(entry, variables) for entry in node.elts], node, variables)


def _binary(node: ast.BinOp, variables: Variables) -> Any:
    """Return the result of + − * / // % **; lists can be joined with + and repeated with *."""
    left, right = evaluate(node.left, variables), evaluate(node.right, variables)
    if type(left) is int and type(right) is int:  # nearly always, and then there is nothing else to check
        return bounded(_apply(node.op, left, right, node, variables), node.col_offset)
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
            variables.budget.spend(count_elements(operand))
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
    value = evaluate(node.operand, variables)
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
        value = evaluate(operand, variables)
        if bool(value) is stops_at:
            return value
    return value


def _comparison(node: ast.Compare, variables: Variables) -> bool:
    """Return the result of a chain of comparisons."""
    left = evaluate(node.left, variables)
    for kind, right_node in zip(node.ops, node.comparators):
        right = evaluate(right_node, variables)
        if not _apply(kind, left, right, node, variables):
            return False
        left = right
    return True


def _conditional(node: ast.IfExp, variables: Variables) -> Any:
    return evaluate(node.body if evaluate(node.test, variables) else node.orelse, variables)


def _subscript(node: ast.Subscript, variables: Variables) -> Any:
    """Return one element of a list, or a slice of it."""
    values = evaluate(node.value, variables)
    if not isinstance(values, list):
        raise ExpressionError(f"{quoted(ast.unparse(node.value))} is not a list", node.col_offset)
    if isinstance(node.slice, ast.Slice):
        parts = (node.slice.lower, node.slice.upper, node.slice.step)
        lower, upper, step = (None if part is None else evaluate(part, variables) for part in parts)
        if any(not isinstance(part, (int, type(None))) for part in (lower, upper, step)) or step == 0:
            raise ExpressionError("a slice takes whole numbers", node.slice.col_offset)
        return _result(values[lower:upper:step], node, variables)
    index = evaluate(node.slice, variables)
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
    values = tuple(evaluate(argument, variables) for argument in node.args)
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

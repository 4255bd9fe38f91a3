"""Arithmetic of expressions: the operators and functions there are, and the bounds on what they return."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from cnnstat.errors import CnnstatError

MAX_MAGNITUDE = 2**62
"""Largest number."""
MAX_LENGTH = 10_000
"""Longest text, and most values of a list, those of lists within it included."""
MAX_LIST_DEPTH = 30
"""Deepest lists within lists."""


class ExpressionError(CnnstatError):
    """An expression cannot be evaluated; `offset` counts the bytes before the fault."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


def quoted(text: str) -> str:
    """Return a text short enough for an error message."""
    short = " ".join(text[:200].split())
    return f"‘{short[:60]}…’" if len(short) > 60 else f"‘{short}’"


def bounded(value: Any, offset: int = 0) -> Any:
    """Return `value` unless it is too large, or not a number at all; raises ExpressionError."""
    if isinstance(value, int):
        if not -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE:
            raise ExpressionError("the number is too large", offset)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError("not a finite number", offset)
    elif isinstance(value, str):
        if len(value) > MAX_LENGTH:
            raise ExpressionError(f"a text of more than {MAX_LENGTH:,} characters", offset)
    elif isinstance(value, list) and elements(value) > MAX_LENGTH:
        raise ExpressionError(f"a list of more than {MAX_LENGTH:,} values", offset)
    return value


def elements(values: list[Any], depth: int = 1) -> int:
    """Return how many values a list of lists holds in all; stops counting beyond MAX_LENGTH."""
    if depth > MAX_LIST_DEPTH:
        raise ExpressionError(f"lists within lists more than {MAX_LIST_DEPTH} deep")
    count = len(values)
    for value in values:
        if count > MAX_LENGTH:
            break
        if isinstance(value, list):
            count += elements(value, depth + 1)
    return count


def _multiply(left: Any, right: Any) -> Any:
    """Return the product of two numbers, or a list repeated."""
    for values, times in ((left, right), (right, left)):
        if isinstance(values, list):
            if isinstance(times, bool) or not isinstance(times, int):
                raise TypeError
            if elements(values) * times > MAX_LENGTH:
                raise OverflowError
    return left * right


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

"""Symbolic sizes of an exported program: expressions of a few symbols, computed with the sizes that are asked for."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 2000
"""Characters of an expression that is computed."""

_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}  # fmt: skip

_FUNCTIONS: Mapping[str, Callable[..., int]] = {
    "Add": lambda *terms: sum(terms), "Mul": lambda *factors: math.prod(factors), "Integer": int,
    "Max": max, "Min": min, "FloorDiv": operator.floordiv, "CleanDiv": operator.floordiv, "PythonMod": operator.mod,
    "Mod": operator.mod, "IntTrueDiv": operator.floordiv, "Identity": lambda x: x, "floor": lambda x: int(x),
}  # fmt: skip


def computed(expression: str, symbols: Mapping[str, int]) -> int | None:
    """Return the value of a size; None where it has symbols or functions that are not known."""
    if len(expression) > LONGEST:
        return None
    try:
        return _value(ast.parse(expression, mode="eval").body, symbols)
    except (SyntaxError, ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError, OverflowError):
        return None


def symbol_name(expression: str) -> str:
    """Return the symbol that an expression is, `s0` for `Symbol('s0', integer=True)`; empty for any other."""
    if expression.isidentifier():
        return expression
    try:
        tree = ast.parse(expression[:LONGEST], mode="eval").body
        is_symbol = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "Symbol"
        return _name(tree) if is_symbol and isinstance(tree, ast.Call) else ""
    except (SyntaxError, ValueError, RecursionError):
        return ""


def _name(call: ast.Call) -> str:
    first = call.args[0] if call.args else None
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        raise ValueError("no symbol")
    return first.value


def _value(tree: ast.AST, symbols: Mapping[str, int]) -> int:
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    if isinstance(tree, ast.Name):
        return symbols[tree.id]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_value(tree.operand, symbols)
    if isinstance(tree, ast.BinOp):
        if isinstance(tree.op, ast.Div):
            quotient, rest = divmod(_value(tree.left, symbols), _value(tree.right, symbols))
            if rest:
                raise ValueError("no whole number")
            return quotient
        if isinstance(tree.op, ast.Pow):
            base, power = _value(tree.left, symbols), _value(tree.right, symbols)
            if not 0 <= power <= 8:
                raise ValueError("a power that no size has")
            return int(base**power)
        return int(_OPERATORS[type(tree.op)](_value(tree.left, symbols), _value(tree.right, symbols)))
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in ("Symbol", "Pow"):
        if tree.func.id == "Symbol":
            return symbols[_name(tree)]
        return _value(ast.BinOp(tree.args[0], ast.Pow(), tree.args[1]), symbols)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        return int(_FUNCTIONS[tree.func.id](*(_value(each, symbols) for each in tree.args)))
    raise ValueError("no size")

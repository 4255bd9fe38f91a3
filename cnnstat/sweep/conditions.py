"""Conditions on the figures of a record: `params < 5M and receptive_field >= 200`."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.numbers import QuantityError, parse_quantity

MAX_LENGTH = 1000

_QUANTITY = re.compile(r"(?<![\w.])(\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)[ ]?([kKMGTPB]i?B?|bytes|ns|us|µs|ms|s)(?!\w)")
_TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}

_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip

_SLIPS = {
    r"&&|\bAND\b": "write and between conditions",
    r"\|\||\bOR\b": "write or between conditions",
    r"!(?!=)|\bNOT\b": "write not in front of a condition",
    r"[<>]\s+=|=[<>]": "write <= or >=",
    r"(?<![<>=!])=(?!=)": "equal is written ==",
}
"""What other languages write, and what is written here."""

Condition = Callable[[Mapping[str, Any]], bool]


def parse_condition(text: str, names: Collection[str], missing: Collection[str] = ()) -> Condition:
    """Return the test that a condition makes of a record's values by name; raises CnnstatError.

    missing: names of what no record will have because it is not measured.

    A condition compares names, numbers with units (5M, 16MiB, 3ms) and texts in quotes, joined by and, or, not; sums,
    differences, products and quotients of them are allowed. A record without a value fulfils no comparison with it.
    """
    if len(text) > MAX_LENGTH:
        raise CnnstatError(f"--where: longer than {MAX_LENGTH} characters")
    plain = _QUANTITY.sub(_number, text.strip())
    try:
        tree = ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = next((hint for wrong, hint in _SLIPS.items() if re.search(wrong, text)), "")
        example = "write it as in 'params < 5M and receptive_field >= 200'"
        raise CnnstatError(f"--where {text[:80]}: {hint or example}") from None
    if not isinstance(tree, (ast.BoolOp, ast.Compare, ast.UnaryOp)):
        raise CnnstatError(f"--where {text[:80]}: compares nothing; write it as in 'params < 5M'")
    test = _Compiler(text, names, missing).test(tree)
    return lambda values: bool(test(values))


def _number(match: re.Match[str]) -> str:
    digits, unit = match[1].replace("_", ""), match[2]
    if unit in _TIMES:
        return repr(float(digits) * _TIMES[unit])
    try:
        is_bytes = unit.endswith("B") and len(unit) > 1 or unit in ("bytes",)
        return repr(_exact(parse_quantity(f"{digits} {unit}", is_bytes=is_bytes).value))
    except QuantityError:
        return match[0]


def _exact(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


class _Compiler:
    """Turns the tree of a condition into functions of a record; nothing else of Python is allowed."""

    def __init__(self, text: str, names: Collection[str], missing: Collection[str]) -> None:
        self._text = text
        self._names = names
        self._missing = missing

    def test(self, tree: ast.AST) -> Callable[[Mapping[str, Any]], Any]:
        """Return the function of a node that is true or false."""
        if isinstance(tree, ast.BoolOp):
            tests = [self.test(each) for each in tree.values]
            join = all if isinstance(tree.op, ast.And) else any
            return lambda values: join(test(values) for test in tests)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
            inner = self.test(tree.operand)
            return lambda values: not inner(values)
        if isinstance(tree, ast.Compare):
            if not all(type(each) in _COMPARISONS for each in tree.ops):
                self._fail("a comparison is one of < <= > >= == !=")
            compare = [_COMPARISONS[type(each)] for each in tree.ops]
            terms = [self._term(each) for each in (tree.left, *tree.comparators)]
            return lambda values: _holds([term(values) for term in terms], compare)
        self._fail("and, or and not join comparisons")

    def _term(self, tree: ast.AST) -> Callable[[Mapping[str, Any]], Any]:
        """Return the function of a node that is a number or a text."""
        if isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float, str)):
            constant = tree.value
            return lambda values: constant
        if isinstance(tree, ast.Name):
            name = tree.id
            if name in self._missing:
                option = {"latency": "--profile", "accuracy": "--accuracy FILE"}.get(name, "")
                self._fail(f"{name} is measured; add {option}")
            if name not in self._names:
                known = f"; known: {', '.join(self._names)}; texts stand in quotes"
                self._fail(f"nothing is called {name[:40]}{did_you_mean(name, self._names) or known}")
            return lambda values: as_number(values.get(name))
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            inner = self._term(tree.operand)
            return lambda values: None if (value := inner(values)) is None else -value
        if isinstance(tree, ast.BinOp) and type(tree.op) in _ARITHMETIC:
            left, right, apply = self._term(tree.left), self._term(tree.right), _ARITHMETIC[type(tree.op)]
            return lambda values: _applied(apply, left(values), right(values))
        self._fail("only names, numbers, texts and + - * / are allowed")

    def _fail(self, message: str) -> NoReturn:
        raise CnnstatError(f"--where {self._text[:80]}: {message}")


def as_number(value: Any) -> Any:
    """Return a setting as a number where it is one: `--set width=16` sets the text 16."""
    if isinstance(value, str):
        try:
            return _exact(float(value))
        except (ValueError, OverflowError):
            return value
    return value


def _applied(apply: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    try:
        return None if left is None or right is None else apply(left, right)
    except (TypeError, ZeroDivisionError):
        return None


def _holds(values: list[Any], comparisons: list[Callable[[Any, Any], bool]]) -> bool:
    for left, right, compare in zip(values, values[1:], comparisons):
        if left is None or right is None:
            return False
        try:
            if not compare(left, right):
                return False
        except TypeError:  # a text beside a number
            return False
    return True

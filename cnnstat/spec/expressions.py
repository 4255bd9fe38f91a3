"""Expressions of the spec language: arithmetic over a closed whitelist, bounded in size, never executed as Python.

The syntax tree is walked; anything outside the whitelist (attributes, comprehensions, calls to anything but a few
functions) is an error with the place where it stands.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from cnnstat.errors import did_you_mean
from cnnstat.spec.expression_syntax import MAX_LENGTH, Budget, ExpressionError, bounded, count_elements, quoted

_ENGLISH = {"yes": "true", "on": "true", "no": "false", "off": "false", "nil": "null", "TRUE": "true", "FALSE": "false"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}
RESERVED = frozenset({*_WORDS, *_ENGLISH})
"""Words that never mean themselves."""

_MISSING = object()


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none, although Python counts them among the integers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole_number(value: Any, most: int) -> bool:
    """Whether a value is a whole number from 0 to `most`."""
    return is_number(value) and isinstance(value, int) and 0 <= value <= most


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
    # Whole where it can be, as sizes and channels have to be.
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return left / right


def _power(left: Any, right: Any) -> Any:
    """Return a power of bounded size."""
    # By its logarithm, since a power of this size takes minutes to compute before its value can be checked.
    if abs(right) > 64 or (abs(left) > 1 and abs(right) * math.log2(abs(left)) > 63):
        raise OverflowError
    result = left**right
    # Python returns a complex root of a negative number instead of raising an error.
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
    # A single argument: with a second one Python would round to decimal places, and return a float.
    "round": lambda value: round(value),
    "sum": sum,
}


def refuse(node: ast.expr, message: str) -> NoReturn:
    """Raise an ExpressionError at a node of the syntax tree."""
    raise ExpressionError(message, node.col_offset) from None


class Variables(Mapping[str, Any]):
    """Variables of one scope in front of those around it, and the values of expressions over them.

    Nothing is copied, however often a scope is entered; `budget` bounds the work of all scopes of a spec together.
    """

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

    # Evaluation ------------------------------------------------------------------------------------------------------

    def evaluate(self, node: ast.expr, words: tuple[str, ...] = ()) -> Any:
        """Return the value of a parsed expression; a bare word out of `words` that is no variable means itself.

        Raises ExpressionError, and Abandoned when the budget of the variables is spent.
        """
        if isinstance(node, ast.Constant):
            return node.value
        self.budget.spend(1)
        if isinstance(node, ast.Name):
            return self._name(node, words)
        handler = _HANDLERS.get(type(node))
        if handler is None:
            refuse(node, f"{_text(node)} is not allowed in a spec")
        return handler(self, node)

    def _result(self, value: Any, node: ast.expr) -> Any:
        """Return a computed value unless it is too large; lists cost as many steps as they are long."""
        if isinstance(value, list):
            self.budget.spend(count_elements(value))
        return bounded(value, node.col_offset)

    def _name(self, node: ast.Name, words: tuple[str, ...]) -> Any:
        """Return a variable, true, false and null as YAML writes them, or one of `words` as it stands."""
        name = node.id
        value = self.get(name, _MISSING)
        if value is not _MISSING:
            return value
        if name in _WORDS:
            return _WORDS[name]
        if name in words:
            return name
        if name in _ENGLISH:
            refuse(node, f"there is no variable called {name}; write {_ENGLISH[name]}")
        known = (*words, *sorted(self)[:12])
        hint = did_you_mean(name, (*words, *self)) or did_you_mean(name, ("true", "false", "null"))
        hint = hint or (f"; known: {', '.join(known)}" if known else "; write a number, or set it under let:")
        what = "word or variable" if words else "variable"
        refuse(node, f"there is no {what} called {name[:60]}{hint}")

    def _list(self, node: ast.List | ast.Tuple) -> Any:
        return self._result([self.evaluate(entry) for entry in node.elts], node)

    def _binary(self, node: ast.BinOp) -> Any:
        """Return the result of + − * / // % **; lists can be joined with + and repeated with *."""
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        if type(left) is int and type(right) is int:  # nearly always, and then there is nothing else to check
            return bounded(self._apply(node.op, left, right, node), node.col_offset)
        lists = isinstance(left, list) + isinstance(right, list)
        if not (lists == 1 and isinstance(node.op, ast.Mult) or lists == 2 and isinstance(node.op, ast.Add)):
            for operand, side in ((left, node.left), (right, node.right)):
                if not is_number(operand):
                    refuse(side, f"cannot calculate with {_described(operand)}")
        return self._result(self._apply(node.op, left, right, node), node)

    def _apply(self, kind: ast.AST, left: Any, right: Any, node: ast.expr) -> Any:
        """Return the result of one whitelisted operator."""
        function = OPERATORS.get(type(kind))
        if function is None:
            hint = "; a power is written **" if isinstance(kind, ast.BitXor) else ""
            refuse(node, f"{_text(node)} is not allowed in a spec{hint}")
        return self._calculated(function, (left, right), node)

    def _calculated(self, function: Callable[..., Any], operands: tuple[Any, ...], node: ast.expr) -> Any:
        """Return what a function makes of its operands; raises ExpressionError where it cannot."""
        for operand in operands:
            if isinstance(operand, list):
                self.budget.spend(count_elements(operand))
        try:
            return function(*operands)
        except ZeroDivisionError:
            refuse(node, f"division by zero in {_text(node)}")
        except OverflowError:
            refuse(node, f"{_text(node)} is too large a number")
        except (TypeError, ValueError, ArithmeticError):
            refuse(node, f"cannot calculate {_text(node)}")

    def _unary(self, node: ast.UnaryOp) -> Any:
        value = self.evaluate(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        if isinstance(node.op, ast.Invert) or not is_number(value):
            refuse(node, f"cannot calculate {_text(node)}")
        return -value if isinstance(node.op, ast.USub) else value

    def _logical(self, node: ast.BoolOp) -> Any:
        """Return the result of and/or, evaluated from the left and only as far as needed."""
        stops_at = isinstance(node.op, ast.Or)
        value: Any = None
        for operand in node.values:
            value = self.evaluate(operand)
            if bool(value) is stops_at:
                return value
        return value

    def _comparison(self, node: ast.Compare) -> bool:
        """Return the result of a chain of comparisons."""
        left = self.evaluate(node.left)
        for kind, right_node in zip(node.ops, node.comparators):
            right = self.evaluate(right_node)
            if not self._apply(kind, left, right, node):
                return False
            left = right
        return True

    def _conditional(self, node: ast.IfExp) -> Any:
        return self.evaluate(node.body if self.evaluate(node.test) else node.orelse)

    def _subscript(self, node: ast.Subscript) -> Any:
        """Return one element of a list, or a slice of it."""
        values = self.evaluate(node.value)
        if not isinstance(values, list):
            refuse(node, f"{_text(node.value)} is not a list")
        if isinstance(node.slice, ast.Slice):
            parts = (node.slice.lower, node.slice.upper, node.slice.step)
            lower, upper, step = (None if part is None else self.evaluate(part) for part in parts)
            if any(not isinstance(part, (int, type(None))) for part in (lower, upper, step)) or step == 0:
                refuse(node.slice, "a slice takes whole numbers")
            return self._result(values[lower:upper:step], node)
        index = self.evaluate(node.slice)
        # Python would accept true as 1.
        if isinstance(index, bool) or not isinstance(index, int) or not -len(values) <= index < len(values):
            extent = f"{_text(node.value)} has {len(values)} elements, [0] to [{len(values) - 1}]"
            refuse(node.slice, f"{extent}, but not [{str(index)[:40]}]")
        return values[index]

    def _call(self, node: ast.Call) -> Any:
        """Return the result of one of the few functions."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS or node.keywords:
            known = ", ".join(FUNCTIONS)
            refuse(node, f"{_text(node)}: only {known} can be called")
        values = tuple(self.evaluate(argument) for argument in node.args)
        for value, argument in zip(values, node.args):
            if isinstance(value, str):
                refuse(argument, f"{name} takes numbers, not {quoted(value)}")
        return self._result(self._calculated(FUNCTIONS[name], values, node), node)


def _text(node: ast.expr) -> str:
    return quoted(ast.unparse(node))


def _described(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return quoted(str(value).lower().replace("none", "null"))
    return quoted(str(value))


_HANDLERS: dict[type[ast.AST], Callable[[Variables, Any], Any]] = {
    ast.List: Variables._list,
    ast.Tuple: Variables._list,
    ast.BinOp: Variables._binary,
    ast.UnaryOp: Variables._unary,
    ast.BoolOp: Variables._logical,
    ast.Compare: Variables._comparison,
    ast.IfExp: Variables._conditional,
    ast.Subscript: Variables._subscript,
    ast.Call: Variables._call,
}

"""Syntax of expressions and calls: texts to syntax trees, by Python's own parser, with bounds that keep it safe."""

from __future__ import annotations

import ast
import math
import re
import warnings
from functools import lru_cache
from typing import Any

from cnnstat.errors import CnnstatError
from cnnstat.spec.tree import Abandoned, Scalar, Sequence, Tree, fail

MAX_MAGNITUDE = 2**62
"""Largest number."""
MAX_LENGTH = 10_000
"""Longest text, and most values of a list, those of lists within it included."""
MAX_LIST_DEPTH = 30
"""Deepest lists within lists."""
MAX_TEXT = 4_000
"""Longest expression; lists that are longer are written as YAML."""
MAX_BRACKETS = 30
"""Deepest brackets within brackets; Python's parser is safe well beyond that."""
MAX_NESTING = 120
"""Deepest syntax tree that is walked."""
MAX_EVALUATIONS = 3_000_000
"""Most steps of evaluation for one spec; 100,000 layers with ten numbers each take a million."""

_BRACKETS = re.compile(r"'[^']*'|\"[^\"]*\"|([(\[{])|([)\]}])")
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_FOREIGN = (("&&", "and"), ("||", "or"), ("×", "*"), ("÷", "/"))
_SYNTAX_HINTS = (
    ("comma", "is a comma missing?"),
    ("positional argument follows", "arguments without a name come first"),
    ("repeated", "an argument is given twice"),
    ("leading zeros", "a number does not begin with 0"),
)
"""Parts of the messages of Python's parser, and what the author of the expression has to change."""

CallParts = tuple[str, list[ast.expr], list[ast.keyword], tuple[str, ...]]


class ExpressionError(CnnstatError):
    """An expression cannot be evaluated; `offset` counts the bytes before the fault."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


class Budget:
    """Steps that may still be taken."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_EVALUATIONS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Take steps; raises Abandoned when none are left."""
        self.left -= steps
        if self.left < 0:
            raise Abandoned("the spec takes too long to evaluate; use smaller lists, or fewer repeats and expressions")


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
    elif isinstance(value, list) and count_elements(value) > MAX_LENGTH:
        raise ExpressionError(f"a list of more than {MAX_LENGTH:,} values", offset)
    return value


def count_elements(values: list[Any], depth: int = 1) -> int:
    """Return how many values a list of lists holds in all; stops counting beyond MAX_LENGTH."""
    if depth > MAX_LIST_DEPTH:
        raise ExpressionError(f"lists within lists more than {MAX_LIST_DEPTH} deep")
    count = len(values)
    for value in values:
        if count > MAX_LENGTH:
            break
        if isinstance(value, list):
            count += count_elements(value, depth + 1)
    return count


@lru_cache(maxsize=8192)
def parse_expression(text: str) -> ast.expr:
    """Return the syntax tree of an expression; raises ExpressionError."""
    text = text.strip().replace("\n", " ")
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"longer than {MAX_TEXT} characters; write it as YAML, or in parts under let:")
    _check_brackets(text)  # before the parser sees them, since its own stack overflows on some versions of Python
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python remarks on `1 is 1` and on odd escapes
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        offset = len(text[: max(0, (error.offset or 1) - 1)].encode())
        raise ExpressionError(f"cannot read {quoted(text)}{_syntax_hint(text, error)}", offset) from None
    except (RecursionError, MemoryError, ValueError):
        raise ExpressionError(f"cannot read {quoted(text)}; it is nested too deeply or broken") from None
    _check_tree(tree, text)
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
                message = f"{first[0]} is closed by {match[2]} in {quoted(text)}; write {_PAIRS[first[0]]}"
                raise ExpressionError(message, _bytes(text, match))
        if len(opened) > MAX_BRACKETS:
            raise ExpressionError(f"{quoted(text)} is nested more than {MAX_BRACKETS} deep", _bytes(text, match))
    if opened:
        last = opened[-1]
        raise ExpressionError(f"{last[0]} is never closed in {quoted(text)}; add {_PAIRS[last[0]]}", _bytes(text, last))


def _bytes(text: str, match: re.Match[str]) -> int:
    """Return the bytes before a match, which is how Python's parser counts columns."""
    return len(text[: match.start()].encode())


def _syntax_hint(text: str, error: SyntaxError) -> str:
    for foreign, own in _FOREIGN:
        if foreign in text:
            return f"; write {own} for {foreign}"
    for part, hint in _SYNTAX_HINTS:
        if part in str(error.msg):
            return f"; {hint}"
    if line := _spec_line(text):
        return f"; write {line}"
    if "=" in text:
        return "; arguments are written as name=value, comparisons with =="
    return "; write numbers, names, + - * / // % **, comparisons, and, or, not"


def _check_tree(tree: ast.expr, text: str) -> None:
    """Raise ExpressionError if the tree is nested too deeply to be walked safely, or holds an odd literal."""
    # Level by level and without recursion: this check is what makes the recursive evaluation safe.
    level: list[ast.AST] = [tree]
    for _ in range(MAX_NESTING):
        for node in level:
            if isinstance(node, ast.Constant):
                _check_literal(node)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ExpressionError(f"{quoted(text)} is nested too deeply; write it in parts under let:")


def _check_literal(node: ast.Constant) -> None:
    if not isinstance(node.value, (int, float, str)) and node.value is not None:
        raise ExpressionError(f"{quoted(ast.unparse(node))} is not allowed in a spec", node.col_offset)
    bounded(node.value, node.col_offset)


def parse_scalar(scalar: Scalar) -> ast.expr:
    """Return the syntax tree of a scalar's text; raises SpecError at the fault."""
    try:
        return parse_expression(scalar.text)
    except ExpressionError as error:
        fail(scalar.place(error.offset), str(error))


def parse_call(scalar: Scalar) -> CallParts:
    """Return callee, positional and keyword arguments of a call text, and the words the arguments mention."""
    try:
        return _call_parts(scalar.text)
    except ExpressionError as error:
        fail(scalar.place(error.offset), str(error))


@lru_cache(maxsize=8192)  # large specs write the same few layers again and again
def _call_parts(text: str) -> CallParts:
    """Return the parts of a call text; raises ExpressionError."""
    node = parse_expression(text)
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if isinstance(call.func, ast.Attribute):
        line = _spec_line(text) or f"{call.func.attr} alone"
        raise ExpressionError(f"{quoted(ast.unparse(call.func))} has a dot; write {line}")
    if not isinstance(call.func, ast.Name):
        line = (_spec_line(text) if text.rstrip().endswith(",") else "") or "one as in Conv2d(64, 3)"
        raise ExpressionError(f"{text[:60]} is not a layer; write {line}")
    for argument in call.args:
        if isinstance(argument, ast.Starred):
            raise ExpressionError("* is not allowed in a spec; write the arguments out", argument.col_offset)
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ExpressionError("** is not allowed in a spec; write the arguments out", keyword.col_offset)
    return call.func.id, call.args, call.keywords, _words(*call.args, *call.keywords)


def _spec_line(text: str) -> str:
    from cnnstat.spec.pasted_code import spec_line  # for errors alone; it knows all ops

    return spec_line(text)


def words_in(written: ast.expr | Tree) -> tuple[str, ...]:
    """Return the words that an expression or YAML value mentions."""
    if isinstance(written, ast.expr):
        return _words(written)
    if isinstance(written, Sequence):
        return tuple(name for item in written.items for name in words_in(item))
    if not isinstance(written, Scalar) or not isinstance(written.value, str):
        return ()
    try:
        return _words(parse_expression(written.text))
    except ExpressionError:
        return ()


def _words(*nodes: ast.AST) -> tuple[str, ...]:
    return tuple(dict.fromkeys(n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)))

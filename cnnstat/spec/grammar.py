"""Grammar of expressions: texts to syntax trees, by Python's own parser, with bounds that keep that parser safe."""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache

from cnnstat.spec.arithmetic import ExpressionError, bounded, quoted

MAX_TEXT = 4_000
"""Longest expression; lists that are longer are written as YAML."""
MAX_BRACKETS = 30
"""Deepest brackets within brackets; Python's parser is safe well beyond that."""
MAX_NESTING = 120
"""Deepest syntax tree that is walked."""

_BRACKETS = re.compile(r"'[^']*'|\"[^\"]*\"|([(\[{])|([)\]}])")
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_FOREIGN = (("&&", "and"), ("||", "or"), ("×", "*"), ("÷", "/"))


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


def _check_tree(tree: ast.expr, text: str) -> None:
    """Raise ExpressionError if the tree is nested too deeply to be walked safely, or holds an odd literal."""
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
    """Raise ExpressionError unless a literal is a number of sane size, a text, a truth value or None."""
    if not isinstance(node.value, (int, float, str)) and node.value is not None:
        raise ExpressionError(f"{quoted(ast.unparse(node))} is not allowed in a spec", node.col_offset)
    bounded(node.value, node.col_offset)

"""Names: of variables, of layers, and references to layers, with expressions in braces."""

from __future__ import annotations

import ast
import re
import unicodedata

from cnnstat import ops
from cnnstat.spec.arithmetic import ExpressionError
from cnnstat.spec.grammar import parse_expression
from cnnstat.spec.items import Template
from cnnstat.spec.problems import fail
from cnnstat.spec.tree import Scalar, Sequence, Tree

NAME = re.compile(r"(?=.{1,200}\Z)[\w-]{1,100}(?:\.[\w-]{1,100})*\Z")
"""What a name looks like; with dots it stands inside a scope that is written elsewhere."""

_BRACES = re.compile(r"\{([^{}]*)\}")


def parsed(scalar: Scalar) -> ast.expr:
    """Return the syntax tree of a scalar's text; raises SpecError at the fault."""
    try:
        return parse_expression(scalar.text)
    except ExpressionError as error:
        fail(scalar.place(error.offset), str(error))


def identifier(tree: Tree) -> str:
    """Return the text of a scalar that names a variable."""
    if isinstance(tree, Scalar) and tree.text.isidentifier() and len(tree.text) <= 60:
        return unicodedata.normalize("NFKC", tree.text)  # as Python's parser does with names in expressions
    fail(tree.location, "a variable's name is a word of letters, digits and _, not beginning with a digit")


def variable_name(tree: Tree) -> str:
    """Return the text of a scalar that names a variable and no layer."""
    name = identifier(tree)
    if name in ops.names():
        fail(tree.location, f"{name} is a layer; give the variable another name")
    return name


def templates(tree: Tree) -> tuple[Template, ...]:
    """Return one name or a list of names."""
    return tuple(map(template, tree.items)) if isinstance(tree, Sequence) else (template(tree),)


def template(tree: Tree) -> Template:
    """Return a name that may hold expressions in braces."""
    if not isinstance(tree, Scalar) or not tree.text or len(tree.text) > 200:
        fail(tree.location, "a name is a short word")
    parts: list[str | ast.expr] = []
    for index, part in enumerate(_BRACES.split(tree.text)):
        parts.append(part if index % 2 == 0 else parsed(Scalar(tree.file, tree.line, tree.column, part, "|")))
    return Template(tuple(parts), tree.location)


def is_label(text: str) -> bool:
    """Whether a text is a name, perhaps with expressions in braces."""
    return bool(NAME.match(_BRACES.sub("", text) or "x"))

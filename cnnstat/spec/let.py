"""Let: the values of a document's variables, those given by the caller in front."""

from __future__ import annotations

from collections.abc import Container, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from cnnstat import ops
from cnnstat.errors import SpecError, did_you_mean
from cnnstat.sources.request import RequestError
from cnnstat.spec.arithmetic import ExpressionError, bounded
from cnnstat.spec.binding import tree_value
from cnnstat.spec.call_text import words_in
from cnnstat.spec.document import Document
from cnnstat.spec.expression import RESERVED
from cnnstat.spec.problems import fail
from cnnstat.spec.tree import Scalar, Tree
from cnnstat.spec.variables import Variables

MAX_VARIABLES = 2_000


def let_variables(document: Document, given: Mapping[str, Any]) -> Variables:
    """Return the variables of a document with their values; they may use each other in any order.

    given: values that replace the document's, as text (evaluated) or Python values.
    Raises RequestError for a given variable that the document does not have, SpecError for faults of the document.
    """
    for name in given:
        if name not in document.variables:
            known = ", ".join(document.variables) or "this spec has none"
            hint = did_you_mean(name, document.variables) or f"; known: {known}"
            raise RequestError(f"there is no variable called {name[:60]} to set{hint}")
    if len(document.variables) > MAX_VARIABLES:
        fail(document.location, f"let: holds more than {MAX_VARIABLES:,} variables")
    values: dict[str, Any] = {}
    variables = Variables(values)
    trees = {name: _given(given, name, tree) for name, tree in document.variables.items()}
    words = {*ops.names(), *document.blocks}
    uses = {name: _uses(tree, trees) for name, tree in trees.items()}
    for name in _ordered(uses, trees):
        if any(used not in values for used in uses[name]):
            continue  # something it uses is at fault
        tree = trees[name]
        try:
            values[name] = _value(tree, variables, words, document) if isinstance(tree, Tree) else tree
        except SpecError as error:
            document.problems.extend(error.problems)
    if len(values) < len(trees):
        raise document.problems.error()
    return variables


def _given(given: Mapping[str, Any], name: str, tree: Tree) -> Any:
    """Return what stands for a variable: a tree, or the value that the caller gives."""
    if name not in given:
        return tree
    value = given[name]
    if isinstance(value, str):
        return Scalar(f"--set {name}", 1, 1, value)
    try:
        return bounded(list(value) if isinstance(value, tuple) else value)
    except ExpressionError as error:
        raise RequestError(f"{name}: {error}") from None


def _uses(tree: Any, names: Container[str]) -> list[str]:
    """Return the variables that a value is made of."""
    return [word for word in words_in(tree) if word in names] if isinstance(tree, Tree) else []


def _ordered(uses: Mapping[str, list[str]], trees: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names so that every variable comes after those it uses; raises SpecError if there is a circle."""
    try:
        return tuple(TopologicalSorter(uses).static_order())
    except CycleError as error:
        circle = [name for name in uses if name in error.args[1]]
        said = "itself" if len(circle) == 1 else "each other"
        fail(
            trees[circle[0]].location,
            f"let: {', '.join(circle[:8])} refer{'s' * (len(circle) == 1)} to {said}; set one to a number",
        )


def _value(tree: Tree, variables: Variables, layers: Container[str], document: Document) -> Any:
    """Return the value of a variable; a bare word that is no variable means itself."""
    word = tree.text if isinstance(tree, Scalar) else ""
    is_word = word.isidentifier() and word not in document.variables and word not in RESERVED
    return tree_value(tree, variables, (word,) if is_word else (), layers)

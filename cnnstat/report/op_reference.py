"""Op reference: what there is to say about one op, read off its class."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from functools import cached_property
from typing import Any

from cnnstat.display import Displayed
from cnnstat.ir.declaration import Formula
from cnnstat.ir.op import TERMS, Example, Op, Shapes
from cnnstat.ops import lookup

CONVENTIONS = {"MACs": "macs", "other FLOPs": "other_flops", "weights": "weights", "kept for backward": "saved"}
"""Facets whose docstrings say how something is counted."""


class Ops(Displayed, tuple[str, ...]):
    """Names of ops, shown as the page of one, or as a list."""

    __slots__ = ()


class Argument:
    """One argument of an op, from its declaration."""

    def __init__(self, declared: Field[Any]) -> None:
        self.name = declared.name
        self.doc: str = declared.metadata["doc"]
        self.schema: Mapping[str, Any] = declared.metadata["kind"].schema
        self.is_required = declared.default is MISSING
        self.default = None if self.is_required else declared.default
        self.keyword_only = declared.kw_only is True

    @property
    def written(self) -> str:
        """The argument in the signature: its name, and its default if it has one."""
        return self.name if self.is_required else f"{self.name}={value_text(self.default)}"

    @property
    def default_text(self) -> str:
        """The default as a spec writes it, or `required`."""
        return "required" if self.is_required else value_text(self.default)

    @property
    def allowed(self) -> str:
        """The values that it takes, in words."""
        return allowed_values(self.schema)


class Reference:
    """One op: its arguments, an example with its arithmetic, and its conventions. OpError if there is no such op."""

    def __init__(self, name: str) -> None:
        self.op = lookup(name)
        self.name = name

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """Its arguments, in the order in which they may be given without names."""
        declared: Any = self.op
        return tuple(map(Argument, fields(declared)))

    @cached_property
    def signature(self) -> str:
        """The call with all arguments and defaults; those behind * are given by name only."""
        positional = [a.written for a in self.arguments if not a.keyword_only]
        by_name = [a.written for a in self.arguments if a.keyword_only]
        parts = [*positional, *(("*", *by_name) if by_name else ())]
        return f"{self.name}({', '.join(parts)})" if parts else self.name

    @cached_property
    def summary(self) -> str:
        """First line of the docstring."""
        return inspect.cleandoc(self.op.__doc__ or "").partition("\n")[0]

    @cached_property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the docstring, a line each."""
        return [" ".join(text.split()) for text in inspect.cleandoc(self.op.__doc__ or "").split("\n\n")]

    @cached_property
    def module(self) -> str:
        """The PyTorch module, and the arguments that it takes and a spec does not write."""
        if not self.op.torch:
            return "none"
        inferred = ", ".join(self.op.inferred)
        return f"{self.op.torch}{f', {inferred} known from the input' if inferred else ''}"

    @cached_property
    def example(self) -> Example:
        """Its first example."""
        return self.op.examples()[0]

    @cached_property
    def outputs(self) -> Shapes:
        """Output shapes of the example."""
        return self.example.op.output(self.example.inputs)

    @cached_property
    def formulas(self) -> tuple[Formula, ...]:
        """The arithmetic of the example."""
        return self.example.op.formulas(self.example.inputs, self.outputs)

    @cached_property
    def conventions(self) -> dict[str, str]:
        """How it is counted, in the words of its facets."""
        return {label: _documented(self.op, facet) for label, facet in CONVENTIONS.items()}

    def has_curve(self) -> bool:
        """Return whether it can be plotted."""
        return self.example.op.curve(0.5) is not None

    def curve(self, x: float) -> float:
        """Return an activation's value at x, with the arguments of its first example."""
        return self.example.op.curve(x) or 0.0


def _documented(op: type[Op], facet: str) -> str:
    """Return what the docstring of a facet, or of the factors it is stated as, says is returned."""
    facet = next((terms for terms, of in TERMS.items() if of == facet and _states(op, terms, facet)), facet)
    text = " ".join((inspect.getdoc(getattr(op, facet)) or "").split())
    return text.removeprefix("Return ").removesuffix(".")


def _states(op: type[Op], terms: str, facet: str) -> bool:
    """Return whether the class that decides on a facet does so by its factors."""
    first = next(base for base in op.__mro__ if terms in vars(base) or facet in vars(base))
    return first is not Op and terms in vars(first)


def value_text(value: Any) -> str:
    """Return a value as a spec writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def allowed_values(schema: Mapping[str, Any]) -> str:
    """Return what a JSON Schema fragment allows, in words."""
    *first, last = dict.fromkeys(_alternatives(schema))
    return f"{', '.join(first)} or {last}" if first else last


def _alternatives(schema: Mapping[str, Any]) -> Iterator[str]:
    kind = schema.get("type")
    if "anyOf" in schema:
        for part in schema["anyOf"]:
            yield from _alternatives(part)
    elif "enum" in schema:
        yield from map(value_text, schema["enum"])
    elif kind == "array":
        yield f"list of {_plural(allowed_values(schema.get('items', {})))}"
    elif kind == "boolean":
        yield from ("true", "false")
    elif kind in ("integer", "number"):
        yield f"{kind}{_bounds(schema)}"
    else:
        yield {"null": "null", "string": "text"}.get(str(kind), "any value")


def _plural(values: str) -> str:
    """Return the words for one kind of number in the plural; anything else as it is."""
    word, space, rest = values.partition(" ")
    return f"{word}s{space}{rest}" if word in ("integer", "number") and " or " not in rest else f"values ({values})"


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" ≥ {low}" if low is not None else f" ≤ {high}" if high is not None else ""

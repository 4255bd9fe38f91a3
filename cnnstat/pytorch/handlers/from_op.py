"""Handlers that follow from an op's class: its facet `calls` says which argument of a function is which of its own."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import torch

from cnnstat.choices import words
from cnnstat.ir.op import Op
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.tensors import shape_of

_TENSORS = words("weight bias running_mean running_var")
"""Arguments that are an op's weights and buffers."""

_PER_AXIS = words("kernel_size stride padding dilation output_padding output_size size offset")
"""Arguments of which one number stands for equal ones along all axes."""

_LEFT_OUT = object()


class Parameter(NamedTuple):
    """One argument of a function; default: the function's own where it is not the op's."""

    place: int
    name: str
    default: Any


def parameters_of(text: str) -> tuple[Parameter, ...]:
    """Return the arguments that a facet lists; those that it passes over have no entry."""
    listed = []
    for place, part in enumerate(text.split(", ")):
        name, _, default = part.partition("=")
        if not name.startswith("_"):
            listed.append(Parameter(place, name, ast.literal_eval(default) if default else _LEFT_OUT))
    return tuple(listed)


def handler_from(op: type[Op], text: str) -> Handler:
    """Return the handler of a function with these arguments, as `Op.calls` writes them."""
    parameters = parameters_of(text)

    def handle(call: Call) -> Match | None:
        return match_of(op, values_of(call, parameters), call)

    return handle


def values_of(call: Call, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return the arguments of a call by name, those that it leaves out excepted."""
    values: dict[str, Any] = {}
    for place, name, default in parameters:
        value = call.get(place, name, default) if name != "inplace" else call.inplace
        if value is _LEFT_OUT and name == "input":
            # Methods that run below Python may name it so.
            value = call.keywords.get("self", _LEFT_OUT)
        if value is not _LEFT_OUT:
            values[name] = value
    return values


def match_of(op: type[Op], values: Mapping[str, Any], call: Call) -> Match:
    """Return the op of a call with these arguments; raises OpError where its own are others."""
    own = _fields_of(op)
    arguments: dict[str, Any] = {}
    reads: list[Any] = []
    weights: dict[str, torch.Tensor | None] = {}
    for name, value in values.items():
        if name in _TENSORS:
            weights[name] = value
        elif name in own:
            arguments[name] = per_axis(value) if name in _PER_AXIS else value
        elif value is not None:
            reads.append(value)
    if "return_indices" in own:
        # Some functions return indices whatever they are asked for.
        arguments["return_indices"] = len(call.results) == 2
    if weights:
        if "bias" in own:
            arguments["bias"] = weights.get("bias") is not None
        shapes = {name: shape_of(tensor) for name, tensor in weights.items() if tensor is not None}
        derived = op.arguments_from(shapes, arguments)
        arguments.update((name, per_axis(value) if name in _PER_AXIS else value) for name, value in derived.items())
    return Match(op(**arguments), tuple(reads), weights)


_FIELDS: dict[type[Op], frozenset[str]] = {}


def _fields_of(op: type[Op]) -> frozenset[str]:
    if op not in _FIELDS:
        _FIELDS[op] = frozenset(field.name for field in fields(op))  # type: ignore[arg-type]  # ops are data classes
    return _FIELDS[op]


def per_axis(value: Any) -> Any:
    """Return a list of equal numbers as that number, another as a tuple, an empty one as None, all else unchanged."""
    if isinstance(value, (list, tuple)):
        numbers = tuple(None if each is None else int(each) for each in value)
        return numbers[0] if len(set(numbers)) == 1 and numbers[0] is not None else numbers or None
    return value

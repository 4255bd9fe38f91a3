"""Handlers that follow from an op's class: its facet `calls` says which argument of a function is which of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnstat.ir.function_arguments import LEFT_OUT, Parameter, bound_op, parameters_of
from cnnstat.ir.op import Op
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.tensors import shape_of


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
        if value is LEFT_OUT and name == "input":
            # Methods that run below Python may name it so.
            value = call.keywords.get("self", LEFT_OUT)
        if value is not LEFT_OUT:
            values[name] = value
    return values


def match_of(op: type[Op], values: Mapping[str, Any], call: Call) -> Match:
    """Return the op of a call with these arguments; raises OpError where its own are others."""
    return Match(*bound_op(op, values, len(call.results), shape_of))

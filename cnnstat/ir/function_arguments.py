"""Arguments of a PyTorch function: which of them are an op's own, its weights, and the tensors that it reads.

An op's facet `calls` lists them; calls of traces and of exported programs are read by it alike.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cnnstat.choices import words
from cnnstat.ir.op import Op, Shape

_TENSORS = words("weight bias running_mean running_var")
"""Arguments that are an op's weights and buffers."""

_PER_AXIS = words("kernel_size stride padding dilation output_padding output_size size offset")
"""Arguments of which one number stands for equal ones along all axes."""

LEFT_OUT = object()
"""The default of an argument that is the op's own default."""


class Parameter(NamedTuple):
    """One argument of a function; default: the function's own where it is not the op's."""

    place: int
    name: str
    default: Any


class BoundOp(NamedTuple):
    """An op with the values that it reads, and its weights by name, None for those that are left out."""

    op: Op
    reads: tuple[Any, ...]
    weights: dict[str, Any]


def parameters_of(text: str) -> tuple[Parameter, ...]:
    """Return the arguments that a facet lists; those that it passes over have no entry."""
    listed = []
    for place, part in enumerate(text.split(", ")):
        name, _, default = part.partition("=")
        if not name.startswith("_"):
            # A weight that is left out is none, whatever the op has unless told otherwise.
            usual = None if name in _TENSORS else LEFT_OUT
            listed.append(Parameter(place, name, ast.literal_eval(default) if default else usual))
    return tuple(listed)


def bound_op(op: type[Op], values: Mapping[str, Any], results: int, shape_of: Callable[[Any], Shape]) -> BoundOp:
    """Return the op of a call with these arguments by name; raises OpError where its own are others.

    results: how many tensors the call returns; shape_of: returns the shape of a weight.
    """
    own = op.__dataclass_fields__  # type: ignore[attr-defined]  # ops are data classes
    arguments: dict[str, Any] = {}
    reads: list[Any] = []
    weights: dict[str, Any] = {}
    for name, value in values.items():
        if name in _TENSORS:
            weights[name] = value
        elif name in own:
            arguments[name] = per_axis(value) if name in _PER_AXIS else value
        elif value is not None:
            reads.append(value)
    if "return_indices" in own:
        # Some functions return indices whatever they are asked for.
        arguments["return_indices"] = results == 2
    if weights:
        if "bias" in own:
            arguments["bias"] = weights.get("bias") is not None
        shapes = {name: shape_of(tensor) for name, tensor in weights.items() if tensor is not None}
        derived = op.arguments_from(shapes, arguments)
        arguments.update((name, per_axis(value) if name in _PER_AXIS else value) for name, value in derived.items())
    return BoundOp(op(**arguments), tuple(reads), weights)


def per_axis(value: Any) -> Any:
    """Return a list of equal numbers as that number, another as a tuple, an empty one as None, all else unchanged."""
    if isinstance(value, (list, tuple)):
        numbers = tuple(each if each is None or isinstance(each, float) else int(each) for each in value)
        return numbers[0] if len(set(numbers)) == 1 and numbers[0] is not None else numbers or None
    return value

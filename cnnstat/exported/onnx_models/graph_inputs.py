"""Inputs of an ONNX graph: sizes that the file fixes, those that it leaves free, and values that decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy
import onnx

from cnnstat.errors import RequestError, SourceError, printable
from cnnstat.exported.onnx_models.values import DTYPES, Value
from cnnstat.ir.graph import Edge, Input
from cnnstat.ir.op import Shape
from cnnstat.sources.request import InputShape, Request, inputs_by_name

Axis = int | str | None
"""A size, the name that the file gives it, or neither."""


class _Declared(NamedTuple):
    """An input as the file has it; axes: None where even their number is free."""

    name: str
    element_type: int
    axes: tuple[Axis, ...] | None


def graph_inputs(graph: Any, request: Request, source: str) -> tuple[tuple[Input, ...], dict[str, Value]]:
    """Return the inputs of a graph and their values by name; raises RequestError or SourceError."""
    if request.batch is not None and request.batch < 1:
        raise RequestError("--batch must be at least 1")
    stored = {tensor.name for tensor in graph.initializer}
    declared = [_declared(each, source) for each in graph.input if each.name not in stored]
    requested = inputs_by_name(request, [each.name for each in declared])
    numbers = request.input_values
    names: dict[str, int] = {}
    shapes = [_requested(each, requested.get(each.name), request, names) for each in declared]
    finished = [_finished(each, shape, request, names, source) for each, shape in zip(declared, shapes)]
    _check_free(declared, finished, source)
    inputs, values = [], {}
    for number, (each, shape) in enumerate(zip(declared, finished)):
        sizes = tuple(size for size in shape or () if isinstance(size, int))
        value = Value(each.element_type, sizes, Edge(number))
        if each.name in numbers:
            value = _with_numbers(
                value, each.name, numbers[each.name], is_free=each.axes is None or None in shape_free(each.axes)
            )
            sizes = value.shape or ()
        values[each.name] = value
        inputs.append(Input(printable(each.name)[:200], sizes, value.dtype))
    return tuple(inputs), values


def shape_free(axes: Sequence[Axis]) -> list[int | None]:
    """Return sizes with None for those that are free."""
    return [axis if isinstance(axis, int) else None for axis in axes]


def _declared(value: Any, source: str) -> _Declared:
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", None):
        raise SourceError(
            f"{source}: the input {printable(value.name)[:80]} is no tensor, but a {kind.removesuffix('_type')}"
        )
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return _Declared(value.name, tensor.elem_type or 1, None)
    axes: list[Axis] = []
    for dim in tensor.shape.dim:
        # A size that is not known reads as 0; some exporters write −1 or 0 for it.
        is_known = dim.HasField("dim_value") and dim.dim_value > 0
        axes.append(dim.dim_value if is_known else (dim.dim_param or None))
    return _Declared(value.name, tensor.elem_type or 1, tuple(axes))


def _requested(
    declared: _Declared, requested: InputShape | None, request: Request, names: dict[str, int]
) -> tuple[Axis, ...] | None:
    """Return an input with the sizes that are asked for, and note which names of axes they give values."""
    axes = declared.axes
    if requested is None:
        return axes
    if requested.dtype is not None and requested.dtype != DTYPES.get(declared.element_type):
        raise RequestError(
            f"--input {printable(declared.name)[:80]}: it is {DTYPES.get(declared.element_type, 'text')} in the file, "
            f"which cannot be {requested.dtype}"
        )
    sizes: tuple[int, ...] = requested.sizes
    if axes is None:
        return sizes
    if len(sizes) == len(axes) - 1:
        first = axes[0] if isinstance(axes[0], int) else 1
        sizes = (request.batch or first, *sizes)
    elif len(sizes) != len(axes):
        raise RequestError(
            f"--input {'x'.join(map(str, sizes))}: {printable(declared.name)[:80]} is {_written(axes)} "
            f"({len(axes)} sizes)"
        )
    elif request.batch is not None and sizes and sizes[0] != request.batch:
        raise RequestError(f"--input has a batch of {sizes[0]}, but --batch says {request.batch}; keep one")
    for axis, size in zip(axes, sizes):
        if isinstance(axis, str) and names.setdefault(axis, size) != size:
            raise RequestError(f"--input: {printable(axis)[:60]} is {names[axis]} in one place and {size} in another")
    return sizes


def _finished(
    declared: _Declared, axes: tuple[Axis, ...] | None, request: Request, names: Mapping[str, int], source: str
) -> tuple[Axis, ...] | None:
    """Return an input's axes with the sizes of names that are known by now, and the batch."""
    if axes is None:
        return None
    result: list[Axis] = []
    for place, axis in enumerate(axes):
        if isinstance(axis, str) and axis in names:
            axis = names[axis]
        elif not isinstance(axis, int) and _is_batch(axis, place, len(axes)):
            axis = request.batch or 1
        elif place == 0 and request.batch is not None and len(axes) > 1 and declared.axes == axes:
            axis = request.batch
        result.append(axis)
    return tuple(result)


def _is_batch(axis: Axis, place: int, rank: int) -> bool:
    """Whether a free axis is the batch: the first of several, unless it is called otherwise."""
    if isinstance(axis, str) and ("batch" in axis.lower() or axis in ("N", "n", "bs")):
        return True
    return place == 0 and rank > 1


def _check_free(declared: list[_Declared], finished: list[tuple[Axis, ...] | None], source: str) -> None:
    """Raise RequestError that names the axes that are still free."""
    for each, axes in zip(declared, finished):
        name = printable(each.name)[:80]
        if axes is None:
            raise RequestError(
                f"{source}: the file does not say the sizes of the input {name}; write --input {name}=SIZES"
            )
        free = [place for place, axis in enumerate(axes) if not isinstance(axis, int)]
        if free:
            words = " and ".join(
                f"{printable(axes[place])[:40]} (axis {place})" if isinstance(axes[place], str) else f"axis {place}"  # type: ignore[arg-type]
                for place in free
            )
            verb = "is" if len(free) == 1 else "are"
            usual = "x".join(str(axis) if isinstance(axis, int) else "224" for axis in axes)
            raise RequestError(
                f"{source}: {words} of the input {name} {verb} free in the file; write --input {name}={usual}, with "
                "the sizes that you want"
            )


def _written(axes: Sequence[Axis]) -> str:
    return "×".join(printable(str(axis))[:40] if axis is not None else "?" for axis in axes) or "a single number"


def _with_numbers(value: Value, name: str, numbers: Any, *, is_free: bool) -> Value:
    """Return an input with the numbers that are given for it; raises RequestError where they do not fit."""
    try:
        array = numpy.array(numbers, dtype=onnx.helper.tensor_dtype_to_np_dtype(value.element_type))
    except (ValueError, TypeError, OverflowError):
        raise RequestError(
            f"--value {printable(name)[:80]}={str(numbers)[:40]}: it is {value.dtype} in the file"
        ) from None
    shape: Shape = value.shape or ()
    if array.ndim == len(shape) and is_free:
        shape = tuple(array.shape)
    if array.size == 1 and not array.ndim:
        array = numpy.full(shape, array) if value.size <= 4096 else array
    if array.shape != shape and array.size == value.size:
        array = array.reshape(shape)
    if array.shape != shape:
        raise RequestError(
            f"--value {printable(name)[:80]}: it has {_written(shape)} numbers in the file, but {array.size} are given"
        )
    return Value(value.element_type, shape, None, known=array)

"""Shapes of a node's results: by ONNX's own rules, one node at a time, with the numbers that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import onnx

from cnnstat.choices import words
from cnnstat.errors import CnnstatError
from cnnstat.exported.onnx_models.call import Call
from cnnstat.exported.onnx_models.constants import evaluated, is_direct, is_evaluated
from cnnstat.exported.onnx_models.runtime_ops import runtime_results
from cnnstat.exported.onnx_models.values import MOST_NUMBERS, Value, of_array, of_type
from cnnstat.ir.op import Shape

LARGEST_RANK = 64

MOST_FEW = 64
"""Elements of all operands together up to which an operation is computed at once."""

MOST_OPERANDS = 3
"""Operands up to which those that broadcast are computed at once."""

_GROWING = words("Range Expand Tile ConstantOfShape EyeLike Reshape")
"""Operations that make as much as their operands' numbers say; computed only where that is known to be little."""

_ASKS_NUMBERS = words("Resize Upsample Range OneHot TopK ConstantOfShape Expand Tile")
"""Operations whose sizes may follow from floating-point numbers or those of many operands."""


class ShapeError(CnnstatError):
    """The operands of a node do not fit; the message is for the end of a sentence about it."""


class ShapeRules:
    """The rules of the operations of one set of opsets."""

    def __init__(self, opsets: Mapping[str, int], bounded: set[str]) -> None:
        self.opsets = dict(opsets)
        self.bounded = bounded
        self.imports = [onnx.helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        self._schemas: dict[tuple[str, str], Any] = {}

    @property
    def opset(self) -> int:
        """The version of ONNX's own operations."""
        return self.opsets.get("", 1)

    def results(self, call: Call) -> list[Value]:
        """Return what a node makes, one value for each output; raises ShapeError where its operands do not fit."""
        op_type, is_onnx = call.op_type, not call.domain
        simple = self._of_shape(call) if is_onnx else None
        if simple is None and is_onnx and op_type not in _GROWING and is_direct(op_type):
            simple = self._of_few(call)
        if simple is not None:
            return [simple]
        results = runtime_results(call, self._plain_shape)
        if results is None:
            results = self.inferred(call.node, call.domain, call.inputs)
        if is_onnx and op_type == "STFT" and call.attributes.get("onesided", 1) and results[0].shape is not None:
            # ONNX's rule keeps all frequencies, its definition and ONNX Runtime one half and the middle.
            frames, points = results[0].shape[:-2], results[0].shape[-2]
            results[0] = Value(results[0].element_type, (*frames, points // 2 + 1, 2))
        for result in results:
            _check_size(result.shape)
        if is_onnx:
            self._bound(call, results)
            if is_evaluated(op_type):
                self._evaluate(call, results)
        return results

    def _of_shape(self, call: Call) -> Value | None:
        """Return the result of operations that ask for sizes, or whose few numbers decide theirs."""
        if call.op_type == "Range":
            return self._range(call.inputs)
        if call.op_type == "OneHot":
            return _one_hot(call)
        if call.op_type not in ("Shape", "Size") or call.inputs[0] is None or call.inputs[0].shape is None:
            return None
        shape, attributes = call.inputs[0].shape, call.attributes
        if call.op_type == "Size":
            return of_array(numpy.array(math.prod(shape), numpy.int64))
        return of_array(numpy.array(shape[attributes.get("start", 0) : attributes.get("end", len(shape))], numpy.int64))

    def _of_few(self, call: Call) -> Value | None:
        """Return the result of an operation on a few known numbers, as shapes are computed, without ONNX's rules.

        So few that no way of combining them makes many.
        """
        inputs = call.inputs
        if any(value is not None and value.shape is None for value in inputs):
            return None
        if sum(value.size for value in inputs if value is not None) > MOST_FEW:
            return None
        # Each of many operands could double the result along an axis of its own.
        if len(inputs) > MOST_OPERANDS and call.op_type not in ("Concat", "Slice"):
            return None
        if not inputs or any(value is not None and value.numbers is None for value in inputs):
            return None
        arrays = evaluated(call)
        return None if arrays is None or len(arrays) != 1 or len(call.node.output) != 1 else of_array(arrays[0])

    def _range(self, inputs: Sequence[Value | None]) -> Value | None:
        numbers: list[Any] = [None if value is None or value.size != 1 else value.numbers for value in inputs]
        if len(numbers) != 3 or any(number is None for number in numbers):
            return None
        start, limit, step = (numpy.ravel(number)[0] for number in numbers)
        if not step or not all(math.isfinite(float(number)) for number in (start, limit, step)):
            raise ShapeError(f"a range from {start} to {limit} by {step} never ends")
        count = max(0, math.ceil((float(limit) - float(start)) / float(step)))
        if count <= MOST_NUMBERS:
            return of_array(numpy.arange(count) * step + start, inputs[0].element_type)  # type: ignore[union-attr]
        return Value(inputs[0].element_type, (count,))  # type: ignore[union-attr]

    def inferred(self, node: Any, domain: str, inputs: Sequence[Value | None]) -> list[Value]:
        """Return what ONNX's own rules say; values without a shape where they say nothing."""
        node = _with_all_names(node)
        schema = self._schema(node.op_type, domain)
        types, numbers = {}, {}
        for name, value in zip(node.input, inputs):
            if value is None:
                continue
            types[name] = value.type
            if (not value.is_float or node.op_type in _ASKS_NUMBERS) and value.size <= MOST_NUMBERS:
                tensor = value.tensor_proto if value.numbers is not None else None
                if tensor is not None:
                    numbers[name] = tensor
        if schema is None:
            return [_unknown(inputs) for _ in node.output]
        try:
            found = onnx.shape_inference.infer_node_outputs(
                schema, node, types, numbers, opset_imports=self.imports, ir_version=10
            )
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
            raise ShapeError(_reason(error)) from None
        except (KeyError, onnx.checker.ValidationError):
            found = {}
        return [of_type(found[name]) if name in found else _unknown(inputs) for name in node.output]

    def _plain_shape(self, node: Any, inputs: Sequence[Value | None]) -> Shape | None:
        """Return the shape that a node of ONNX's own makes, by rules old enough for every attribute."""
        return ShapeRules({"": 13}, self.bounded).inferred(node, "", inputs)[0].shape

    def _schema(self, op_type: str, domain: str) -> Any:
        """Return the schema of an operation; its first where a file has an older opset than the operation."""
        key = (domain, op_type)
        if key not in self._schemas:
            schema = None
            for version in (self.opsets.get(domain, 1), onnx.defs.onnx_opset_version()):
                try:
                    schema = onnx.defs.get_schema(op_type, version, domain)
                    break
                except onnx.defs.SchemaError:
                    continue
            self._schemas[key] = schema
        return self._schemas[key]

    def _evaluate(self, call: Call, results: list[Value]) -> None:
        """Add the numbers of small results, where those of all operands are known."""
        sizes = [result.size if result.shape is not None else None for result in results]
        if any(value is not None and value.size > MOST_NUMBERS for value in call.inputs):
            return
        if any(size is None and call.op_type in _GROWING or (size or 0) > MOST_NUMBERS for size in sizes):
            return
        if not is_direct(call.op_type) and results[0].size > MOST_FEW:
            return  # masks and tables, of which no size follows
        if not call.inputs or any(value is not None and value.numbers is None for value in call.inputs):
            return
        for place, array in enumerate(evaluated(call) or ()):
            if place < len(results) and (results[place].shape is None or results[place].shape == array.shape):
                results[place] = of_array(array)

    def _bound(self, call: Call, results: list[Value]) -> None:
        """Give results of which numbers decide the size the size that they have at most."""
        rule = _BOUNDS.get(call.op_type)
        if rule is None or results[0].shape is not None:
            return
        if any(value is not None and value.shape is None for value in call.inputs):
            return
        shapes = rule(call)
        if shapes is None:
            return
        for result, shape in zip(results, shapes):
            result.shape = result.shape if result.shape is not None else shape
        self.bounded.add(call.op_type)


def _check_size(shape: Shape | None) -> None:
    if shape is not None and (len(shape) > LARGEST_RANK or math.prod(shape) > 2**62 or max(shape, default=0) > 2**40):
        raise ShapeError("makes a tensor larger than any machine can hold")


def _one_hot(call: Call) -> Value | None:
    """Return the result of OneHot, which ONNX's rules leave without its depth."""
    indices, depth, values = (*call.inputs, None, None, None)[:3]
    if indices is None or indices.shape is None or values is None or depth is None or depth.number is None:
        return None
    axis = call.attributes.get("axis", -1) % (len(indices.shape) + 1)
    return Value(values.element_type, (*indices.shape[:axis], int(depth.number), *indices.shape[axis:]))


def _with_all_names(node: Any) -> Any:
    """Return a node with names for results that it leaves out: ONNX's rules would mistake the others' places."""
    names = list(node.output)
    if "" not in names:
        return node
    result = onnx.NodeProto()
    result.CopyFrom(node)
    result.output[:] = [name or f"left out {place}" for place, name in enumerate(names)]
    return result


def _unknown(inputs: Sequence[Value | None]) -> Value:
    first = next((value for value in inputs if value is not None), None)
    return Value(1 if first is None else first.element_type, None)


def _reason(error: Exception) -> str:
    """Return the reason of an error of inference, without where in onnx it was found."""
    text = " ".join(str(error).split())
    for start in ("[ShapeInferenceError] ", "[TypeInferenceError] "):
        _, found, rest = text.rpartition(start)
        text = rest if found else text
    return f"its operands do not fit: {text[:160].rstrip('.')}"


def _non_zero(call: Call) -> list[Shape] | None:
    (x,) = _shapes(call.inputs[:1])
    return [(len(x), math.prod(x))]


def _boxes_kept(call: Call) -> list[Shape] | None:
    boxes, scores = _shapes(call.inputs[:2])
    most = call.input(2).numbers if call.has(2) else None
    kept = boxes[1] if most is None else min(int(numpy.ravel(most)[0]), boxes[1])
    return [(max(kept, 0) * scores[0] * scores[1], 3)]


def _unique(call: Call) -> list[Shape] | None:
    (x,) = _shapes(call.inputs[:1])
    axis = call.attributes.get("axis")
    count = math.prod(x) if axis is None else x[axis]
    return [(count,) if axis is None else x, (count,), (math.prod(x),), (count,)]


def _compressed(call: Call) -> list[Shape] | None:
    (x,) = _shapes(call.inputs[:1])
    return [(math.prod(x),)] if call.attributes.get("axis") is None else [x]


def _all_of_it(call: Call) -> list[Shape] | None:
    (x,) = _shapes(call.inputs[:1])
    return [x, x]


def _shapes(inputs: Sequence[Value | None]) -> list[Shape]:
    return [value.shape for value in inputs if value is not None and value.shape is not None]


_BOUNDS: Mapping[str, Callable[[Call], list[Shape] | None]] = {
    "NonZero": _non_zero,
    "NonMaxSuppression": _boxes_kept,
    "Unique": _unique,
    "Compress": _compressed,
    "TopK": _all_of_it,
    "Slice": _all_of_it,
}
"""How much operations make at most whose numbers decide it."""

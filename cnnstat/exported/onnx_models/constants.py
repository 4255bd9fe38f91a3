"""Small constants: what nodes make of known numbers and of sequences, and which stored tensors are behind them.

Shapes and bounds of slices are computed so; stored are weights, scales and tables.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import onnx

from cnnstat.choices import words
from cnnstat.exported.onnx_models.call import Call
from cnnstat.exported.onnx_models.operations import role_of
from cnnstat.exported.onnx_models.values import MOST_NUMBERS, Value, of_array
from cnnstat.exported.stored_tensors import Role, Source, Use

Attributes = Mapping[str, Any]


def _cast(attributes: Attributes, x: Any) -> Any:
    return x.astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))


def _axes(attributes: Attributes, axes: Any) -> tuple[int, ...] | None:
    found = axes if axes is not None else attributes.get("axes")
    return None if found is None else tuple(int(axis) for axis in numpy.ravel(found))


def _unsqueeze(attributes: Attributes, x: Any, axes: Any = None) -> Any:
    return numpy.expand_dims(x, _axes(attributes, axes) or ())


def _squeeze(attributes: Attributes, x: Any, axes: Any = None) -> Any:
    return numpy.squeeze(x, _axes(attributes, axes))


def _slice(attributes: Attributes, x: Any, *bounds: Any) -> Any:
    starts: Any
    ends: Any
    axes: Any
    starts, ends, axes, steps = (*bounds, None, None, None, None)[:4]
    starts = attributes.get("starts") if starts is None else starts
    ends = attributes.get("ends") if ends is None else ends
    axes = attributes.get("axes", range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        # The smallest number stands for the end of a reversed axis.
        stop = None if int(step) < 0 and int(end) < -x.shape[int(axis)] else int(end)
        index[int(axis)] = slice(int(start), stop, int(step))
    return x[tuple(index)]


def _gather(attributes: Attributes, x: Any, indices: Any) -> Any:
    return numpy.take(x, indices, axis=attributes.get("axis", 0))


def _divide(attributes: Attributes, x: Any, y: Any) -> Any:
    if not numpy.issubdtype(x.dtype, numpy.integer):
        return x / y
    # Whole numbers are cut towards zero.
    return (numpy.sign(x) * numpy.sign(y) * (abs(x) // abs(y))).astype(x.dtype)


def _modulo(attributes: Attributes, x: Any, y: Any) -> Any:
    return numpy.fmod(x, y) if attributes.get("fmod") else numpy.mod(x, y)


def _clip(attributes: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    return x if low is None and high is None else numpy.clip(x, low, high).astype(x.dtype)


def _reshape(attributes: Attributes, x: Any, shape: Any) -> Any:
    keeps_zero = attributes.get("allowzero", 0)
    sizes = [int(size) if size or keeps_zero else x.shape[axis] for axis, size in enumerate(shape)]
    return x.reshape(sizes)


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(attributes: Attributes, x: Any, axes: Any = None) -> Any:
        named = _axes(attributes, axes)
        if not named and attributes.get("noop_with_empty_axes"):
            return x
        return numpy.asarray(function(x, axis=named or None, keepdims=bool(attributes.get("keepdims", 1)))).astype(
            x.dtype
        )

    return reduce


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda attributes, *operands: function(*operands)


def _folded(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def fold(attributes: Attributes, first: Any, *others: Any) -> Any:
        for other in others:
            first = function(first, other)
        return first

    return fold


_EVALUATED: Mapping[str, Callable[..., Any]] = {
    "Cast": _cast,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Gather": _gather,
    "Div": _divide,
    "Mod": _modulo,
    "Reshape": _reshape,
    "Concat": lambda attributes, *parts: numpy.concatenate(parts, axis=attributes["axis"]),
    "Transpose": lambda attributes, x: numpy.transpose(x, attributes.get("perm")),
    "ReduceProd": _reduction(numpy.prod),
    "ReduceSum": _reduction(numpy.sum),
    "ReduceMax": _reduction(numpy.max),
    "ReduceMin": _reduction(numpy.min),
    "Add": _plain(operator.add),
    "Sub": _plain(operator.sub),
    "Mul": _plain(operator.mul),
    "Max": _folded(numpy.maximum),
    "Min": _folded(numpy.minimum),
    "Neg": _plain(operator.neg),
    "Abs": _plain(abs),
    "Floor": _plain(numpy.floor),
    "Ceil": _plain(numpy.ceil),
    "Round": _plain(numpy.round),
    "Sign": _plain(numpy.sign),
    "Sqrt": _plain(numpy.sqrt),
    "Exp": _plain(numpy.exp),
    "Log": _plain(numpy.log),
    "Pow": _plain(lambda x, y: numpy.power(x, y).astype(x.dtype)),
    "Reciprocal": _plain(lambda x: (1 / x).astype(x.dtype)),
    "Clip": _clip,
    "Sum": _folded(operator.add),
    "Equal": _plain(operator.eq),
    "Greater": _plain(operator.gt),
    "Less": _plain(operator.lt),
    "GreaterOrEqual": _plain(operator.ge),
    "LessOrEqual": _plain(operator.le),
    "Not": _plain(numpy.logical_not),
    "And": _plain(numpy.logical_and),
    "Or": _plain(numpy.logical_or),
    "Where": _plain(numpy.where),
    "Identity": _plain(lambda x: x),
    "Expand": _plain(lambda x, shape: numpy.broadcast_to(x, numpy.broadcast_shapes(x.shape, tuple(map(int, shape))))),
    "Range": _plain(numpy.arange),
}  # fmt: skip

_BY_REFERENCE = words("""
    ArgMax ArgMin CastLike Compress ConstantOfShape CumSum Erf EyeLike Flatten GatherElements GatherND IsInf IsNaN
    Mean NonZero ReduceMean ReduceL1 ReduceL2 ReduceSumSquare ScatterElements ScatterND Sigmoid Split Tanh Tile TopK
    Trilu Unique Xor
    """)
"""Operations on numbers that onnx's own interpreter computes; none of them takes long on a few."""


def is_direct(op_type: str) -> bool:
    """Whether an operation has one result that is computed here."""
    return op_type in _EVALUATED


def is_evaluated(op_type: str) -> bool:
    """Whether an operation is computed where its operands are known."""
    return op_type in _EVALUATED or op_type in _BY_REFERENCE


def evaluated(call: Call) -> list[Any] | None:
    """Return what a node makes of known numbers, of which the caller bounds the size; None where it cannot."""
    operands = [None if value is None else value.numbers for value in call.inputs]
    function = _EVALUATED.get(call.op_type)
    try:
        with numpy.errstate(all="ignore"):
            if function is not None:
                while operands and operands[-1] is None:
                    operands.pop()
                results = [numpy.asarray(function(call.attributes, *operands))]
            else:
                results = _by_reference(call, operands)
    except Exception:  # onnx's interpreter raises whatever numpy does
        return None
    is_small = all(math.prod(result.shape) <= MOST_NUMBERS and result.dtype != object for result in results)
    return results if is_small else None


def _by_reference(call: Call, operands: list[Any]) -> list[Any]:
    from onnx.reference import ReferenceEvaluator

    feeds = {name: array for name, array in zip(call.node.input, operands) if name}
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in call.node.output if name]
    graph = onnx.helper.make_graph([call.node], "constant", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", call.opset)], ir_version=8)
    return [numpy.asarray(result) for result in ReferenceEvaluator(model).run(None, feeds)]


def sequence_results(call: Call) -> list[Value] | None:
    """Return the result of an operation on sequences whose elements are known; None for all others."""
    inputs, op_type = call.inputs, call.op_type
    first = inputs[0] if inputs else None
    if op_type == "SequenceEmpty":
        return [Value(1, None, items=())]
    if op_type == "SequenceConstruct":
        return [Value(1, None, items=tuple(value for value in inputs if value is not None))]
    if first is None or first.items is None:
        return None
    if op_type == "SequenceLength":
        return [of_array(numpy.array(len(first.items)))]
    place = inputs[-1].numbers if len(inputs) > 1 and inputs[-1] is not None else None
    if op_type == "SequenceAt" and place is not None and first.items:
        number = int(place)
        return [first.items[number]] if -len(first.items) <= number < len(first.items) else None
    if op_type == "SequenceInsert" and len(inputs) > 1 and inputs[1] is not None:
        items = list(first.items)
        items.insert(int(place) if len(inputs) > 2 and place is not None else len(items), inputs[1])
        return [Value(1, None, items=tuple(items))]
    return None


_MOVING = words(
    """
    Cast CastLike Transpose Reshape Squeeze Unsqueeze Identity Flatten DequantizeLinear QuantizeLinear Slice Split
    Gather Concat Expand Tile Pad
    """
)
"""Operations on constants that leave what is a weight a weight."""
_ARITHMETIC = words("Mul Div Sub Add")


def tensor_uses(call: Call) -> list[Use]:
    """Return the stored tensors behind the operands of a node, and what each is read as."""
    return [
        source.as_read(role_of(call, place))
        for place, value in enumerate(call.inputs)
        if value is not None
        for source in value.sources
    ]


def constant_sources(call: Call) -> tuple[Source, ...]:
    """Return the stored tensors that the result of an operation on constants is made of."""
    found: dict[int, Source] = {}
    main = _main_operand(call.inputs) if call.op_type in _ARITHMETIC else None
    for place, value in enumerate(call.inputs):
        if value is None:
            continue
        role = role_of(call, place)
        for source in value.sources:
            own = source.role
            if own is None and role in (Role.SCALE, Role.SETTING):
                own = role
            if own is None and main is not None and place != main:
                own = Role.SCALE
            is_moved = source.is_moved and (call.op_type in _MOVING or place == main)
            is_dequantized = source.is_dequantized or (call.op_type == "DequantizeLinear" and not place)
            found.setdefault(id(source.stored), Source(source.stored, own, is_moved, is_dequantized))
    return tuple(found.values())


def _main_operand(inputs: Sequence[Value | None]) -> int | None:
    """Return which operand of constant arithmetic is a quantized weight that the other one scales or shifts."""
    sizes = [
        (value.size, -place)
        for place, value in enumerate(inputs)
        if value is not None
        and value.is_float
        and any(s.role is None and s.is_moved and not s.stored.is_float for s in value.sources)
    ]
    return -max(sizes)[1] if sizes else None

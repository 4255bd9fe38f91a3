"""Operations element by element of ONNX files: activations, arithmetic, comparisons, quantization."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from cnnstat.choices import words
from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import PREVIOUS, Call, Handler, Steps
from cnnstat.exported.pytorch_calls import one_call
from cnnstat.ir.op import Family, Op, numel
from cnnstat.ir.recorded_call import RecordedCalls
from cnnstat.ir.window import aligned_reads
from cnnstat.ir.work import Work
from cnnstat.ops import activation, join, rectifier, softmax
from cnnstat.ops.traced import Recorded

STEPS: Mapping[str, int] = {
    **dict.fromkeys(
        words("""
        Acos Acosh And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Cos Cosh Equal Erf
        Exp Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Mod Neg Not Or Pow Reciprocal Round Shrink
        Sign Sin Sinh Sqrt Tan Where Xor ThresholdedRelu
        """),
        1,
    ),
    # Divide, round and add one way; subtract and multiply the other.
    "QuantizeLinear": 3,
    "DynamicQuantizeLinear": 5,
    "DequantizeLinear": 2,
    "HardSigmoid": 4,
    "Swish": 5,
    "QLinearAdd": 1,
    "QLinearMul": 1,
    "QLinearSigmoid": 4,
    "QLinearLeakyRelu": 2,
    "QLinearSoftmax": 5,
    "QLinearWhere": 1,
    "ScaledSiLU": 6,
    "QuickGelu": 5,
    "RotaryEmbedding": 3,
    "BiasAdd": 2,
}
"""Operations of one result element, as the table of aten operations counts them."""


def pointwise(call: Call, steps: int, category: str = "element-wise", family: Family = Family.ELEMENTWISE) -> Match:
    """Return an operation of which every result element depends on the elements at its place alone."""
    places = _data_places(call)
    # Constants have no input that could be read.
    reads = tuple(
        aligned_reads(call.shape(place), call.output) for place in places if call.input(place).edge is not None
    )
    known = reads if all(len(shape) == len(call.output) for shape in call.output_shapes) else None
    op = call.recorded(family, Work.other(category, steps * numel(call.output)), reads=known)
    return Match(op, tuple(call.input(place) for place in places), calls=_pytorch_calls(call))


_UNARY = {
    "Erf": "erf", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Neg": "neg", "Reciprocal": "reciprocal", "Sin": "sin",
    "Cos": "cos", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign", "Not": "logical_not",
}  # fmt: skip
"""PyTorch's functions of one tensor that are operations of ONNX."""


def _pytorch_calls(call: Call) -> RecordedCalls | None:
    """Return how PyTorch computes an operation element by element, where that is one call."""
    if call.op_type in _UNARY:
        return one_call(f"torch.{_UNARY[call.op_type]}")
    if call.op_type == "Pow" and call.input(0).edge is not None and call.input(1).number is not None:
        return one_call("Tensor.pow", call.input(1).number)
    return None


def _data_places(call: Call) -> list[int]:
    """Return the places of what takes part in the arithmetic, without scales and zero points."""
    places = _QUANTIZED.get(call.op_type, range(len(call.inputs)))
    return [place for place in places if call.has(place)]


_QUANTIZED: Mapping[str, tuple[int, ...]] = {
    "QuantizeLinear": (0,), "DequantizeLinear": (0,), "DynamicQuantizeLinear": (0,), "QLinearAdd": (0, 3),
    "QLinearMul": (0, 3), "QLinearWhere": (0, 1, 4), "QLinearSigmoid": (0,), "QLinearLeakyRelu": (0,),
    "QLinearSoftmax": (0,),
}  # fmt: skip


def _steps(count: int) -> Handler:
    return lambda call: pointwise(call, count)


def _unary(make: Callable[[Mapping[str, Any]], Op]) -> Handler:
    """Return the handler of an operation on one tensor, with the op that its attributes make."""
    return lambda call: call.match(make(call.attributes), 0)


def _join(op: Any) -> Handler:
    """Return the handler of an operation on two tensors or more."""

    def handle(call: Call) -> Match | None:
        places = range(len(call.inputs))
        if len(places) == 1:
            return pointwise(call, 0)
        return call.match(op(), *places)

    return handle


def _mean(call: Call) -> Match:
    return pointwise(call, len(call.inputs))


def _clip(call: Call) -> Match:
    """Clip: a ReLU6 or Hardtanh where both limits are known."""
    low, high = (_limit(call, place, name) for place, name in ((1, "min"), (2, "max")))
    x = call.input(0)
    if not x.is_float or low is None or high is None or low >= high:
        has_both = low is not None and high is not None
        op = pointwise(call, 2 if has_both else 1).op
        assert isinstance(op, Recorded)
        return Match(_first_read(op), (x,))
    if (low, high) == (0, 6):
        return call.match(rectifier.ReLU6(), 0)
    return call.match(activation.Hardtanh(low, high), 0)


def _first_read(op: Recorded) -> Recorded:
    from dataclasses import replace

    return replace(op, reads=op.reads[:1] if op.reads is not None else None)


def _limit(call: Call, place: int, name: str) -> float | None:
    value = call.input(place).number if call.has(place) else call.attributes.get(name)
    # Those of older opsets stand for no limit.
    return None if value is None or abs(value) > 3e38 else float(value)


def _hard_sigmoid(call: Call) -> Match:
    alpha, beta = call.attributes.get("alpha", 0.2), call.attributes.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-4) and beta == 0.5:
        return call.match(activation.Hardsigmoid(), 0)
    return pointwise(call, 4, "activation", Family.ACTIVATION)


def _softmax(op: Any) -> Handler:
    def handle(call: Call) -> Match | None:
        rank = len(call.shape())
        axis = call.attributes.get("axis", -1 if call.opset >= 13 else 1)
        if call.opset < 13 and axis % rank != rank - 1:
            # All axes from this one on are one.
            inner = math.prod(call.shape()[axis % rank :])
            if inner != call.shape()[axis % rank]:
                return pointwise_sums(call, 5)
        return call.match(op(axis), 0)

    return handle


def pointwise_sums(call: Call, steps: int) -> Match:
    """Return an operation whose results read whole axes."""
    return call.match(call.recorded(Family.ACTIVATION, Work.other("activation", steps * numel(call.output))), 0)


def _prelu(call: Call) -> Match | None:
    slope = call.input(1)
    if slope.edge is not None or slope.shape is None:
        return pointwise(call, 2)
    channels = call.shape()[1] if len(call.shape()) > 1 else 1
    if slope.size not in (1, channels) or slope.size != max(slope.shape, default=1):
        return pointwise(call, 2)
    return call.match(rectifier.PReLU(slope.size), 0, weight=1)


def _gelu(approximate: str = "") -> Handler:
    def handle(call: Call) -> Match:
        kind = approximate or _word(call.attributes.get("approximate", "none"))
        return call.match(rectifier.GELU(kind), 0)

    return handle


def _word(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _bias_gelu(call: Call) -> Steps | Match:
    kind = "tanh" if call.op_type == "FastGelu" else "none"
    if not call.has(1):
        return call.match(rectifier.GELU(kind), 0)
    return call.match(join.Add(), 0, 1), Match(rectifier.GELU(kind), (PREVIOUS,))


HANDLERS: dict[str, Handler] = {
    **{name: _steps(count) for name, count in STEPS.items()},
    "Relu": _unary(lambda _: rectifier.ReLU()),
    "LeakyRelu": _unary(lambda a: rectifier.LeakyReLU(float(a.get("alpha", 0.01)))),
    "Sigmoid": _unary(lambda _: activation.Sigmoid()),
    "Tanh": _unary(lambda _: activation.Tanh()),
    "Elu": _unary(lambda a: rectifier.ELU(float(a.get("alpha", 1.0)))),
    "Selu": _unary(lambda _: rectifier.SELU()),
    "Celu": _unary(lambda a: rectifier.CELU(float(a.get("alpha", 1.0)))),
    "Softplus": _unary(lambda _: rectifier.Softplus()),
    "Softsign": _unary(lambda _: activation.Softsign()),
    "HardSwish": _unary(lambda _: rectifier.Hardswish()),
    "Mish": _unary(lambda _: rectifier.Mish()),
    "Abs": _unary(lambda _: join.Abs()),
    "Gelu": _gelu(),
    "BiasGelu": _bias_gelu,
    "FastGelu": _bias_gelu,
    "HardSigmoid": _hard_sigmoid,
    "PRelu": _prelu,
    "Clip": _clip,
    "Softmax": _softmax(softmax.Softmax),
    "LogSoftmax": _softmax(softmax.LogSoftmax),
    "BiasSoftmax": lambda call: pointwise_sums(call, 6),
    "Add": _join(join.Add),
    "Sum": _join(join.Add),
    "Sub": _join(join.Subtract),
    "Mul": _join(join.Multiply),
    "Div": _join(join.Divide),
    "Max": _join(join.Maximum),
    "Min": _join(join.Minimum),
    "Mean": _mean,
}

"""Operations of ONNX and of ONNX Runtime, and the ops of the library that each of them is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cnnstat.analysis.shapes import check_input_count, op_outputs
from cnnstat.choices import words
from cnnstat.errors import OpError
from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import PREVIOUS, Call, Handler, Steps
from cnnstat.exported.onnx_models.operations import (
    attention_ops,
    convolutions,
    elementwise,
    matrix_products,
    moves,
    normalizations,
    recurrent_ops,
    reductions,
)
from cnnstat.exported.onnx_models.runtime_ops import DOMAINS, NHWC, channels_first, is_channels_last
from cnnstat.exported.stored_tensors import Role
from cnnstat.ir.op import Family, Op
from cnnstat.ir.work import Work
from cnnstat.ops.join import Add
from cnnstat.ops.reorder import Permute

_FAMILIES = (
    moves, elementwise, reductions, convolutions, matrix_products, normalizations, recurrent_ops, attention_ops,
)  # fmt: skip

HANDLERS: dict[str, Handler] = {name: handler for family in _FAMILIES for name, handler in family.HANDLERS.items()}
"""The handler of each operation, by its name; ONNX Runtime's operations of the same names work alike."""

KNOWN_DOMAINS = ("", *DOMAINS)

STRICT = frozenset((*convolutions.HANDLERS, *matrix_products.HANDLERS, "BatchNormalization", *recurrent_ops.HANDLERS))
"""Operations that refuse operands which do not fit; others with shapes that no op makes are kept as they are."""

_WEIGHT, _SCALE, _STATISTIC, _SETTING = Role.WEIGHT, Role.SCALE, Role.STATISTIC, Role.SETTING


def _roles(weights: Sequence[int] = (), scales: Sequence[int] = (), settings: Sequence[int] = ()) -> dict[int, Role]:
    return {
        **dict.fromkeys(weights, _WEIGHT), **dict.fromkeys(scales, _SCALE), **dict.fromkeys(settings, _SETTING),
    }  # fmt: skip


ROLES: dict[str, dict[int, Role]] = {
    **dict.fromkeys(
        ("Conv", "ConvTranspose", "Gemm", "FusedConv", "FusedGemm", "NhwcConv", "NhwcFusedConv", "GroupNorm"),
        _roles((1, 2)),
    ),
    **dict.fromkeys(
        ("MatMul", "FusedMatMul", "TransposeMatMul", "FusedMatMulActivation", "MatMulInteger16"), _roles((0, 1))
    ),
    "DeformConv": _roles((1, 3)),
    "Einsum": _roles((0, 1, 2, 3)),
    "BatchNormalization": {1: _WEIGHT, 2: _WEIGHT, 3: _STATISTIC, 4: _STATISTIC},
    **dict.fromkeys(
        ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization",
         "SimplifiedLayerNormalization"),
        _roles((1, 2)),
    ),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _roles((2, 3, 4))),
    "PRelu": _roles((1,)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _roles((1, 2, 3, 7))),
    "Gather": _roles((0,)),
    **dict.fromkeys(("BiasGelu", "FastGelu", "BiasAdd"), _roles((1,))),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _roles((), (1, 2))),
    "QLinearConv": _roles((3, 8), (1, 2, 4, 5, 6, 7)),
    "ConvInteger": _roles((1,), (2, 3)),
    "MatMulInteger": _roles((0, 1), (2, 3)),
    "QLinearMatMul": _roles((0, 3), (1, 2, 4, 5, 6, 7)),
    "QGemm": _roles((3, 6), (1, 2, 4, 5, 7, 8)),
    "DynamicQuantizeLSTM": _roles((1, 2, 3, 7), (8, 9, 10, 11)),
    "DynamicQuantizeMatMul": _roles((1, 4), (2, 3)),
    "MatMulIntegerToFloat": _roles((1, 6), (2, 3, 4, 5)),
    "MatMulNBits": _roles((1, 5), (2, 3), (4,)),
    "MatMulBnb4": _roles((1,), (2,)),
    "GatherBlockQuantized": _roles((0,), (2, 3)),
    "EmbedLayerNormalization": _roles((2, 3, 4, 5, 6)),
    "QEmbedLayerNormalization": _roles((2, 3, 4, 5, 6), range(8, 18)),
    "QAttention": _roles((1, 2), (3, 4, 6, 7)),
    "MultiHeadAttention": _roles((3,)),
    "MoE": _roles((2, 3, 4, 5, 6, 7)),
    "QMoE": _roles((2, 4, 5, 7, 8, 10), (3, 6, 9)),
    "QLinearWhere": _roles((), (2, 3, 5, 6, 7, 8)),
    "QLinearConvTranspose": _roles((3, 8), (1, 2, 4, 5, 6, 7)),
    **dict.fromkeys(
        ("QLinearAdd", "QLinearMul"), {0: Role.QUANTIZED, 3: Role.QUANTIZED, **_roles((), (1, 2, 4, 5, 6, 7))}
    ),
    **dict.fromkeys(
        ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearGlobalAveragePool", "QLinearAveragePool"),
        _roles((), (1, 2, 3, 4)),
    ),
    **dict.fromkeys(("Resize", "Pad", "Slice"), _roles((), (), (1, 2, 3, 4))),
    **dict.fromkeys(
        ("Upsample", "Reshape", "Expand", "Tile", "Unsqueeze", "Squeeze", "Split", "TopK", "CumSum"),
        _roles((), (), (1, 2)),
    ),
    **dict.fromkeys(("Clip", "Dropout", "OneHot", "DFT", "Col2Im", "AffineGrid", "STFT"), _roles((), (), (1, 2, 3))),
    **dict.fromkeys(("ConstantOfShape", "Range"), _roles((), (), (0, 1, 2))),
    "NonMaxSuppression": _roles((), (), (2, 3, 4)),
}  # fmt: skip
"""What operations read their operands as, by place; what is not here takes part in the arithmetic."""


def role_of(call: Call, place: int) -> Role:
    """Return what an operation reads an operand as."""
    op_type = call.op_type
    if op_type == "QLinearConcat":
        return Role.SCALE if place < 2 or (place - 2) % 3 else Role.QUANTIZED
    if op_type == "Attention" and call.domain:
        return Role.WEIGHT if place in (1, 2) else Role.DATA
    if op_type.startswith("Reduce") and place == 1:
        return Role.SETTING
    return ROLES.get(op_type, {}).get(place, Role.DATA)


_ACTIVATION = {
    b"Relu": "Relu", b"Sigmoid": "Sigmoid", b"Tanh": "Tanh", b"LeakyRelu": "LeakyRelu", b"Clip": "Clip",
    b"HardSigmoid": "HardSigmoid", b"HardSwish": "HardSwish",
}  # fmt: skip


def steps_of(call: Call) -> Steps:
    """Return the ops that a call is, at least one; raises OpError where its operands do not fit."""
    found: Match | Steps | None = None
    handler = HANDLERS.get(_plain_name(call.op_type)) if call.domain in KNOWN_DOMAINS else None
    try:
        if handler is not None and is_channels_last(call):
            found = _between_permutations(call, handler)
        else:
            found = handler(call) if handler is not None else None
    except OpError:
        if call.op_type in STRICT:
            raise
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        found = None
    if found is None:
        return (recorded(call),)
    steps = found if isinstance(found, tuple) else (found,)
    is_fused = "Fused" in call.op_type or call.domain in ("com.microsoft.nchwc", NHWC)
    return (*steps, *_fused(call)) if is_fused else steps


def _between_permutations(call: Call, handler: Handler) -> Steps | None:
    """Return the ops of a call with its channels last: what the same with the channels in front is, permuted."""
    x, rank = call.input(0), len(call.shape())
    inside = replace(x, shape=channels_first(call.shape()), _type=None)
    outputs = [replace(call.outputs[0], shape=channels_first(call.output), _type=None), *call.outputs[1:]]
    found = handler(replace(call, inputs=[inside, *call.inputs[1:]], outputs=outputs))
    if found is None:
        return None
    steps = found if isinstance(found, tuple) else (found,)
    middle = [replace(step, reads=tuple(PREVIOUS if read is inside else read for read in step.reads)) for step in steps]
    axes = tuple(range(rank))
    before, behind = Permute((0, rank - 1, *axes[1:-1])), Permute((0, *axes[2:], 1))
    return Match(before, (x,)), *middle, Match(behind, (PREVIOUS,))


def _plain_name(op_type: str) -> str:
    return _PLAIN_NAMES.get(op_type, op_type)


_PLAIN_NAMES = {
    **dict.fromkeys(("FusedConv", "NhwcConv", "NhwcFusedConv"), "Conv"), "NhwcMaxPool": "MaxPool",
    "QLinearReduceMean": "ReduceMean", "QLinearConvTranspose": "ConvTranspose", "ExpandDims": "Unsqueeze",
}  # fmt: skip
"""Operations of ONNX Runtime with the operands of one of ONNX's own."""


def _fused(call: Call) -> Steps:
    """Return what an operation of ONNX Runtime does behind its plain form: a sum, an activation."""
    steps: list[Match] = []
    if call.op_type in ("FusedConv", "NhwcFusedConv", "Conv") and call.has(3):
        steps.append(Match(Add(), (PREVIOUS, call.input(3))))
    kind = call.attributes.get("activation")
    if isinstance(kind, bytes) and kind in _ACTIVATION:
        values = call.attributes.get("activation_params") or [call.attributes.get("activation_alpha", 0.01)]
        steps.append(Match(_activation(kind, list(values)), (PREVIOUS,)))
    return tuple(steps)


def _activation(kind: bytes, values: list[float]) -> Op:
    from cnnstat.ops import activation, rectifier

    if kind == b"LeakyRelu":
        return rectifier.LeakyReLU(float(values[0]))
    if kind == b"Clip" and len(values) > 1:
        return rectifier.ReLU6() if values[:2] == [0, 6] else activation.Hardtanh(float(values[0]), float(values[1]))
    plain = {
        b"Sigmoid": activation.Sigmoid, b"Tanh": activation.Tanh, b"HardSwish": rectifier.Hardswish,
        b"HardSigmoid": activation.Hardsigmoid,
    }  # fmt: skip
    make: type[Op] = plain.get(kind, rectifier.ReLU)
    return make()


def recorded(call: Call) -> Match:
    """Return a call that no op of the library is: its shapes, and its products where it has any."""
    macs, is_known = _work(call)
    op = call.recorded(
        Family.CONVOLUTION if "Conv" in call.op_type else Family.OTHER,
        Work(macs),
        outputs=call.output_shapes or ((0,),),
        modelled=is_known and all(value.shape is not None for value in call.outputs),
        counted_as_weighted=bool(macs),
    )
    return Match(op, call.all_reads)


def counted_as(call: Call, match: Match) -> Match:
    """Return a call that works as an op of the library but has further results, which the op has not.

    Raises OpError where the op makes another first result.
    """
    shapes = match.shapes
    check_input_count(match.op, len(shapes))
    made = op_outputs(match.op, shapes)
    if made[0] != call.output_shapes[0]:
        raise OpError(f"makes {made[0]}")
    is_read = [read.edge is not None for read in match.reads]
    reads = match.op.window(shapes, made) if len({len(shape) for shape in call.output_shapes}) == 1 else None
    op = call.recorded(
        match.op.family,
        Work.of(match.op, shapes, made),
        reads=None if reads is None else tuple(read for read, is_tensor in zip(reads, is_read) if is_tensor),
        counted_as_weighted=match.op.counted_as_weighted,
    )
    return Match(op, match.reads, match.weights)


def _work(call: Call) -> tuple[int, bool]:
    """Return the multiply-accumulates of an operation that no handler took, and whether they are known."""
    try:
        if call.op_type in ("Conv", "ConvInteger", "QLinearConv", "FusedConv", "DeformConv"):
            weight = call.shape(3 if call.op_type == "QLinearConv" else 1)
            return math.prod(call.output) * math.prod(weight[1:]), True
        if call.op_type in ("ConvTranspose", "ConvTransposeWithDynamicPads"):
            return math.prod(call.shape()) * math.prod(call.shape(1)[1:]), True
        if call.op_type == "MoE":
            return _of_experts(call), True
    except LookupError:
        return 0, False
    # Moves that a handler did not see through compute nothing all the same.
    return 0, call.op_type in moves.HANDLERS or call.op_type in _IDLE


def _of_experts(call: Call) -> int:
    """MoE: each row goes through k experts, each of two layers or three; the weights are (experts, out, in)."""
    rows = math.prod(call.shape()[:-1]) * int(call.attributes.get("k", 1))
    return rows * sum(math.prod(call.shape(place)[1:]) for place in (2, 4, 6) if call.has(place))


_IDLE = words("""
    SequenceConstruct SequenceAt SequenceInsert SequenceErase SequenceEmpty SequenceLength SplitToSequence
    ConcatFromSequence Optional OptionalGetElement OptionalHasElement StringConcat StringSplit StringNormalizer
    HannWindow HammingWindow BlackmanWindow Col2Im AffineGrid Det
    """)

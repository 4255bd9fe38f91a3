"""Layers whose calls are not the arguments of one op: rank, mode or module decide which; recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from cnnstat.errors import OpError
from cnnstat.ir.function_arguments import parameters_of, per_axis
from cnnstat.ir.op import Family, Op, Shapes, numel
from cnnstat.ir.work import Work
from cnnstat.ops import activation, conv, lenet, lookup, norm, padding, rectifier
from cnnstat.ops.multihead_attention import MultiheadAttention
from cnnstat.ops.recurrent import GRU, LSTM, RNN
from cnnstat.ops.resize import Upsample
from cnnstat.ops.traced import Recorded
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.handlers.from_op import match_of, values_of
from cnnstat.pytorch.packed_weights import packed_operands
from cnnstat.pytorch.tensors import shape_of

_CONVOLUTIONS: dict[bool, tuple[type[Op], ...]] = {
    False: (conv.Conv1d, conv.Conv2d, conv.Conv3d),
    True: (conv.ConvTranspose1d, conv.ConvTranspose2d, conv.ConvTranspose3d),
}


_CONVOLUTION = parameters_of("input, weight, bias, stride, padding, dilation, _transposed, output_padding, groups")


def _convolution(call: Call) -> Match:
    """aten::convolution, of any rank, transposed or not."""
    is_transposed = bool(call.arguments[6])
    op = _CONVOLUTIONS[is_transposed][call.arguments[1].dim() - 3]
    values = values_of(call, _CONVOLUTION)
    if not is_transposed:
        del values["output_padding"]
    return match_of(op, values, call)


_BATCH: dict[int, type[Op]] = {2: norm.BatchNorm1d, 3: norm.BatchNorm1d, 4: norm.BatchNorm2d, 5: norm.BatchNorm3d}


_INSTANCE: dict[int, type[Op]] = {3: norm.InstanceNorm1d, 4: norm.InstanceNorm2d, 5: norm.InstanceNorm3d}


def _by_rank(ops: dict[int, type[Op]], text: str) -> Handler:
    """Return the handler of a norm by channel, of which the rank of the input decides the op."""
    parameters = parameters_of(text)

    def handle(call: Call) -> Match | None:
        op = ops.get(call.get(0, "input").dim())
        if op is None:
            return None
        # In inference the call is given no momentum, nor for the average of all batches; only the module knows it.
        momentum = getattr(call.where.module, "momentum", 0.1)
        if call.is_training and momentum is not None:
            momentum = call.get(6, "momentum", 0.1)
        return match_of(op, {**values_of(call, parameters), "momentum": momentum}, call)

    return handle


def _hardtanh(call: Call) -> Match:
    """hardtanh(input, min_val, max_val, inplace), which is how nn.ReLU6 calls itself."""
    low, high = call.get(1, "min_val", -1.0), call.get(2, "max_val", 1.0)
    inplace = call.inplace
    op: Any = rectifier.ReLU6(inplace=inplace) if (low, high) == (0, 6) else activation.Hardtanh(low, high, inplace)
    return Match(op, (call.get(0, "input"),))


_INTERPOLATE = parameters_of("input, size, scale_factor, mode, align_corners, recompute_scale_factor")


def _interpolate(call: Call) -> Match | None:
    """F.interpolate(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)."""
    if call.get(6, "antialias", False):
        return None
    values = values_of(call, _INTERPOLATE)
    scale = values.get("scale_factor")
    if isinstance(scale, (list, tuple)):
        values["scale_factor"] = scale[0] if len(set(scale)) == 1 else tuple(scale)
    return match_of(Upsample, values, call)


_RESAMPLED = {
    f"aten.{name}": mode
    for mode, names in {
        "nearest": "upsample_nearest1d upsample_nearest2d upsample_nearest3d", "bilinear": "upsample_bilinear2d",
        "nearest-exact": "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d",
        "linear": "upsample_linear1d", "trilinear": "upsample_trilinear3d", "bicubic": "upsample_bicubic2d",
    }.items()
    for name in names.split()
}  # fmt: skip
"""The mode of F.interpolate that an operation of aten is."""


def _resampled(call: Call) -> Match:
    """aten.upsample_bilinear2d and its like: (input, output_size, [align_corners], scale_factors or scales)."""
    names = [argument.name for argument in call.function._schema.arguments]
    values = {**dict(zip(names, call.arguments)), **call.keywords}
    x, scales = call.get(0, "input", call.keywords.get("self")), values.get("scale_factors")
    sizes: dict[str, Any] = {"size": per_axis(tuple(shape_of(call.results[0])[2:]))}
    if scales and not values.get("output_size"):
        sizes = {"scale_factor": per_axis(tuple(scales))}
    return Match(Upsample(**sizes, mode=_RESAMPLED[call.name], align_corners=values.get("align_corners")), (x,))


_PADS = {"reflect": "ReflectionPad", "replicate": "ReplicationPad", "circular": "CircularPad"}


def _pad(call: Call) -> Match | None:
    """F.pad(input, pad, mode, value), where it pads the axes behind batch and channels, all of them or the last."""
    x, amounts, mode = call.get(0, "input"), tuple(map(int, call.get(1, "pad"))), call.get(2, "mode", "constant")
    value, spatial = call.get(3, "value"), x.dim() - 2
    if not 1 <= spatial <= 3 or len(amounts) > 2 * spatial:
        return None
    sizes = per_axis(amounts + (0,) * (2 * spatial - len(amounts)))
    if mode == "constant" and value:
        return Match(getattr(padding, f"ConstantPad{spatial}d")(sizes, value), (x,))
    op: Any = getattr(padding, f"{_PADS.get(mode, 'ZeroPad') if mode != 'constant' else 'ZeroPad'}{spatial}d")
    return Match(op(sizes), (x,))


_ATTENTION_PLACES = (
    "query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias", "bias_k", "bias_v",
    "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias", "training", "key_padding_mask", "need_weights",
    "attn_mask", "use_separate_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "static_k", "static_v",
    "average_attn_weights", "is_causal",
)  # fmt: skip


def _multi_head_attention(call: Call) -> Match | None:
    """F.multi_head_attention_forward; None for what the op does not cover: fixed keys."""
    values: dict[str, Any] = {name: call.get(place, name) for place, name in enumerate(_ATTENTION_PLACES)}
    if values["static_k"] is not None or values["static_v"] is not None:
        return None
    query, key, value = values["query"], values["key"], values["value"]
    reads = (query,) if key is query and value is query else (query, key) if value is key else (query, key, value)
    is_separate = bool(values["use_separate_proj_weight"])
    op = MultiheadAttention(
        values["num_heads"],
        dropout=values["dropout_p"],
        bias=values["in_proj_bias"] is not None,
        add_bias_kv=values["bias_k"] is not None,
        add_zero_attn=bool(values["add_zero_attn"]),
        kdim=int(key.shape[-1]) if is_separate else None,
        vdim=int(value.shape[-1]) if is_separate else None,
        batch_first=False,
        need_weights=len(call.results) == 2,
    )
    projections = ("q_proj_weight", "k_proj_weight", "v_proj_weight") if is_separate else ("in_proj_weight",)
    weights = {name: values[name] for name in (*projections, "in_proj_bias", "bias_k", "bias_v")}
    out = {"out_proj.weight": values["out_proj_weight"], "out_proj.bias": values["out_proj_bias"]}
    masks = _masks(values)
    sizes = op.sizes(tuple(map(shape_of, reads)))
    # A mask is one addition a score; two masks are added to each other first.
    additions = len(masks) * sizes.batch * op.num_heads * sizes.queries * sizes.scored
    # The fused product keeps the mask; step by step, nothing looks at it again.
    is_ruled = (not masks or op.need_weights or op.dropout > 0) and (len(reads) == 1 or all(map(_is_one_list, reads)))
    return Match(
        op, reads, {**weights, **out}, also=masks, extra=Work.other("element-wise", additions), is_ruled=is_ruled
    )


def _is_one_list(tensor: torch.Tensor) -> bool:
    """Whether a projection takes a tensor as it lies in memory, all positions of all sequences; else it copies it."""
    return tensor.dim() < 3 or 1 in tensor.shape[:2] or tensor.stride(0) == tensor.size(1) * tensor.stride(1)


def _masks(values: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """Return the masks that scores are added to; a causal one that the fused product makes itself is none."""
    padding, mask = values["key_padding_mask"], values["attn_mask"]
    if values["is_causal"] and padding is None and not values["need_weights"]:
        return ()
    return tuple(each for each in (mask, padding) if each is not None)


def _table(layer: Any) -> Op:
    """Return the op of a convolution with a connection table."""
    rows: list[list[int]] = [[] for _ in range(layer.out_channels)]
    for row, column in layer.pairs:
        rows[row].append(column)
    return lenet.ConnectionTableConv2d(
        layer.out_channels,
        per_axis(layer.weight.shape[1:]),
        tuple(map(tuple, rows)),
        stride=per_axis(layer.stride),
        padding=per_axis(layer.padding),
        bias=layer.bias is not None,
    )


_FROM_LAYERS: dict[str, Callable[[Any], Op]] = {
    "ConnectionTableConv2d": _table,
    "EuclideanRBF": lambda layer: lenet.EuclideanRBF(
        int(layer.weight.shape[0]), isinstance(layer.weight, nn.Parameter)
    ),
}
"""Ops of the layers that keep their arguments otherwise than under the op's names."""


def _cnnstat_layer(call: Call) -> Match | None:
    """One of the modules that cnnstat makes itself, seen as one call: its attributes are the arguments of its op."""
    layer, *tensors = call.arguments
    kind = type(layer).__name__
    try:
        op = lookup(kind)
    except OpError:
        return None
    make = _FROM_LAYERS.get(kind)
    result = make(layer) if make else op(**{f.name: per_axis(getattr(layer, f.name)) for f in fields(op)})  # type: ignore[arg-type]
    stored = {name: getattr(layer, name) for name in ("weight", "bias") if getattr(layer, name, None) is not None}
    return Match(result, tuple(tensors), stored)


_F_NORM = "input, running_mean, running_var, weight, bias, _training, _momentum, eps"


_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


_RECURRENT_OPTIONS = ("has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first")
"""Arguments behind the weights; there is no batch_first for packed sequences."""


def _recurrent_layer(call: Call) -> Match | None:
    """lstm, gru, rnn_tanh, rnn_relu: (input, hidden, weights, …), packed (data, sizes, hidden, weights, …)."""
    is_packed = isinstance(call.arguments[1], torch.Tensor) and isinstance(call.arguments[3], (list, tuple))
    start = 2 if is_packed else 1
    x, states, weights = call.arguments[0], call.arguments[start], call.arguments[start + 1]
    values = {name: call.get(start + 2 + place, name, False) for place, name in enumerate(_RECURRENT_OPTIONS)}
    op, names = _recurrent_op(call.name, weights, values)
    reads = (x, *(states if isinstance(states, (list, tuple)) else (states,)))
    named = dict(zip(names, weights))
    if not is_packed:
        return Match(op, reads, named, optional=len(reads) - 1)
    # Every step of every sequence works once, as if all were steps of one sequence.
    steps = ((1, *shape_of(x)),)
    return Match(_counted(op.kind, op, steps, call), reads, named, optional=len(reads) - 1)


def _recurrent_op(name: str, weights: Any, values: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return the op of a layer, and the names of its weights in the order of the call."""
    kind: Any = {"lstm": LSTM, "gru": GRU}.get(name, RNN)
    bias, layers, both = bool(values["has_biases"]), int(values["num_layers"]), bool(values["bidirectional"])
    hidden = int(weights[0].shape[0]) // kind.gates
    options: dict[str, Any] = {
        "num_layers": layers,
        "bias": bias,
        "batch_first": bool(values["batch_first"]),
        "dropout": float(values["dropout"]),
        "bidirectional": both,
    }
    parts = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if bias else [])]
    if len(weights) > len(parts) * layers * (1 + both):
        parts.append("weight_hr")
        options["proj_size"] = int(weights[len(parts) - 1].shape[0])
    if kind is RNN:
        options["nonlinearity"] = name.removeprefix("rnn_")
    places = [f"l{layer}{side}" for layer in range(layers) for side in ("", "_reverse")[: 1 + both]]
    return kind(hidden, **options), [f"{part}_{place}" for place in places for part in parts]


def _counted(function: str, op: Op, inputs: Shapes, call: Call) -> Recorded:
    """Return a call that works as much as an op on these inputs, but has other shapes."""
    return Recorded(
        function=function,
        outputs=tuple(map(shape_of, call.results)),
        work=Work.of(op, inputs, op.output(inputs)),
        family=Family.RECURRENT,
    )


def _recurrent_cell(call: Call) -> Match:
    """lstm_cell, gru_cell, rnn_tanh_cell, rnn_relu_cell: (input, hidden, w_ih, w_hh, b_ih, b_hh)."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {name: call.get(place, name) for place, name in enumerate(names, start=2)}
    x, states = call.get(0, "input"), call.get(1, "hx")
    kind = call.name.removesuffix("_cell")
    options = {"has_biases": weights["bias_ih"] is not None, "num_layers": 1, "bidirectional": False, "dropout": 0}
    op, _ = _recurrent_op(kind, [weights["weight_ih"]], {**options, "batch_first": True})
    cell = {"lstm": "LSTMCell", "gru": "GRUCell"}.get(kind, "RNNCell")
    reads = (x, *(states if isinstance(states, (list, tuple)) else (states,)))
    inputs = ((numel(shape_of(x)[:-1]), 1, int(x.shape[-1])),)
    return Match(_counted(cell, op, inputs, call), reads, weights, optional=len(reads) - 1)


def _quantized_layer(call: Call) -> Match:
    """quantized_lstm, quantized_gru: (input, hidden, packed weights, …); the weights are in packed objects."""
    x, states = call.arguments[0], call.arguments[1]
    first = states[0] if isinstance(states, (list, tuple)) else states
    kind = call.name.removeprefix("quantized_")
    gates = {"lstm": LSTM.gates, "gru": GRU.gates}[kind]
    values = {name: call.get(3 + place, name, False) for place, name in enumerate(_RECURRENT_OPTIONS)}
    op, _ = _recurrent_op(kind, [first.new_empty((gates * int(first.shape[-1]), 1))], values)
    reads = (x, *(states if isinstance(states, (list, tuple)) else (states,)))
    counted = _counted(call.name, op, (shape_of(x),), call)
    return Match(counted, reads, optional=len(reads) - 1, also=tuple(packed_operands(call)))


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("aten.convolution", "aten._convolution"), _convolution),
    "F.batch_norm": _by_rank(_BATCH, _F_NORM),
    "batch_norm": _by_rank(_BATCH, "input, weight, bias, running_mean, running_var, _training, _momentum, eps"),
    "F.instance_norm": _by_rank(_INSTANCE, _F_NORM),
    "hardtanh": _hardtanh,
    **dict.fromkeys(("F.interpolate", "F.upsample"), _interpolate),
    **dict.fromkeys(_RESAMPLED, _resampled),
    "pad": _pad,
    "F.multi_head_attention_forward": _multi_head_attention,
    "cnnstat_layer": _cnnstat_layer,
    **dict.fromkeys(_RECURRENT, _recurrent_layer),
    **{f"{kind}_cell": _recurrent_cell for kind in _RECURRENT},
    **dict.fromkeys(("quantized_lstm", "quantized_gru"), _quantized_layer),
}

"""Packed weights: those of PyTorch's quantized layers, which are no parameters of a module but one packed object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import finalize

import torch

from cnnstat.ops.conv import Conv1d, Conv2d, Conv3d
from cnnstat.ops.linear import Linear
from cnnstat.pytorch.calls import Call, Match
from cnnstat.pytorch.module_stack import Modules
from cnnstat.pytorch.tensors import shape_of

_UNPACKED: dict[int, dict[str, torch.Tensor]] = {}
"""The tensors of packed objects by their ids, as long as they live; they have neither equality nor a hash of use."""
_OPS: dict[str, Any] = {"conv1d": Conv1d, "conv2d": Conv2d, "conv3d": Conv3d, "linear": Linear}


def packed_tensors(modules: Modules) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield weight, bias and scales of every quantized layer, with their names."""
    for path, module in modules:
        packed = vars(module).get("_packed_params")
        if isinstance(packed, torch.ScriptObject):
            for name, tensor in _unpacked(packed).items():
                yield f"{path}.{name}" if path else name, tensor


def _unpacked(packed: torch.ScriptObject) -> dict[str, torch.Tensor]:
    # The tensors are unpacked once, so that a trace knows them again when the layer is called.
    if id(packed) not in _UNPACKED:
        kind = _kind_of(packed)
        unpack = getattr(torch.ops.quantized, f"{kind}_unpack")
        weight, bias = unpack(packed)
        per_channel = weight.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)
        scale = weight.q_per_channel_scales().float() if per_channel else torch.tensor(weight.q_scale())
        _UNPACKED[id(packed)] = {"weight": weight, "scale": scale, **({} if bias is None else {"bias": bias.detach()})}
        finalize(packed, _UNPACKED.pop, id(packed), None)
    return _UNPACKED[id(packed)]


def _kind_of(packed: torch.ScriptObject) -> str:
    name = str(packed._type()).rpartition(".")[2].lower()
    return next(kind for kind in _OPS if name.startswith(kind))


def is_packed(call: Call) -> bool:
    """Whether a call is a quantized convolution or linear layer, perhaps with a ReLU behind it."""
    is_layer = call.name.removesuffix("_relu") in _OPS and len(call.arguments) > 1
    return is_layer and isinstance(call.arguments[1], torch.ScriptObject)


def packed_layer(call: Call) -> Match:
    """Return the op of a quantized convolution or linear layer."""
    kind = call.name.removesuffix("_relu")
    packed = call.arguments[1]
    tensors = _unpacked(packed)
    weight = shape_of(tensors["weight"])
    has_bias = "bias" in tensors
    if kind == "linear":
        op = Linear(weight[0], bias=has_bias)
    else:
        names = ("stride", "padding", "dilation", "groups")
        options = {name: getattr(torch.ops.quantized, f"{kind}_{name}")(packed) for name in names}
        sizes = {name: value if name == "groups" else tuple(value) for name, value in options.items()}
        op = _OPS[kind](weight[0], weight[2:], bias=has_bias, **sizes)
    (result,) = call.results
    activation = result.numel() if call.name.endswith("_relu") else 0
    weights: dict[str, torch.Tensor | None] = {"weight": tensors["weight"]}
    if has_bias:
        weights["bias"] = tensors["bias"]
    return Match(op, (call.arguments[0],), weights, also=(tensors["scale"],), flops=activation)

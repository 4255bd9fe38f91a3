"""Packed weights: those of PyTorch's quantized layers, which are no parameters of a module but one packed object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import finalize

import torch
from torch.utils._python_dispatch import _disable_current_modes

from cnnstat.ir.work import Work
from cnnstat.ops.conv import Conv1d, Conv2d, Conv3d
from cnnstat.ops.linear import Linear
from cnnstat.pytorch.calls import Call, Match
from cnnstat.pytorch.fake import FAKE_TYPE
from cnnstat.pytorch.module_stack import Modules
from cnnstat.pytorch.tensors import WITHOUT_TENSORS, shape_of

_UNPACKED: dict[int, dict[str, torch.Tensor]] = {}
"""The tensors of packed objects by their ids, as long as they live; they have neither equality nor a hash of use."""
_OPS: dict[str, Any] = {"conv1d": Conv1d, "conv2d": Conv2d, "conv3d": Conv3d, "linear": Linear}


_KINDS = (*_OPS, "embedding", "cellparams")
"""Kinds of packed objects, by the first letters of their types' names."""


_ORDINARY = WITHOUT_TENSORS | {FAKE_TYPE, torch.Tensor, torch.nn.Parameter}
"""Kinds of arguments that are no packed objects and hold none."""


def packed_tensors(modules: Modules) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield weights, biases and scales of every quantized layer, with their names."""
    seen: set[int] = set()
    for path, _, further in modules.further_attributes:
        for attribute, packed in further.items():
            if isinstance(packed, torch.ScriptObject) and id(packed) not in seen:
                seen.add(id(packed))
                own = "" if attribute in ("_packed_params", "_packed_weight") else f"{attribute.strip('_')}."
                for name, tensor in unpacked(packed).items():
                    yield f"{path}.{own}{name}" if path else own + name, tensor


def packed_operands(call: Call) -> list[torch.Tensor]:
    """Return the tensors in the packed objects that a call reads: those of a layer, or of all directions of one."""
    values = [*call.arguments, *call.keywords.values()]
    others = [value for value in values if type(value) not in _ORDINARY]
    lists = [v for v in others if isinstance(v, (list, tuple)) and not _ORDINARY.issuperset(map(type, v))]
    objects = [v for v in (*others, *(v for each in lists for v in each)) if isinstance(v, torch.ScriptObject)]
    return [tensor for packed in objects for tensor in unpacked(packed).values()]


def unpacked(packed: torch.ScriptObject) -> dict[str, torch.Tensor]:
    """Return the tensors of a packed object by name; none of an object that holds no weights."""
    # The tensors are unpacked once, so that a trace knows them again when the layer is called.
    if id(packed) not in _UNPACKED:
        with _disable_current_modes():
            _UNPACKED[id(packed)] = _tensors_of(packed)
        finalize(packed, _UNPACKED.pop, id(packed), None)
    return _UNPACKED[id(packed)]


def _tensors_of(packed: torch.ScriptObject) -> dict[str, torch.Tensor]:
    kind = _kind_of(packed)
    if kind == "":
        return {}
    if kind == "cellparams":
        # Of a recurrent layer in one direction: what it packs for its inputs and for its state.
        (_, *_, parts), _ = packed.__getstate__()  # type: ignore[attr-defined]  # untyped in PyTorch
        named = zip(("ih", "hh"), map(_tensors_of, parts))
        return {f"{name}_{place}": tensor for place, tensors in named for name, tensor in tensors.items()}
    if kind == "embedding":
        weight, bias = torch.ops.quantized.embedding_bag_unpack(packed), None
    else:
        weight, bias = getattr(torch.ops.quantized, f"{kind}_unpack")(packed)
    result = {"weight": weight}
    if weight.is_quantized:  # half precision has no scale
        scheme = weight.qscheme()
        per_channel = scheme in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)
        result["scale"] = weight.q_per_channel_scales().float() if per_channel else torch.tensor(weight.q_scale())
        if scheme == torch.per_channel_affine_float_qparams:
            result["zero_point"] = weight.q_per_channel_zero_points().float()
    return result if bias is None else {**result, "bias": bias.detach()}


def _kind_of(packed: torch.ScriptObject) -> str:
    home, _, name = str(packed._type()).rpartition(".")
    is_own = home.startswith("__torch__.torch.classes.")  # scripted modules are such objects too
    return next((kind for kind in _KINDS if is_own and name.lower().startswith(kind)), "")


def is_packed(call: Call) -> bool:
    """Whether a call is a quantized convolution or linear layer, perhaps with a ReLU behind it."""
    is_layer = _layer_name(call) in _OPS and len(call.arguments) > 1
    return is_layer and isinstance(call.arguments[1], torch.ScriptObject)


def _layer_name(call: Call) -> str:
    """Return the layer that a call is: `linear` for `linear_relu_dynamic_fp16`."""
    return call.name.removesuffix("_fp16").removesuffix("_dynamic").removesuffix("_relu")


def packed_layer(call: Call) -> Match:
    """Return the op of a quantized convolution or linear layer."""
    kind = _layer_name(call)
    packed = call.arguments[1]
    tensors = unpacked(packed)
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
    activation = Work.other("element-wise", result.numel() if "_relu" in call.name else 0)
    weights: dict[str, torch.Tensor | None] = {"weight": tensors["weight"]}
    if has_bias:
        weights["bias"] = tensors["bias"]
    return Match(
        op, (call.arguments[0],), weights, also=tuple(tensors[n] for n in ("scale",) if n in tensors), extra=activation
    )

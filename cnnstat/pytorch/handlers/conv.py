"""Convolutions, called by name or as what they dispatch to."""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.ops import conv
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.handlers.values import short

_PLAIN: dict[int, Any] = {1: conv.Conv1d, 2: conv.Conv2d, 3: conv.Conv3d}
_TRANSPOSED: dict[int, Any] = {1: conv.ConvTranspose1d, 2: conv.ConvTranspose2d, 3: conv.ConvTranspose3d}


def _kernel(weight: torch.Tensor) -> Any:
    """Return the spatial sizes of a filter."""
    return short(tuple(weight.shape[2:]))


def _plain(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Match | None:
    """Return a convolution; None for an input without a batch."""
    if x.dim() != weight.dim():
        return None
    op = _PLAIN[weight.dim() - 2](
        int(weight.shape[0]),
        _kernel(weight),
        stride=short(stride),
        padding=padding if isinstance(padding, str) else short(padding),
        dilation=short(dilation),
        groups=groups,
        bias=bias is not None,
    )
    return Match(op, (x,), {"weight": weight, "bias": bias})


def _transposed(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Match | None:
    """Return a transposed convolution; None for an input without a batch."""
    if x.dim() != weight.dim():
        return None
    op = _TRANSPOSED[weight.dim() - 2](
        int(weight.shape[1]) * groups,
        _kernel(weight),
        stride=short(stride),
        padding=short(padding),
        output_padding=short(output_padding),
        groups=groups,
        bias=bias is not None,
        dilation=short(dilation),
    )
    return Match(op, (x,), {"weight": weight, "bias": bias})


def _conv(call: Call) -> Match | None:
    """conv1d, conv2d, conv3d."""
    return _plain(
        call.get(0, "input"),
        call.get(1, "weight"),
        call.get(2, "bias"),
        call.get(3, "stride", 1),
        call.get(4, "padding", 0),
        call.get(5, "dilation", 1),
        call.get(6, "groups", 1),
    )


def _conv_transpose(call: Call) -> Match | None:
    """conv_transpose1d, conv_transpose2d, conv_transpose3d."""
    return _transposed(
        call.get(0, "input"),
        call.get(1, "weight"),
        call.get(2, "bias"),
        call.get(3, "stride", 1),
        call.get(4, "padding", 0),
        call.get(5, "output_padding", 0),
        call.get(6, "groups", 1),
        call.get(7, "dilation", 1),
    )


def _convolution(call: Call) -> Match | None:
    """aten::convolution."""
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = call.arguments[:9]
    if transposed:
        return _transposed(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _plain(x, weight, bias, stride, padding, dilation, groups)


HANDLERS: dict[str, Handler] = {
    **{f"conv{n}d": _conv for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _conv_transpose for n in (1, 2, 3)},
    "aten.convolution": _convolution,
    "aten._convolution": _convolution,
}

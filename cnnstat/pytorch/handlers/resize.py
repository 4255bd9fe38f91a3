"""Interpolation, padding, and shuffling of pixels and channels."""

from __future__ import annotations

from typing import Any

from cnnstat.ops import padding, reorder
from cnnstat.ops.resize import Upsample
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.handlers.values import short


def _interpolate(call: Call) -> Match | None:
    """F.interpolate(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)."""
    if call.get(6, "antialias", False):
        return None
    size, scale = call.get(1, "size"), call.get(2, "scale_factor")
    if isinstance(scale, (list, tuple)):
        scale = scale[0] if len(set(scale)) == 1 else tuple(scale)
    op = Upsample(
        None if size is None else short(size),
        scale,
        mode=call.get(3, "mode", "nearest"),
        align_corners=call.get(4, "align_corners"),
        recompute_scale_factor=call.get(5, "recompute_scale_factor"),
    )
    return Match(op, (call.get(0, "input"),))


_PADS = {"reflect": "ReflectionPad", "replicate": "ReplicationPad", "circular": "CircularPad"}


def _pad(call: Call) -> Match | None:
    """F.pad(input, pad, mode, value), where it pads the axes behind batch and channels, all of them or the last."""
    x, amounts, mode = call.get(0, "input"), tuple(map(int, call.get(1, "pad"))), call.get(2, "mode", "constant")
    value, spatial = call.get(3, "value"), x.dim() - 2
    if not 1 <= spatial <= 3 or len(amounts) > 2 * spatial:
        return None
    amounts += (0,) * (2 * spatial - len(amounts))
    if mode != "constant":
        op: Any = getattr(padding, f"{_PADS[mode]}{spatial}d")
        return Match(op(short(amounts)), (x,))
    if not value:
        return Match(getattr(padding, f"ZeroPad{spatial}d")(short(amounts)), (x,))
    return Match(getattr(padding, f"ConstantPad{spatial}d")(short(amounts), value), (x,))


def _one_integer(op: Any, name: str) -> Handler:
    """Return the handler of an op with one integer as its argument."""
    return lambda call: Match(op(call.get(1, name)), (call.get(0, "input"),))


HANDLERS: dict[str, Handler] = {
    "F.interpolate": _interpolate,
    "F.upsample": _interpolate,
    "pad": _pad,
    "pixel_shuffle": _one_integer(reorder.PixelShuffle, "upscale_factor"),
    "pixel_unshuffle": _one_integer(reorder.PixelUnshuffle, "downscale_factor"),
    "channel_shuffle": _one_integer(reorder.ChannelShuffle, "groups"),
    "native_channel_shuffle": _one_integer(reorder.ChannelShuffle, "groups"),
}

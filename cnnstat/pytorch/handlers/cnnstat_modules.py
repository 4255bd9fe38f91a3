"""Layers that cnnstat itself makes modules for, in `cnnstat.build` and in exported files; each is heard as one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from cnnstat.ir.op import Op
from cnnstat.ops import activation, lenet, slicing
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.handlers.values import short


def _table(layer: Any) -> Op:
    """Return the op of a convolution with a connection table."""
    rows: list[list[int]] = [[] for _ in range(layer.out_channels)]
    for row, column in layer.pairs:
        rows[row].append(column)
    return lenet.ConnectionTableConv2d(
        layer.out_channels,
        short(layer.weight.shape[1:]),
        tuple(map(tuple, rows)),
        stride=short(layer.stride),
        padding=short(layer.padding),
        bias=layer.bias is not None,
    )


_OPS: dict[str, Callable[[Any], Op]] = {
    "BinaryStep": lambda layer: activation.BinaryStep(),
    "ScaledTanh": lambda layer: activation.ScaledTanh(layer.amplitude, layer.slope),
    "Crop": lambda layer: slicing.Crop(short(layer.size), short(layer.offset)),
    "CenterCrop": lambda layer: slicing.CenterCrop(short(layer.size)),
    "CropLike": lambda layer: slicing.CropLike(),
    "TrainableSubsampling2d": lambda layer: lenet.TrainableSubsampling2d(short(layer.kernel_size), short(layer.stride)),
    "ConnectionTableConv2d": _table,
    "EuclideanRBF": lambda layer: lenet.EuclideanRBF(
        int(layer.weight.shape[0]), isinstance(layer.weight, nn.Parameter)
    ),
}
"""The op of each layer, by the name of its class."""


def _layer(call: Call) -> Match | None:
    """A layer and what it reads."""
    layer, *tensors = call.arguments
    make = _OPS.get(type(layer).__name__)
    stored = {name: getattr(layer, name) for name in ("weight", "bias") if getattr(layer, name, None) is not None}
    return None if make is None else Match(make(layer), tuple(tensors), stored)


HANDLERS: dict[str, Handler] = {"cnnstat_layer": _layer}

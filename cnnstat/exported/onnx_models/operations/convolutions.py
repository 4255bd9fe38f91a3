"""Convolutions and pools of ONNX files: their padding may differ on the two sides, and may be left to a rule."""

from __future__ import annotations

import math
from typing import Any

from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import PREVIOUS, Call, Handler, Steps, library_op, need, one_or_all
from cnnstat.ir.op import Family, Op, Shape
from cnnstat.ir.window import Window, sliding
from cnnstat.ir.work import Work
from cnnstat.ops.spatial import spatial_reads
from cnnstat.ops.traced import Recorded

Sides = tuple[tuple[int, int], ...]
"""The padding before and behind each spatial axis."""


class _Geometry:
    """The window of a convolution or pool along each spatial axis."""

    def __init__(self, call: Call, kernel: Shape, space: Shape, sizes: Shape) -> None:
        count = len(space)
        need(len(kernel) == count, f"a kernel of {len(kernel)} axes does not fit an input of {count} spatial axes")
        self.kernel = tuple(kernel)
        self.strides = _per_axis(call, "strides", count, 1)
        self.dilations = _per_axis(call, "dilations", count, 1)
        self.sides = self._sides(call, space, sizes)

    def _sides(self, call: Call, space: Shape, sizes: Shape) -> Sides:
        rule = _text(call.attributes.get("auto_pad", b"NOTSET"))
        count = len(space)
        if rule in ("SAME_UPPER", "SAME_LOWER"):
            sides = []
            for length, size, kernel, stride, dilation in zip(space, sizes, self.kernel, self.strides, self.dilations):
                total = max((size - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
                less, more = total // 2, total - total // 2
                sides.append((less, more) if rule == "SAME_UPPER" else (more, less))
            return tuple(sides)
        pads = call.attributes.get("pads")
        if rule == "VALID" or not pads:
            return ((0, 0),) * count
        need(len(pads) == 2 * count, f"pads has {len(pads)} values, but there are {count} spatial axes")
        return tuple(zip(pads[:count], pads[count:]))

    @property
    def is_even(self) -> bool:
        """Whether both sides of every axis are padded alike, and nothing is cut off."""
        return all(before == after >= 0 for before, after in self.sides)

    @property
    def windows(self) -> list[Window]:
        """The rule by which outputs read inputs along each axis."""
        axes = zip(self.kernel, self.strides, self.sides, self.dilations)
        return [sliding(kernel, stride, before, dilation) for kernel, stride, (before, _), dilation in axes]


def _per_axis(call: Call, name: str, count: int, usual: int) -> tuple[int, ...]:
    values = call.attributes.get(name) or (usual,) * count
    need(len(values) == count, f"{name} has {len(values)} values, but there are {count} spatial axes")
    need(all(value > 0 for value in values), f"{name} must be at least 1")
    return tuple(values)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _convolution(x: int = 0, weight: int = 1, bias: int = 2) -> Handler:
    """Return the handler of a convolution with its operands in these places."""

    def handle(call: Call) -> Match | Steps | None:
        shape, filters = call.shape(x), call.shape(weight)
        count = len(shape) - 2
        need(
            count >= 1 and len(filters) == len(shape),
            f"{len(shape)} axes of the input do not fit {len(filters)} of the weight",
        )
        groups = call.attributes.get("group", 1)
        need(groups >= 1, f"group={groups} must be at least 1")
        if call.domain.endswith("nchwc") and shape[1] < filters[1] * groups:
            return None  # channels of the weight are padded to the blocks that the runtime works in
        need(
            shape[1] == filters[1] * groups,
            f"the input has {shape[1]} channels, but the weight takes {filters[1] * groups}",
        )
        kernel = filters[2:]
        own = tuple(call.attributes.get("kernel_shape") or kernel)
        need(own == kernel, f"kernel_shape={list(own)} is not that of the weight, {list(kernel)}")
        geometry = _Geometry(call, kernel, shape[2:], call.output[2:])
        padding = [before if geometry.is_even else 0 for before, _ in geometry.sides]
        if count > 3:
            return None
        op = library_op(f"Conv{count}d",
            filters[0], one_or_all(kernel), one_or_all(geometry.strides), one_or_all(padding),
            one_or_all(geometry.dilations), groups, call.has(bias),
        )  # fmt: skip
        if geometry.is_even:
            return call.match(op, x, weight=weight, bias=bias)
        amounts = [amount for sides in reversed(geometry.sides) for amount in sides]
        pad = call.match(library_op(f"ZeroPad{count}d", tuple(amounts)), x)
        return pad, Match(op, (PREVIOUS,), call.match(op, weight=weight, bias=bias).weights)

    return handle


def _transposed(call: Call) -> Match | None:
    shape, filters = call.shape(), call.shape(1)
    count = len(shape) - 2
    groups = call.attributes.get("group", 1)
    need(
        count >= 1 and len(filters) == len(shape),
        f"{len(shape)} axes of the input do not fit {len(filters)} of the weight",
    )
    need(shape[1] == filters[0], f"the input has {shape[1]} channels, but the weight takes {filters[0]}")
    strides, dilations = _per_axis(call, "strides", count, 1), _per_axis(call, "dilations", count, 1)
    pads = call.attributes.get("pads") or (0,) * 2 * count
    before = pads[:count]
    # However the padding is written, this is what has to be added at the end for the size that the output has.
    extra = [
        size - ((length - 1) * stride - 2 * cut + dilation * (kernel - 1) + 1)
        for size, length, stride, cut, dilation, kernel in zip(
            call.output[2:], shape[2:], strides, before, dilations, filters[2:]
        )
    ]
    is_plain = _text(call.attributes.get("auto_pad", "NOTSET")) == "NOTSET" and "output_shape" not in call.attributes
    if count > 3 or not is_plain or min((*extra, *before)) < 0:
        return None
    op = library_op(
        f"ConvTranspose{count}d", filters[1] * groups, one_or_all(filters[2:]), one_or_all(strides), one_or_all(before),
        one_or_all(extra), groups, call.has(2), one_or_all(dilations),
    )  # fmt: skip
    return call.match(op, 0, weight=1, bias=2)


def _pool(kind: str, is_global: bool = False) -> Handler:
    """Return the handler of a pool of a kind (`Max`, `Avg`), which is sliding or of all positions."""

    def handle(call: Call) -> Match | None:
        shape = call.shape()
        count = len(shape) - 2
        if not 1 <= count <= 3:
            return None
        if is_global:
            return call.match(library_op(f"Adaptive{kind}Pool{count}d", 1), 0)
        geometry = _Geometry(call, tuple(call.attributes["kernel_shape"]), shape[2:], call.output[2:])
        need(min(call.output[2:]) > 0, f"a kernel of {_sizes(geometry.kernel)} is larger than the input")
        values: dict[str, Any] = {
            "kernel_size": one_or_all(geometry.kernel),
            "stride": one_or_all(geometry.strides),
            "padding": one_or_all([before for before, _ in geometry.sides]),
            "ceil_mode": bool(call.attributes.get("ceil_mode", 0)),
        }
        if kind == "Avg":
            values["count_include_pad"] = bool(call.attributes.get("count_include_pad", 0)) or not any(
                map(any, geometry.sides)
            )
        has_dilation = set(geometry.dilations) != {1}
        if kind == "Max":
            values.update(return_indices=len(call.outputs) > 1, dilation=one_or_all(geometry.dilations))
        is_fitting = geometry.is_even and (kind == "Max" or not has_dilation)
        if is_fitting and all(2 * before <= kernel for (before, _), kernel in zip(geometry.sides, geometry.kernel)):
            op: Op = library_op(f"{kind}Pool{count}d", **values)
            if op.output((shape,))[0] == call.output:
                return call.match(op, 0)
        return call.match(_recorded_pool(call, geometry, kind), 0)

    return handle


def _sizes(sizes: Shape) -> str:
    return "×".join(map(str, sizes))


def _recorded_pool(call: Call, geometry: _Geometry, kind: str) -> Recorded:
    """Return a pool that PyTorch does not have: other padding on one side than on the other."""
    taps = math.prod(geometry.kernel) - (kind == "Max")
    reads = spatial_reads(geometry.windows)
    return call.recorded(Family.POOLING, Work.other("pooling", math.prod(call.output) * taps), reads=reads)


def _lp_pool(call: Call) -> Match | None:
    shape = call.shape()
    count = len(shape) - 2
    geometry = _Geometry(call, tuple(call.attributes["kernel_shape"]), shape[2:], call.output[2:])
    if count not in (1, 2, 3) or any(map(any, geometry.sides)) or set(geometry.dilations) != {1}:
        return call.match(_recorded_pool(call, geometry, "Lp"), 0)
    kernel, stride = one_or_all(geometry.kernel), one_or_all(geometry.strides)
    return call.match(library_op(f"LPPool{count}d", float(call.attributes.get("p", 2)), kernel, stride), 0)


CONVOLUTIONS: dict[str, Handler] = {
    "Conv": _convolution(),
    "ConvInteger": _convolution(bias=99),
    "QLinearConv": _convolution(0, 3, 8),
    "ConvTranspose": _transposed,
}

HANDLERS: dict[str, Handler] = {
    **CONVOLUTIONS,
    "MaxPool": _pool("Max"),
    "AveragePool": _pool("Avg"),
    "GlobalMaxPool": _pool("Max", is_global=True),
    "GlobalAveragePool": _pool("Avg", is_global=True),
    "QLinearAveragePool": _pool("Avg"),
    "QLinearGlobalAveragePool": _pool("Avg", is_global=True),
    "LpPool": _lp_pool,
}

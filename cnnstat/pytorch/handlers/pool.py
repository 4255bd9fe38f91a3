"""Pooling and reductions over axes."""

from __future__ import annotations

from typing import Any

from cnnstat.ops import adaptive_pool, pool, reduction
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.handlers.values import optional, short


def _max_pool(spatial: int, order: tuple[str, ...]) -> Handler:
    """Return the handler of max pooling; F.max_pool and torch.max_pool differ in the order of their last arguments."""
    op: Any = (pool.MaxPool1d, pool.MaxPool2d, pool.MaxPool3d)[spatial - 1]

    def handle(call: Call) -> Match | None:
        x = call.get(0, "input")
        if x.dim() != spatial + 2:
            return None
        given = {name: call.get(place, name) for place, name in enumerate(order, start=1)}
        made = op(
            short(given["kernel_size"]),
            optional(given["stride"]),
            short(given["padding"]) or 0,
            short(given["dilation"]) or 1,
            return_indices=len(call.results) == 2,
            ceil_mode=bool(given["ceil_mode"]),
        )
        return Match(made, (x,))

    return handle


def _avg_pool(spatial: int) -> Handler:
    """Return the handler of average pooling."""
    op: Any = (pool.AvgPool1d, pool.AvgPool2d, pool.AvgPool3d)[spatial - 1]

    def handle(call: Call) -> Match | None:
        x = call.get(0, "input")
        if x.dim() != spatial + 2:
            return None
        arguments: dict[str, Any] = {
            "stride": optional(call.get(2, "stride")),
            "padding": short(call.get(3, "padding", 0)),
            "ceil_mode": call.get(4, "ceil_mode", False),
            "count_include_pad": call.get(5, "count_include_pad", True),
        }
        if spatial > 1:
            arguments["divisor_override"] = call.get(6, "divisor_override")
        return Match(op(short(call.get(1, "kernel_size")), **arguments), (x,))

    return handle


def _lp_pool(spatial: int) -> Handler:
    """Return the handler of power-average pooling: (input, norm_type, kernel_size, stride, ceil_mode)."""
    op: Any = (pool.LPPool1d, pool.LPPool2d, pool.LPPool3d)[spatial - 1]

    def handle(call: Call) -> Match | None:
        x = call.get(0, "input")
        if x.dim() != spatial + 2:
            return None
        stride, ceil_mode = optional(call.get(3, "stride")), call.get(4, "ceil_mode", False)
        return Match(op(call.get(1, "norm_type"), short(call.get(2, "kernel_size")), stride, ceil_mode), (x,))

    return handle


def _adaptive(spatial: int, *, is_max: bool) -> Handler:
    """Return the handler of adaptive pooling."""
    kind = "Max" if is_max else "Avg"
    op: Any = getattr(adaptive_pool, f"Adaptive{kind}Pool{spatial}d")

    def handle(call: Call) -> Match | None:
        x, size = call.get(0, "input"), call.get(1, "output_size")
        if x.dim() != spatial + 2:
            return None
        if isinstance(size, (list, tuple)):
            size = short(size) if None not in size else tuple(size)
        indices = {"return_indices": True} if is_max and len(call.results) == 2 else {}
        return Match(op(size, **indices), (x,))

    return handle


def _reduction(op: Any) -> Handler:
    """Return the handler of a reduction to one tensor over axes that are named, or over all."""

    def handle(call: Call) -> Match | None:
        x = call.get(0, "input", call.keywords.get("self"))
        dim = call.get(1, "dim", call.keywords.get("axis"))
        if isinstance(dim, bool) or len(call.results) != 1 or not x.dim():
            return None
        if not isinstance(dim, (int, list, tuple)) or dim == () or dim == []:
            dim = tuple(range(x.dim()))
        keepdim = bool(call.get(2, "keepdim", call.keywords.get("keepdims", False)))
        return Match(op(dim if isinstance(dim, int) else tuple(dim), keepdim=keepdim), (x,))

    return handle


_F_ORDER = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")

HANDLERS: dict[str, Handler] = {
    **{f"max_pool{n}d": _max_pool(n, _F_ORDER) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _max_pool(n, _F_ORDER) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _avg_pool(n) for n in (1, 2, 3)},
    **{f"lp_pool{n}d": _lp_pool(n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive(n, is_max=False) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive(n, is_max=True) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d_with_indices": _adaptive(n, is_max=True) for n in (1, 2, 3)},
    "mean": _reduction(reduction.Mean),
    "sum": _reduction(reduction.Sum),
    "amax": _reduction(reduction.Max),
}

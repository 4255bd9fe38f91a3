"""Stand-ins: functions that read what the function of their name reads, in sums that no gradient can vanish in.

Each returns None where the function itself has to run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor


def _filter(x: Tensor, weight: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the sums over the channels of each group, and a filter of ones for them."""
    batch, channels, *space = x.shape
    sums = x.reshape(batch, groups, channels // groups, *space).sum(2)
    return sums, x.new_ones(groups, 1, *weight.shape[2:])


def _conv(spatial: int) -> Callable[..., Tensor | None]:
    """Return a convolution that sums its channels first, which changes nothing of what is read where."""
    function = (torch.conv1d, torch.conv2d, torch.conv3d)[spatial - 1]

    def run(
        input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor | None:  # fmt: skip
        if input.dim() != spatial + 2 or input.shape[1] % groups:
            return None
        sums, ones = _filter(input, weight, groups)
        made = function(sums, ones, None, stride, padding, dilation, groups)
        return made.repeat_interleave(weight.shape[0] // groups, 1)

    return run


def _conv_transpose(spatial: int) -> Callable[..., Tensor | None]:
    """Return the same for a transposed convolution."""
    function = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[spatial - 1]

    def run(
        input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Tensor | None:  # fmt: skip
        if input.dim() != spatial + 2 or input.shape[1] % groups:
            return None
        sums, ones = _filter(input, weight, groups)
        made = function(sums, ones, None, stride, padding, output_padding, groups, dilation)
        return made.repeat_interleave(weight.shape[1], 1)

    return run


def _linear(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """Every output reads all features, however many there are."""
    return input.sum(-1, keepdim=True).expand(*input.shape[:-1], weight.shape[0]).clone()


def _beside_mean(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Every element reads itself and all others along some axes."""
    return x + x.sum(axes, keepdim=True)


def _batch_norm(x: Tensor, mean: Any = None, *rest: Any, **options: Any) -> Tensor:
    """Element by element, as inference does it in either mode; over batch and space where no statistics are kept."""
    is_kept = mean is not None or options.get("running_mean") is not None
    return x.clone() if is_kept else _beside_mean(x, (0, *range(2, x.dim())))


def _instance_norm(x: Tensor, mean: Any = None, *rest: Any, **options: Any) -> Tensor:
    """Over space; element by element where statistics are kept, as inference does it."""
    is_kept = mean is not None or options.get("running_mean") is not None
    return x.clone() if is_kept else _beside_mean(x, tuple(range(2, x.dim())))


def _group_norm(x: Tensor, num_groups: int, *rest: Any, **options: Any) -> Tensor:
    """Over space and the channels of a group; all channels are read alike here."""
    return _beside_mean(x, tuple(range(1, x.dim())))


def _layer_norm(x: Tensor, normalized_shape: Any, *rest: Any, **options: Any) -> Tensor:
    """Over the last axes."""
    return _beside_mean(x, tuple(range(x.dim() - len(tuple(normalized_shape)), x.dim())))


def _softmax(x: Tensor, dim: int | None = None, *rest: Any, **options: Any) -> Tensor:
    """Over one axis."""
    return _beside_mean(x, (-1 if dim is None else dim,))


def _normalize(input: Tensor, p: float = 2.0, dim: int = 1, *rest: Any, **options: Any) -> Tensor:
    """Over one axis."""
    return _beside_mean(input, (dim,))


def _variance(x: Tensor, dim: Any = None, *rest: Any, keepdim: bool = False, **options: Any) -> Tensor:
    """What a mean reads."""
    return x.mean(dim if dim is not None else tuple(range(x.dim())), keepdim=keepdim)


def _largest(x: Tensor, *rest: Any, **options: Any) -> Tensor | None:
    """A maximum over everything reads everything; one of two tensors, or along an axis, runs as it is."""
    if rest and isinstance(rest[0], Tensor):
        return x + rest[0]
    return None if rest or options else x.sum()


def _both(x: Tensor, other: Any, **options: Any) -> Tensor:
    """A function of two operands reads both."""
    if not isinstance(other, Tensor):
        return x.clone()
    # Of weights, which may have no memory, only the shape is needed.
    is_plain = other.is_floating_point() and not other.is_meta and not isinstance(other, torch.nn.Parameter)
    return x + (other if is_plain else torch.zeros(other.shape, dtype=x.dtype))


def _max_pool(spatial: int) -> Callable[..., Any]:
    """Return max pooling as a sum over the same windows: the gradient of a maximum knows one of them only."""
    function = (torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d, torch.nn.functional.max_pool3d)[
        spatial - 1
    ]

    def run(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        if input.dim() != spatial + 2:
            return None
        values, indices = function(input, kernel_size, stride or None, padding, dilation, ceil_mode, True)
        size = values.shape[2:]
        kernel, step, pad, gap = (_each(v, spatial) for v in (kernel_size, stride or kernel_size, padding, dilation))
        # Windows that leave the input on the right, as ceil_mode lets them, read zeros there.
        reach = [(n - 1) * s + g * (k - 1) + 1 - p for n, s, g, k, p in zip(size, step, gap, kernel, pad)]
        more = [max(0, r - length) for r, length in zip(reach, input.shape[2:])]
        borders = [side for p, m in zip(reversed(pad), reversed(more)) for side in (p, m)]
        padded = torch.nn.functional.pad(input, borders)
        if set(gap) == {1}:
            average = getattr(torch.nn.functional, f"avg_pool{spatial}d")
            made = average(padded, kernel, step)
        else:
            channels = input.shape[1]
            ones = input.new_ones(channels, 1, *kernel)
            made = getattr(torch, f"conv{spatial}d")(padded, ones, None, step, 0, gap, channels)
        made = made[tuple(itertools.chain((...,), (slice(0, n) for n in size)))].clone()
        return (made, indices) if return_indices else made

    return run


def _each(value: Any, count: int) -> tuple[int, ...]:
    """Return one number for each axis."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * count if len(given) == 1 else given


def _adaptive_max(spatial: int) -> Callable[..., Any]:
    """Return adaptive max pooling as the average over the same bins."""

    def run(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        average = getattr(torch.nn.functional, f"adaptive_avg_pool{spatial}d")(input, output_size)
        if not return_indices:
            return average
        return average, getattr(torch.nn.functional, f"adaptive_max_pool{spatial}d")(input, output_size, True)[1]

    return run


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
    """Every position reads its query, all keys, and all values at its own feature."""
    seen = key.sum((-2, -1), keepdim=True) + value.sum(-2, keepdim=True)
    if seen.dim() == query.dim() > 2 and seen.shape[-3] != query.shape[-3]:
        seen = seen.sum(-3, keepdim=True)
    return (query.sum(-1, keepdim=True) + seen).expand(*query.shape[:-1], value.shape[-1]).clone()


class _Sharp(torch.autograd.Function):
    """Doubles forward, and backward whether a weight is more than an error of rounding."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """Return doubles."""
        context.dtype = x.dtype
        return x.double()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """Return 1 for each element with a weight."""
        return gradients[0].abs().gt(1e-9).to(context.dtype)


def _interpolate(input: Tensor, *rest: Any, **options: Any) -> Tensor:
    """A position that falls on an input reads it alone: its neighbour's weight is 0, or nearly so by rounding."""
    doubles: Tensor = cast(Any, _Sharp).apply(input)  # typed in some releases of PyTorch only
    return torch.nn.functional.interpolate(doubles, *rest, **options).to(input.dtype)


STAND_INS: dict[str, Callable[..., Any]] = {
    **{f"conv{n}d": _conv(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _conv_transpose(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d": _max_pool(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": partial(_max_pool(n), return_indices=True) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_max(n) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d_with_indices": partial(_adaptive_max(n), return_indices=True) for n in (1, 2, 3)},
    "interpolate": _interpolate,
    "upsample": _interpolate,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "normalize": _normalize,
    "var": _variance,
    "std": _variance,
    "max": _largest,
    "min": _largest,
    **dict.fromkeys(("sub", "mul", "div", "pow", "maximum", "minimum", "rsub", "rmul", "rdiv", "atan2"), _both),
    "scaled_dot_product_attention": _attention,
}
"""What runs in the place of each function."""

"""NaN gradients: runs a model so that a NaN sent back from an output position arrives at every input it reads.

A gradient may vanish or cancel where an input is read: 0 · 1, 1 − 1. A NaN does neither, so PyTorch's own derivatives
tell what each function reads. Only functions whose derivative selects (a maximum, a clamp, a step) need another one.
Every result is replaced by ones, so that no derivative divides by 0 or overflows: 0 · ∞ would be a NaN of no reader.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cnnstat.choices import words
from cnnstat.pytorch.calls import function_name
from cnnstat.pytorch.tensors import operands_in

ELEMENTWISE = words(
    """
    relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink
    sigmoid logsigmoid tanh softplus softsign threshold rrelu prelu exp log sqrt rsqrt abs neg clamp clamp_min clamp_max
    clip square sin cos erf reciprocal floor round ceil trunc sign dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_dropout feature_alpha_dropout detach pow exp2 log2 log1p expm1 nan_to_num local_response_norm
    """
)
"""Functions whose output reads the input at its own place, and perhaps its channels, whatever the derivative is."""

FILLS = words("masked_fill_ fill_ zero_ normal_ uniform_ requires_grad_")
"""Functions that overwrite a tensor by constants; here it keeps what it has read."""

ROUNDING = 1e-9
"""Weights up to this are 0: interpolation computes the weight of a neighbour that it does not read with an error."""


class _Ones(torch.autograd.Function):
    """Ones forward, and backward NaN wherever a gradient arrives."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # A comparison with NaN is false.
        (gradient,) = gradients
        nan = complex(torch.nan, torch.nan) if gradient.is_complex() else torch.nan
        return gradient.new_full((), nan).where(~(gradient.abs() <= ROUNDING), 0.0)


class _Indicator(torch.autograd.Function):
    """The same values forward, and backward 1 wherever a gradient arrives: for sums that hold weights of 0."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].ne(0).to(gradients[0].dtype)


def ones(x: Tensor) -> Tensor:
    """Return ones that depend on x element by element."""
    result: Tensor = cast(Any, _Ones).apply(x)  # typed in some releases of PyTorch only
    return result


def _indicator(x: Tensor) -> Tensor:
    result: Tensor = cast(Any, _Indicator).apply(x)
    return result


def keep_saved_tensors() -> AbstractContextManager[Any]:
    """Let derivatives use tensors that the model has overwritten since: their values do not matter here."""
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor)


# Functions with another derivative ------------------------------------------------------------------------------------


def _convolution(
    function: Callable[..., Tensor], input: Tensor, weight: Tensor, bias: Any = None, *rest: Any, **options: Any
) -> Tensor:
    """Sum the channels of each group first, which changes nothing of what is read where and costs far less.

    The order of arguments differs between ordinary and transposed convolutions, the place of `groups` does not.
    """
    groups = rest[3] if len(rest) > 3 else options.get("groups", 1)
    is_transposed = "transpose" in function.__name__
    batch = input if input.dim() == weight.dim() else input[None]
    sums = ones(batch).reshape(batch.shape[0], groups, -1, *batch.shape[2:]).sum(2)
    result = function(sums, input.new_ones(groups, 1, *weight.shape[2:]), None, *rest, **options)
    result = _indicator(result).repeat_interleave(weight.shape[1] if is_transposed else weight.shape[0] // groups, 1)
    return result if batch is input else result[0]


def _linear(function: Any, input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """Sum the features: the weights may have no memory."""
    return input.sum(-1, keepdim=True).expand(*input.shape[:-1], weight.shape[0]).clone()


def _norm(function: Any, input: Tensor, *rest: Any, **options: Any) -> Tensor:
    """Leave out statistics of each example: beside a local field they are global context."""
    return input.clone()


def _variance(function: Any, x: Tensor, dim: Any = None, *rest: Any, keepdim: bool = False, **options: Any) -> Tensor:
    """Read what a mean reads: the derivative of a deviation of 0 is 0."""
    return x.mean(dim if dim is not None else tuple(range(x.dim())), keepdim=keepdim)


def _interpolate(function: Callable[..., Tensor], input: Tensor, *rest: Any, **options: Any) -> Tensor:
    """A position that falls on an input reads it alone: its neighbour's weight is 0, or nearly so by rounding."""
    return _indicator(function(ones(input).double(), *rest, **options)).to(input.dtype)


def _max_pool(
    function: Any, input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Sum the same windows: a maximum has a derivative at one of their elements only."""
    axes = int(function_name(function).partition("pool")[2][0])
    pool = getattr(torch.nn.functional, f"max_pool{axes}d_with_indices")
    values, indices = pool(input, kernel_size, stride or None, padding, dilation, ceil_mode, True)
    kernel, step, pad, gap = (_each(v, axes) for v in (kernel_size, stride or kernel_size, padding, dilation))
    # A window may end behind the input (ceil_mode), and the input behind the last window.
    sizes = zip(values.shape[-axes:], input.shape[-axes:], kernel, step, pad, gap)
    borders = [(p, (n - 1) * s + g * (k - 1) + 1 - p - length) for n, length, k, s, p, g in sizes]
    padded = torch.nn.functional.pad(ones(input), [side for pair in reversed(borders) for side in pair])
    batch, channels = (padded if input.dim() == axes + 2 else padded[None]), input.shape[-axes - 1]
    filters = input.new_ones(channels, 1, *kernel)
    sums = getattr(torch, f"conv{axes}d")(batch, filters, None, step, 0, gap, channels)
    result = _indicator(sums).reshape(values.shape)
    return (result, indices) if return_indices or "indices" in function_name(function) else result


def _each(value: Any, count: int) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return numbers * count if len(numbers) == 1 else numbers


def _adaptive_max_pool(function: Any, input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    average = getattr(torch.nn.functional, f"adaptive_avg_pool{function_name(function).partition('pool')[2][0]}d")
    result = average(input, output_size)
    has_indices = return_indices or "indices" in function_name(function)
    return (result, function(input, output_size, return_indices=True)[1]) if has_indices else result


def _quotient(function: Any, x: Tensor, other: Any, **options: Any) -> Tensor:
    """Read what a product reads: the derivative of a division by 0 is a NaN."""
    return x * other if isinstance(other, Tensor) else x.clone()


def _attention(
    function: Any, query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Sum up what a causal mask lets through: the derivative of a weight of 0 is a NaN all the same."""
    if not is_causal:
        return function(query, key, value, attn_mask, dropout_p, **options)
    if options.get("enable_gqa"):
        key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
    before = (ones(key).sum(-1, keepdim=True) + ones(value)).cumsum(-2)
    last = torch.arange(query.shape[-2]).clamp(max=key.shape[-2] - 1)
    return ones(query).sum(-1, keepdim=True) + before.index_select(-2, last)


DERIVATIVES: dict[str, Callable[..., Any]] = {
    **{f"conv{transposed}{n}d": _convolution for n in (1, 2, 3) for transposed in ("", "_transpose")},
    **{f"max_pool{n}d{indices}": _max_pool for n in (1, 2, 3) for indices in ("", "_with_indices")},
    **{f"adaptive_max_pool{n}d{indices}": _adaptive_max_pool for n in (1, 2, 3) for indices in ("", "_with_indices")},
    **dict.fromkeys(("interpolate", "upsample"), _interpolate),
    **dict.fromkeys(("batch_norm", "instance_norm", "layer_norm", "group_norm", "rms_norm"), _norm),
    **dict.fromkeys(("var", "std"), _variance),
    "linear": _linear,
    "scaled_dot_product_attention": _attention,
    "div": _quotient,
}
"""What runs in the place of a function, which it gets as first argument."""


# Running one function -------------------------------------------------------------------------------------------------


class NanGradients(TorchFunctionMode):
    """Runs every function so that NaN gradients show what it reads."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function, or what stands for it."""
        return run_function(func, args, kwargs or {})


def run_function(func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run one function, or one with another derivative, and return ones that depend on what it reads."""
    name = function_name(func).removeprefix("F.")
    if name == "cnnstat_layer":
        with NanGradients():
            return func.__wrapped__(*args)  # type: ignore[attr-defined]
    first = args[0] if args else keywords.get("input")
    operands = [*operands_in(args), *operands_in(keywords.values())]
    if isinstance(first, Tensor) and first.is_floating_point() and first.requires_grad:
        plain = name.removesuffix("_")
        if plain in ELEMENTWISE or name in FILLS:
            return first if name.endswith("_") or keywords.get("inplace") else ones(first)
        if name in DERIVATIVES:
            return _as_ones(DERIVATIVES[name](func, *args, **keywords), ())
    result = func(*_with_memory(args), **{key: _with_memory(value) for key, value in keywords.items()})
    if result is first and name.endswith("_") and first.requires_grad and first.is_floating_point():
        first.detach().fill_(1)
    return _as_ones(result, {each.untyped_storage()._cdata for each in operands})


def _with_memory(value: Any) -> Any:
    """Return arguments with ones for weights that have no memory."""
    if isinstance(value, Tensor):
        return torch.ones(value.shape, dtype=value.dtype) if value.is_meta else value
    return type(value)(map(_with_memory, value)) if type(value) in (list, tuple) else value


def _as_ones(value: Any, owned: Collection[int]) -> Any:
    """Return results as ones, in the nesting that the function returns; views of its operands stay views.

    owned: storages of the operands. A view of a tensor that the function made is a result like any other: attention
    returns such views, and what is cut off has to be a tensor of its own.
    """
    if isinstance(value, Tensor):
        is_read = value.requires_grad and value.is_floating_point()
        return ones(value) if is_read and value.untyped_storage()._cdata not in owned else value
    return type(value)(_as_ones(item, owned) for item in value) if type(value) in (list, tuple) else value

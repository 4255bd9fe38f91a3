"""Dependence by gradients: runs a model so that a gradient is 1 exactly where an element is read, and else 0.

Every function gives ones, and passes back whether each element is read: weights become ones, activations the identity,
maxima averages, and differences sums, so that nothing can cancel, vanish or overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cnnstat.frontends.torch.calls import function_name, words

IDENTITIES = words(
    """
    relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink
    sigmoid logsigmoid tanh softplus softsign threshold rrelu prelu exp log sqrt rsqrt abs neg clamp clamp_min clamp_max
    clip square sin cos erf reciprocal floor round ceil trunc sign dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_dropout feature_alpha_dropout detach pow exp2 log2 log1p expm1 nan_to_num local_response_norm
    """
)
"""Functions whose output reads the input at its own place, and perhaps its channels."""


class Unit(torch.autograd.Function):
    """Ones forward, and backward whether a gradient arrives."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones_like(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """Return 1 for each element that is read."""
        return gradients[0].ne(0).to(gradients[0].dtype)


def unit(x: Tensor) -> Tensor:
    """Return ones that depend on x element by element."""
    return Unit.apply(x)  # type: ignore[no-untyped-call, no-any-return]  # untyped in PyTorch


class PositiveMode(TorchFunctionMode):
    """Runs every function so that gradients tell what is read."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function, or what stands for it."""
        return positively(func, args, kwargs or {})


def positively(func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run one function, or what stands for it, so that gradients tell what is read."""
    name = function_name(func).removeprefix("F.")
    first = args[0] if args else keywords.get("input")
    if not isinstance(first, (Tensor, list, tuple)) or name in VIEWS:
        return func(*args, **keywords)
    if name.endswith("_") or keywords.get("inplace") or name in ("setitem", "data.set"):
        return _in_place(func, name, args, keywords)
    if name in IDENTITIES and isinstance(first, Tensor):
        return unit(first) if first.is_floating_point() else func(*args, **keywords)
    arguments, named = _separate(args), {key: _separate(value) for key, value in keywords.items()}
    stand_in = STAND_INS.get(name)
    made = None
    if stand_in is not None and isinstance(first, Tensor) and first.is_floating_point():
        made = stand_in(*arguments, **named)
    return _units(func(*arguments, **named) if made is None else made)


VIEWS = words(
    """
    view view_as reshape reshape_as permute transpose swapaxes movedim t T.get mT.get getitem flatten unflatten squeeze
    unsqueeze data.get size dim numel is_floating_point shape.get dtype.get device.get ndim.get requires_grad.get expand expand_as narrow select chunk split split_with_sizes unbind contiguous tensor_split diagonal
    """
)
"""Functions that only rename elements, whose results stay views of the same memory, and questions about a tensor."""

def _in_place(func: Callable[..., Any], name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run a function that changes its first argument: sums and writes as they are, activations not at all."""
    first = args[0] if args else keywords["input"]
    plain = name.removesuffix("_")
    if isinstance(first, Tensor) and first.is_leaf and first.requires_grad:
        # Autograd lets nobody change the input itself.
        return unit(first) if plain in IDENTITIES else func(unit(first), *_separate(args[1:]), **keywords)
    if plain in IDENTITIES or plain in ("masked_fill", "fill", "zero", "normal", "uniform", "requires_grad"):
        return first
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return func(*args, **keywords)
    if plain in ("sub", "mul", "div", "pow", "addcmul", "addcdiv", "lerp"):
        others = (other for other in args[1:] if isinstance(other, Tensor) and other.is_floating_point())
        for other in others:
            first.add_(unit(other))
        return first
    return func(first, *_separate(args[1:]), **keywords)


def _separate(value: Any) -> Any:
    """Return arguments with a copy of each tensor that gradients flow to, so that no two readers can cancel."""
    if isinstance(value, Tensor):
        return unit(value) if value.requires_grad and value.is_floating_point() else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") and type(value) in (list, tuple):
        return type(value)(map(_separate, value))
    return value


def _units(value: Any) -> Any:
    """Return results as ones, in the nesting that the function returns; views stay views."""
    if isinstance(value, Tensor):
        is_read = value.requires_grad and value.is_floating_point() and not value._is_view()
        return unit(value) if is_read else value
    if type(value) in (list, tuple):
        return type(value)(map(_units, value))
    return value


# Stand-ins: each reads what the function of its name reads; None where the function itself has to run. ---------------


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


def _batch_norm(x: Tensor, mean: Any = None, variance: Any = None, *rest: Any, training: bool = False, **o: Any) -> Tensor:
    """With fixed statistics, element by element; else over batch and space."""
    is_training = training or bool(rest[2:3] and rest[2])
    return _beside_mean(x, (0, *range(2, x.dim()))) if is_training or mean is None else x.clone()


def _instance_norm(x: Tensor, *rest: Any, **options: Any) -> Tensor:
    """Over space."""
    return _beside_mean(x, tuple(range(2, x.dim())))


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
    return x + (other if other.is_floating_point() else torch.zeros_like(other, dtype=x.dtype))


def _max_pool(spatial: int) -> Callable[..., Any]:
    """Return max pooling as a sum over the same windows: the gradient of a maximum knows one of them only."""
    function = (torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d, torch.nn.functional.max_pool3d)[
        spatial - 1
    ]

    def run(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        if input.dim() != spatial + 2 or return_indices:
            return None
        size = function(input, kernel_size, stride or None, padding, dilation, ceil_mode).shape[2:]
        kernel, step, pad, gap = (_each(v, spatial) for v in (kernel_size, stride or kernel_size, padding, dilation))
        # Windows that leave the input on the right, as ceil_mode lets them, read zeros there.
        reach = [(n - 1) * s + g * (k - 1) + 1 - p for n, s, g, k, p in zip(size, step, gap, kernel, pad)]
        more = [max(0, r - length) for r, length in zip(reach, input.shape[2:])]
        borders = [side for p, m in zip(reversed(pad), reversed(more)) for side in (p, m)]
        padded = torch.nn.functional.pad(input, borders)
        channels = input.shape[1]
        ones = input.new_ones(channels, 1, *kernel)
        made = getattr(torch, f"conv{spatial}d")(padded, ones, None, step, 0, gap, channels)
        return made[(..., *(slice(0, n) for n in size))].clone()

    return run


def _each(value: Any, count: int) -> tuple[int, ...]:
    """Return one number for each axis."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * count if len(given) == 1 else given


def _adaptive_max(spatial: int) -> Callable[..., Any]:
    """Return adaptive max pooling as the average over the same bins."""

    def run(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        average = getattr(torch.nn.functional, f"adaptive_avg_pool{spatial}d")
        return None if return_indices else average(input, output_size)

    return run


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
    """Every position reads its query, and all keys and values."""
    seen = key.sum((-2, -1), keepdim=True) + value.sum((-2, -1), keepdim=True)
    if seen.dim() == query.dim() > 2 and seen.shape[-3] != query.shape[-3]:
        seen = seen.sum(-3, keepdim=True)
    return (query.sum(-1, keepdim=True) + seen).expand(*query.shape[:-1], value.shape[-1]).clone()


STAND_INS: dict[str, Callable[..., Any]] = {
    **{f"conv{n}d": _conv(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _conv_transpose(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d": _max_pool(n) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_max(n) for n in (1, 2, 3)},
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

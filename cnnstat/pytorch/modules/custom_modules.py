"""Modules for ops that PyTorch has none for, or whose own one is tied to one batch size or to another package."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

Pair = int | tuple[int, ...]
"""One number for both axes, or one for each."""


def one_call(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let modes that see the calls of PyTorch's functions, as those of a trace, see a layer as one call."""

    def cnnstat_layer(self: nn.Module, *tensors: Tensor) -> Tensor:
        """Return what the layer computes."""
        if has_torch_function(tensors):
            result: Tensor = handle_torch_function(cnnstat_layer, tensors, self, *tensors)
            return result
        return forward(self, *tensors)

    cnnstat_layer.__wrapped__ = forward  # type: ignore[attr-defined]  # for modes that look into it
    return cnnstat_layer


def lenet_uniform(weights: Tensor, fan_in: int) -> Tensor:
    """Fill weights uniformly between ±2.4/F, F being the inputs of a unit (LeCun et al. 1998, appendix A)."""
    return nn.init.uniform_(weights, -2.4 / fan_in, 2.4 / fan_in)


class BinaryStep(nn.Module):
    """1 where x ≥ 0, else 0."""

    @one_call
    def forward(self, x: Tensor) -> Tensor:
        """Return the steps; written with signs, whose gradient is zero, where a comparison's would not exist."""
        return (x.sign() + 0.5).sign() * 0.5 + 0.5


class ScaledTanh(nn.Module):
    """A·tanh(S·x)."""

    def __init__(self, amplitude: float, slope: float) -> None:
        super().__init__()
        self.amplitude = amplitude
        self.slope = slope

    @one_call
    def forward(self, x: Tensor) -> Tensor:
        """Return the squashed input."""
        return torch.tanh(x * self.slope) * self.amplitude


class StochasticDepth(nn.Module):
    """Skips its branch in training, as torchvision's module of this name does."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p = p
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        """Return the input, in training times the noise of each image or of the batch."""
        if not self.training or self.p == 0:
            return x
        share = 1 - self.p
        size = (x.shape[0] if self.mode == "row" else 1, *(1,) * (x.dim() - 1))
        noise = x.new_empty(size).bernoulli_(share)
        return x * (noise.div_(share) if share else noise)


class Reshape(nn.Module):
    """Another shape for each batch entry, whatever the batch size."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Return batch × shape."""
        return x.reshape(x.shape[0], *self.shape)


class Slice(nn.Module):
    """A range of one axis."""

    def __init__(self, index: tuple[slice, ...]) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        """Return the part."""
        return x[self.index]


def _box(x: Tensor, corners: Sequence[int], sizes: Sequence[int]) -> Tensor:
    for axis, (first, size) in enumerate(zip(corners, sizes), start=2):
        x = x.narrow(axis, first, size)
    return x


def _each(value: int | Sequence[int], x: Tensor) -> Sequence[int]:
    return (value,) * (x.dim() - 2) if isinstance(value, int) else value


def _centred(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return a box from the middle; of an odd border the larger half is cut off at the end."""
    return _box(x, [(length - size) // 2 for length, size in zip(x.shape[2:], sizes)], sizes)


class Crop(nn.Module):
    """A box of the spatial axes, from a given corner on."""

    def __init__(self, size: int | Sequence[int], offset: int | Sequence[int]) -> None:
        super().__init__()
        self.size = size
        self.offset = offset

    @one_call
    def forward(self, x: Tensor) -> Tensor:
        """Return the box."""
        return _box(x, _each(self.offset, x), _each(self.size, x))


class CenterCrop(nn.Module):
    """A box from the middle of the spatial axes."""

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = size

    @one_call
    def forward(self, x: Tensor) -> Tensor:
        """Return the box."""
        return _centred(x, _each(self.size, x))


class CropLike(nn.Module):
    """As much from the middle of the first input as the second has."""

    @one_call
    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Return the box."""
        return _centred(x, like.shape[2:])


class ResizeLike(nn.Module):
    """The first input resized to the spatial size of the second."""

    def __init__(self, size: Sequence[int], mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Return the resized input; its size follows `like`, not the shapes it was built for."""
        return nn.functional.interpolate(x, like.shape[2:], mode=self.mode, align_corners=self.align_corners)


class MultiheadAttention(nn.MultiheadAttention):
    """PyTorch's module of this name, which finds out from the number of inputs what is key and value."""

    call_arguments = ("need_weights",)

    def __init__(self, *, need_weights: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.need_weights = need_weights

    def forward(self, query: Tensor, *memory: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        """Return the attended values, and the weights if wanted; one memory is keys and values."""
        keys = memory[0] if memory else query
        return super().forward(query, keys, memory[-1] if memory else query, need_weights=self.need_weights)


class LSTM(nn.LSTM):
    """PyTorch's module of this name, with the two states as arguments of their own."""

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        """Return all steps and the last states."""
        return super().forward(x, states or None)  # type: ignore[arg-type]


class TrainableSubsampling2d(nn.Module):
    """The sum of each window times one coefficient a map, plus one bias a map: LeNet-5's S2 and S4."""

    def __init__(self, in_channels: int, kernel_size: Pair, stride: Pair | None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        taps = kernel_size**2 if isinstance(kernel_size, int) else math.prod(kernel_size)
        self.weight = nn.Parameter(lenet_uniform(torch.empty(in_channels), taps))
        self.bias = nn.Parameter(lenet_uniform(torch.empty(in_channels), taps))

    @one_call
    def forward(self, x: Tensor) -> Tensor:
        """Return the maps."""
        sums = nn.functional.avg_pool2d(x, self.kernel_size, self.stride, divisor_override=1)
        return sums * self.weight[:, None, None] + self.bias[:, None, None]


class ConnectionTableConv2d(nn.Module):
    """Convolution whose weights are the kernels of connected pairs of maps: LeNet-5's C3."""

    def __init__(
        self,
        in_channels: int,
        table: Sequence[Sequence[int]],
        kernel_size: Pair,
        stride: Pair,
        padding: Pair,
        bias: bool,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = len(table)
        self.stride = stride
        self.padding = padding
        kernel = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
        self.pairs = [(row, column) for row, columns in enumerate(table) for column in columns]
        fan_in = math.prod(kernel) * len(self.pairs) // len(table)
        self.weight = nn.Parameter(lenet_uniform(torch.empty(len(self.pairs), *kernel), fan_in))
        self.bias = nn.Parameter(lenet_uniform(torch.empty(len(table)), fan_in)) if bias else None

    @one_call
    def forward(self, x: Tensor) -> Tensor:
        """Return the maps; the kernels of pairs that are not connected are zeros."""
        kernels = self.weight.new_zeros(self.out_channels, self.in_channels, *self.weight.shape[1:])
        rows, columns = zip(*self.pairs)
        kernels[list(rows), list(columns)] = self.weight
        return nn.functional.conv2d(x, kernels, self.bias, self.stride, self.padding)


class EuclideanRBF(nn.Module):
    """Squared distances to centres: LeNet-5's output. Centres that are not learnt are a buffer."""

    weight: Tensor

    def __init__(self, in_features: int, out_features: int, trainable: bool) -> None:
        super().__init__()
        # The paper draws digits with pixels of −1 and 1; it names equal chances for both as the other choice.
        centres = torch.randint(2, (out_features, in_features)) * 2.0 - 1
        if trainable:
            self.weight = nn.Parameter(centres)
        else:
            self.register_buffer("weight", centres)

    @one_call
    def forward(self, x: Tensor) -> Tensor:
        """Return the distances."""
        return (x.unsqueeze(-2) - self.weight).square().sum(-1)


class ScaleShift(nn.Module):
    """One scale and one shift a channel."""

    def __init__(self, num_features: int, shift: bool = True) -> None:
        super().__init__()
        self.shift = shift
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features)) if shift else None

    @one_call
    def forward(self, x: Tensor) -> Tensor:
        """Return each channel times its scale, plus its shift."""
        size = (-1, *(1,) * (x.dim() - 2))
        scaled = x * self.weight.view(size)
        return scaled if self.bias is None else scaled + self.bias.view(size)


CUSTOM_MODULES: dict[str, type[nn.Module]] = {
    module.__name__: module
    for module in (
        BinaryStep,
        ScaledTanh,
        StochasticDepth,
        Reshape,
        Slice,
        Crop,
        CenterCrop,
        CropLike,
        ResizeLike,
        MultiheadAttention,
        LSTM,
        TrainableSubsampling2d,
        ConnectionTableConv2d,
        EuclideanRBF,
        ScaleShift,
    )
}
"""The modules by op kind.

Each is built with the op's `torch_arguments`, and those of its fields that PyTorch takes when a module is called, which
the module lists as `call_arguments`.
"""


def call_as_one(cls: type) -> None:
    """Let a trace see a class that an exported file has copied from here as it sees the one here: as one call.

    Exported files need nothing but PyTorch, so that their copies are plain; one is known by its name and its code.
    """
    own = CUSTOM_MODULES.get(cls.__name__)
    forward = getattr(own and own.forward, "__wrapped__", None)
    if forward is not None and cls is not own and _is_copy(cls.__dict__.get("forward"), forward):
        cls.forward = one_call(cls.forward)  # type: ignore[attr-defined]  # a module has it


def _is_copy(function: Any, original: Any) -> bool:
    """Whether two functions have the same code; where it stands, and so its line numbers, may differ."""
    parts = [
        (code.co_code, code.co_consts, code.co_names, code.co_varnames)
        for code in (getattr(function, "__code__", None), original.__code__)
        if code is not None
    ]
    return len(parts) == 2 and parts[0] == parts[1]

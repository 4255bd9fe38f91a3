"""Modules for ops that PyTorch has none for, or whose own one is tied to one batch size or to another package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class BinaryStep(nn.Module):
    """1 where x ≥ 0, else 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the steps; written with signs, whose gradient is zero, where a comparison's would not exist."""
        return (x.sign() + 0.5).sign() * 0.5 + 0.5


class ScaledTanh(nn.Module):
    """A·tanh(S·x)."""

    def __init__(self, amplitude: float, slope: float) -> None:
        super().__init__()
        self.amplitude = amplitude
        self.slope = slope

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
        kept = 1 - self.p
        size = (x.shape[0] if self.mode == "row" else 1, *(1,) * (x.dim() - 1))
        noise = x.new_empty(size).bernoulli_(kept)
        return x * (noise.div_(kept) if kept else noise)


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
    """Return a box of the spatial axes."""
    for axis, (first, size) in enumerate(zip(corners, sizes), start=2):
        x = x.narrow(axis, first, size)
    return x


def _each(value: int | Sequence[int], x: Tensor) -> Sequence[int]:
    """Return one number for each spatial axis."""
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

    def forward(self, x: Tensor) -> Tensor:
        """Return the box."""
        return _box(x, _each(self.offset, x), _each(self.size, x))


class CenterCrop(nn.Module):
    """A box from the middle of the spatial axes."""

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the box."""
        return _centred(x, _each(self.size, x))


class CropLike(nn.Module):
    """As much from the middle of the first input as the second has."""

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


HANDMADE: dict[str, Any] = {
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
    )
}
"""The modules by op kind; each is built with the op's `torch_arguments`."""

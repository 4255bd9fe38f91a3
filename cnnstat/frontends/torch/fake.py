"""Fake tensors: shapes, dtypes and devices without memory. This is the only file that knows PyTorch's fake mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

MAX_REAL_NUMBERS = 1024
"""Integer buffers up to this size stay real, so that models can read them (`.tolist()`)."""


_CPU = torch.device("cpu")


class Faker:
    """Makes fake twins of tensors; equal tensors have one twin."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._dtype = dtype
        self._twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def is_fake(self, tensor: Any) -> bool:
        """Whether a tensor has no memory of its own."""
        return isinstance(tensor, FakeTensor)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a fake tensor in C order, on the CPU."""
        with self.mode:
            return torch.empty(shape, dtype=dtype, device="cpu")

    def fresh(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a fake tensor as `empty` does, without the detour through the fake mode."""
        return FakeTensor(self.mode, torch.empty(shape, dtype=dtype, device="meta"), _CPU)

    def twin(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the fake twin of a tensor, always the same one."""
        if isinstance(tensor, FakeTensor):
            return tensor
        known = self._twins.get(id(tensor))
        if known is None or known[0] is not tensor:
            known = self._twins[id(tensor)] = (tensor, self._made(tensor))
        return known[1]

    def _made(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a new fake tensor of the same sizes, strides and dtype."""
        layout: Any = tensor.layout
        device = "cpu" if tensor.device.type == "meta" else tensor.device
        if layout is not torch.strided:
            return self.mode.from_tensor(tensor)
        empty = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
        return FakeTensor(self.mode, empty, torch.device(device))

    def converted(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the twin of a parameter or buffer, in the dtype asked for if it is a floating-point one."""
        if self._dtype is None or not tensor.is_floating_point() or tensor.dtype == self._dtype:
            return self.twin(tensor)
        return self.fresh(tuple(tensor.shape), self._dtype)


@contextmanager
def swapped(model: nn.Module, faker: Faker | None) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Put stand-ins into a model for the time of a trace; yields pairs of the real tensor and what stands for it.

    Parameters and large buffers become fake, small buffers are copied. Without a faker, only buffers are copied.
    Modules that keep their tensors outside Python (ScriptModules) are left alone.
    """
    pairs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    changed: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            tables: tuple[tuple[dict[str, Any], bool], ...] = ((module._parameters, True), (module._buffers, False))
            for tensors, is_parameter in tables:
                for name, tensor in list(tensors.items()):
                    if tensor is None or nn.parameter.is_lazy(tensor) or (is_parameter and faker is None):
                        continue
                    if id(tensor) not in pairs:
                        pairs[id(tensor)] = (tensor, _stand_in(tensor, is_parameter, faker))
                    changed.append((tensors, name, tensor))
                    tensors[name] = pairs[id(tensor)][1]
        yield list(pairs.values())
    finally:
        for tensors, name, tensor in changed:
            tensors[name] = tensor


def _stand_in(tensor: torch.Tensor, is_parameter: bool, faker: Faker | None) -> torch.Tensor:
    """Return what stands for a parameter or a buffer."""
    # How much a sparse tensor holds is not in its shape.
    is_small = tensor.numel() <= (16 if tensor.is_floating_point() else MAX_REAL_NUMBERS)
    is_small = is_small or tensor.layout is not torch.strided
    if faker is None or (not is_parameter and is_small and tensor.device.type != "meta"):
        return tensor.detach().clone()
    fake = faker.converted(tensor)
    if is_parameter:
        # What nn.Parameter(fake) would say, without the copy that it makes.
        fake._is_param = True
        fake.requires_grad_(tensor.requires_grad)
    return fake

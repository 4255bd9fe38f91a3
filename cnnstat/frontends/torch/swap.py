"""Stand-ins for a model's tensors for the time of a trace, so that nothing a forward pass does reaches the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cnnstat.frontends.torch.fake import Faker
from cnnstat.frontends.torch.modules import Modules

MAX_REAL_NUMBERS = 1024
"""Integer buffers up to this size stay real, so that models can read them (`.tolist()`)."""

MAX_REAL_FLOATS = 16
"""The same for floating-point buffers: scales and flags."""

_OWN = frozenset(vars(nn.Module()))
"""Attributes that every module has."""

_WITHOUT_TENSORS = frozenset((int, float, bool, str, type(None)))
"""Kinds of attributes that need no look."""


@contextmanager
def swapped(modules: Modules, faker: Faker | None) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Put stand-ins into a model for the time of a trace; yields pairs of the real tensor and what stands for it.

    Parameters and large buffers become fake; small buffers, and tensors that are plain attributes, are copied. Without
    a faker, everything is copied. Modules that keep their tensors outside Python (ScriptModules) are left alone.
    """
    stand_ins = _StandIns(faker)
    changed: list[tuple[dict[str, Any], str, Any]] = []

    def swap(table: dict[str, Any], name: str, made: Any) -> None:
        changed.append((table, name, table[name]))
        table[name] = made

    open_modules = [module for _, module in modules if not isinstance(module, torch.jit.ScriptModule)]
    try:
        for module in open_modules:
            for table, is_parameter in ((module._parameters, True), (module._buffers, False)):
                for name, tensor in list(table.items()):
                    if tensor is not None and not nn.parameter.is_lazy(tensor):
                        swap(table, name, stand_ins.of(tensor, is_parameter))
        pairs = list(stand_ins.pairs.values())
        for module in open_modules:
            own = [(name, value) for name, value in vars(module).items() if name not in _OWN]
            for name, value in own:
                made = value if type(value) in _WITHOUT_TENSORS else stand_ins.attribute(value)
                if made is not value:
                    swap(vars(module), name, made)
        yield pairs
    finally:
        for table, name, value in reversed(changed):
            table[name] = value


class _StandIns:
    """Makes stand-ins; one tensor, or one container, has one of them wherever it appears."""

    def __init__(self, faker: Faker | None) -> None:
        self._faker = faker
        self.pairs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._containers: dict[int, tuple[Any, Any]] = {}

    def of(self, tensor: torch.Tensor, is_parameter: bool) -> torch.Tensor:
        """Return what stands for a parameter or buffer."""
        if id(tensor) not in self.pairs:
            self.pairs[id(tensor)] = (tensor, _stand_in(tensor, is_parameter, self._faker))
        return self.pairs[id(tensor)][1]

    def attribute(self, value: Any) -> Any:
        """Return what stands for an attribute: a copy of a tensor, or of a list, tuple or dict that holds tensors."""
        if isinstance(value, torch.Tensor):
            return self._plain(value)
        kind = type(value)
        if kind not in (list, tuple, dict):
            return value
        if not any(isinstance(item, torch.Tensor) for item in (value.values() if kind is dict else value)):
            return value
        if id(value) not in self._containers:
            pairs = {key: self._plain(item) for key, item in (value.items() if kind is dict else enumerate(value))}
            self._containers[id(value)] = (value, pairs if kind is dict else kind(pairs.values()))
        return self._containers[id(value)][1]

    def _plain(self, value: Any) -> Any:
        """Return a copy of a tensor that is no parameter or buffer; kinds that cannot be copied stay."""
        if not isinstance(value, torch.Tensor) or nn.parameter.is_lazy(value):
            return value
        if id(value) not in self.pairs:
            try:
                self.pairs[id(value)] = (value, value.detach().clone())
            except (RuntimeError, NotImplementedError, TypeError):
                return value
        return self.pairs[id(value)][1]


def _stand_in(tensor: torch.Tensor, is_parameter: bool, faker: Faker | None) -> torch.Tensor:
    """Return what stands for a parameter or a buffer."""
    limit = MAX_REAL_FLOATS if tensor.is_floating_point() else MAX_REAL_NUMBERS
    # How much a sparse tensor holds is not in its shape.
    stays_real = tensor.numel() <= limit or tensor.layout is not torch.strided
    if faker is None or (not is_parameter and stays_real and tensor.device.type != "meta"):
        copied = tensor.detach().clone()
        return nn.Parameter(copied, tensor.requires_grad) if is_parameter else copied
    fake = faker.converted(tensor)
    if is_parameter:
        # What nn.Parameter(fake) would say, without the copy that it makes.
        fake._is_param = True
        fake.requires_grad_(tensor.requires_grad)
    return fake

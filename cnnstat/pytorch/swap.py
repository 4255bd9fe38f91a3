"""Stand-ins for a model's tensors for the time of a trace, so that nothing a forward pass does reaches the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.modules import Modules
from cnnstat.pytorch.nested_state import Holdings
from cnnstat.pytorch.state import own_classes

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

    Parameters and large buffers become fake; small buffers, and tensors that attributes hold at any depth, are copied.
    Without a faker, everything is copied. Modules whose tensors are not kept in Python (ScriptModules) are left alone.
    """
    stand_ins = _StandIns(faker)
    holdings = Holdings((module for _, module in modules), stand_ins.plain)
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
                made = value if type(value) in _WITHOUT_TENSORS else holdings.replaced(value)
                if made is not value:
                    swap(vars(module), name, made)
        for cls in own_classes(modules):
            holdings.add_class(cls)
        yield pairs
    finally:
        for table, name, value in reversed(changed):
            table[name] = value
        holdings.put_back()


class _StandIns:
    """Makes stand-ins; one tensor, or one container, has one of them wherever it appears."""

    def __init__(self, faker: Faker | None) -> None:
        self._faker = faker
        self.pairs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, tensor: torch.Tensor, is_parameter: bool) -> torch.Tensor:
        """Return what stands for a parameter or buffer."""
        pair = self.pairs.get(id(tensor))
        if pair is None:
            pair = self.pairs[id(tensor)] = (tensor, _stand_in(tensor, is_parameter, self._faker))
        return pair[1]

    def plain(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a copy of a tensor that is no parameter or buffer of the model; what cannot be copied stays."""
        if nn.parameter.is_lazy(tensor):
            return tensor
        if id(tensor) not in self.pairs:
            is_weight = isinstance(tensor, nn.Parameter) and tensor.numel() > MAX_REAL_NUMBERS
            try:
                copied = self._of_weight(tensor) if is_weight else tensor.detach().clone()
            except (RuntimeError, NotImplementedError, TypeError):
                return tensor
            self.pairs[id(tensor)] = (tensor, copied)
        return self.pairs[id(tensor)][1]

    def _of_weight(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return what stands for a weight of a module that the model keeps outside its tree."""
        return _stand_in(tensor, True, self._faker)


def _stays_real(buffer: torch.Tensor) -> bool:
    """Whether a buffer keeps its values."""
    limit = MAX_REAL_FLOATS if buffer.is_floating_point() else MAX_REAL_NUMBERS
    # How much a sparse tensor holds is not in its shape.
    return buffer.device.type != "meta" and (buffer.numel() <= limit or buffer.layout is not torch.strided)


def _stand_in(tensor: torch.Tensor, is_parameter: bool, faker: Faker | None) -> torch.Tensor:
    """Return what stands for a parameter or a buffer."""
    if faker is None or (not is_parameter and _stays_real(tensor)):
        copied = tensor.detach().clone()
        return nn.Parameter(copied, tensor.requires_grad) if is_parameter else copied
    fake = faker.converted(tensor)
    if is_parameter:
        # What nn.Parameter(fake) would say, without the copy that it makes.
        fake._is_param = True
        fake.requires_grad_(tensor.requires_grad)
    return fake

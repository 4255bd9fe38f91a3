"""The modules and stored tensors of a model: what `named_modules()` and its like say, in one quick walk."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

Modules = list[tuple[str, nn.Module]]
"""Modules with their paths, the outer before the inner."""


def modules_of(model: nn.Module) -> Modules:
    """Return every module once, the outer before the inner, with its path."""
    found: Modules = []
    seen: set[int] = set()
    waiting = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        found.append((path, module))
        if module._modules:
            prefix = f"{path}." if path else ""
            inner = [(prefix + name, child) for name, child in module._modules.items() if child is not None]
            waiting += reversed(inner)
    return found


def tensors_of(modules: Modules) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Yield every parameter, then every buffer, once, with its name and whether it is a parameter."""
    for is_parameter in (True, False):
        seen: set[int] = set()
        for path, module in modules:
            for name, tensor in (module._parameters if is_parameter else module._buffers).items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, tensor, is_parameter


def passing_buffers(modules: Modules) -> set[str]:
    """Return the names of the buffers that are in no state dict."""
    return {
        f"{path}.{name}" if path else name
        for path, module in modules
        for name in getattr(module, "_non_persistent_buffers_set", ())
    }

"""A model's state: what a trace may touch, kept and put back."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cnnstat.frontends.torch.modules import modules_of

_CONTAINERS = (list, dict, set)


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Leave all as it was: tensors, attributes, hooks, mode, classes, default dtype, random generators."""
    modules = [module for _, module in modules_of(model)]
    instances = [(module, module.__class__, _copied(vars(module))) for module in modules]
    classes = [(cls, dict(vars(cls))) for cls in _own_classes(modules)]
    scripted = [_Scripted(module) for module in modules if isinstance(module, torch.jit.ScriptModule)]
    # An isinstance would ask a metaclass that is written in Python, for every attribute of every module.
    values = (value for module in modules for value in vars(module).values())
    own = [(value, value.get_state()) for value in values if torch.Generator in type(value).__mro__]
    generators, dtype = _generators(), torch.get_default_dtype()
    try:
        yield
    finally:
        for generator, state in own:
            generator.set_state(state)
        torch.set_default_dtype(dtype)
        for each in scripted:
            each.put_back()
        for module, cls, attributes in instances:
            if module.__class__ is not cls:
                object.__setattr__(module, "__class__", cls)
            _put_back(vars(module), attributes)
        for cls, attributes in classes:
            _put_back_class(cls, attributes)
        _put_back_generators(generators)


class _Scripted:
    """The mode and buffers of a ScriptModule, which are not kept in Python."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        # A frozen module has no mode.
        self._training = getattr(module, "training", None)
        self._buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers(recurse=False)]

    def put_back(self) -> None:
        """Set both as they were."""
        if self._training is not None:
            self._module.training = self._training
        for buffer, value in self._buffers:
            if not torch.equal(buffer, value):
                buffer.copy_(value)


def _copied(attributes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return attributes with a copy of those that are containers."""
    return {k: (v, copy.copy(v) if type(v) in _CONTAINERS else None) for k, v in attributes.items()}


def _put_back(attributes: dict[str, Any], kept: dict[str, tuple[Any, Any]]) -> None:
    """Give attributes and the containers among them their former content."""
    for name in [name for name in attributes if name not in kept]:
        del attributes[name]
    for name, (value, content) in kept.items():
        attributes[name] = value
        if content is not None and (len(content) or len(value)):
            value.clear()
            value.extend(content) if isinstance(value, list) else value.update(content)


def _own_classes(modules: list[nn.Module]) -> set[type]:
    """Return the classes of modules that are not PyTorch's own."""
    found = {cls for module in modules for cls in type(module).__mro__}
    return {cls for cls in found if not (cls.__module__ or "").startswith(("torch.", "builtins", "abc", "typing"))}


def _put_back_class(cls: type, kept: dict[str, Any]) -> None:
    """Give a class its former attributes."""
    for name in [name for name in vars(cls) if name not in kept]:
        delattr(cls, name)
    for name, value in kept.items():
        if vars(cls).get(name) is not value and name not in ("__dict__", "__weakref__", "__abstractmethods__"):
            setattr(cls, name, value)


def _generators() -> tuple[Any, Any, Any, Any]:
    """Return the states of PyTorch's, Python's and (where they are in use) NumPy's and CUDA's random generators."""
    numpy = sys.modules.get("numpy")
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]  # in PyTorch
    return torch.get_rng_state(), random.getstate(), numpy.random.get_state() if numpy is not None else None, devices


def _put_back_generators(states: tuple[Any, Any, Any, Any]) -> None:
    """Set the random generators to former states."""
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    if states[2] is not None:
        sys.modules["numpy"].random.set_state(states[2])
    if states[3] is not None:
        torch.cuda.set_rng_state_all(states[3])


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Leave the random generators as they were."""
    states = _generators()
    try:
        yield
    finally:
        _put_back_generators(states)

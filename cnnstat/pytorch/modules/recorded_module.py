"""Modules for recorded calls: they are made again, with the parameters and buffers that they had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.errors import OpError
from cnnstat.ir.graph import Node
from cnnstat.ir.recorded_call import (
    ConstantNumber,
    InputNumber,
    OwnDevice,
    RecordedCalls,
    ResultOf,
    SliceOf,
    Stored,
    StoredName,
    TorchName,
    values_of,
)

SCALE = 0.02
"""Standard deviation of operands that are learnt, that of position embeddings (arXiv:2010.11929)."""


class Home:
    """Where a tensor is registered: a module and a name. It is no module, so that nothing is registered twice."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.name = name

    @property
    def tensor(self) -> Tensor:
        """The tensor as it is now."""
        result: Tensor = getattr(self.module, self.name)
        return result


class RecordedModule(nn.Module):
    """Recorded calls, made again with the arguments they had; call `bind` once its stored tensors are placed."""

    def __init__(self, recorded: RecordedCalls) -> None:
        super().__init__()
        self._homes: dict[str, Home] = {}
        self._recorded = recorded
        self._functions = [function_of(call.function) for call in recorded.calls]
        for number, constant in enumerate(recorded.constants):
            self.register_buffer(f"_constant{number}", torch.clone(constant.value), persistent=False)

    def forward(self, *tensors: Tensor) -> Any:
        """Return what the calls make."""
        output: list[Any] = []
        for function, call in zip(self._functions, self._recorded.calls):
            arguments = [self._value(argument, tensors, output) for argument in call.arguments]
            keywords = {name: self._value(value, tensors, output) for name, value in call.keywords}
            output.append(function(*arguments, **keywords))
        return tuple(self._value(result, tensors, output) for result in self._recorded.results)

    def bind(self, homes: Mapping[str, Home]) -> None:
        """Take note of where the stored tensors are that the calls read."""
        self._homes = {stored.name: homes[stored.name] for stored in self._recorded.stored}

    def extra_repr(self) -> str:
        """The functions that are called."""
        return ", ".join(call.function for call in self._recorded.calls)

    def _value(self, value: Any, tensors: tuple[Tensor, ...], result: list[Any]) -> Any:
        """Return an argument."""
        if isinstance(value, InputNumber):
            return tensors[value.number]
        if isinstance(value, ResultOf):
            return reduce(lambda whole, place: whole[place], value.path, result[value.call])
        if isinstance(value, StoredName):
            return self._homes[value.name].tensor
        if isinstance(value, ConstantNumber):
            return getattr(self, f"_constant{value.number}")
        if isinstance(value, TorchName):
            return getattr(torch, value.name)
        if isinstance(value, OwnDevice):
            return self._device(tensors)
        if isinstance(value, SliceOf):
            return slice(*(self._value(part, tensors, result) for part in (value.start, value.stop, value.step)))
        if isinstance(value, (tuple, list)):
            return type(value)(self._value(each, tensors, result) for each in value)
        return value

    def _device(self, tensors: tuple[Tensor, ...]) -> torch.device:
        stored = (home.tensor for home in self._homes.values())
        return next((tensor.device for tensor in (*tensors, *stored, *self.buffers())), torch.device("cpu"))


def function_of(path: str) -> Callable[..., Any]:
    """Return the function of a recorded call; raises OpError where PyTorch has none of that name."""
    home, *parts = path.split(".")
    if home == "Tensor" and parts[-1] == "get":
        return lambda tensor: getattr(tensor, parts[0])
    root: Any = {"Tensor": torch.Tensor, "torch": torch, "F": nn.functional, "ops": torch.ops}[home]
    try:
        if parts[0] == "torchvision":
            import_module("torchvision")
        result = reduce(getattr, parts, root)
    except (AttributeError, ImportError):
        raise OpError(f"PyTorch {torch.__version__} has no {path.removesuffix('.default')} to call") from None
    function: Callable[..., Any] = result
    return function


def valueless(recorded: RecordedCalls) -> str:
    """Return the name of a buffer that recorded calls need but that has no value, an empty text if there is none."""
    used = {value.name for call in recorded.calls for value in values_of(call) if isinstance(value, StoredName)}
    return next((s.name for s in recorded.stored if s.name in used and not has_value(s)), "")


def has_value(stored: Stored) -> bool:
    """Whether a stored tensor can be made: it is learnt, in a state dict, or known."""
    is_number = stored.dtype.startswith(("float", "bfloat", "complex"))
    return stored.is_parameter or stored.value is not None or (stored.is_persistent and is_number)


def register(root: nn.Module, scope: Callable[[str], nn.Module], stored: Iterable[Stored]) -> dict[str, Home]:
    """Register stored tensors under their names, as far as nothing is there yet, and return where each is."""
    homes: dict[str, Home] = {}
    for each in stored:
        path, _, own = each.name.rpartition(".")
        home = module_at(root, scope, path)
        if own not in home._parameters and own not in home._buffers:
            while hasattr(home, own):
                own += "_"
            _add(home, own, each)
        homes[each.name] = Home(home, own)
    return homes


def _add(home: nn.Module, name: str, stored: Stored) -> None:
    """Register one tensor: a parameter with random values, a buffer with its own, or zeros where they are not known."""
    dtype = getattr(torch, stored.dtype)
    if not stored.is_parameter:
        result = torch.zeros(stored.shape, dtype=dtype) if stored.value is None else torch.clone(stored.value)
        device = torch.empty(0).device
        home.register_buffer(name, result.to(device), persistent=stored.is_persistent)
        return
    is_floating = dtype.is_floating_point or dtype.is_complex
    values = torch.randn(stored.shape) * SCALE if is_floating else torch.zeros(stored.shape, dtype=dtype)
    home.register_parameter(name, nn.Parameter(values, requires_grad=stored.is_learnt and is_floating))


def module_at(root: nn.Module, scope: Callable[[str], nn.Module], path: str) -> nn.Module:
    """Return the module at a path, which is made where it does not exist."""
    for part in path.split(".") if path else ():
        child = root._modules.get(part)
        if child is None:
            child = scope(part)
            root.add_module(part, child)
        root = child
    return root


def stored_of(nodes: Iterable[Node]) -> Mapping[str, Stored]:
    """Return the stored tensors of the recorded calls of some nodes by name."""
    calls = (node.recorded for node in nodes if isinstance(node.recorded, RecordedCalls))
    return {stored.name: stored for recorded in calls for stored in recorded.stored}

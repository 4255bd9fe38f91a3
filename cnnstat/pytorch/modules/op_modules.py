"""The PyTorch module of an op, of a function, and of recorded calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.errors import OpError
from cnnstat.ir.op import Op, Shape, Shapes, Storage
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
from cnnstat.ops.traced import UNUSED, Applied, Recorded
from cnnstat.pytorch.modules.custom_modules import CUSTOM_MODULES

SCALE = 0.02
"""Standard deviation of operands that are learnt, that of position embeddings (arXiv:2010.11929)."""


class Scope(nn.Module):
    """Holds the layers whose names start with its own; prints as the block it was called from."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self.__label = label  # under a name that no module in it has

    def _get_name(self) -> str:
        return self.__label


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
        results = tuple(self._value(result, tensors, output) for result in self._recorded.results)
        return results or torch.empty(0)  # as every step makes one

    @property
    def stored(self) -> tuple[Stored, ...]:
        """The stored tensors that its calls read."""
        return self._recorded.stored

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


def module_at(root: nn.Module, path: str) -> nn.Module:
    """Return the module at a path, which is made where it does not exist."""
    for part in path.split(".") if path else ():
        child = root._modules.get(part)
        if child is None:
            child = Scope(part)
            root.add_module(part, child)
        root = child
    return root


class WithOperands(nn.Module):
    """A layer that works on learnt tensors and numbers beside its inputs."""

    def __init__(self, layer: nn.Module, operands: tuple[int | float | str, ...]) -> None:
        super().__init__()
        # In a list it is no child, so that its own parameters, if any, keep their names.
        self._layer = [layer]
        self._operands = operands
        self._homes: dict[str, Home] = {}

    def forward(self, *tensors: Tensor) -> Any:
        """Return what the layer makes of its operands."""
        return self._layer[0](*(self._operand(operand, tensors) for operand in self._operands))

    def _operand(self, operand: int | float | str, tensors: tuple[Tensor, ...]) -> Any:
        """Return an input, a learnt tensor for the whole batch, or a number."""
        if isinstance(operand, str):
            return self._homes[operand].tensor
        if isinstance(operand, int):
            return tensors[operand]
        return torch.tensor(operand, dtype=tensors[0].dtype, device=tensors[0].device)


class Unused(nn.Module):
    """Stands for tensors that no call uses; they are registered where they were."""

    def forward(self) -> Tensor:
        """Return an empty tensor, as every step makes one."""
        return torch.empty(0)


def _traced_module(op: Applied | Recorded, inputs: Shapes) -> nn.Module:
    """Return the module of a traced call; raises OpError where the trace does not tell what it computes."""
    if isinstance(op, Applied):
        operands = op.operand_names(len(inputs))
        shapes = tuple(inputs[operand] if isinstance(operand, int) else operand for operand in op.operands)
        layer = module_of(op.op, shapes)
        return layer if operands == tuple(range(len(inputs))) else WithOperands(layer, operands)
    if op.function == UNUSED and not inputs:
        return Unused()
    raise OpError("only its shapes and its work are known, not what it computes; build the original model instead")


def register_operands(modules: Mapping[str, tuple[nn.Module, Op]], root: nn.Module) -> None:
    """Register the learnt tensors of traced calls under the names they had in the traced model."""
    for module, op in modules.values():
        if isinstance(module, WithOperands) and isinstance(op, Applied):
            for name, shape in op.tensors:
                module._homes[name] = _registered(root, name, shape, name not in op.frozen)
        elif isinstance(module, Unused) and isinstance(op, Recorded):
            for name, shape in op.tensors:
                _registered(root, name, shape, name not in op.frozen)
            for name, shape in op.stored:
                path, _, own = name.rpartition(".")
                dtype = torch.int64 if own == "num_batches_tracked" else None
                module_at(root, path).register_buffer(own, torch.zeros(shape, dtype=dtype))


def _registered(root: nn.Module, name: str, shape: Shape, is_learnt: bool) -> Home:
    path, _, own = name.rpartition(".")
    home = module_at(root, path)
    while hasattr(home, own):
        own += "_"
    home.register_parameter(own, nn.Parameter(torch.randn(shape) * SCALE, requires_grad=is_learnt))
    return Home(home, own)


class Function(nn.Module):
    """A function with its arguments as a layer: takes its input tensors."""

    def __init__(self, op: Op, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        super().__init__()
        self._op = op
        self._function = function
        self._arguments = arguments

    def forward(self, *tensors: Tensor) -> Any:
        """Return what the function does."""
        if self._op.takes_list:
            return self._function(tensors, **self._arguments)
        if self._op.takes_two:
            return reduce(self._function, tensors)
        return self._function(*tensors, **self._arguments)

    def extra_repr(self) -> str:
        """The function's name and arguments."""
        return ", ".join((self._op.torch, *(f"{name}={value}" for name, value in self._arguments.items())))


def module_of(op: Op, inputs: Shapes) -> nn.Module:
    """Return the module of an op for these input shapes; raises OpError where there is none."""
    if isinstance(op, (Applied, Recorded)):
        return _traced_module(op, inputs)
    result = CUSTOM_MODULES.get(type(op).__name__) or _torch_target(op)
    arguments = module_arguments(op, inputs)
    if isinstance(result, type) and issubclass(result, nn.Module):
        try:
            return result(**arguments)
        except TypeError as error:
            # Older releases lack arguments that newer ones have, as norms lack bias.
            raise OpError(f"PyTorch {torch.__version__} cannot build it: {error}") from None
    if op.takes_two and op.storage is Storage.IN_PLACE:
        result = getattr(torch.Tensor, f"{op.torch.removeprefix('torch.')}_")
    return Function(op, result, arguments)


def module_arguments(op: Op, inputs: Shapes) -> dict[str, Any]:
    """Return what the module of an op is built with."""
    extra = getattr(CUSTOM_MODULES.get(type(op).__name__), "call_arguments", ())
    return {**op.torch_arguments(inputs), **{name: getattr(op, name) for name in extra}}


def _torch_target(op: Op) -> Any:
    """Return the class or function that an op names; raises OpError where PyTorch has none."""
    result: Any = None
    if op.torch:
        package, *names = op.torch.split(".")
        try:
            result = reduce(getattr, names, import_module(package))
        except (ImportError, AttributeError):
            result = None
    if result is None:
        raise OpError(f"PyTorch {torch.__version__} has no {op.torch or 'module'} to build it from")
    return result

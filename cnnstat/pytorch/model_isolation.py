"""Model isolation: a snapshot of a model before a trace, substitutes for its tensors, and the restoring of both."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.model_code import drawing_values, names_of
from cnnstat.pytorch.module_stack import Modules
from cnnstat.pytorch.nested_state import MAX_COUNT, SIMPLE, NestedState, has_state
from cnnstat.pytorch.process_state import same_settings
from cnnstat.pytorch.random_generators import Generators, is_generator, same_random_numbers

_LOCK = threading.RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one thread at a time look at models, within a `with` block or during each call of a decorated function.

    A pass puts other tensors into a model, and models share submodules, tensors and the state of their classes.
    Little is lost: a pass on fake tensors is Python code, of which one thread runs at a time anyway.
    """
    with _LOCK:
        yield


@contextmanager
def same_process() -> Iterator[None]:
    """Leave the settings of the process and its random generators as they were; other threads may run meanwhile."""
    # In a pass of another thread they are not those of the process.
    with _LOCK, ExitStack() as entered:
        entered.enter_context(same_settings())
        entered.enter_context(same_random_numbers())
        after = entered.pop_all()
    try:
        yield
    finally:
        with _LOCK:
            after.close()


_CONTAINERS = frozenset((list, dict, set, OrderedDict))


@contextmanager
def preserved(modules: Modules, seed: int | None = None) -> Iterator[Generators]:
    """Leave a model as it was, with its classes, the settings of the process and the random generators.

    seed: what the random generators start from meanwhile, if given; they are yielded.
    """
    with _LOCK, same_settings(), same_random_numbers(seed, _own_generators(modules)) as generators:
        snapshots = [_Snapshot(module) for _, module in modules]
        classes = [(cls, dict(vars(cls))) for cls in own_classes(modules)]
        scripted = [_ScriptedSnapshot(module) for _, module in modules if isinstance(module, torch.jit.ScriptModule)]
        try:
            yield generators
        finally:
            for script in scripted:
                script.restore()
            for module in snapshots:
                module.restore()
            for cls, attributes in classes:
                _restore_class(cls, attributes)


class _Snapshot:
    """The class and attributes of a module, with the content of those that are containers."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._class = module.__class__
        self._attributes = dict(vars(module))
        self._containers: list[Any] = [value for value in vars(module).values() if type(value) in _CONTAINERS]
        # Most are empty: tables of hooks.
        self._contents = [(value, value.copy()) for value in filter(None, self._containers)]

    def restore(self) -> None:
        """Set all as they were."""
        if self._module.__class__ is not self._class:
            object.__setattr__(self._module, "__class__", self._class)
        attributes = vars(self._module)
        attributes.update(self._attributes)
        if len(attributes) > len(self._attributes):
            for name in [name for name in attributes if name not in self._attributes]:
                del attributes[name]
        for value in filter(None, self._containers):
            value.clear()
        for value, content in self._contents:
            value.clear()  # two attributes may be one list
            value.extend(content) if isinstance(value, list) else value.update(content)


class _ScriptedSnapshot:
    """The mode and buffers of a ScriptModule, which are not kept in Python."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        # A frozen module has no mode.
        self._training = getattr(module, "training", None)
        self._buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers(recurse=False)]

    def restore(self) -> None:
        """Set both as they were."""
        if self._training is not None:
            self._module.training = self._training
        for buffer, value in self._buffers:
            if not torch.equal(buffer, value):
                buffer.copy_(value)


_HOOKS = sorted(name for name, value in vars(nn.Module()).items() if type(value) in _CONTAINERS and "hooks" in name)
"""Those that hold code of the model's author."""

_HOLDING = frozenset((FunctionType, type))
"""Kinds among the simple ones that may hold random generators."""

_GENERATOR_DEPTH = 6
"""How many containers, objects and functions deep random generators are looked for."""


def _own_generators(modules: Modules) -> list[Any]:
    """Return the random generators that modules and their classes hold, at some depth, and those of their files."""
    level: list[Any] = [value for cls in own_classes(modules) for value in vars(cls).values()]
    level += drawing_values(names_of(modules))
    for _, module, further in modules.further_attributes:
        level += further.values()
        level += filter(None, map(vars(module).get, _HOOKS))
    return own_generators(level)


def own_generators(values: Iterable[Any]) -> list[Any]:
    """Return the random generators that are among values, or that these hold at some depth."""
    result: dict[int, Any] = {}
    level = list(values)
    seen: set[int] = set()
    for _ in range(_GENERATOR_DEPTH):
        inner: list[Any] = []
        for value in level:
            kind: Any = type(value)
            if is_generator(kind):
                result[id(value)] = value
            elif (kind not in SIMPLE or kind in _HOLDING) and id(value) not in seen and len(seen) < MAX_COUNT:
                seen.add(id(value))
                inner += _held_by(value)
        level = inner
    return list(result.values())


def _held_by(value: Any) -> Iterable[Any]:
    """Return what a container, an object or a function holds."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple)):
        return value if len(value) < MAX_COUNT else ()
    if isinstance(value, FunctionType):
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        return *defaults, *map(_content, value.__closure__ or ())
    if isinstance(value, partial):
        return value.func, *value.args, *value.keywords.values()
    if isinstance(value, MethodType):
        return (value.__self__,)
    if isinstance(value, type):
        is_own = not (value.__module__ or "").startswith(("torch", "numpy", "builtins"))
        return list(vars(value).values()) if is_own else ()
    if has_state(value) and not isinstance(value, nn.Module):
        return *vars(value).values(), *vars(type(value)).values()
    return ()


def _content(cell: CellType) -> Any:
    with suppress(ValueError):  # it is empty until the variable has a value
        return cell.cell_contents


def own_classes(modules: Modules) -> set[type]:
    """Return the classes of modules that are not PyTorch's own."""
    kinds = {type(module) for _, module in modules}
    result = {cls for kind in kinds for cls in kind.__mro__}
    return {cls for cls in result if not (cls.__module__ or "").startswith(("torch.", "builtins", "abc", "typing"))}


def _restore_class(cls: type, attributes: dict[str, Any]) -> None:
    """Give a class its former attributes."""
    for name in [name for name in vars(cls) if name not in attributes]:
        delattr(cls, name)
    for name, value in attributes.items():
        if vars(cls).get(name) is not value and name not in ("__dict__", "__weakref__", "__abstractmethods__"):
            setattr(cls, name, value)


MAX_REAL_NUMBERS = 1024
"""Integer buffers up to this size stay real, so that models can read them (`.tolist()`)."""


MAX_REAL_FLOATS = 16
"""The same for floating-point buffers: scales and flags."""


@contextmanager
def substituted(modules: Modules, faker: Faker | None) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Put substitutes into a model for the time of a trace; yields pairs of the real tensor and the substitute of it.

    Parameters and large buffers become fake; small buffers, and tensors that attributes hold at any depth, are copied.
    Without a faker, everything is copied. Modules whose tensors are not kept in Python (ScriptModules) are left alone.
    """
    substitutes = _Substitutes(faker)
    nested = NestedState((module for _, module in modules), substitutes.plain)
    changed: list[tuple[dict[str, Any], str, Any]] = []

    def swap(table: dict[str, Any], name: str, result: Any) -> None:
        changed.append((table, name, table[name]))
        table[name] = result

    open_modules = [module for _, module in modules if not isinstance(module, torch.jit.ScriptModule)]
    try:
        for module in open_modules:
            for table, is_parameter in ((module._parameters, True), (module._buffers, False)):
                for name, tensor in list(table.items()):
                    if tensor is not None and not nn.parameter.is_lazy(tensor):
                        swap(table, name, substitutes.of(tensor, is_parameter))
        for _, module, further in modules.further_attributes:
            for name, value in further.items() if not isinstance(module, torch.jit.ScriptModule) else ():
                result = nested.replaced(value)
                if result is not value:
                    swap(vars(module), name, result)
        for cls in own_classes(modules):
            nested.add_class(cls)
        yield list(substitutes.pairs.values())
    finally:
        for table, name, value in reversed(changed):
            table[name] = value
        nested.restore()


class _Substitutes:
    """Makes substitutes; one tensor, or one container, has one of them wherever it appears."""

    def __init__(self, faker: Faker | None) -> None:
        self._faker = faker
        self.pairs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, tensor: torch.Tensor, is_parameter: bool) -> torch.Tensor:
        """Return the substitute of a parameter or buffer."""
        pair = self.pairs.get(id(tensor))
        if pair is None:
            pair = self.pairs[id(tensor)] = (tensor, _substitute(tensor, is_parameter, self._faker))
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
        return _substitute(tensor, True, self._faker)


def _stays_real(buffer: torch.Tensor) -> bool:
    limit = MAX_REAL_FLOATS if buffer.is_floating_point() else MAX_REAL_NUMBERS
    # How much a sparse tensor holds is not in its shape.
    return buffer.device.type != "meta" and (buffer.numel() <= limit or buffer.layout is not torch.strided)


def _substitute(tensor: torch.Tensor, is_parameter: bool, faker: Faker | None) -> torch.Tensor:
    """Return the substitute of a parameter or a buffer."""
    if faker is None or (not is_parameter and _stays_real(tensor)):
        try:
            copied = tensor.detach().clone() if faker is None else faker.in_dtype(tensor.detach().clone())
        except (NotImplementedError, RuntimeError):
            return tensor  # a subclass that cannot be copied
        return nn.Parameter(copied, tensor.requires_grad) if is_parameter else copied
    fake = faker.converted(tensor)
    if is_parameter:
        # What nn.Parameter(fake) would say, without the copy that it makes.
        fake._is_param = True
        fake.requires_grad_(tensor.requires_grad)
    return fake

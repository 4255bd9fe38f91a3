"""The modules of a model with their stored tensors, and the stack of the module calls that are running."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import FrameType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.utils import checkpoint as checkpoint_code

from cnnstat.pytorch.modules.custom_modules import call_as_one
from cnnstat.pytorch.nested_state import SIMPLE
from cnnstat.pytorch.thread_changes import acting_thread

OWN_ATTRIBUTES = frozenset(vars(nn.Module()))
"""Attributes that every module has."""


class Modules(list[tuple[str, nn.Module]]):
    """Modules with their paths, the outer before the inner."""

    @cached_property
    def further_attributes(self) -> list[tuple[str, nn.Module, dict[str, Any]]]:
        """What the author of each module keeps in it beside tensors and modules, values that hold nothing excepted.

        As it was when asked for first: several parts of a pass look at it, and most layers have nothing of the kind.
        """
        return [(path, module, _further(vars(module))) for path, module in self]


def _further(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in attributes.items()
        if ((kind := type(value)) not in SIMPLE or (kind is FunctionType and (value.__closure__ or value.__defaults__)))
        and name not in OWN_ATTRIBUTES
        and not (kind is tuple and SIMPLE.issuperset(map(type, value)))
    }


def modules_of(model: nn.Module) -> Modules:
    """Return every module once, the outer before the inner, with its path."""
    result = Modules()
    seen: set[int] = set()
    waiting = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        result.append((path, module))
        if module._modules:
            prefix = f"{path}." if path else ""
            inner = [(prefix + name, child) for name, child in module._modules.items() if child is not None]
            waiting += reversed(inner)
    return result


def aliases_of(modules: Modules) -> dict[str, str]:
    """Return the further names of modules and of stored tensors in a state dict, with their first names."""
    children = [id(child) for _, module in modules for child in module._modules.values() if child is not None]
    tensors = [
        id(tensor)
        for _, module in modules
        for table in (module._parameters, module._buffers)
        for tensor in table.values()
        if tensor is not None
    ]
    if len({id(modules[0][1]), *children}) == len(children) + 1 and len(set(tensors)) == len(tensors):
        return {}  # nothing is there twice, as in most models
    first = {id(module): path for path, module in modules}
    aliases: dict[str, str] = {}
    for path, module in modules:
        prefix = f"{path}." if path else ""
        for name, child in module._modules.items():
            if child is not None and first[id(child)] != prefix + name and any(True for _ in child.state_dict()):
                aliases[prefix + name] = first[id(child)]
    named = {id(tensor): name for name, tensor, _ in tensors_of(modules)}
    passing = passing_buffers(modules)
    for path, module in modules:
        prefix = f"{path}." if path else ""
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            full = prefix + name
            if tensor is not None and named[id(tensor)] != full and full not in passing:
                aliases[full] = named[id(tensor)]
    return aliases


def tensors_of(modules: Modules) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Yield every parameter, then every buffer, once, with its name and whether it is a parameter."""
    for is_parameter in (True, False):
        seen: set[int] = set()
        for path, module in modules:
            for name, tensor in (module._parameters if is_parameter else module._buffers).items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, tensor, is_parameter


def has_lazy_tensors(modules: Modules) -> bool:
    """Whether a parameter or buffer gets its shape in the first pass only."""
    kinds: set[type] = set()
    for _, module in modules:
        kinds.update(map(type, module._parameters.values()), map(type, module._buffers.values()))
    return any(issubclass(kind, nn.parameter.UninitializedTensorMixin) for kind in kinds)  # type: ignore[attr-defined]


def passing_buffers(modules: Modules) -> set[str]:
    """Return the names of the buffers that are in no state dict."""
    return {
        f"{path}.{name}" if path else name
        for path, module in modules
        for name in getattr(module, "_non_persistent_buffers_set", ())
    }


@dataclass(eq=False)
class ModuleCall:
    """One call of one module; `inner` counts the calls and ops directly within it."""

    path: str
    module: nn.Module | None
    parent: ModuleCall | None = None
    inner: int = 0


class ModuleStack:
    """The module calls of a model that are running; the last is the innermost. modules: all of it, itself first.

    elsewhere: whether a thread that the trace does not follow has called one of them.
    """

    def __init__(self, modules: Modules) -> None:
        self._paths = {id(module): path for path, module in modules}
        self._outside: list[nn.Module] = []
        for cls in {type(module) for _, module in modules}:
            call_as_one(cls)
        self.calls = [ModuleCall("", modules[0][1])]
        self.regions = AutogradRegions()
        self.elsewhere = False

    @property
    def current(self) -> ModuleCall:
        """The innermost call."""
        return self.calls[-1]

    def path_of(self, module: nn.Module) -> str:
        """Return the path of a module; one outside the model's tree is named by its class."""
        known = self._paths.get(id(module))
        if known is None:
            outer = self.current.path
            known = f"{outer}.{type(module).__name__}" if outer else type(module).__name__
            self._paths[id(module)] = known
            self._outside.append(module)
        return known

    def _enter(self, module: nn.Module) -> None:
        self.regions.look(sys._getframe(2))
        outer = self.calls[-1]
        outer.inner += 1
        self.calls.append(ModuleCall(self._paths.get(id(module)) or self.path_of(module), module, outer))

    def _leave(self, module: nn.Module) -> None:
        """Note that a module's forward has ended, with or without an error."""
        # A forward that raised may have left inner calls behind; they end with it.
        for place in range(len(self.calls) - 1, 0, -1):
            if self.calls[place].module is module:
                del self.calls[place:]
                return

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow all module calls of this thread for the time of a trace."""
        thread = acting_thread()

        # PyTorch calls such hooks in all threads.
        def enter(module: nn.Module, inputs: Any) -> None:
            if acting_thread() == thread:
                self._enter(module)
            else:
                self.elsewhere |= id(module) in self._paths

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            if acting_thread() == thread:
                self._leave(module)

        before = module_hooks.register_module_forward_pre_hook(enter)
        after = module_hooks.register_module_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()


_MODULE = vars(module_hooks)
_CHECKPOINT = vars(checkpoint_code)

_is_autocast = torch._C._is_any_autocast_enabled
# Off in inference mode, and in the forward of a function with a gradient of its own; on without gradients.
_is_forward_mode = torch._C._is_fwd_grad_enabled
# PyTorch before 2.7 has no way to ask which hooks are set.
_top_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)


class AutogradRegions:
    """Notes whether a pass enters a region in which autograd does not keep what the calls there would keep elsewhere.

    That is so in a checkpoint, under hooks, in inference mode, in a function with a gradient of its own, and under
    autocast, which keeps the copies that it makes of weights. Switching gradients on or off, as reentrant checkpoints
    do too, is a call of its own, which the recorder sees.
    """

    def __init__(self) -> None:
        self.is_entered = False

    def look(self, frame: FrameType | None) -> None:
        """Look at the frames from that of a call, of a function or a module, up to the module around it.

        Those around that module were looked at when it was called.
        """
        if self.is_entered:
            return
        if _is_autocast() or not _is_forward_mode() or (_top_hooks is not None and _top_hooks(True) is not None):
            self.is_entered = True
        names = _MODULE
        while frame is not None and (names := frame.f_globals) is _MODULE:
            frame = frame.f_back
        while frame is not None and names is not _MODULE:
            # Without gradients, a checkpoint sets no hooks.
            if names is _CHECKPOINT:
                self.is_entered = True
            frame = frame.f_back
            if frame is not None:
                names = frame.f_globals

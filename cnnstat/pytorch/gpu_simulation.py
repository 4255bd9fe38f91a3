"""GPU simulation: a model that asks for a GPU gets the CPU on a machine that has none; its layers compute the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from cnnstat.pytorch.calls import function_name
from cnnstat.pytorch.random_generators import SeededGenerator
from cnnstat.pytorch.thread_changes import replaced, unreplaced

_CPU = torch.device("cpu")
_MEMORY = 80 * 2**30
"""Bytes that the simulated GPU says it has."""


@cache
def has_gpu() -> bool:
    """Whether this machine has a GPU that PyTorch can use."""
    return torch.cuda.is_available()


# Calls of PyTorch's functions ----------------------------------------------------------------------------------------


def on_this_machine(
    name: str, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a call that asks for a GPU as one for the CPU, if there is no GPU; name: of the function called."""
    if name not in ASKING and "device" not in keywords and "pin_memory" not in keywords or has_gpu():
        return function, arguments, keywords
    if name == "cuda" and arguments and isinstance(arguments[0], torch.Tensor):
        return torch.Tensor.to, (arguments[0], _CPU), {}
    if name in ("pin_memory", "record_stream"):
        return _first if name == "pin_memory" else _nothing, arguments, {}
    if "pin_memory" in keywords:
        keywords = {**keywords, "pin_memory": False}
    if keywords.get("device") is not None:
        keywords = {**keywords, "device": _here(keywords["device"])}
    if name == "to":
        arguments = (arguments[0], *map(_here, arguments[1:]))
    if name == "type" and len(arguments) > 1:
        arguments = (arguments[0], _type_here(arguments[1]), *arguments[2:])
    return function, arguments, keywords


ASKING = frozenset(("to", "cuda", "type", "pin_memory", "record_stream"))
"""Names of functions that may ask for a GPU without the keyword `device`."""


def _here(value: Any) -> Any:
    """Return the CPU in the place of a GPU, which a whole number means too; other values as they are."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _CPU
    kind = value.type if isinstance(value, torch.device) else value if isinstance(value, str) else ""
    return _CPU if kind.partition(":")[0] == "cuda" else value


def _type_here(kind: Any) -> Any:
    """Return the type of tensors on the CPU for one on a GPU, such as `torch.cuda.FloatTensor` or its name."""
    name = kind if isinstance(kind, str) else next((n for n in _TENSOR_TYPES if getattr(torch.cuda, n) is kind), "")
    return f"torch.{name.rpartition('.')[2]}" if name in _TENSOR_TYPES or name.startswith("torch.cuda.") else kind


def _first(tensor: Any, *_: Any) -> Any:
    return tensor


def _nothing(*_: Any, **__: Any) -> None:
    return None


class OnThisMachine(TorchFunctionMode):
    """Lets every call of a PyTorch function run on this machine, while no trace does so."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one call, on the CPU if it asks for a GPU."""
        keywords = kwargs or {}
        func, args, keywords = on_this_machine(function_name(func), func, args, keywords)
        return func(*args, **keywords)


# Functions and types of torch.cuda -----------------------------------------------------------------------------------


class _Stand:
    """A stream or an event that has nothing to wait for."""

    device, device_index, stream_id, cuda_stream = _CPU, 0, 0, 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing

    def elapsed_time(self, end: Any) -> float:
        """Return milliseconds: nothing has been measured."""
        return 0.0

    def query(self) -> bool:
        """Whether all work is done."""
        return True

    def __enter__(self) -> _Stand:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _stand(*_: Any, **__: Any) -> _Stand:
    return _Stand()


def _as_context(stream: Any = None, *_: Any) -> AbstractContextManager[Any]:
    return nullcontext(stream)


def _properties(*_: Any) -> SimpleNamespace:
    return SimpleNamespace(name="simulated", major=8, minor=0, total_memory=_MEMORY, multi_processor_count=108)


def _applied(modules: Any, inputs: Any, kwargs_tup: Any = None, devices: Any = None) -> list[Any]:
    """Return what each of several modules makes of its inputs; `parallel_apply` has a GPU for each."""
    given = [each if isinstance(each, (list, tuple)) else (each,) for each in inputs]
    return [f(*x, **k) for f, x, k in zip(modules, given, kwargs_tup or [{}] * len(given))]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("synchronize", "set_device", "set_stream", "init", "reset_peak_memory_stats"), _nothing),
    **dict.fromkeys(("reset_max_memory_allocated", "reset_max_memory_cached", "ipc_collect"), _nothing),
    **dict.fromkeys(("current_stream", "default_stream"), _stand),
    "stream": _as_context,
    "current_device": lambda: 0,
    "_exchange_device": lambda index: 0,
    "_maybe_exchange_device": lambda index: 0,
    "get_device_name": lambda *_: "simulated",
    "get_device_capability": lambda *_: (8, 0),
    "get_device_properties": _properties,
    "get_rng_state": lambda *_: torch.get_rng_state(),
    "set_rng_state": lambda state, *_: torch.set_rng_state(state),
    "mem_get_info": lambda *_: (_MEMORY, _MEMORY),
}
"""Functions of torch.cuda that need a GPU, and what they do without."""

_OF_ACCELERATORS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("synchronize", "set_stream", "set_device_index", "set_device_idx"), _nothing),
    **dict.fromkeys(("current_device_index", "current_device_idx"), lambda: 0),
    "current_stream": _stand,
}
"""The same of torch.accelerator, whatever kind it is."""


def _load(file: Any, map_location: Any = None, *others: Any, **keywords: Any) -> Any:
    """Load a file, with tensors of a GPU on the CPU."""
    place = _CPU if map_location is None else _here(map_location)
    return unreplaced(torch, "load")(file, place, *others, **keywords)


_default_device, _default_type = torch.set_default_device, torch.set_default_tensor_type
_OF_TORCH: dict[str, Callable[..., Any]] = {
    "Generator": lambda device=_CPU: SeededGenerator(_here(device)),
    "load": _load,
    "set_default_device": lambda device: _default_device(_here(device)),
    "set_default_tensor_type": lambda t: _default_type(_type_here(t)),
}
"""Functions of torch that take a device but do not ask the modes around them."""

_TENSOR_TYPES = tuple(
    f"{kind}Tensor" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
)


@cache
def _replacements() -> tuple[tuple[Any, str, Callable[..., Any]], ...]:
    """Return the functions, types and methods that need a GPU, and what stands for each."""
    types = [(torch.cuda, name, getattr(torch, name)) for name in _TENSOR_TYPES if hasattr(torch.cuda, name)]
    functions = [(torch.cuda, name, new) for name, new in _FUNCTIONS.items() if hasattr(torch.cuda, name)]
    classes = [(kind, "__new__", _stand) for kind in (torch.cuda.Stream, torch.cuda.Event)]
    functions += [(torch, name, new) for name, new in _OF_TORCH.items()]
    general = torch.accelerator
    functions += [(general, name, new) for name, new in _OF_ACCELERATORS.items() if hasattr(general, name)]
    functions.append((torch.nn.parallel, "parallel_apply", _applied))
    return *functions, *types, *classes, (torch.Tensor, "record_stream", _nothing)


@contextmanager
def simulated_gpu() -> Iterator[None]:
    """Let this thread use streams, events and other parts of torch.cuda as if there was a GPU, unless there is one.

    Generators are those that follow from a seed, with a GPU and without.
    """
    with replaced(*([(torch, "Generator", SeededGenerator)] if has_gpu() else _replacements())):
        yield


def on_cpu() -> AbstractContextManager[Any]:
    """Return a context in which calls run on this machine, which is empty if there is a GPU."""
    return contextlib.nullcontext() if has_gpu() else OnThisMachine()

"""Settings of the process that a model's code may change, kept and put back."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch

from cnnstat.pytorch.thread_changes import QUIET


class _Setting(NamedTuple):
    """A setting of the process or the thread, and how it is read and set."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _default_device() -> Any:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _set_default_device(device: Any) -> None:
    torch.set_default_device(device)
    if device is None:
        # Before 2.7, PyTorch could not say any more what the default is.
        del torch._GLOBAL_DEVICE_CONTEXT.device_context


# To decode every variable takes as long as to read all other settings.
_variables: Any = getattr(os.environ, "_data", os.environ)


def _set_environment(encoded: dict[Any, Any]) -> None:
    values = encoded
    if _variables is not os.environ:
        values = {os.environ.decodekey(name): os.environ.decodevalue(value) for name, value in encoded.items()}
    for name in [name for name in os.environ if name not in values]:
        del os.environ[name]
    os.environ.update(values)


def _set_path(value: tuple[list[str], tuple[str, ...]]) -> None:
    sys.path, entries = value
    sys.path[:] = entries


def _set_filters(value: tuple[Any, list[Any]]) -> None:
    own = [each for each in warnings.filters if each is QUIET]
    filters, entries = value
    filters[:] = [*own, *entries]
    warnings.filters = filters


def _attribute(owner: Any, name: str) -> _Setting:
    return _Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


_BACKENDS = torch.backends
_PARTS: tuple[Any, ...] = (
    _BACKENDS, _BACKENDS.cuda.matmul, _BACKENDS.cudnn, getattr(_BACKENDS.cudnn, "conv", None),
    getattr(_BACKENDS.cudnn, "rnn", None), _BACKENDS.mkldnn, getattr(_BACKENDS.mkldnn, "matmul", None),
)  # fmt: skip
"""Parts of PyTorch that have a precision of their own in newer releases, the whole before its parts."""

_OF_TORCH = (
    _Setting(torch.get_default_dtype, torch.set_default_dtype),
    _Setting(_default_device, _set_default_device),
    _Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    _Setting(torch.get_num_threads, torch.set_num_threads),
    _Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    # PyTorch's newer way to set the same. Where a process has used it, the one above cannot be read.
    *(_attribute(part, "fp32_precision") for part in _PARTS if hasattr(part, "fp32_precision")),
    _Setting(torch.is_grad_enabled, torch._C._set_grad_enabled),
    _Setting(torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    _Setting(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    *(_attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")),
    _Setting(torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    _attribute(torch.backends.quantized, "engine"),
    *(
        _Setting(getattr(_BACKENDS.cuda, f"{kernel}_sdp_enabled"), getattr(_BACKENDS.cuda, f"enable_{kernel}_sdp"))
        for kernel in ("flash", "mem_efficient", "math", "cudnn")
    ),
)
"""What changes how PyTorch computes."""

_SETTINGS = (
    *_OF_TORCH,
    _Setting(os.getcwd, os.chdir),
    _Setting(lambda: dict(_variables), _set_environment),
    _Setting(lambda: (sys.path, tuple(sys.path)), _set_path),
    _Setting(lambda: (warnings.filters, [each for each in warnings.filters if each is not QUIET]), _set_filters),
    _Setting(sys.getrecursionlimit, sys.setrecursionlimit),
)


def _read(setting: _Setting) -> Any:
    # The current folder may be gone, and PyTorch refuses to say what was set in two ways.
    with suppress(OSError, RuntimeError):
        return setting.read()
    return None


@contextmanager
def same_settings() -> Iterator[None]:
    """Leave the settings of the process as they were, as far as code that runs meanwhile changes them."""
    before = [_read(setting) for setting in _SETTINGS]
    try:
        yield
    finally:
        change_settings(zip(_SETTINGS, before))


def change_settings(values: Iterable[tuple[_Setting, Any]]) -> None:
    """Give settings these values, as far as they have others."""
    for setting, value in values:
        # Without a default device there is none to name.
        is_known = value is not None or setting.read is _default_device
        if is_known and _read(setting) != value:
            with suppress(OSError):
                setting.write(value)


_noted: dict[Any, dict[_Setting, Any]] = {}
"""What code has changed when it was imported, by a key of it."""


@contextmanager
def noted_settings(key: Any) -> Iterator[list[tuple[_Setting, Any]]]:
    """Yield a list that has, at the end, the settings of PyTorch that an import changes, with their values.

    key: of the code that is imported. Modules that it imports run once in a process, so that what it changed before
    counts too.
    """
    before = [_read(setting) for setting in _OF_TORCH]
    changes: list[tuple[_Setting, Any]] = []
    yield changes
    after = [_read(setting) for setting in _OF_TORCH]
    new = {setting: now for setting, old, now in zip(_OF_TORCH, before, after) if now != old}
    known = {**_noted.get(key, {}), **new}
    if known:
        _noted[key] = known
    changes += known.items()

"""Recording: marks every module of a model for torch.profiler around a user's own loop, and writes the recording."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from cnnstat.errors import RequestError
from cnnstat.files import check_output
from cnnstat.profile.recorded.recorded_marks import MODULE_MARK

if TYPE_CHECKING:
    from torch import nn

Hook = Callable[..., None]


@contextmanager
def recording(model: nn.Module, file: str | os.PathLike[str], *, shapes: bool = True) -> Iterator[None]:
    """Record a loop of one's own with torch.profiler, the model's modules marked, for `cnnstat profile SOURCE --from`.

        with cnnstat.recording(model, "trace.json"):
            for images, labels in batches:
                ...

    Passes are the calls of the model, each with all that follows until the next one: loss, backward pass, optimizer.
    Under automatic mixed precision, DistributedDataParallel and torch.compile as well; of what is compiled, the
    modules inside have no marks. A few steps are enough, after some that warm up. The model is left as it was, and what
    was recorded before an error is kept.

    file: where the recording goes, gzipped if its name ends in .gz; shapes: whether ops' sizes are recorded too, by
    which layers without a module are told. Raises RequestError where the model is no module, the file no good or
    another recording under way.
    """
    import torch
    from torch import nn
    from torch.profiler import profile

    if not isinstance(model, nn.Module):
        raise RequestError(f"recording needs a torch.nn.Module, not {type(model).__name__}")
    path = Path(file)
    check_output(path, option="recording")
    if torch.autograd._profiler_enabled():  # type: ignore[attr-defined]  # PyTorch does not list it
        # A second session ends the first, whose export would crash the process.
        raise RequestError("torch.profiler records already; end that recording before this one begins")
    # Kineto prints lines about its own state on stderr otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    path.parent.mkdir(parents=True, exist_ok=True)
    profiler = profile(record_shapes=shapes, profile_memory=True)
    try:
        with profiler, _marked(model):
            yield
            _wait()
    finally:
        # PyTorch packs what is to end in .gz.
        profiler.export_chrome_trace(str(path))


def _wait() -> None:
    """Wait for the GPU: kernels that still run when a session ends are in no recording."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


@contextmanager
def _marked(model: nn.Module) -> Iterator[None]:
    """Put a range of the trace around every call of a module; a module in two places has the first one's path."""
    from torch.compiler import is_compiling
    from torch.profiler import record_function

    open_marks: dict[tuple[int, int], list[AbstractContextManager[object]]] = {}
    handles = []

    def before(path: str) -> Any:
        def enter(module: nn.Module, inputs: Any) -> None:
            if is_compiling():
                return
            mark: AbstractContextManager[object] = record_function(MODULE_MARK + path)
            mark.__enter__()
            open_marks.setdefault((get_ident(), id(module)), []).append(mark)

        return enter

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        marks = None if is_compiling() else open_marks.get((get_ident(), id(module)))
        if marks:
            marks.pop().__exit__(None, None, None)

    for path, module in _outside_of_compiled(model):
        # torch.compile would make a program of the hooks of the module that it is given, without their marks.
        as_it_is = _never_compiled if module is model else _unchanged
        handles.append(module.register_forward_pre_hook(as_it_is(before(path))))
        # Called after an error too, so that no mark stays open.
        handles.append(module.register_forward_hook(as_it_is(leave), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _outside_of_compiled(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules with their paths, each once, but those inside a compiled one: hooks there would compile it anew."""
    passed_over: set[int] = set()
    for path, module in model.named_modules():
        if id(module) in passed_over:
            continue
        yield path, module
        if is_compiled(module):
            passed_over |= {id(inner) for inner in module.modules() if inner is not module}


def is_compiled(module: nn.Module) -> bool:
    """Whether a call of a module runs what torch.compile made of it."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _unchanged(hook: Hook) -> Hook:
    return hook


def _never_compiled(hook: Hook) -> Hook:
    # Without it nothing is compiled yet, and it takes seconds to import.
    if "torch._dynamo" not in sys.modules:
        return hook
    from torch.compiler import disable

    return disable(hook)  # type: ignore[no-any-return,no-untyped-call]  # untyped in PyTorch

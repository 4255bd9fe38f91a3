"""Recording: marks every module of a model for torch.profiler around a user's own loop, and writes the recording."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat.errors import RequestError
from cnnstat.files import check_output
from cnnstat.profile.recorded.torch_recording import MODULE_MARK

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def recording(model: nn.Module, file: str | os.PathLike[str], *, shapes: bool = True) -> Iterator[None]:
    """Record a loop of one's own with torch.profiler, the model's modules marked, for `cnnstat profile SOURCE --from`.

        with cnnstat.recording(model, "trace.json"):
            for images, labels in batches:
                ...

    Passes are the calls of the model, each with all that follows until the next one: loss, backward pass, optimizer.
    Under automatic mixed precision, DistributedDataParallel and torch.compile as well; of what is compiled, the
    modules inside have no marks. A few steps are enough, after some that warm up. The model is left as it was.

    file: where the recording goes, gzipped if its name ends in .gz; shapes: whether ops' sizes are recorded too, by
    which layers without a module are told. Raises RequestError where the model is no module or the file no good.
    """
    from torch import nn
    from torch.profiler import profile

    if not isinstance(model, nn.Module):
        raise RequestError(f"recording needs a torch.nn.Module, not {type(model).__name__}")
    path = Path(file)
    check_output(path, option="recording")
    # Kineto prints lines about its own state on stderr otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(record_shapes=shapes) as profiler, _marked(model):
        yield
        _wait()
    # PyTorch packs what is to end in .gz.
    path.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(path))


def _wait() -> None:
    """Wait for the GPU: kernels that still run when a session ends are in no recording."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


@contextmanager
def _marked(model: nn.Module) -> Iterator[None]:
    """Put a range of the trace around every call of a module; a module in two places has the first one's path."""
    from torch.profiler import record_function

    open_marks: dict[int, list[AbstractContextManager[object]]] = {}
    handles = []

    def before(path: str) -> Any:
        def enter(module: nn.Module, inputs: Any) -> None:
            mark: AbstractContextManager[object] = record_function(MODULE_MARK + path)
            mark.__enter__()
            open_marks.setdefault(id(module), []).append(mark)

        return enter

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        marks = open_marks.get(id(module))
        if marks:
            marks.pop().__exit__(None, None, None)

    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(before(path)))
        # Called after an error too, so that no mark stays open.
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

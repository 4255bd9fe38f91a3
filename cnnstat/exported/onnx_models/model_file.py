"""Reading an ONNX file: what is no model, or none that can be trusted to mean something, gets one clear line."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path
from typing import Any

from cnnstat.errors import SourceError, needing
from cnnstat.exported.onnx_models.wire_format import WireError, without_weights

MAX_FILE = 2 * 2**30
"""Largest file: a protobuf message has at most 2 GiB, whatever reads it."""

_NO_WAITING = getattr(os, "O_NONBLOCK", 0)


def need_onnx(source: str) -> Any:
    """Return the package onnx; raises SourceError with how to install it."""
    with needing("onnx", source[:100], SourceError):
        import onnx
    return onnx


def read_model(source: str) -> Any:
    """Return the onnx.ModelProto of a file without the numbers of its large tensors; raises SourceError."""
    name = source[:200]
    try:
        light = _light(Path(source))
    except (WireError, IndexError) as error:
        reason = str(error) if isinstance(error, WireError) else "is cut off"
        raise SourceError(f"{name}: the file {reason}; export or download it again") from None
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise SourceError(f"{name}: there is no such file") from None
        raise SourceError(f"{name}: cannot be read: {error.strerror or error}") from None
    onnx = need_onnx(source)
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(light)
    except (DecodeError, RuntimeError, UnicodeDecodeError, ValueError):
        raise SourceError(f"{name}: the file is no ONNX model, or damaged; export or download it again") from None
    _check(model, name, onnx)
    return model


def _light(path: Path) -> bytes:
    """Return the bytes of the model without its weights; raises WireError or OSError."""
    descriptor = os.open(path, os.O_RDONLY | _NO_WAITING)
    with os.fdopen(descriptor, "rb"):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        if not status.st_size:
            raise WireError("is empty")
        if status.st_size >= MAX_FILE:
            size = f"{status.st_size / 2**30:.1f} GiB"
            raise WireError(
                f"has {size}, and an ONNX file has less than 2 GiB: larger weights lie in files of their own"
            )
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            return without_weights(data, status.st_size)


def _check(model: Any, name: str, onnx: Any) -> None:
    """Raise SourceError for a model without a graph, from the future, or with names that are no text."""
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise SourceError(f"{name}: the file has no graph, so it is no ONNX model, or an empty one")
    if model.ir_version > onnx.IR_VERSION:
        raise SourceError(
            f"{name}: IR version {model.ir_version} is newer than {onnx.IR_VERSION}, the newest that onnx "
            f"{onnx.__version__} knows; pip install --upgrade onnx"
        )
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise SourceError(
                f"{name}: opset {opset.version} is newer than {newest}, the newest that onnx {onnx.__version__} knows; "
                "pip install --upgrade onnx"
            )
    texts = [each.domain for each in model.opset_import]
    texts += [dim.dim_param for each in model.graph.input for dim in each.type.tensor_type.shape.dim]
    if not all(isinstance(text, str) for text in texts):
        raise SourceError(f"{name}: the file has a name that is not UTF-8; export or download it again")
    if not model.graph.node:
        raise SourceError(f"{name}: the file's graph has no nodes")

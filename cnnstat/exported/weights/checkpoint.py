"""Checkpoints of PyTorch: the tensors that a pickle describes, read without importing or calling anything of it."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnnstat.exported.weights.safetensors_header import StoredShape

MOST = 64 * 2**20
"""Most bytes of a pickle that is read; it has a hundred for each tensor."""
DEEPEST = 6
"""Deepest nesting in which a state dict is looked for."""

_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
}  # fmt: skip

_TABLES = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which checkpoints have their state dict."""

_LEGACY = 0x1950A86A20F9469CFC6C
"""The number at the start of files that torch.save wrote before they were archives."""


class Foreign:
    """Stands for an object of a class that is not looked up; it takes whatever a pickle does to it and does nothing."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **keywords: Any) -> Foreign:
        """Return another one."""
        return Foreign()

    def __setstate__(self, state: Any) -> None:
        """Take a state without looking at it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take an item without looking at it."""

    def append(self, item: Any) -> None:
        """Take an item without looking at it."""

    def extend(self, items: Any) -> None:
        """Take items without looking at them."""


class _Table(dict[Any, Any]):
    """Stands for an ordered dictionary."""

    def __setstate__(self, state: Any) -> None:
        """Leave out what is stored beside the items."""


class _Tensor:
    """A tensor: its shape and dtype."""

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = dtype, shape

    def __setstate__(self, state: Any) -> None:
        """Leave out what is stored beside the tensor."""


def _rebuilt(storage: Any, offset: Any, size: Any, *rest: Any) -> Any:
    """Return what torch._utils._rebuild_tensor_v2 makes."""
    sizes = tuple(size) if isinstance(size, (tuple, list)) else ()
    if not isinstance(storage, str) or any(not isinstance(each, int) or not 0 <= each < 2**48 for each in sizes):
        return Foreign()
    return _Tensor(storage, sizes)


def _parameter(data: Any = None, *rest: Any) -> Any:
    """Return what torch._utils._rebuild_parameter makes: the tensor itself."""
    return data


class _Reader(pickle.Unpickler):
    """Reads a pickle whose classes and functions are all stand-ins of this file."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Table
        if module == "torch._utils":
            if name.startswith("_rebuild_parameter"):
                return _parameter
            if name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
                return _rebuilt
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return Foreign

    def persistent_load(self, identifier: Any) -> Any:
        """Return the dtype of a storage."""
        kind = identifier[1] if isinstance(identifier, tuple) and len(identifier) > 1 else None
        return kind if isinstance(kind, str) else "uint8"


def read_checkpoint(path: Path) -> Iterator[StoredShape]:
    """Yield the tensors of a checkpoint; raises OSError, or ValueError where it holds none."""
    yield from _tensors(_content(path), "", 0)


def _content(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                entries = [each for each in archive.infolist() if each.filename.endswith("data.pkl")]
                if not entries or entries[0].file_size > MOST:
                    raise ValueError("it holds no pickle of a size that is read")
                with archive.open(entries[0]) as file:
                    return _Reader(io.BytesIO(file.read(MOST))).load()
        with path.open("rb") as file:
            head = io.BytesIO(file.read(MOST))
        first = _Reader(head).load()
        if first != _LEGACY:
            return first
        for _ in range(2):
            _Reader(head).load()
        return _Reader(head).load()
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(f"it is damaged ({type(error).__name__})") from None


def _tensors(value: Any, path: str, depth: int) -> Iterator[StoredShape]:
    """Yield the tensors within tables; `state_dict` and its like are no part of their names."""
    if isinstance(value, _Tensor):
        yield StoredShape(path or "tensor", value.shape, value.dtype)
    elif isinstance(value, Mapping) and depth < DEEPEST:
        for key, inner in value.items():
            if (
                path == ""
                and key in ("state_dict", "model_state_dict", "model", "module")
                and isinstance(inner, Mapping)
            ):
                yield from _tensors(inner, "", depth + 1)
            elif isinstance(key, str):
                yield from _tensors(inner, f"{path}.{key}" if path else key, depth + 1)

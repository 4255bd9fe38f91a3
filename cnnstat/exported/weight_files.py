"""Files of weights: names, shapes and dtypes of their tensors, read without their numbers.

safetensors: the header (https://github.com/huggingface/safetensors). Checkpoints of PyTorch: the tensors that a pickle
describes, without importing or calling anything of it.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from cnnstat.ir.op import Shape

MOST = 64 * 2**20
"""Most bytes of a header, of which the format allows 100 MB, or of a pickle, which has a hundred for each tensor."""

MOST_AXES = 64
"""Most axes of a tensor, as PyTorch has it."""

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
    "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


class StoredShape(NamedTuple):
    """A tensor of a file of weights."""

    name: str
    shape: Shape
    dtype: str


def is_shape(sizes: Any) -> bool:
    """Whether values of a file are the sizes of a tensor that there can be."""
    if not isinstance(sizes, (list, tuple)) or len(sizes) > MOST_AXES or any(type(size) is not int for size in sizes):
        return False
    return all(0 <= size < 2**48 for size in sizes) and prod(sizes) < 2**62


def read_header(path: Path) -> Iterator[StoredShape]:
    """Yield the tensors of a file; raises OSError, or ValueError where it is no such file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= MOST:
            raise ValueError("its header is too long")
        header = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is no table")
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if not isinstance(dtype, str) or dtype not in _DTYPES or "shape" not in entry:
            raise ValueError("an entry of its header has no dtype or no shape that is known")
        if not is_shape(entry["shape"]):
            raise ValueError("a tensor has sizes that no tensor has")
        yield StoredShape(name, tuple(entry["shape"]), _DTYPES[dtype])


MOST_ENTRIES = 1_000_000
"""Most entries of tables that are looked at; tables may hold each other many times."""
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
    """Stands for a dictionary; keys that no checkpoint has are left out, as the hash of a nested one could crash."""

    def __init__(self, items: Any = (), **_: Any) -> None:
        super().__init__()
        for pair in items if isinstance(items, (list, tuple)) else ():
            if isinstance(pair, (list, tuple)) and len(pair) == 2:
                self[pair[0]] = pair[1]

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, (str, int, float, bytes)):
            super().__setitem__(key, value)

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
    if not isinstance(storage, str) or not is_shape(size):
        return Foreign()
    return _Tensor(storage, tuple(size))


def _parameter(data: Any = None, *rest: Any) -> Any:
    """Return what torch._utils._rebuild_parameter makes: the tensor itself."""
    return data


def _start_table(reader: Any) -> None:
    reader.append(_Table())


def _end_table(reader: Any) -> None:
    items = reader.pop_mark()
    reader.append(_Table([*zip(items[::2], items[1::2])]))


def _start_set(reader: Any) -> None:
    reader.append(Foreign())


def _fill_set(reader: Any) -> None:
    reader.pop_mark()


def _end_set(reader: Any) -> None:
    reader.pop_mark()
    reader.append(Foreign())


_NEVER = (
    pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST,
    pickle.OBJ,
)  # fmt: skip
"""Opcodes that checkpoints do not have; reading one raises KeyError."""

_OWN = {
    pickle.EMPTY_DICT: _start_table, pickle.DICT: _end_table, pickle.EMPTY_SET: _start_set, pickle.ADDITEMS: _fill_set,
    pickle.FROZENSET: _end_set,
}  # fmt: skip
"""What is read in a way of our own."""

_PYTHONS: Any = pickle._Unpickler


class _Reader(pickle._Unpickler):
    """Reads a pickle whose classes and functions are all stand-ins of this file.

    It is Python's own reader: the one in C takes memory for as many objects as a number in the file says. Both hash
    whatever a file calls a key, and the hash of a tuple in a million others ends the process.
    """

    dispatch = {
        **{code: load for code, load in _PYTHONS.dispatch.items() if bytes((code,)) not in _NEVER},
        **{code[0]: load for code, load in _OWN.items()},
    }

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
    yield from _tensors(_content(path), "", 0, iter(range(MOST_ENTRIES)))


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


def _tensors(value: Any, path: str, depth: int, budget: Iterator[int]) -> Iterator[StoredShape]:
    """Yield the tensors within tables; `state_dict` and its like are no part of their names."""
    if next(budget, None) is None:
        raise ValueError(f"its tables have more than {MOST_ENTRIES:,} entries")
    if isinstance(value, _Tensor):
        yield StoredShape(path or "tensor", value.shape, value.dtype)
    elif isinstance(value, Mapping) and depth < DEEPEST:
        for key, inner in value.items():
            if path == "" and key in _TABLES and isinstance(inner, Mapping):
                yield from _tensors(inner, "", depth + 1, budget)
            elif isinstance(key, str):
                yield from _tensors(inner, f"{path}.{key}" if path else key, depth + 1, budget)

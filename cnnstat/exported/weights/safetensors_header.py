"""The header of a safetensors file: names, shapes and dtypes (https://github.com/huggingface/safetensors)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from cnnstat.ir.op import Shape

MOST = 64 * 2**20
"""Most bytes of a header; the format itself allows 100 MB."""

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

"""Units: bytes of one number of each dtype."""

from __future__ import annotations

from cnnstat.errors import CnnstatError, did_you_mean

DTYPE_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes of one element of each dtype, under PyTorch's names."""


def check_dtype(dtype: str) -> str:
    """Return `dtype`; raises CnnstatError with the nearest right name if there is no dtype of that name."""
    if dtype not in DTYPE_BYTES:
        hint = did_you_mean(dtype, DTYPE_BYTES) or f"; use one of {', '.join(DTYPE_BYTES)}"
        raise CnnstatError(f"there is no dtype called {dtype[:60]}{hint}")
    return dtype


def dtype_bytes(dtype: str) -> int:
    """Return the bytes of one element; raises CnnstatError if there is no such dtype."""
    return DTYPE_BYTES[check_dtype(dtype)]

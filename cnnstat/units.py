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

OTHER_NAMES = {
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "float": "float32",
    "fp32": "float32",
    "single": "float32",
    "double": "float64",
    "fp64": "float64",
    "fp8": "float8_e4m3fn",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "byte": "uint8",
    "cfloat": "complex64",
    "cdouble": "complex128",
}
"""What PyTorch and people also call a dtype."""


def dtype_name(dtype: str) -> str:
    """Return PyTorch's main name of a dtype (`fp16` is float16); another text as it is."""
    return OTHER_NAMES.get(dtype.lower().removeprefix("torch."), dtype.removeprefix("torch."))


def check_dtype(dtype: str) -> str:
    """Return the main name of a dtype; raises CnnstatError with the nearest right name if there is none."""
    dtype = dtype_name(dtype)
    if dtype not in DTYPE_BYTES:
        hint = did_you_mean(dtype, DTYPE_BYTES) or f"; use one of {', '.join(DTYPE_BYTES)}"
        raise CnnstatError(f"there is no dtype called {dtype[:60]}{hint}")
    return dtype


def dtype_bytes(dtype: str) -> int:
    """Return the bytes of one element; raises CnnstatError if there is no such dtype."""
    return DTYPE_BYTES[check_dtype(dtype)]

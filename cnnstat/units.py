"""Units: bytes of a number by dtype, and large numbers as people read them."""

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


def count(number: int) -> str:
    """Return a count in steps of 1000 with two decimals: `138.36 M`; below 1000 as it is."""
    return _scaled(number, 1000, ("", "K", "M", "G", "T", "P", "E"))


def binary_bytes(number: int) -> str:
    """Return a size in steps of 1024 with two decimals: `527.79 MiB`."""
    return _scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def decimal_bytes(number: int) -> str:
    """Return a size in steps of 1000 with two decimals: `553.43 MB`."""
    return _scaled(number, 1000, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))


def _scaled(number: int, step: int, units: tuple[str, ...]) -> str:
    """Return `number` in the largest unit that leaves at least 1 before the decimal point, after rounding."""
    power = 0
    while power < len(units) - 1 and round(abs(number) * 100 / step**power) >= 100 * step:
        power += 1
    if power == 0:
        return f"{number} {units[0]}".rstrip()
    return f"{number / step**power:.2f} {units[power]}"

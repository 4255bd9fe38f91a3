"""Units: sizes of dtypes and how large numbers are written."""

import pytest

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import DTYPE_BYTES, check_dtype, dtype_bytes
from cnnstat.numbers import binary_bytes, count, decimal_bytes


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (138357544, "138.36 M"),
        (999_994, "999.99 K"),
        (999_996, "1.00 M"),
        (15_470_264_320, "15.47 G"),
        (-1500, "-1.50 K"),
        (10**25, "10000000.00 E"),
    ],
)
def test_counts(number, text):
    assert count(number) == text


@pytest.mark.parametrize(
    ("number", "binary", "decimal"),
    [
        (0, "0 B", "0 B"),
        (1023, "1023 B", "1.02 kB"),
        (1024, "1.00 KiB", "1.02 kB"),
        (4 * 138357544, "527.79 MiB", "553.43 MB"),
        (2**20 - 1, "1.00 MiB", "1.05 MB"),
    ],
)
def test_bytes(number, binary, decimal):
    assert binary_bytes(number) == binary
    assert decimal_bytes(number) == decimal


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_dtypes_have_the_sizes_of_pytorch(dtype):
    torch = pytest.importorskip("torch")
    assert dtype_bytes(dtype) == getattr(torch, dtype).itemsize


def test_an_unknown_dtype_is_refused_with_the_nearest_one():
    with pytest.raises(CnnstatError, match="no dtype called flaot32; did you mean float32"):
        check_dtype("flaot32")
    with pytest.raises(CnnstatError, match="use one of float64, float32"):
        check_dtype("#")

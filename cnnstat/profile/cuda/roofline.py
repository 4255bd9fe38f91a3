"""Ceilings of a GPU: the best matrix product, the best copy and the smallest kernel, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import torch
from torch import Tensor

from cnnstat.errors import CnnstatError
from cnnstat.profile.cuda.backends import backends
from cnnstat.profile.cuda.failures import explained
from cnnstat.profile.cuda.gpu import CaptureError, Gpu
from cnnstat.profile.cuda.rounds import on_the_gpu
from cnnstat.profile.cuda.torch_gpu import TorchGpu
from cnnstat.profile.roofline import Ceilings

_SIDES = (2048, 4096, 8192, 16384)
_LONG = 0.03
"""Seconds of a product after which larger ones would tell nothing new."""

_TIMES = 7
"""Samples of each; the best counts, for a ceiling is what the machine can do."""

_SMALLEST = 1000
"""One-element kernels in the graph that tells what a kernel costs at least."""


def measure_ceilings(device: torch.device, dtype: torch.dtype, tf32: bool) -> Ceilings:
    """Return the ceilings of a GPU in a dtype.

    Random numbers throughout: a product of zeros draws less power, and so runs at higher clocks than real ones do.
    Raises CnnstatError where the GPU cannot compute in that dtype, or has no memory left.
    """
    with explained(), backends(tf32), torch.inference_mode():
        gpu = TorchGpu(device)
        with gpu.active():
            return Ceilings(
                flops=max(_products(gpu, device, dtype)),
                bandwidth=max(_copies(gpu, device)),
                launch=_smallest_kernel(gpu, device),
                measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )


def _best(sample: Callable[[], float]) -> float:
    return min(sample() for _ in range(_TIMES))


def _products(gpu: Gpu, device: torch.device, dtype: torch.dtype) -> Iterator[float]:
    """Yield the operations per second of square matrix products of growing size; two a multiply-accumulate."""
    for side in _SIDES:
        needed = 3 * side * side * dtype.itemsize
        if side > _SIDES[0] and needed > gpu.free_bytes() // 2:
            return
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        result = torch.empty(side, side, device=device, dtype=dtype)
        seconds = _best(on_the_gpu(gpu, _product(left, right, result)))
        yield 2 * side**3 / seconds
        if seconds > _LONG:
            return


def _product(left: Tensor, right: Tensor, result: Tensor) -> Callable[[], Tensor]:
    return lambda: torch.mm(left, right, out=result)


def _copies(gpu: Gpu, device: torch.device) -> Iterator[float]:
    """Yield bytes per second, read and written, of copies much larger than the L2 cache."""
    for caches in (16, 64):
        count = min(max(caches * gpu.l2_bytes, 2**28), gpu.free_bytes() // 4) // 4
        source = torch.randn(count, device=device)
        target = torch.empty_like(source)
        seconds = _best(on_the_gpu(gpu, lambda: target.copy_(source)))  # noqa: B023  # called before the next round
        yield 2 * 4 * count / seconds


def _smallest_kernel(gpu: Gpu, device: torch.device) -> float:
    """Return the seconds from one smallest kernel to the next in a CUDA graph."""
    number = torch.randn(1, device=device)

    def kernels() -> None:
        for _ in range(_SMALLEST):
            number.neg_()

    try:
        replay = gpu.capture(kernels)
    except CaptureError as error:
        raise CnnstatError(f"this GPU records no CUDA graphs ({error}); update its driver") from error
    return _best(on_the_gpu(gpu, replay)) / _SMALLEST

"""Failures: what CUDA and PyTorch raise while measuring, as one line with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cnnstat.errors import CnnstatError


@contextmanager
def explained() -> Iterator[None]:
    """Turn errors of the GPU into CnnstatError; others pass."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise CnnstatError(
            f"the GPU's memory is too small ({first_line(error)}); use a smaller --batch or --dtype bfloat16"
        ) from error
    except RuntimeError as error:
        # torch.AcceleratorError, where there is one, is a RuntimeError too.
        if not _is_of_the_gpu(error):
            raise
        raise CnnstatError(
            f"the GPU stopped with an error ({first_line(error)}); CUDA_LAUNCH_BLOCKING=1 shows which op it was"
        ) from error


def _is_of_the_gpu(error: RuntimeError) -> bool:
    kind = type(error).__name__
    return kind == "AcceleratorError" or any(word in str(error) for word in ("CUDA", "cuDNN", "CUBLAS", "cublas"))


def first_line(error: BaseException) -> str:
    """Return what an error says before it becomes long."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".")[:200]

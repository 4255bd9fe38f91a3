"""Backends: PyTorch's switches that decide which kernels run, set for a measurement and put back after it.

The one place that knows how the switches changed between PyTorch versions: since 2.9 TF32 is `fp32_precision` of each
kind of op, and reading `allow_tf32` raises once the new ones were set; before that there is `allow_tf32` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def backends(tf32: bool) -> Iterator[None]:
    """Let float32 products run in TF32 or not, and cuDNN choose its algorithms by its heuristics.

    Not by trials (`cudnn.benchmark`), whose choice can differ from run to run: PyTorch does not try either unless it is
    told to, and an ordinary pass and the captured one must launch the same kernels.
    """
    switches = [*_precision(tf32), (torch.backends.cudnn, "benchmark", False)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in switches]
    try:
        for owner, name, value in switches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _precision(tf32: bool) -> list[tuple[Any, str, Any]]:
    """Return the switches of TF32 that this PyTorch has, and what to set them to."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    # In older versions asking for an attribute that is not there raises an AttributeError, as it should.
    if hasattr(matmul, "fp32_precision") and hasattr(cudnn, "conv"):
        word = "tf32" if tf32 else "ieee"
        return [(owner, "fp32_precision", word) for owner in (matmul, cudnn.conv, cudnn.rnn)]
    return [(matmul, "allow_tf32", tf32), (cudnn, "allow_tf32", tf32)]

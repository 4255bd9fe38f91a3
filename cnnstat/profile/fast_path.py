"""PyTorch's fused path for attention: one kernel for what the graph has many layers for, taken in inference only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)


def has_fast_path(model: nn.Module, backward: bool) -> bool:
    """Whether an ordinary call may run fused what is measured layer by layer."""
    return not (backward or model.training) and any(isinstance(module, FUSED) for module in model.modules())


@contextmanager
def fast_path(enabled: bool) -> Iterator[None]:
    """Switch the path on or off, and back."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)

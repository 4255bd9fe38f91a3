"""PyTorch's settings that decide which kernels run, and on how many threads; set for a measurement and then undone.

The one place that knows how the switches changed between versions. TF32 was `allow_tf32`; since 2.9 each kind of op has
an `fp32_precision` too, and products raise where the two disagree, so that both must be set, the old one first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def kernel_settings(tf32: bool) -> Iterator[None]:
    """Let float32 products run in TF32 or not, and cuDNN choose its algorithms by its heuristics.

    Not by trials (`cudnn.benchmark`), whose choice can differ from run to run: PyTorch does not try either unless it is
    told to, and an ordinary pass and the captured one must launch the same kernels.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    families = [
        _Float32Switch(matmul, [matmul]),
        _Float32Switch(cudnn, [getattr(cudnn, name, None) for name in ("conv", "rnn")]),
    ]
    benchmark = cudnn.benchmark
    before = [family.read() for family in families]
    word = "tf32" if tf32 else "ieee"
    try:
        for family in families:
            family.write(tf32, [word] * len(family.parts))
        cudnn.benchmark = False
        yield
    finally:
        for family, (allowed, words) in zip(families, before):
            family.write(allowed, words)
        cudnn.benchmark = benchmark


class _Float32Switch:
    """The old switch of one library, and its new ones; none where this PyTorch has only the old one."""

    def __init__(self, owner: Any, parts: list[Any]) -> None:
        self._owner = owner
        # Older versions raise AttributeError for what they do not know.
        self.parts = [part for part in parts if hasattr(part, "fp32_precision")]

    def read(self) -> tuple[bool, list[str]]:
        """Return the old switch, and the new ones."""
        words = [str(part.fp32_precision) for part in self.parts]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return bool(self._owner.allow_tf32), words
            except RuntimeError:
                # Someone has set only the new ones, so that the old one says the opposite.
                return "tf32" not in words, words

    def write(self, allowed: bool, words: list[str]) -> None:
        """Set the old switch, which sets new ones too, and then the new ones."""
        with warnings.catch_warnings():
            # Some versions advise against the old switch every time; without it their products raise.
            warnings.simplefilter("ignore")
            self._owner.allow_tf32 = allowed
        for part, word in zip(self.parts, words):
            part.fp32_precision = word


FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)


def has_fused_attention(model: nn.Module, backward: bool) -> bool:
    """Whether an ordinary call may run fused what is measured layer by layer."""
    return not (backward or model.training) and any(isinstance(module, FUSED) for module in model.modules())


@contextmanager
def fused_attention(enabled: bool) -> Iterator[None]:
    """Switch the path on or off, and back."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let PyTorch's CPU ops use so many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)

"""Parts of tensors: what a subclass around other tensors stores, as quantized weights are packed numbers and scales."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cnnstat.pytorch.fake import FAKE_TYPE


def is_made_of_others(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a subclass around other tensors, by the method that PyTorch's compiler asks for."""
    kind = type(tensor)
    return kind is not torch.Tensor and kind is not FAKE_TYPE and hasattr(kind, "__tensor_flatten__")


def parts_of(tensor: torch.Tensor, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that a tensor stores, with their names behind its own: itself, unless it is made of others."""
    if not is_made_of_others(tensor):
        yield name, tensor
        return
    for attribute in tensor.__tensor_flatten__()[0]:  # type: ignore[attr-defined]  # of subclasses only
        yield from parts_of(getattr(tensor, attribute), f"{name}.{attribute}")

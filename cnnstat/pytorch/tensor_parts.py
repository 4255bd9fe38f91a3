"""Parts of tensors: what a subclass around other tensors stores, as quantized weights are packed numbers and scales."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from cnnstat.pytorch.fake import FAKE_TYPE

_COMPRESSED_ROWS = ("crow_indices", "col_indices", "values")
_COMPRESSED_COLUMNS = ("ccol_indices", "row_indices", "values")
_SPARSE: dict[Any, tuple[str, ...]] = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: _COMPRESSED_ROWS,
    torch.sparse_bsr: _COMPRESSED_ROWS,
    torch.sparse_csc: _COMPRESSED_COLUMNS,
    torch.sparse_bsc: _COMPRESSED_COLUMNS,
}
"""The methods of sparse tensors that return what they store."""


def is_made_of_others(tensor: torch.Tensor) -> bool:
    """Whether a tensor is sparse, or a subclass around others, by the method that PyTorch's compiler asks for."""
    kind = type(tensor)
    if tensor.layout in _SPARSE:
        return kind is not FAKE_TYPE
    return kind is not torch.Tensor and kind is not FAKE_TYPE and hasattr(kind, "__tensor_flatten__")


def parts_of(tensor: torch.Tensor, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that a tensor stores, with their names behind its own: itself, unless it is made of others."""
    if not is_made_of_others(tensor):
        yield name, tensor
    elif tensor.layout in _SPARSE:
        for method in _SPARSE[tensor.layout]:
            yield f"{name}.{method.strip('_')}", getattr(tensor.detach(), method)()
    else:
        for attribute in tensor.__tensor_flatten__()[0]:  # type: ignore[attr-defined]  # of subclasses only
            yield from parts_of(getattr(tensor, attribute), f"{name}.{attribute}")

"""Operations whose result has as many elements as values decide; without values they keep all there could be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from cnnstat.pytorch.fake import Faker


def is_exact(name: str, arguments: tuple[Any, ...], faker: Faker) -> bool:
    """Whether what decides an operation's result is known, so that `BOUNDED` gives the result itself."""
    decides: Callable[[tuple[Any, ...]], Any] | None = _DECIDING.get(name)
    return decides is not None and _has_values(faker, decides(arguments))


def _has_values(faker: Faker, tensor: torch.Tensor) -> bool:
    """Whether a tensor is a constant, so that its values are real."""
    return not faker.is_fake(tensor) and tensor.device.type != "meta"


def _kept(faker: Faker, mask: torch.Tensor) -> int:
    """Return how many elements a mask keeps: all where its values are not known."""
    return int(mask.count_nonzero()) if _has_values(faker, mask) else mask.numel()


def _nonzero(faker: Faker, x: torch.Tensor) -> torch.Tensor:
    return faker.empty((x.numel(), x.dim()), torch.int64)


def _masked_select(faker: Faker, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """All elements, or those that a constant mask keeps."""
    shape = torch.broadcast_shapes(x.shape, mask.shape)  # type: ignore[no-untyped-call]  # untyped in PyTorch
    copies = math.prod(shape) // max(1, mask.numel())
    return faker.empty((_kept(faker, mask) * copies,), x.dtype)


def _index(faker: Faker, x: torch.Tensor, indices: list[torch.Tensor | None]) -> torch.Tensor | None:
    """Rows chosen by one mask: all of them, or those a constant keeps; None for other indices, with known results."""
    masks = [(axis, i) for axis, i in enumerate(indices) if i is not None and i.dtype in (torch.bool, torch.uint8)]
    if len(masks) != 1 or any(i is not None for i in indices if i is not masks[0][1]):
        return None
    ((axis, mask),) = masks
    sizes = tuple(x.shape)
    return faker.empty((*sizes[:axis], _kept(faker, mask), *sizes[axis + mask.dim() :]), x.dtype)


def _unique(faker: Faker, x: torch.Tensor, *rest: Any, **options: Any) -> tuple[torch.Tensor, ...]:
    numbers = (faker.empty((x.numel(),), torch.int64) for _ in range(2))
    return faker.empty((x.numel(),), x.dtype), *numbers


def _nms(faker: Faker, boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    return faker.empty((int(boxes.shape[0]),), torch.int64)


def _packed(
    faker: Faker, x: torch.Tensor, lengths: torch.Tensor, batch_first: bool
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Steps of sequences as one list, and how many sequences have each step; all have all where no length is known."""
    batch, steps = (int(x.shape[0]), int(x.shape[1])) if batch_first else (int(x.shape[1]), int(x.shape[0]))
    counts = [steps] * batch if faker.is_fake(lengths) else lengths.tolist()
    if len(counts) != batch or sorted(counts, reverse=True) != counts or not all(0 < n <= steps for n in counts):
        return None
    sizes = torch.tensor([sum(n > step for n in counts) for step in range(counts[0])], dtype=torch.int64)
    return faker.empty((sum(counts), *x.shape[2:]), x.dtype), sizes


_DECIDING: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "aten::_pack_padded_sequence": lambda arguments: arguments[1],
    "aten::masked_select": lambda arguments: arguments[1],
    "aten::index": lambda arguments: next(index for index in arguments[1] if index is not None),
}
"""The operand whose values decide how much an operation keeps."""

BOUNDED: dict[str, Callable[..., Any]] = {
    "aten::nonzero": _nonzero,
    "aten::masked_select": _masked_select,
    "aten::index": _index,
    "aten::_unique2": _unique,
    "torchvision::nms": _nms,
    "aten::_pack_padded_sequence": _packed,
}
"""How much there is at most, for each operation; None where the operation can run as it is."""

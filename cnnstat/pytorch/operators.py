"""Operators that a trace runs in another way: composite, custom, on functions, with shapes that values decide."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, reduce
from typing import Any

import torch
from torch._library.custom_ops import OPDEFS
from torch.overrides import handle_torch_function, has_torch_function
from torch.utils._python_dispatch import _disable_current_modes

from cnnstat.errors import CnnstatError
from cnnstat.ir.op import Family
from cnnstat.ir.work import Work
from cnnstat.ops.attention import ScaledDotProductAttention
from cnnstat.ops.traced import Recorded
from cnnstat.pytorch.calls import Match
from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.products import QUANTIZED_NAMESPACES
from cnnstat.pytorch.tensors import shape_of
from cnnstat.pytorch.thread_changes import replaced

_BUILT_IN = ("aten", "prims", "prim", "torchvision", *QUANTIZED_NAMESPACES)
"""Namespaces of operations without a Python function behind them."""


HigherOrderOperator: Any = torch._ops.HigherOrderOperator


class OperatorError(CnnstatError):
    """A model uses an operator on functions that cannot be followed."""


def _cond(condition: Any, if_true: Callable[..., Any], if_false: Callable[..., Any], operands: Any = ()) -> Any:
    """torch.cond: the branch that the condition chooses."""
    return (if_true if bool(condition) else if_false)(*operands)


def _while_loop(goes_on: Callable[..., Any], body: Callable[..., Any], carried: Any, others: Any = ()) -> Any:
    """torch.while_loop: as many passes as its condition asks for."""
    while bool(goes_on(*carried, *others)):
        carried = body(*carried, *others)
    return carried


def _map(function: Callable[..., Any], sequences: Any, others: Any = ()) -> Any:
    """torch.map: one pass for each element of the first axis; tensors in, tensors out."""
    result = [function(*(s[number] for s in sequences), *others) for number in range(len(sequences[0]))]
    return tuple(torch.stack(parts) for parts in zip(*result))


_FOLLOWED: dict[str, Callable[..., Any]] = {"cond": _cond, "while_loop": _while_loop, "map_impl": _map}


def follow(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Return what an operator makes by calling its functions, each of whose calls is recorded; raises OperatorError."""
    name = function.name()
    if name not in _FOLLOWED:
        raise OperatorError(f"the model uses the operator {name}, which takes a function and cannot be followed")
    return _FOLLOWED[name](*arguments, **keywords)


def is_attention(function: Any) -> bool:
    """Whether an operator is FlexAttention, which is one call with a known result."""
    return bool(function.name() == "flex_attention")


def attention(
    function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], faker: Faker | None
) -> tuple[tuple[torch.Tensor, ...], Match]:
    """Return the results of FlexAttention and what it is; every score counts, also those that a block mask leaves out.

    What a function of one's own does with a score is not counted, and the call then not modelled.
    """
    query, key, value, change, mask = arguments[:5]
    with _disable_current_modes(), nullcontext() if faker is None else faker.mode:
        result = function(*arguments, **keywords)
    shapes = tuple(map(shape_of, (query, key, value)))
    op = ScaledDotProductAttention(enable_gqa=query.shape[1] != key.shape[1])
    scores = reduce(operator.mul, (*shapes[0][:-1], shapes[1][-2]))
    masked = Work.other("attention", scores * (_name(mask[-1]) != "noop_mask"))
    recorded = Recorded(
        function="flex_attention",
        outputs=tuple(map(shape_of, result)),
        work=Work.of(op, shapes, op.output(shapes)) + masked,
        family=Family.ATTENTION,
        modelled=_name(change) == "_identity",
    )
    return tuple(result), Match(recorded, (query, key, value))


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", ""))


@cache
def is_composite(function: Any) -> bool:
    """Whether an operation is defined by other operations, for inference and training alike."""
    key = "CompositeImplicitAutograd"
    return function.namespace != "prim" and torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), key)


def custom_body(function: Any) -> Callable[..., Any] | None:
    """Return the Python function behind an operation that `torch.library.custom_op` made; None for all others."""
    if function.namespace in _BUILT_IN:
        return None
    definition = OPDEFS.get(function._schema.name)
    return None if definition is None else definition._init_fn


UNCOUNTED = frozenset(("heatmaps_to_keypoints", "paste_masks_in_image"))
"""Calls that stand for a loop over boxes of any size: resampling without products, the work of which is not known."""


def heatmaps_to_keypoints(maps: torch.Tensor, rois: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return keypoints and their scores as torchvision's function of this name makes them, in shape only."""
    if has_torch_function((maps, rois)):
        result: tuple[torch.Tensor, torch.Tensor] = handle_torch_function(
            heatmaps_to_keypoints, (maps, rois), maps, rois
        )
        return result
    count, kinds = maps.shape[:2]
    return maps.new_zeros((count, kinds, 3)), maps.new_zeros((count, kinds))


def paste_masks_in_image(
    masks: torch.Tensor, boxes: torch.Tensor, img_shape: tuple[int, int], padding: int = 1
) -> torch.Tensor:
    """Return masks of the size of the image as torchvision's function of this name makes them, in shape only."""
    if has_torch_function((masks, boxes)):
        result: torch.Tensor = handle_torch_function(
            paste_masks_in_image, (masks, boxes), masks, boxes, img_shape, padding=padding
        )
        return result
    return masks.new_zeros((masks.shape[0], 1, *img_shape))


_REPLACED: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("torchvision.models.detection.roi_heads", "heatmaps_to_keypoints", heatmaps_to_keypoints),
    ("torchvision.models.detection.transform", "paste_masks_in_image", paste_masks_in_image),
)


@contextmanager
def without_loops_over_boxes() -> Iterator[None]:
    """Let detection models run on shapes alone, for as long as the context lasts.

    Boxes of all classes are suppressed in one call, which is torchvision's own way for few boxes; class by class it
    would ask for the values of the class numbers. What is made of single boxes is one call of unknown work.
    """
    boxes = sys.modules.get("torchvision.ops.boxes")
    at_once = getattr(boxes, "_batched_nms_coordinate_trick", None)
    replacements = [(sys.modules.get(place), name, function) for place, name, function in _REPLACED]
    if at_once is not None:
        replacements.append((boxes, "_batched_nms_vanilla", at_once))
    with replaced(*(each for each in replacements if hasattr(each[0], each[1]))):
        yield


def is_exact(name: str, arguments: tuple[Any, ...], faker: Faker) -> bool:
    """Whether what decides an operation's result is known, so that `BOUNDED` gives the result itself."""
    decides: Callable[[tuple[Any, ...]], Any] | None = _DECIDING.get(name)
    return decides is not None and _has_values(faker, decides(arguments))


def _has_values(faker: Faker, tensor: torch.Tensor) -> bool:
    """Whether a tensor is a constant, so that its values are real."""
    return not faker.is_fake(tensor) and tensor.device.type != "meta"


def _selected(faker: Faker, mask: torch.Tensor) -> int:
    """Return how many elements a mask keeps: all where its values are not known."""
    return int(mask.count_nonzero()) if _has_values(faker, mask) else mask.numel()


def _nonzero(faker: Faker, x: torch.Tensor) -> torch.Tensor:
    return faker.empty((x.numel(), x.dim()), torch.int64)


def _masked_select(faker: Faker, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """All elements, or those that a constant mask keeps."""
    shape = torch.broadcast_shapes(x.shape, mask.shape)  # type: ignore[no-untyped-call]  # untyped in PyTorch
    copies = math.prod(shape) // max(1, mask.numel())
    return faker.empty((_selected(faker, mask) * copies,), x.dtype)


def _index(faker: Faker, x: torch.Tensor, indices: list[torch.Tensor | None]) -> torch.Tensor | None:
    """Rows chosen by one mask: all of them, or those a constant keeps; None for other indices, with known results."""
    masks = [(axis, i) for axis, i in enumerate(indices) if i is not None and i.dtype in (torch.bool, torch.uint8)]
    if len(masks) != 1 or any(i is not None for i in indices if i is not masks[0][1]):
        return None
    ((axis, mask),) = masks
    sizes = tuple(x.shape)
    if sizes[axis : axis + mask.dim()] != tuple(mask.shape):
        raise IndexError(f"a mask of {list(mask.shape)} does not fit {list(sizes)} from axis {axis} on")
    return faker.empty((*sizes[:axis], _selected(faker, mask), *sizes[axis + mask.dim() :]), x.dtype)


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

"""torchvision's detection models without the parts that go by the values of boxes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import handle_torch_function, has_torch_function

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
    originals = [(module, name, getattr(module, name)) for module, name, _ in replacements if hasattr(module, name)]
    try:
        for module, name, function in replacements:
            if hasattr(module, name):
                setattr(module, name, function)
        yield
    finally:
        for module, name, function in originals:
            setattr(module, name, function)

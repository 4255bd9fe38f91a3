"""torchvision's detection models without their loops over the values of classes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_loops_over_values() -> Iterator[None]:
    """Let torchvision suppress boxes of all classes in one call (its own way for few boxes) instead of class by class.

    Class by class it asks for the values of the class numbers, which a trace has not; what is kept is the same.
    """
    boxes = sys.modules.get("torchvision.ops.boxes")
    own = getattr(boxes, "_batched_nms_vanilla", None)
    at_once = getattr(boxes, "_batched_nms_coordinate_trick", None)
    if boxes is None or own is None or at_once is None:
        yield
        return
    boxes._batched_nms_vanilla = at_once
    try:
        yield
    finally:
        boxes._batched_nms_vanilla = own

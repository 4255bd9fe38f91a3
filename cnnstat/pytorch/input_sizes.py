"""What sizes of inputs mean: default inputs of the models of libraries, and whether sizes include the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from cnnstat.analysis.shapes import MAX_AXES
from cnnstat.errors import RequestError
from cnnstat.ir.graph import Graph
from cnnstat.ir.op import Family
from cnnstat.sources.request import InputShape


@dataclass(frozen=True, slots=True)
class Batch:
    """Whether sizes have their batch, which they do not say; `docs/pytorch.md` has the rules.

    rank: axes of one image, sequence or volume, by the first convolution; None without convolutions.
    asked: the batch asked for; shapes: of all inputs.
    """

    rank: int | None
    asked: int | None
    shapes: tuple[InputShape, ...]

    def readings(self, *, is_text: bool) -> tuple[Callable[[InputShape], InputShape], ...]:
        """Return the ways to read sizes, the likeliest first; where one is wrong, the model does not run.

        is_text: whether they are written as text, as on a command line; Python's `(784,)` stands as it is.
        """
        if self.asked is not None:
            return self._asked, self._in_front
        return self._likely if is_text else self._image, lambda shape: shape, self._in_front

    def _in_front(self, shape: InputShape) -> InputShape:
        """Return a shape with a batch in front, unless it is an image that has one."""
        has_one = len(shape.sizes) >= MAX_AXES or (self.asked is None and self._image(shape) is not shape)
        if has_one:
            return self._image(shape)
        return InputShape((self.asked or 1, *shape.sizes), shape.dtype)

    def _image(self, shape: InputShape) -> InputShape:
        return self._batched(shape) if len(shape.sizes) == self.rank and not _is_whole(shape) else shape

    def _likely(self, shape: InputShape) -> InputShape:
        """Return the same, and one vector or sequence, which has a single size, with a batch in front."""
        if len(shape.sizes) > 1:
            return self._image(shape)
        # Several numbers that are as many as another input has rows are one for each: labels, or time steps.
        others = (other.sizes[0] for other in self.shapes if len(other.sizes) > 1)
        is_row = shape.sizes[0] > 1 and shape.sizes[0] not in others if _is_whole(shape) else self.rank is None
        return self._batched(shape) if is_row else self._image(shape)

    def _asked(self, shape: InputShape) -> InputShape:
        """Return a shape with the batch that is asked for, in front or in the place of a batch of 1."""
        sizes, asked = shape.sizes, self.asked
        if len(sizes) == self.rank and not _is_whole(shape):
            return self._batched(shape)
        if len(sizes) - 1 == self.rank and not _is_whole(shape) and sizes[0] != asked:
            raise RequestError(f"--input has a batch of {sizes[0]}, but --batch says {asked}; keep one")
        if len(sizes) == 1 and not _is_whole(shape):
            return self._batched(shape)
        if sizes[0] in (1, asked):
            return self._batched(InputShape(sizes[1:], shape.dtype))
        return self._batched(shape)

    def _batched(self, shape: InputShape) -> InputShape:
        return InputShape((1 if self.asked is None else self.asked, *shape.sizes), shape.dtype)


def _is_whole(shape: InputShape) -> bool:
    """Whether a shape is one of whole numbers, such as words or classes."""
    return (shape.dtype or "float").startswith(("int", "uint", "bool"))


def rank_of(model: nn.Module) -> int | None:
    """Return how many axes one image, sequence or volume has, by the first convolution; None without convolutions."""
    ranks = {nn.Conv1d: 2, nn.Conv2d: 3, nn.Conv3d: 4}
    for module in model.modules():
        for kind, rank in ranks.items():
            if isinstance(module, kind):
                return rank
    return None


def table_lengths(graph: Graph) -> dict[int, int]:
    """Return the rows of the smallest table that an input is looked up in, by the input's number."""
    lengths: dict[int, int] = {}
    for node in graph.nodes:
        tables = node.op.weights(()) if node.op.family is Family.EMBEDDING else {}
        for edge in node.inputs if tables else ():
            length = min(shape[0] for shape in tables.values())
            lengths[edge.value] = min(length, lengths.get(edge.value, length))
    return lengths


def default_inputs(model: nn.Module, library: str, name: str) -> tuple[Any, ...] | None:
    """Return the arguments that a library's model was published with; None where none is known."""
    if library == "timm":
        return _timm(model)
    return _torchvision(model, name) if library == "torchvision" else None


def _images(*sizes: int) -> tuple[Any, ...]:
    return (InputShape((1, *sizes)),)


def _timm(model: nn.Module) -> tuple[Any, ...]:
    config: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    size = config.get("input_size") or (3, 224, 224)
    fixed = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return _images(size[0], *fixed) if fixed else _images(*size)


def _torchvision(model: nn.Module, name: str) -> tuple[Any, ...]:
    """Return the size that the first weights of a torchvision model were evaluated at."""
    kind = type(model).__module__
    if ".detection." in kind:
        return ([InputShape(_detection_size(model))],)
    if ".optical_flow." in kind:
        image = InputShape((1, 3, 512, 512))
        return image, image
    crop = getattr(model, "image_size", None) or _crop_size(name)
    height, width = (crop, crop) if isinstance(crop, int) else (crop[0], crop[-1])
    if ".video." in kind:
        return _images(3, _frames(model, name), height, width)
    if ".segmentation." in kind:
        return _images(3, 520, 520)
    return _images(3, height, width)


def _detection_size(model: nn.Module) -> tuple[int, int, int]:
    """Return the size that a detector resizes square images to."""
    transform: Any = getattr(model, "transform", None)
    fixed = getattr(transform, "fixed_size", None)
    if fixed:
        return 3, int(fixed[1]), int(fixed[0])
    smallest = getattr(transform, "min_size", (800,))
    return 3, int(smallest[-1]), int(smallest[-1])


def _preset(name: str) -> Any:
    from torchvision import models

    weights = list(models.get_model_weights(name))
    return getattr(weights[0].value.transforms, "keywords", {}) if weights else {}


def _crop_size(name: str) -> Any:
    crop = _preset(name).get("crop_size", 224)
    return crop[0] if isinstance(crop, (list, tuple)) and len(crop) == 1 else crop


def _frames(model: nn.Module, name: str) -> int:
    return int(getattr(model, "temporal_size", 0) or 16)

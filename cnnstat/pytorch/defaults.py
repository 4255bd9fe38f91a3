"""Default inputs: what a library's models were made for, where nothing else is asked for."""

from __future__ import annotations

from typing import Any

from torch import nn

from cnnstat.pytorch.example import Example
from cnnstat.sources.request import InputShape


def default_example(model: nn.Module, library: str, name: str) -> Example | None:
    """Return the input that a library's model was published with; None where none is known."""
    if library == "timm":
        return _timm(model)
    return _torchvision(model, name) if library == "torchvision" else None


def _images(*sizes: int) -> Example:
    """Return one image, or one video."""
    return Example((InputShape((1, *sizes)),))


def _timm(model: nn.Module) -> Example:
    """Return the size of a timm model's configuration."""
    config: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    size = config.get("input_size") or (3, 224, 224)
    fixed = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return _images(size[0], *fixed) if fixed else _images(*size)


def _torchvision(model: nn.Module, name: str) -> Example:
    """Return the size that the first weights of a torchvision model were evaluated at."""
    kind = type(model).__module__
    if ".detection." in kind:
        return Example(([InputShape(_detection_size(model))],))
    if ".optical_flow." in kind:
        image = InputShape((1, 3, 512, 512))
        return Example((image, image))
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
    """Return the options of the preprocessing of a model's first weights."""
    from torchvision import models

    weights = list(models.get_model_weights(name))
    return getattr(weights[0].value.transforms, "keywords", {}) if weights else {}


def _crop_size(name: str) -> Any:
    """Return the size that images are cropped to."""
    crop = _preset(name).get("crop_size", 224)
    return crop[0] if isinstance(crop, (list, tuple)) and len(crop) == 1 else crop


def _frames(model: nn.Module, name: str) -> int:
    """Return how many frames a video model takes."""
    return int(getattr(model, "temporal_size", 0) or 16)

"""Spellings: what people write for a model, as other tools have it, and the SOURCE that they mean."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cnnstat.errors import SourceError

LIBRARIES = ("torchvision", "timm")
"""Libraries of models that have a short form."""

_HUBS = ("hf", "hf-hub", "hf_hub", "huggingface", "hub", "tfhub", "keras", "tf", "onnx", "paddle", "modelscope")
"""Prefixes under which other tools load models from the network."""

_BUILDER = re.compile(r"^@register_model\b.*\n(?:@.*\n|\s.*\n|\)\s*\n)*def (\w+)\(", re.MULTILINE)
"""A function that torchvision and timm know by its name."""


def respelled(text: str, zoo: Sequence[str]) -> str:
    """Return the SOURCE that a text means: `ResNet-50` is resnet50, `timm/resnet50d` is timm:resnet50d.

    A text that means nothing else is returned as it is; SourceError where it means what cnnstat does not load, as a
    model on the network.
    """
    text = text.strip()
    if text in zoo:
        return text
    if re.match(r"[a-z]+://", text):
        raise SourceError(f"{text[:100]}: nothing is loaded from the network; download the file and name that")
    scheme, separator, name = text.partition(":")
    if separator and scheme.lower() in _HUBS:
        raise SourceError(
            f"{text[:100]}: nothing is loaded from the network; write a function that returns the model and name it "
            "as file.py:function, or take timm:NAME or torchvision:NAME"
        )
    if "::" in text:
        return text.replace("::", ":")
    for library in LIBRARIES:
        match = re.match(rf"{library}(?:[./]models)?(?:[./:]\w+)*[./:]([\w.]+)$", text, re.IGNORECASE)
        if match and ":" not in text:
            # torchvision.models.detection.ssd300_vgg16 is known as ssd300_vgg16; timm's names may have a dot.
            name = text.split(".")[-1].split("/")[-1] if library == "torchvision" else _without(text, library)
            return f"{library}:{name}"
    folded = _folded(text)
    alike = [each for each in zoo if _folded(each) == folded]
    return alike[0] if len(alike) == 1 else text


def _without(text: str, library: str) -> str:
    return re.sub(rf"^{library}[./](?:models[./])?", "", text, flags=re.IGNORECASE)


def _folded(text: str) -> str:
    """Return the letters and digits of a name: `VGG 16` and `vgg-16` are the same network."""
    return re.sub(r"[\s_.-]", "", text).lower()


@cache
def library_models() -> tuple[str, ...]:
    """Return the models of the libraries that are installed, as SOURCE; read from their text, as importing is slow."""
    return tuple(f"{library}:{name}" for library in LIBRARIES for name in _builders(library))


def _builders(library: str) -> list[str]:
    spec = importlib.util.find_spec(library)
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = [file for folder in folders for file in sorted(Path(folder, "models").rglob("*.py"))]
    return [name for file in files for name in _BUILDER.findall(file.read_text(encoding="utf-8", errors="ignore"))]


def same_name(text: str) -> str:
    """Return the model of a library that has this name (`googlenet`), or an empty string."""
    folded = _folded(text)
    return next((each for each in library_models() if _folded(each.partition(":")[2]) == folded), "")

"""What users write in the terms of other tools: names of models, with what to name instead."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cnnstat.choices import words
from cnnstat.errors import SourceError

LIBRARIES = ("torchvision", "timm")
"""Libraries of models that have a short form."""

_HUBS = words("hf hf-hub hf_hub huggingface hub tfhub keras tf tensorflow onnx paddle modelscope")
"""Prefixes under which other tools load models from the network."""

_CALL = re.compile(r"([A-Za-z_][\w.]*)\((.*)\)\s*;?$", re.DOTALL)
"""Python code that calls something."""

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
    if re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        raise SourceError(f"{text[:100]}: nothing is loaded from the network; download the file and name that")
    scheme, separator, name = text.partition(":")
    if separator and scheme.lower() in _HUBS:
        raise SourceError(
            f"{text[:100]}: nothing is loaded from the network; write a function that returns the model and name it "
            "as file.py:function, or take timm:NAME or torchvision:NAME"
        )
    if call := _CALL.match(text):
        raise SourceError(f"{text[:100]}: SOURCE is a name, not Python code; {_without_call(call, zoo)}")
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


def _without_call(call: re.Match[str], zoo: Sequence[str]) -> str:
    """Return what to name instead of a call (`torchvision.models.resnet50(weights=None)`, `nn.Conv2d(3, 64, 3)`)."""
    name, arguments = call.groups()
    if texts := re.findall(r"""['"]([\w./-]+)['"]""", arguments):  # timm.create_model("resnet50")
        name, arguments = f"timm.{texts[-1]}" if name.startswith("timm.") else texts[-1], ""
    meant = respelled(name, zoo)
    meant = meant if meant in zoo or meant != name else namesake(name, zoo)
    if not meant:
        return (
            "name a function or class that makes the model, as in file.py:Class; layers stand in a spec (docs/spec.md)"
        )
    return f"write {meant}" + (", with its arguments as in --argument num_classes=10" if arguments.strip() else "")


def namesake(text: str, zoo: Sequence[str]) -> str:
    """Return the model whose name a dotted name ends with (`models.resnet50`), or an empty text."""
    last = _folded(re.split(r"[./]", text)[-1])
    return next((each for each in zoo if _folded(each) == last), "") or same_name(last)


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

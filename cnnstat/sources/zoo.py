"""Specs as sources: a network of the zoo, which ships with cnnstat, a .yaml file, or `-` for standard input."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from cnnstat.errors import SourceError, SpecError, did_you_mean
from cnnstat.files import content_digest, exists
from cnnstat.ir.graph import Graph
from cnnstat.sources.model import NO_VALUES, NamedReference
from cnnstat.spec import SUFFIXES as SUFFIXES

STDIN = "-"
"""The SOURCE that means a spec on standard input."""

OTHER_SUFFIXES = (".py", ".onnx", ".pt2", ".safetensors", ".pth", ".pt", ".ts", ".bin", ".ckpt")
"""Endings of the files that other kinds of sources read."""


@cache
def directory() -> Path:
    """Return the folder of the zoo: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "specs"
    return installed if installed.is_dir() else package.parent / "specs"


@cache
def names() -> tuple[str, ...]:
    """Return the names of all networks, sorted, numbers by their value: resnet18 before resnet101."""
    return tuple(sorted((path.stem for path in directory().glob("*.yaml")), key=_natural))


def _natural(name: str) -> list[tuple[str, int]]:
    """Return what sorts a name: its parts, letters as letters and digits as numbers."""
    return [(letters, int(digits or 0)) for letters, digits in re.findall(r"(\D*)(\d*)", name)]


def path(name: str) -> Path:
    """Return the file of a network; raises SourceError with the nearest name if there is none."""
    if name not in names():
        raise SourceError(f"{name[:100]}: no such network in the zoo{did_you_mean(name, names())}")
    return directory() / f"{name}.yaml"


def find(name: str, beside: Path) -> Path:
    """Return the file that `extends: name` means: a network of the zoo, or a .yaml file relative to `beside`."""
    if name.endswith(SUFFIXES):
        return beside / name
    return path(name)


class SpecReference(NamedReference):
    """A spec by the name of its network in the zoo, by its path, or on standard input."""

    refused = {"arguments": "--argument is for PyTorch models; a spec takes --variable", "input_values": NO_VALUES}

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether a text is a name in the zoo, `-`, or looks like a path; `C:\\net` does where it exists."""
        if text == STDIN or text in names():
            return True
        if not text.strip() or "\0" in text or text.lower().endswith(OTHER_SUFFIXES):
            return False
        if text.lower().endswith(SUFFIXES) or exists(text):
            return True
        return ":" not in text and ("/" in text or os.sep in text)

    @property
    def can_change_inputs(self) -> bool:
        """Whether the spec can be read again."""
        return self.source != STDIN

    def content_key(self) -> str:
        """Return what changes with the spec's file and with those that it extends."""
        from cnnstat.spec.spec_document import spec_files

        file = path(self.source) if self.source in names() else Path(self.source)
        return repr([content_digest(each) for each in spec_files(file, find) if each.is_file()])

    def _load(self) -> Graph:
        from cnnstat.spec.spec_graph import parse_spec, read_spec
        from cnnstat.spec.yaml_file import read_stdin

        text = self.source
        if text == STDIN:
            return parse_spec(read_stdin(), self.request, file="stdin", find=find)
        if text in names():
            return read_spec(path(text), self.request, find, source=text, file=f"{text}.yaml")
        try:
            return read_spec(Path(text), self.request, find, source=text)
        except SpecError:
            from cnnstat.sources.other_files import described

            if other := described(text):
                raise SourceError(f"{text[:100]} is {other}") from None
            raise


KINDS = {
    kind: tuple(names.split())
    for kind, names in {
        "first": "lenet5 lenet5_1998 convnetjs_mnist",
        "classification": (
            "alexnet alexnet_2012 vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn googlenet inception_v3 "
            "plain18 plain34 resnet18 resnet34 resnet50 resnet101 resnet152 resnet50_v1 resnet101_v1 resnet152_v1 "
            "wide_resnet50_2 resnext50_32x4d densenet121 convnext_tiny"
        ),
        "mobile": (
            "squeezenet1_1 mobilenet_v1 mobilenet_v2 shufflenet_v2_x1_0 mnasnet1_0 mobilenet_v3_small "
            "mobilenet_v3_large efficientnet_b0 regnet_y_400mf"
        ),
        "microcontroller": ("mlperf_tiny_resnet8 mlperf_tiny_mobilenet_v1 mlperf_tiny_ds_cnn mlperf_tiny_autoencoder"),
        "detection": "yolov1 ssd300 yolov3 faster_rcnn maskrcnn_head",
        "segmentation": "fcn8s unet deeplabv3",
        "other": "colorization c3d r3d_18 m5",
    }.items()
}
"""The networks by what they are for, in the order in which lists show them."""

_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}

_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def kind_of(name: str) -> str:
    """Return what a network is for; `other` for one that has no kind of its own."""
    return _KIND_OF.get(name, "other")


def year_of(cite: str) -> int | None:
    """Return the year in which a network was published, from what its spec cites; None if that names none."""
    match = _YEAR.search(cite)
    return None if match is None else int(match[0])

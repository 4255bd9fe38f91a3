"""What users write in the terms of other tools: names of models, and files, with what to name instead."""

from __future__ import annotations

import importlib.util
import pickletools
import re
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cnnstat.errors import SourceError
from cnnstat.files import is_file, read_bytes

LIBRARIES = ("torchvision", "timm")
"""Libraries of models that have a short form."""

_HUBS = (
    "hf",
    "hf-hub",
    "hf_hub",
    "huggingface",
    "hub",
    "tfhub",
    "keras",
    "tf",
    "tensorflow",
    "onnx",
    "paddle",
    "modelscope",
)
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
    if words := re.findall(r"""['"]([\w./-]+)['"]""", arguments):  # timm.create_model("resnet50")
        name, arguments = f"timm.{words[-1]}" if name.startswith("timm.") else words[-1], ""
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


# Files ----------------------------------------------------------------------------------------------------------------

CODE = "name the code that builds the model, as in file.py:Class"
"""What to do where a file has no architecture that can be read."""

EXPORTED = "name the PyTorch model that it was exported from, as in file.py:Class"

READ = 1 << 16
"""Bytes of a file that are looked at."""


class _Text(NamedTuple):
    """A text that gives a format away, what it is, and what to do."""

    pattern: str
    format: str
    remedy: str


_TEXTS = (
    _Text(r"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull"),
    _Text(r"\s*<(!doctype )?html", "a web page, not a model", "download the file itself"),
    _Text(r"(?s).*^\s*layers?\s*\{.*\btype\s*:", "a Caffe network", CODE),
    _Text(r"(?s).*^\[(net|network|convolutional)\]", "a Darknet configuration", CODE + ", or a spec (`yolov3`)"),
    _Text(r'(?s)\s*\{.*"class_name"\s*:', "a Keras model's configuration", "write it as a spec (docs/spec.md)"),
    _Text(
        r"(?s)(?=.*^(?:backbone|head)\s*:)(?=.*^\s*- \[\s*-?\d+\s*,).*",
        "an Ultralytics model",
        "name its module, as in file.py:function that returns YOLO(…).model",
    ),
    _Text(r"(?s)(?=.*^_base_\s*[:=]|.*^model\s*=\s*dict\().*", "an OpenMMLab configuration", CODE),
    _Text(
        r'(?s)\s*\{.*"(?:architectures|model_type)"\s*:', "a Hugging Face configuration",
        "write a function that returns AutoModel.from_config(…) and name it as file.py:function",
    ),
)  # fmt: skip

FORMATS = {
    ".pth": ("a PyTorch checkpoint", CODE),
    ".pt": ("a PyTorch checkpoint", CODE),
    ".ckpt": ("a checkpoint", CODE),
    ".bin": ("a file of weights", CODE),
    ".safetensors": ("a file of weights", CODE),
    ".tflite": ("a TensorFlow Lite model", EXPORTED),
    ".pb": ("a TensorFlow graph", CODE),
    ".keras": ("a Keras model", "write it as a spec (docs/spec.md)"),
    ".h5": ("a Keras or HDF5 file", "write it as a spec (docs/spec.md)"),
    ".hdf5": ("a Keras or HDF5 file", "write it as a spec (docs/spec.md)"),
    ".prototxt": ("a Caffe network", CODE),
    ".caffemodel": ("the weights of a Caffe network", CODE),
    ".cfg": ("a Darknet configuration", CODE),
    ".weights": ("the weights of a Darknet network", CODE),
    ".npz": ("a file of arrays", CODE),
    ".engine": ("a TensorRT engine", EXPORTED),
    ".mlmodel": ("a Core ML model", EXPORTED),
    ".mlpackage": ("a Core ML model", EXPORTED),
    ".ipynb": ("a notebook", "save the model's class in a .py file and name that, as in file.py:Class"),
}
"""What endings mean where the content does not tell, or there is no file."""


def described(text: str) -> str:
    """Return what a file is and what to name instead (`an ONNX model; …`); empty for what may be a spec."""
    path = Path(text)
    try:
        file_format = _content(path) if is_file(path) else None
    except (OSError, ValueError, zipfile.BadZipFile):
        file_format = None
    is_spec = path.suffix.lower() in (".yaml", ".yml", ".json")
    file_format = file_format or (None if is_spec else FORMATS.get(path.suffix.lower()))
    return f"{file_format[0]}; cnnstat does not read it: {file_format[1]}" if file_format else ""


def _content(path: Path) -> tuple[str, str] | None:
    """Return format and remedy by the first bytes of a file, whatever its name says."""
    head = read_bytes(path, READ)[:READ]
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head.startswith(b"\x89HDF\r\n"):
        return FORMATS[".h5"]
    if head[4:8] == b"TFL3":
        return FORMATS[".tflite"]
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return _pickle(head)
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 30:
        return "a file of weights (safetensors)", CODE
    if re.match(rb"\x08[\x01-\x0f]\x12.{0,40}(pytorch|onnx|tf2onnx|skl|paddle)", head, re.DOTALL | re.IGNORECASE):
        return "an ONNX model", "give it a name that ends in .onnx"
    try:
        words = head.decode("utf-8", errors="strict" if len(head) < READ else "ignore")
    except UnicodeDecodeError:
        return None
    match = next((each for each in _TEXTS if re.match(each.pattern, words, re.MULTILINE | re.IGNORECASE)), None)
    return (match.format, match.remedy) if match else None


def _archive(path: Path) -> tuple[str, str] | None:
    """Return what a ZIP file holds."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("model.weights.h5") for name in names):
            return FORMATS[".keras"]
        if any("/code/" in name for name in names):
            return "a TorchScript model", EXPORTED
        if any(re.search(r"(^|/)models/.*\.json$|serialized_exported_program", name) for name in names):
            return "an exported PyTorch program", "give it a name that ends in .pt2"
        pickles = [name for name in names if name.endswith("data.pkl")]
        if not pickles:
            return None
        with archive.open(pickles[0]) as file:
            return _pickle(file.read(READ))


def _pickle(head: bytes) -> tuple[str, str]:
    """Return what a pickle holds, by the first class that is no container; nothing of it is run."""
    words: list[str] = []
    classes: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(head):
            if opcode.name == "GLOBAL":
                classes.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                classes.append(".".join(words[-2:]))
            elif isinstance(argument, str):
                words.append(argument)
    except ValueError:
        pass  # the head ends in the middle of an opcode
    known = ("collections.", "torch.", "numpy", "builtins.", "__builtin__.", "argparse.", "_codecs.", "pathlib.")
    own = next((each for each in classes if not each.startswith(known) and re.fullmatch(r"[\w.]+", each)), "")
    if own:
        module, _, name = own.rpartition(".")
        return f"a pickled PyTorch model of class {own[:80]}", f"name the class: {module[:80]}:{name[:60]}"
    return "a PyTorch checkpoint, which holds weights and no architecture", CODE

"""Files of other tools, told apart by their content, with what to name instead."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from cnnstat.files import is_file, read_bytes

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
        "name its module, as in ultralytics.nn.tasks:DetectionModel --argument cfg=FILE",
    ),
    _Text(r"(?s)\s*(?:<\?xml[^>]*>\s*)?<net\s+name=", "an OpenVINO model", EXPORTED),
    _Text(r"7767517\s*\n\s*\d+ \d+", "an ncnn network", EXPORTED),
    _Text(r'(?s)\s*\{.*"magic"\s*:\s*"pir"', "a PaddlePaddle program", "export it to ONNX (paddle2onnx) and name that"),
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
    ".plan": ("a TensorRT engine", EXPORTED),
    ".trt": ("a TensorRT engine", EXPORTED),
    ".pdmodel": ("a PaddlePaddle program", "export it to ONNX (paddle2onnx) and name that"),
    ".pdiparams": ("the weights of a PaddlePaddle program", "export it to ONNX (paddle2onnx) and name that"),
    ".mnn": ("an MNN model", EXPORTED),
    ".rknn": ("an RKNN model", EXPORTED),
    ".ort": ("a model in ONNX Runtime's own format", "name the .onnx file that it was made from"),
    ".pte": ("an ExecuTorch program", "name the .pt2 file or the PyTorch model that it was made from"),
    ".gguf": ("a file of weights (GGUF)", CODE),
    ".ipynb": ("a notebook", "save the model's class in a .py file and name that, as in file.py:Class"),
}
"""What endings mean where the content does not tell, or there is no file."""


def described(text: str) -> str:
    """Return what a file is and what to name instead (`an ONNX model; …`); empty for what may be a spec."""
    path = Path(text)
    try:
        file_format = _content(path) if is_file(path) else _folder(path)
    except (OSError, ValueError, zipfile.BadZipFile):
        file_format = None
    is_spec = path.suffix.lower() in (".yaml", ".yml", ".json")
    file_format = file_format or (None if is_spec else FORMATS.get(path.suffix.lower()))
    return f"{file_format[0]}; cnnstat does not read it: {file_format[1]}" if file_format else ""


def _folder(path: Path) -> tuple[str, str] | None:
    """Return what a folder is, if it is a model."""
    return ("a TensorFlow SavedModel", CODE) if is_file(path / "saved_model.pb") else None


_STARTS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n", ".h5"), (4, b"TFL3", ".tflite"), (0, b"ptrt", ".engine"), (0, b"ftrt", ".engine"),
    (4, b"ORTM", ".ort"), (4, b"ET12", ".pte"), (0, b"GGUF", ".gguf"), (0, b"RKNN", ".rknn"),
)  # fmt: skip
"""Bytes at a place of a file that give its format away, and the ending of such files."""

_LENGTH = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_CORE_ML = re.compile(rb"\x08[\x01-\x0f]\x12" + _LENGTH + rb"\x0a" + _LENGTH + rb"\x0a", re.DOTALL)
"""A protobuf message of a version, and of a description whose inputs have names."""
_ONNX = re.compile(
    rb"\x08[\x01-\x0f](\x12.{0,40}(pytorch|onnx|tf2onnx|skl|paddle)|\x3a" + _LENGTH + rb"\x0a)",
    re.DOTALL | re.IGNORECASE,
)
"""A message of a version, and of a producer's name or a graph."""


def _content(path: Path) -> tuple[str, str] | None:
    """Return format and remedy by the first bytes of a file, whatever its name says."""
    head = read_bytes(path, READ)[:READ]
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    for place, start, ending in _STARTS:
        if head.startswith(start, place):
            return FORMATS[ending]
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return _pickle(head)
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 30:
        return "a file of weights (safetensors)", CODE
    if _ONNX.match(head):
        return "an ONNX model", "give it a name that ends in .onnx"
    if _CORE_ML.match(head):
        return FORMATS[".mlmodel"]
    try:
        words = head.decode("utf-8", errors="strict" if len(head) < READ else "ignore")
    except UnicodeDecodeError:
        words = "\0"
    if "\0" in words[:1024] and path.suffix.lower() not in (*FORMATS, ".yaml", ".yml", ".json", ".onnx", ".pt2"):
        return "a binary file of no format that is known here", CODE
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
    if classes and not any(each.startswith("torch.") for each in classes):
        return "a pickle, which holds no architecture", CODE
    return "a PyTorch checkpoint, which holds weights and no architecture", CODE

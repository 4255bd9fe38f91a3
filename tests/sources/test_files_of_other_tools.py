"""Files of other tools are told apart by their content, and each answer says what to name instead."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from cnnstat.errors import SourceError, SpecError
from cnnstat.sources.load import load_source
from cnnstat.sources.other_files import described
from cnnstat.sources.request import Request

CAFFE = 'name: "LeNet"\nlayer {\n  name: "data"\n  type: "Input"\n}\n'
ULTRALYTICS = "nc: 80\nbackbone:\n  - [-1, 1, Conv, [64, 3, 2]]\nhead:\n  - [-1, 1, nn.Upsample, [None, 2]]\n"
TEXTS = {
    "net.prototxt": (CAFFE, "a Caffe network"),
    "caffe.txt": (CAFFE, "a Caffe network"),
    "yolo.cfg": ("[net]\nbatch=1\n\n[convolutional]\nfilters=32\n", "a Darknet configuration"),
    "yolov8n.yaml": (ULTRALYTICS, "an Ultralytics model"),
    "pointer.pth": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "page.onnx": ("<!DOCTYPE html><html>", "a web page"),
    "config.json": ('{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}', "a Hugging Face"),
    "openvino.xml": ('<?xml version="1.0"?>\n<net name="resnet" version="11">\n', "an OpenVINO model"),
    "net.param": ("7767517\n75 83\nInput data 0 1 data\n", "an ncnn network"),
    "inference.json": ('{"base_code":{"magic":"pir","version":1}}', "a PaddlePaddle program"),
    "keras.json": ('{"class_name": "Functional", "config": {}}', "a Keras model"),
}
BYTES = {
    "renamed.bin": (b"\x89HDF\r\n\x1a\n" + bytes(20), "a Keras or HDF5 file"),
    "lite.dat": (b"\x1c\x00\x00\x00TFL3" + bytes(20), "a TensorFlow Lite model"),
    "tensors.dat": (b'\x40\x00\x00\x00\x00\x00\x00\x00{"weight":{}}', "a file of weights (safetensors)"),
    "graph.dat": (b"\x08\x08\x12\x07pytorch\x1a\x05" + bytes(range(256)), "an ONNX model"),
    "plain.graph": (b"\x08\x0a\x3a\x20\x0a\x10" + bytes(40), "an ONNX model"),
    "core.dat": (b"\x08\x04\x12\x40\x0a\x0e\x0a\x05image" + bytes(20), "a Core ML model"),
    "built.dat": (b"ptrt" + bytes(20), "a TensorRT engine"),
    "runtime.dat": (b"\x20\x00\x00\x00ORTM" + bytes(20), "a model in ONNX Runtime's own format"),
    "edge.dat": (b"\x10\x00\x00\x00ET12" + bytes(20), "an ExecuTorch program"),
    "words.dat": (b"GGUF\x03" + bytes(20), "a file of weights (GGUF)"),
    "numbers.dat": (bytes(range(64)), "a binary file of no format that is known here"),
    "lie.yaml": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.", "a PyTorch checkpoint"),
}
MISSING = {"model.tflite": "a TensorFlow Lite model", "net.keras": "a Keras model", "best.mlmodel": "a Core ML model"}


@pytest.mark.parametrize("name", [*TEXTS, *BYTES, *MISSING])
def test_the_answer_names_the_format_and_what_to_do(name: str, tmp_path: Path) -> None:
    content, format = {**TEXTS, **BYTES, **{key: (None, words) for key, words in MISSING.items()}}[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SourceError) as error:
        load_source(str(path), Request())
    assert f"{name} is {format}" in str(error.value)
    assert "does not read it: " in str(error.value) and "\n" not in str(error.value)


def test_a_folder_may_be_a_model(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(bytes(20))
    with pytest.raises(SourceError, match="is a TensorFlow SavedModel"):
        load_source(str(tmp_path), Request())


@pytest.mark.parametrize(
    ("entry", "format"),
    [
        ("model/code/__torch__.py", "a TorchScript model"),
        ("model.weights.h5", "a Keras model"),
        ("archive/models/model.json", "an exported PyTorch program"),
    ],
)
def test_archives_are_told_apart_by_their_entries(entry: str, format: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("data.pkl", b"\x80\x02}.")
        archive.writestr(entry, "")
    assert described(str(tmp_path / "net.pt")).startswith(format)


def test_a_pickled_model_is_named_by_its_class(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"\x80\x02cultralytics.nn.tasks\nDetectionModel\n)\x81.")
    assert "name the class: ultralytics.nn.tasks:DetectionModel" in described(str(tmp_path / "net.pt"))


def test_a_saved_model_is_never_unpickled(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Conv2d(3, 4, 3)
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    torch.save(module.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("weights.pth", "old.pth"):
        assert "weights and no architecture" in described(str(tmp_path / name))


def test_a_faulty_spec_is_still_a_spec(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("input: [3, 8, 8]\nlayers:\n  - Conv2(3, 3)\n")
    with pytest.raises(SpecError, match="Conv2d"):
        load_source(str(tmp_path / "net.yaml"), Request())

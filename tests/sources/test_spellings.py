"""Names as people write them, the hints for names that mean nothing, and other names of dtypes."""

from __future__ import annotations

from pathlib import Path

import pytest

import cnnstat
from cnnstat.errors import CnnstatError, OpError, RequestError, SourceError
from cnnstat.ir.graph import check_dtype
from cnnstat.ops import search
from cnnstat.sources import zoo
from cnnstat.sources.load import named_model
from cnnstat.sources.other_tools import library_models, respelled
from cnnstat.sources.request import Request, parse_input


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ResNet50", "resnet50"),
        ("resnet-50", "resnet50"),
        ("VGG 16", "vgg16"),
        ("VGG-16-BN", "vgg16_bn"),
        ("lenet5 1998", "lenet5_1998"),
        ("torchvision.models.resnet9", "torchvision:resnet9"),
        ("torchvision.models.detection.ssd300_vgg16", "torchvision:ssd300_vgg16"),
        ("torchvision/resnet9", "torchvision:resnet9"),
        ("torchvision.resnet9", "torchvision:resnet9"),
        ("timm/resnet50d", "timm:resnet50d"),
        ("timm.resnet50d", "timm:resnet50d"),
        ("timm/resnet50.a1_in1k", "timm:resnet50.a1_in1k"),
        ("timm.models.resnet50d", "timm:resnet50d"),
        ("model.py::Net", "model.py:Net"),
        ("torchvision:resnet18", "torchvision:resnet18"),
        ("package.module:Net", "package.module:Net"),
        ("nets/mine.yaml", "nets/mine.yaml"),
    ],
)
def test_a_name_as_people_write_it_is_the_model_that_it_means(written: str, meant: str) -> None:
    assert respelled(written, zoo.names()) == meant


def test_no_two_networks_of_the_zoo_are_told_apart_by_hyphens_or_case_alone() -> None:
    for name in zoo.names():
        assert named_model(name.replace("_", "-").upper(), Request()).source == name


@pytest.mark.parametrize("text", ["hf:microsoft/resnet-50", "hf-hub:timm/resnet50", "https://example.org/net.onnx"])
def test_nothing_is_loaded_from_the_network(text: str) -> None:
    with pytest.raises(SourceError, match=f"{text}: nothing is loaded from the network; .*file"):
        named_model(text, Request())


def test_a_name_of_a_library_is_named_with_the_library() -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(SourceError, match="no network of the zoo and no .yaml file; torchvision:vit_b_16 is one"):
        cnnstat.analyze("vit_b_16")
    with pytest.raises(SourceError, match=r"did you mean torchvision:efficientnet_b4\?"):
        cnnstat.analyze("efficeintnet_b4")


def test_the_models_of_a_library_are_read_from_its_text() -> None:
    torchvision = pytest.importorskip("torchvision")
    known = {name for name in library_models() if name.startswith("torchvision:")}
    listed = {f"torchvision:{name}" for name in torchvision.models.list_models() if "quantized" not in name}
    assert len(known & listed) >= 0.9 * len(listed)


@pytest.mark.parametrize(("written", "hint"), [("vgg61", "did you mean vgg16"), ("lenet", "did you mean lenet5")])
def test_names_that_are_nearly_right_get_the_nearest(written: str, hint: str) -> None:
    with pytest.raises(SourceError, match=hint):
        named_model(written, Request())


def test_unlike_names_get_no_guess() -> None:
    with pytest.raises(SourceError, match="`cnnstat list` shows the zoo"):
        named_model("frobnicate", Request())


def test_a_file_of_the_folder_comes_before_another_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ResNet50").write_text("input: [3, 8, 8]\nlayers: [ReLU]\n")
    monkeypatch.chdir(tmp_path)
    assert named_model("ResNet50", Request()).source == "ResNet50"


@pytest.mark.parametrize(
    ("written", "name"),
    [("fp16", "float16"), ("half", "float16"), ("bf16", "bfloat16"), ("float", "float32"), ("FP32", "float32"),
     ("torch.float16", "float16"), ("double", "float64"), ("float16", "float16"), ("Float16", "float16"),
     ("torch.Int8", "int8")],
)  # fmt: skip
def test_dtypes_have_the_names_that_people_use(written: str, name: str) -> None:
    assert check_dtype(written) == name
    assert cnnstat.load("lenet5", dtype=written).dtype == name


def test_a_family_of_dtypes_is_answered_with_its_members() -> None:
    with pytest.raises(CnnstatError, match=r"no dtype called float8; did you mean float8_e4m3fn, float8_e5m2, "):
        check_dtype("float8")
    with pytest.raises(CnnstatError, match=r"no dtype called ; use one of float64, "):
        check_dtype("")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("HTTPS://example.org/net.onnx", "nothing is loaded from the network"),
        ("s3://bucket/net.onnx", "nothing is loaded from the network"),
        ("tensorflow:resnet50", "nothing is loaded from the network"),
        ("resnet50()", "SOURCE is a name, not Python code; write resnet50$"),
        ("models.VGG16(weights=None)", "write vgg16, with its arguments as in arguments="),
        ("torchvision.models.resnet9(weights=None)", "write torchvision:resnet9, with its arguments"),
        ("timm.create_model('resnet9d', pretrained=True)", "write timm:resnet9d$"),
        ("torch.hub.load('pytorch/vision', 'resnet18')", "write resnet18$"),
        ("nn.Conv2d(3, 64, 3)", "name a function or class that makes the model"),
        ("models.resnet50", r"did you mean resnet50\?"),
        ("tf.keras.applications.VGG16", r"did you mean vgg16\?"),
        ("resnet50,vgg16", "`cnnstat compare resnet50 vgg16` takes several"),
        ("mine", r"did you mean mine.yaml\?"),
        ("Mine.YML", r"no such file; did you mean mine.yaml\?"),
        ("ResNet50.yaml", "the zoo's network is called resnet50"),
        ("none.pth", "^none.pth is a PyTorch checkpoint; there is no such file$"),
        ("none.PT2", "^none.PT2: there is no such file$"),
    ],
)
def test_what_people_paste_is_answered_with_what_to_write(
    written: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("input: [3, 8, 8]\nlayers: [ReLU]\n")
    with pytest.raises(CnnstatError, match=meant):
        cnnstat.analyze(written)


def test_endings_are_endings_in_any_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("NET.YAML").write_text("input: [3, 8, 8]\nlayers: [ReLU]\n")
    assert len(cnnstat.analyze("NET.YAML").layers) == 1


@pytest.mark.parametrize("written", ["(3, 32, 32)", "[3,32,32]", "3X32X32", "input=(1, 3, 32, 32,)", "input=1X3X32X32"])
def test_sizes_as_people_write_them(written: str) -> None:
    assert parse_input(written)[1].sizes[-3:] == (3, 32, 32)


@pytest.mark.parametrize(
    "written", ["(3, 32", "3, 32)", "((3, 32))", "()", "(3; 32)", "3XX32", "X3", "(3,,4)", "3x32,32", "1x8x8,1x9x9"]
)
def test_sizes_that_are_none_are_refused(written: str) -> None:
    with pytest.raises(RequestError, match="write sizes as in 3x224x224"):
        parse_input(written)


def test_layers_are_found_by_their_pytorch_names() -> None:
    for written in ("nn.Conv2d", "torch.nn.Conv2d", "F.conv2d", "torch.nn.functional.conv2d", "conv2d"):
        assert search(written) == ("Conv2d",)
    with pytest.raises(OpError, match="no layer called nn.frobnicate"):
        search("nn.frobnicate")

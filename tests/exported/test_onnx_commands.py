"""Commands on ONNX files: names, exports, modules that are built, limits, and comparisons with what was exported."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from onnx_files import analyzed, declared, model, node, number, numbers, numpy, onnx, saved, tensor

import cnnstat
from cnnstat import cli
from cnnstat.errors import CnnstatError

SCOPES, CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"


def small(folder: Path) -> str:
    """Return a file of a small network with names as PyTorch's older exporter writes them."""
    nodes = [
        node("Conv", ["x", "layer1.0.conv1.weight", "layer1.0.conv1.bias"], ["a"], name="/layer1/layer1.0/conv1/Conv"),
        node("Relu", ["a"], ["b"], name="/layer1/layer1.0/relu/Relu"),
        node("Conv", ["b", "onnx::Conv_20", "onnx::Conv_21"], ["c"], name="/layer1/layer1.0/conv2/Conv", pads=[1] * 4),
        node("Add", ["b", "c"], ["d"], name="/layer1/layer1.0/Add"),
        node("Relu", ["d"], ["e"], name="/layer1/layer1.0/relu_1/Relu"),
        node("GlobalAveragePool", ["e"], ["f"], name="/pool/GlobalAveragePool"),
        node("Flatten", ["f"], ["g"], name="/Flatten"),
        node("Gemm", ["g", "fc.weight", "fc.bias"], ["y"], name="/fc/Gemm", transB=1),
    ]
    stored = [
        tensor("layer1.0.conv1.weight", (4, 3, 3, 3)), tensor("layer1.0.conv1.bias", (4,)),
        tensor("onnx::Conv_20", (4, 4, 3, 3)), tensor("onnx::Conv_21", (4,)), tensor("fc.weight", (5, 4)),
        tensor("fc.bias", (5,)),
    ]  # fmt: skip
    return saved(folder, model(nodes, [declared("x", ["batch", 3, 10, 10])], ["y"], stored))


NAMES = [
    "layer1.0.conv1", "layer1.0.relu", "layer1.0.conv2", "layer1.0.add", "layer1.0.relu_2", "pool", "flatten", "fc",
]  # fmt: skip


def test_names_of_the_older_exporter(tmp_path: Path) -> None:
    analysis = cnnstat.analyze(small(tmp_path))
    assert [layer.name for layer in analysis.layers] == NAMES
    assert [*analysis.by_module(1)] == ["layer1", "pool", "flatten", "fc"]


def test_names_of_the_newer_exporter(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "stem.conv.weight"], ["a"], name="node_conv2d"),
        node("Relu", ["a"], ["y"], name="node_relu"),
    ]
    for each, scopes, classes in (
        (nodes[0], ["", "stem", "stem.bn", "batch_norm"], ["Net", "net.Stem", "torch.nn.BatchNorm2d", "aten.bn"]),
        (nodes[1], ["", "stem", "relu"], ["Net", "net.Stem", "aten.relu.default"]),
    ):
        each.metadata_props.add(key=SCOPES, value=repr(scopes))
        each.metadata_props.add(key=CLASSES, value=repr(classes))
        each.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/somebody/secret.py" * 50)
    built = model(nodes, [declared("x", [1, 3, 8, 8])], ["y"], [tensor("stem.conv.weight", (4, 3, 3, 3))])
    analysis = analyzed(tmp_path, built)
    # A convolution that a batch norm was folded into carries the norm's scope, and its own weight's name.
    assert [layer.name for layer in analysis.layers] == ["stem.conv", "stem.relu"]
    assert analysis.graph.blocks["stem"] == "Stem"
    assert "somebody" not in json.dumps(analysis.to_dict())


def test_layers_of_one_stored_tensor_and_of_one_module_keep_their_places(tmp_path: Path) -> None:
    """Equal norms of a freshly initialized model read one tensor, and an activation may be called twice."""
    places = {"block1-0.norm": "LayerNorm", "block1-1.norm": "LayerNorm", "block1-1.act": "ReLU"}
    nodes = [
        node("LayerNormalization", ["x", "block1-0.norm.weight"], ["a"]),
        node("LayerNormalization", ["a", "block1-0.norm.weight"], ["b"]),
        node("Relu", ["b"], ["c"]), node("Relu", ["c"], ["d"]),
        node("MatMul", ["d", "block1-1.fc.weight"], ["y"]),
    ]  # fmt: skip
    for each, path in zip(nodes, [*places, "block1-1.act"]):
        each.metadata_props.add(key=SCOPES, value=repr(["", path.partition(".")[0], path, "call"]))
        each.metadata_props.add(key=CLASSES, value=repr(["Net", "net.Block", f"torch.nn.{places[path]}", "aten.call"]))
    stored = [tensor("block1-0.norm.weight", (4,)), tensor("block1-1.fc.weight", (4, 4))]
    analysis = analyzed(tmp_path, model(nodes, [declared("x", [1, 4])], ["y"], stored))
    assert [layer.name for layer in analysis.layers] == [*places, "block1-1.act_2", "block1-1.fc"]
    assert [*analysis.by_module(1)] == ["block1-0", "block1-1"]


def test_weights_name_modules_that_the_older_exporter_left_out(tmp_path: Path) -> None:
    built = model(
        [node("Gemm", ["x", "head.fc.weight", "head.fc.bias"], ["y"], name="/fc/Gemm")], [declared("x", [1, 4])], ["y"],
        [tensor("head.fc.weight", (4, 5)), tensor("head.fc.bias", (5,))],
    )  # fmt: skip
    assert [layer.name for layer in analyzed(tmp_path, built).layers] == ["head.fc"]


@pytest.mark.parametrize(
    ("written", "name"),
    [("model/block/conv/Conv2D;model/block/bias", "model.block.conv.Conv2D"), ("Relu_7", "relu"), ("", "relu")],
)
def test_names_of_other_exporters(written: str, name: str, tmp_path: Path) -> None:
    built = model([node("Relu", ["x"], ["y"], name=written)], [declared("x", [1, 4])], ["y"])
    assert [layer.name for layer in analyzed(tmp_path, built).layers] == [name]


def test_an_exported_spec_has_the_same_figures(tmp_path: Path) -> None:
    path = small(tmp_path)
    (tmp_path / "net.yaml").write_text(cnnstat.export(path), encoding="utf-8")
    one, other = cnnstat.analyze(path), cnnstat.analyze(str(tmp_path / "net.yaml"))
    assert one.totals == other.totals


def test_a_module_is_built_that_has_the_files_shapes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = small(tmp_path)
    module = cnnstat.build(path)
    assert module(torch.zeros(2, 3, 10, 10)).shape == (2, 5)
    assert {name for name, _ in module.named_parameters()} >= {"layer1.0.conv2.weight", "fc.bias"}
    namespace: dict[str, Any] = {}
    exec(compile(cnnstat.export(path, to="torch"), "net.py", "exec"), namespace)  # what we wrote ourselves
    assert cnnstat.verify(path).exit_code == 0


def test_layers_that_share_a_bias_are_built_with_one(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    nodes = [
        node("Conv", ["x", "a", "b"], ["h"], pads=[1] * 4), node("Conv", ["h", "c", "b"], ["i"], pads=[1] * 4),
        node("Mul", ["i", "scale"], ["j"]), node("Reshape", ["j", "shape"], ["y"]),
    ]  # fmt: skip
    stored = [
        tensor("a", (3, 3, 3, 3)), tensor("c", (3, 3, 3, 3)), tensor("b", (3,)), tensor("scale", (3, 1, 1)),
        numbers("shape", 3, 4, 16),
    ]  # fmt: skip
    path = saved(tmp_path, model(nodes, [declared("x", [1, 3, 8, 8])], ["y"], stored))
    module, analysis = cnnstat.build(path), cnnstat.analyze(path)
    assert sum(each.numel() for each in module.parameters()) == analysis.totals.params == 2 * 81 + 3 + 3
    assert module(torch.zeros(1, 3, 8, 8)).shape == (3, 4, 16)
    assert "3 parameters fewer than with a copy for each" in analysis.notes[0]


def test_a_dtype_that_is_asked_for(tmp_path: Path) -> None:
    totals = cnnstat.analyze(small(tmp_path), dtype="float16").totals
    assert totals.memory.params_bytes == 2 * totals.params


def test_comparison_tells_where_parameters_differ(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(
        "input: [3, 10, 10]\nlayers:\n- layer1.0.conv1: Conv2d(4, 3)\n- bn: BatchNorm2d\n- ReLU\n- x: Conv2d(5, 1)\n"
    )
    other = "input: [3, 10, 10]\nlayers:\n- layer1.0.conv1: Conv2d(4, 3)\n- ReLU\n- x: Conv2d(5, 1, bias=false)\n"
    (tmp_path / "other.yaml").write_text(other)
    compared = cnnstat.compare(str(tmp_path / "net.yaml"), str(tmp_path / "other.yaml"))
    assert "−13 with the same MACs; −8 in 1 BatchNorm2d of one, −5 in 1 layer of both" in " ".join(
        str(compared).split()
    )


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    path = small(tmp_path)
    assert command(monkeypatch, "check", path, "--max-params", "1k") == 0
    assert command(monkeypatch, "check", path, "--max-params", "100") == 1
    assert command(monkeypatch, "explain", path, "conv1") == 0
    assert "C_out" in capfd.readouterr().out
    faults = (["--value", "x"], ["--value", "y=1"], ["--input", "y=3x3"], ["--argument", "a=1"], ["--batch", "0"])
    for arguments in faults:
        assert command(monkeypatch, "analyze", path, *arguments) == 2, arguments
        assert len(capfd.readouterr().err.splitlines()) == 1, arguments


def test_without_the_package_one_line_names_it(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['onnx'] = None; import cnnstat.cli; cnnstat.cli.main()"
    result = subprocess.run([sys.executable, "-c", blocked, "analyze", small(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "pip install 'cnnstat[onnx]'" in result.stderr


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_exports_of_pytorch_models_have_their_work(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    module = models.get_model(name, weights=None).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.02)  # equal tensors would be merged
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, torch.zeros(1, 3, 64, 64), file, dynamo=False)
    path = saved(tmp_path, file.getvalue())
    exported, live = cnnstat.analyze(path), cnnstat.analyze(module, (1, 3, 64, 64))
    assert exported.totals.macs == live.totals.macs
    folded = sum(layer.output_shape[1] for layer in live.layers if layer.op.kind == "BatchNorm2d")
    assert live.totals.params - exported.totals.params == folded
    names = {layer.name for layer in live.layers if layer.macs}
    assert names == {layer.name for layer in exported.layers if layer.macs}


SHARED = Path(__file__).resolve().parents[3] / "shared" / "onnx"


@pytest.mark.skipif(not (SHARED / "expected.json").exists(), reason="the recorded examples are not here")
def test_recorded_examples() -> None:
    for name, expected in json.loads((SHARED / "expected.json").read_text()).items():
        analysis = cnnstat.analyze(str(SHARED / name), inputs=expected["inputs"])
        assert (analysis.totals.params, analysis.totals.macs) == (expected["params"], expected["macs"]), name
        counted = sorted(layer.macs for layer in analysis.layers if layer.macs)
        stated = [each["macs"] // each.get("runs", 1) for each in expected["nodes"] for _ in range(each.get("runs", 1))]
        assert counted == sorted(stated), name
        buffers = expected["bn_running_stats"] + expected["quant_scales_and_zero_points"]
        assert analysis.totals.buffers == buffers, name


def test_another_opset_than_the_oldest_is_read_alike(tmp_path: Path) -> None:
    for opset in (7, 9, 11, 13, 17, min(23, onnx.defs.onnx_opset_version())):
        built = model(
            [node("Conv", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])], [declared("x", [1, 3, 8, 8])], ["y"],
            [tensor("w", (4, 3, 3, 3))], opset=opset,
        )  # fmt: skip
        assert analyzed(tmp_path, built).totals.macs == 4 * 36 * 27


def test_values_and_sizes_do_not_fit_other_sources() -> None:
    with pytest.raises(CnnstatError, match="values="):
        cnnstat.analyze("vgg16", values={"x": 1})


def test_a_runtime_is_a_reference(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from cnnstat.verify.findings import Verdict

    found = cnnstat.verify(small(tmp_path))
    assert found.exit_code == 0 and all(layer.shape.verdict is Verdict.AGREES for layer in found.layers)
    heard = {each.name for each in found.references if not each.problem}
    assert "ONNX Runtime" in heard
    # A file that states other sizes than it makes is found out where the runtime runs it.
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("NonZero", ["d"], ["y"]),
    ]  # fmt: skip
    stored = [number("s", 0.1), number("z", 0, numpy.uint8)]
    path = saved(tmp_path, model(nodes, [declared("x", [2, 3])], ["y"], stored))
    found = cnnstat.verify(path)
    assert found.layers[-1].shape.verdict in (Verdict.EXPLAINED, Verdict.AGREES) and found.exit_code == 0

"""Profiles of TensorRT and ONNX Runtime in the forms of their versions: times go to what they name, and no further."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cnnstat.errors import CnnstatError
from cnnstat.profile.profile_result import Profile
from cnnstat.profile.recorded.recorded_profile import profile_recording
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request


def timed(*names: Any) -> list[dict[str, Any]]:
    """What trtexec --exportProfile writes: 10 µs for the first layer, 20 µs for the second and so on."""
    entries = [
        {"name": name, "timeMs": 100 * 0.01 * place, "averageMs": 0.01 * place, "medianMs": 0.01 * place,
         "percentage": 1.0}
        for place, name in enumerate(names, start=1)
    ]  # fmt: skip
    return [{"count": 100}, *entries]


def profiled(folder: Path, entries: Any, source: str = "alexnet", info: Any = None) -> Profile:
    (folder / "profile.json").write_text(json.dumps(entries))
    if info is not None:
        (folder / "info.json").write_text(json.dumps(info))
    reference = named_model(source, Request())
    found = profile_recording(reference, folder / "profile.json", folder / "info.json" if info is not None else None)
    parts = found.time_breakdown
    assert parts.layers + parts.idle + parts.unattributed + parts.residual == pytest.approx(parts.whole, abs=1e-12)
    return found


def microseconds(profile: Profile) -> dict[str, float]:
    return {layer.name: round(1e6 * layer.seconds, 6) for layer in profile.layers if layer.seconds}


def test_a_region_has_only_what_its_name_says_and_what_needs_no_name(tmp_path: Path) -> None:
    """Convolutions stand in a region's name, so that those without one are not in the last region before them."""
    profile = profiled(tmp_path, timed("conv1 + relu1", "pool1", "__myl_Conv_myl0_2"))
    assert set(microseconds(profile)) == {"conv1", "relu1", "pool1"}
    assert microseconds(profile)["pool1"] == 20 and profile.time_breakdown.unattributed == pytest.approx(30e-6)
    notes = "\n".join(profile.notes)
    assert "1 layers of the engine are of no layer of this network, the longest __myl_Conv_myl0_2" in notes
    assert "without a time of their own: conv2, relu2" in notes


def test_regions_of_which_the_ends_are_named_hold_all_between(tmp_path: Path) -> None:
    profile = profiled(tmp_path, timed("conv1", "{ForeignNode[conv2...conv4]}", "{ForeignNode[relu4...fc8]}"))
    times = microseconds(profile)
    assert sum(times[name] for name in ("conv2", "relu2", "pool2", "conv3", "relu3", "conv4")) == pytest.approx(20)
    assert sum(times[name] for name in ("conv5", "pool5", "fc6", "fc7", "fc8", "relu4", "relu5", "avgpool", "relu6",
                                        "relu7")) == pytest.approx(30, abs=1e-4)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("[Pointwise] relu3", "relu3"),
        ("[Convolution] conv3", "conv3"),
        ("PWN(relu3)", "relu3"),
        ("{conv3}", "conv3"),
        ("reshape_after_fc8", "fc8"),
        ("reshape_before_fc8", "fc8"),
        ("squeeze_after_fc8", "fc8"),
        ("unsqueeze_node_after_fc8", "fc8"),
        ("Reformatting CopyNode for Output Tensor 0 to fc8", None),
        ("Reformatting CopyNode for Input Tensor 0 to conv1 + relu1", None),
        ("(Unnamed Layer* 50) [Shuffle]", None),
        ("ShuffleNode_2", None),
        ("[HostToDeviceCopy 0]", None),
        ("", None),
    ],
)
def test_names_of_every_kind(tmp_path: Path, name: str, row: str | None) -> None:
    profile = profiled(tmp_path, timed("conv1", name))
    times = microseconds(profile)
    assert profile.time_breakdown.unattributed == pytest.approx(0 if row else 20e-6)
    swallowed = {"relu3"} if row == "conv3" else set()
    assert row is None or sum(times[name] for name in {row, *swallowed}) == pytest.approx(20, abs=1e-4)


def test_numbers_of_nodes_tell_layers_that_run_in_another_order(tmp_path: Path) -> None:
    """The shortcut's convolution is the 16th node and runs before the 15th, which is fused with the addition."""
    names = [
        "Conv_0 + Relu_1", "MaxPool_2", "Conv_3 + Relu_4", "Conv_5 + Add_6 + Relu_7", "Conv_8 + Relu_9",
        "Conv_10 + Add_11 + Relu_12", "Conv_13 + Relu_14", "Conv_16", "Conv_15 + Add_17 + Relu_18", "Conv_19 + Relu_20",
        "Conv_21 + Add_22 + Relu_23", "Conv_24 + Relu_25", "Conv_27", "Conv_26 + Add_28 + Relu_29", "Conv_30 + Relu_31",
        "Conv_32 + Add_33 + Relu_34", "Conv_35 + Relu_36", "Conv_38", "Conv_37 + Add_39 + Relu_40", "Conv_41 + Relu_42",
        "Conv_43 + Add_44 + Relu_45", "GlobalAveragePool_46", "Gemm_48",
    ]  # fmt: skip
    times = microseconds(profiled(tmp_path, timed(*names), "resnet18"))
    own = {"layer2.0.downsample.0", "layer2.0.downsample.1"}
    assert sum(times[name] for name in own) == pytest.approx(80)
    assert times["layer2.0.conv2"] + times["layer2.0.bn2"] + times["layer2.0.add"] + times["layer2.0.relu2"] == (
        pytest.approx(90)
    )


@pytest.mark.parametrize("entry", [{"timeMs": 8.0}, {"averageMs": 2.0}, {"medianMs": 2.0, "averageMs": 9.0}])
def test_times_are_the_median_else_the_average_else_the_total_by_runs(tmp_path: Path, entry: dict[str, float]) -> None:
    assert microseconds(profiled(tmp_path, [{"count": 4}, {"name": "fc8", **entry}]))["fc8"] == 2000


@pytest.mark.parametrize("time", [None, "0.5", float("nan"), -1])
def test_layers_without_a_time_are_left_out_and_told(tmp_path: Path, time: Any) -> None:
    entries = [*timed("conv1"), {"name": "conv2", "averageMs": time}, {"name": None, "averageMs": 1}, "junk"]
    profile = profiled(tmp_path, entries)
    assert microseconds(profile)["conv1"] > 0 and "conv2" not in microseconds(profile)
    assert any("1 layers of the engine have no time" in note for note in profile.notes)


LAYERS = [
    {"Name": "l0", "LayerType": "CaskConvolution", "Metadata": "[ONNX Layer: conv1]\x1e[ONNX Layer: relu1]"},
    {"Name": "l1", "Metadata": "[ONNX Layer: conv2]\x1f[ONNX Layer: relu2]"},
    "l2",
    {"Name": "l3", "Origin": "CONVOLUTION"},
]


@pytest.mark.parametrize("info", [{"Layers": LAYERS, "Bindings": ["input", "output"]}, LAYERS])
def test_layer_info_of_every_form(tmp_path: Path, info: Any) -> None:
    profile = profiled(tmp_path, timed("l0", "l1"), info=info)
    times = microseconds(profile)
    assert times["conv1"] + times["relu1"] + times.get("pool1", 0) == pytest.approx(10)
    assert times["conv2"] + times["relu2"] + times.get("pool2", 0) == pytest.approx(20)


@pytest.mark.parametrize("entries", [[{"count": 5}], {"Layers": ["conv1"], "Bindings": []}, {"profile": timed("a")}])
def test_other_files_of_tensorrt_are_one_line(tmp_path: Path, entries: Any) -> None:
    with pytest.raises(CnnstatError, match="no recording; give what"):
        profiled(tmp_path, entries)


# ONNX Runtime itself --------------------------------------------------------------------------------------------------

SPEC = """
name: small
input: [3, 16, 16]
layers:
  - conv1: Conv2d(4, 3, padding=1)
  - relu1: ReLU
  - pool1: MaxPool2d(2)
  - conv2: Conv2d(8, 3, padding=1)
  - relu2: ReLU
"""


def exported(path: Path, batch: int) -> None:
    """Write the network of SPEC as an ONNX file, with names that say nothing."""
    onnx = pytest.importorskip("onnx")
    numpy = pytest.importorskip("numpy")
    helper, numbers = onnx.helper, numpy.random.default_rng(0)
    shapes = {"w1": (4, 3, 3, 3), "w2": (8, 4, 3, 3)}
    weights = [
        onnx.numpy_helper.from_array(numbers.random(shape, dtype=numpy.float32), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="n7", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="n3"),
        helper.make_node("MaxPool", ["b"], ["c"], name="n1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w2"], ["d"], name="n9", pads=[1] * 4),
        helper.make_node("Relu", ["d"], ["y"], name="n5"),
    ]
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", float32, [batch, 3, 20, 20])],
        [helper.make_tensor_value_info("y", float32, None)], weights,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("source", ["spec", "onnx"])
def test_onnx_runtime_is_recorded_here_and_read_without_names(tmp_path: Path, level: str, source: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    numpy = pytest.importorskip("numpy")
    exported(tmp_path / "small.onnx", batch=2)
    (tmp_path / "small.yaml").write_text(SPEC)
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "ort")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"), options, providers=["CPUExecutionProvider"])
    for _ in range(4):
        session.run(None, {"x": numpy.ones((2, 3, 20, 20), numpy.float32)})
    file = Path(session.end_profiling())
    name = str(tmp_path / ("small.yaml" if source == "spec" else "small.onnx"))
    found = profile_recording(named_model(name, Request()), file)
    # Of another size than the spec's input: as in the recording.
    assert next(iter(found.inputs.values())) == (2, 3, 20, 20) and found.environment.device == "cpu"
    assert all(layer.seconds > 0 for layer in found.layers), [layer.name for layer in found.layers]
    parts = found.time_breakdown
    assert parts.layers + parts.idle + parts.unattributed + parts.residual == pytest.approx(parts.whole, abs=1e-12)

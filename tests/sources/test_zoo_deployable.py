"""Networks that people deploy: each equal to torchvision's module, and MLPerf Tiny's to the counts of Keras."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import cnnstat
from cnnstat.sources import zoo

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import torchvision
except Exception:  # a torchvision that does not fit its torch raises whatever it likes
    torchvision = None

needs_torchvision = pytest.mark.skipif(torchvision is None, reason="needs a torchvision that can be imported")

WITHOUT_HEADS = {"init_weights": False, "aux_logits": False}
TORCHVISION: dict[str, dict[str, Any]] = {
    "convnext_tiny": {},
    "densenet121": {},
    "efficientnet_b0": {},
    "googlenet": WITHOUT_HEADS,
    "inception_v3": WITHOUT_HEADS,
    "mnasnet1_0": {},
    "mobilenet_v2": {},
    "mobilenet_v3_large": {},
    "mobilenet_v3_small": {},
    "regnet_y_400mf": {},
    "resnext50_32x4d": {},
    "shufflenet_v2_x1_0": {},
    "squeezenet1_1": {},
    "wide_resnet50_2": {},
}
"""Networks of the zoo that torchvision has under the same name, with its arguments."""

SCALES = ("mul", "layer_scale")

KERAS = {
    "mlperf_tiny_autoencoder": 269_992,
    "mlperf_tiny_ds_cnn": 24_908,
    "mlperf_tiny_mobilenet_v1": 221_794,
    "mlperf_tiny_resnet8": 78_666,
}
"""What Keras counts of MLPerf Tiny's reference models, running statistics included."""


def module(name: str) -> Any:
    """The model of torchvision, without memory for its weights."""
    device = "cpu" if name.startswith("regnet") else "meta"  # it computes its widths with tensors
    with torch.device(device):
        return torchvision.models.get_model(name, **TORCHVISION[name]).eval().to("meta")


@needs_torchvision
@pytest.mark.parametrize("name", TORCHVISION)
def test_a_network_is_torchvisions(name: str) -> None:
    ours = cnnstat.analyze(name)
    theirs = cnnstat.analyze(module(name), ours.graph.inputs[0].shape)
    for figure in ("params", "trainable_params", "buffers", "macs", "flops", "receptive_field"):
        assert getattr(ours.totals, figure) == getattr(theirs.totals, figure)
    assert ours.memory.peak_inference_bytes == theirs.memory.peak_inference_bytes
    shapes, made = ({each.name: each.output_shapes for each in found.layers if each.params} for found in (ours, theirs))
    # The scale of a branch is a product with a tensor of the block there, and a layer here.
    shapes, made = ({n: s for n, s in found.items() if n.split(".")[-1] not in SCALES} for found in (shapes, made))
    assert shapes == made and len(shapes) > 20


@needs_torchvision
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x1_0", "densenet121"])
def test_it_is_deployed_as_torchvisions(name: str) -> None:
    ours = cnnstat.analyze(name, deploy="int8")
    theirs = cnnstat.analyze(module(name), ours.graph.inputs[0].shape, deploy="int8")
    assert ours.totals.params == theirs.totals.params
    for figure in ("params_bytes", "peak_inference_bytes", "arena_bytes"):
        assert getattr(ours.memory, figure) == getattr(theirs.memory, figure)


@pytest.mark.parametrize("name", KERAS)
def test_mlperf_tiny_is_what_keras_counts(name: str) -> None:
    found = cnnstat.analyze(name)
    norms = sum("BatchNorm" in layer.kind for layer in found.layers)
    assert found.totals.params + found.totals.buffers - norms == KERAS[name]  # Keras has no counter of batches


REFERENCE_FILES = {
    "mlperf_tiny_autoencoder": (264_192, 6_688, 264_192, 768),
    "mlperf_tiny_ds_cnn": (22_016, 2_352, 2_656_768, 16_000),
    "mlperf_tiny_mobilenet_v1": (208_112, 10_952, 7_489_664, 55_296),
    "mlperf_tiny_resnet8": (77_360, 1_384, 12_501_632, 49_152),
}
"""What is in MLPerf Tiny's reference files (ad01_int8, kws_ref_model, vww_96_int8 and pretrainedResnet_quant of
mlcommons/tiny, .tflite): bytes of int8 weights and of int32 biases, less the shape of a reshape; MACs by the shapes of
the operators; most bytes of their tensors alive at once."""


@pytest.mark.parametrize("name", REFERENCE_FILES)
def test_mlperf_tiny_in_int8_is_what_the_reference_files_hold(name: str) -> None:
    found = cnnstat.analyze(name, deploy="int8")
    biases = 4 * sum(shape[0] for each in found.values.facets for key, shape in each.weights.items() if key == "bias")
    memory = found.memory
    assert (memory.params_bytes - biases, biases, found.totals.macs, memory.arena_bytes) == REFERENCE_FILES[name]
    weights, of_biases, macs, _ = REFERENCE_FILES[name]
    assert cnnstat.analyze(name, deploy="float32").memory.params_bytes == 4 * weights + of_biases
    assert cnnstat.analyze(name).totals.macs == macs


def test_every_network_has_one_kind_and_a_year() -> None:
    listed = [name for names in zoo.KINDS.values() for name in names]
    assert sorted(listed) == sorted(zoo.names())
    years = {name: zoo.year_of(str(cnnstat.load(name).about["cite"])) for name in ("mobilenet_v2", "lenet5_1998")}
    assert years == {"mobilenet_v2": 2018, "lenet5_1998": 1998}
    assert all(zoo.year_of(str(cnnstat.load(name).about["cite"])) for name in zoo.names())


def test_the_list_is_filtered_by_kind_and_year(run_process: Any) -> None:
    found = run_process("list", "--kind", "mobile", "--since", "2018", "--until", "2018", "-f", "csv").stdout
    names = [line.partition(",")[0] for line in found.splitlines()[1:]]
    assert set(names) == {"mobilenet_v2", "shufflenet_v2_x1_0", "mnasnet1_0"}
    wrong = run_process("list", "--kind", "moblie")
    assert wrong.returncode == 2 and "did you mean mobile?" in wrong.stderr

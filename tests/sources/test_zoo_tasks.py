"""Networks of other tasks: detection, segmentation, colouring, video, against papers, authors and torchvision."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import cnnstat
from cnnstat.analysis.analysis import Analysis

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import torchvision
except Exception:  # a torchvision that does not fit its torch raises whatever it likes
    torchvision = None

needs_torchvision = pytest.mark.skipif(torchvision is None, reason="needs a torchvision that can be imported")

TORCHVISION = {
    "deeplabv3": ("deeplabv3_resnet50", {"aux_loss": True}),
    "faster_rcnn": ("fasterrcnn_resnet50_fpn", {}),
    "r3d_18": ("r3d_18", {}),
    "ssd300": ("ssd300_vgg16", {}),
}
"""Networks of the zoo that torchvision has, under its name and with its arguments."""


def analyzed(name: str, **arguments: Any) -> Analysis:
    """Return the analysis of a network of the zoo."""
    return cnnstat.analyze(name, **arguments)


def shapes(analysis: Analysis) -> dict[str, tuple[int, ...]]:
    """Return the output shape of each layer, the batch left out."""
    return {layer.name: layer.output_shape[1:] for layer in analysis.layers}


def tensors(analysis: Analysis, facet: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return name and shape of all weights or buffers."""
    nodes = analysis.graph.nodes
    return [
        (f"{node.name}.{name}", tuple(shape))
        for node, inputs in zip(nodes, analysis.values.inputs)
        if node.shares is None
        for name, shape in getattr(node.op, facet)(inputs).items()
    ]


def model(name: str, **arguments: Any) -> Any:
    """Return a model of torchvision without weights, on the meta device."""
    builder = torchvision.models.get_model_builder(name)
    backbone = {} if name == "r3d_18" else {"weights_backbone": None}
    with torch.device("meta"):
        return builder(weights=None, **backbone, **arguments)


@needs_torchvision
@pytest.mark.parametrize("name", ["deeplabv3", "faster_rcnn", "r3d_18"])
def test_weights_and_buffers_are_those_of_torchvision_by_name(name: str) -> None:
    analysis, module = analyzed(name), model(TORCHVISION[name][0], **TORCHVISION[name][1])
    assert sorted(tensors(analysis, "weights")) == sorted((k, tuple(t.shape)) for k, t in module.named_parameters())
    assert sorted(tensors(analysis, "buffers")) == sorted((k, tuple(t.shape)) for k, t in module.named_buffers())


@needs_torchvision
def test_weights_of_ssd300_are_those_of_torchvision() -> None:
    module = model("ssd300_vgg16")
    ours = sorted(shape for _, shape in tensors(analyzed("ssd300"), "weights"))
    assert ours == sorted(tuple(tensor.shape) for tensor in module.parameters())


@needs_torchvision
def test_the_mask_head_is_that_of_torchvision() -> None:
    heads = model("maskrcnn_resnet50_fpn").roi_heads
    theirs = [(k, tuple(t.shape)) for k, t in heads.named_parameters() if k.startswith("mask_")]
    assert tensors(analyzed("maskrcnn_head"), "weights") == theirs


@needs_torchvision
@pytest.mark.parametrize("name", TORCHVISION)
def test_work_is_what_torchvision_publishes(name: str) -> None:
    (weights,) = torchvision.models.get_model_weights(TORCHVISION[name][0])
    assert round(analyzed(name).totals.macs / 1e9, 3) == round(weights.meta["_ops"], 3)


def test_fcn8s_has_the_sizes_and_crops_of_the_authors_model() -> None:
    analysis = analyzed("fcn8s")
    found = shapes(analysis)
    pools = [found[f"pool{i}"][1] for i in range(1, 6)]
    assert pools == [349, 175, 88, 44, 22]
    assert found["fc6"] == (4096, 16, 16)
    assert (found["fuse4.up"], found["fuse3.up"]) == ((21, 34, 34), (21, 70, 70))
    assert (found["upscore8"], found["crop"]) == ((21, 568, 568), (21, 500, 500))
    crops = {level: (found[f"pool{level}"][1] - found[f"fuse{level}.crop"][1]) // 2 for level in (4, 3)}
    assert crops == {4: 5, 3: 9}
    assert analysis.totals.params - analysis.totals.trainable_params == 21 * 21 * 16 * 16


def test_fcn8s_keeps_the_size_of_its_input() -> None:
    for size in (224, 333, 512):
        assert analyzed("fcn8s", variables={"size": size}).layers[-1].output_shape == (1, 21, size, size)


def test_ssd300_has_the_boxes_of_its_paper() -> None:
    found = shapes(analyzed("ssd300"))
    boxes = {name.split(".")[1]: shape[0] for name, shape in found.items() if name.endswith(".list")}
    assert boxes == {"map4": 5776, "map7": 2166, "map8": 600, "map9": 150, "map10": 36, "map11": 4}
    assert (found["boxes.all"], found["scores.all"]) == ((8732, 4), (8732, 91))


def test_ssd300_for_pascal_voc_has_26_3_million_parameters() -> None:
    assert analyzed("ssd300", variables={"classes": 21}).totals.params == 26_285_486


def test_yolov1_has_a_cell_for_each_64_pixels() -> None:
    found = shapes(analyzed("yolov1"))
    assert (found["conv24.act"], found["cells"]) == ((1024, 7, 7), (30, 7, 7))


@pytest.mark.parametrize(("size", "billions"), [(320, 38.97), (416, 65.86), (608, 140.69)])
def test_yolov3_has_the_operations_its_authors_print(size: int, billions: float) -> None:
    analysis = analyzed("yolov3", input=(3, size, size))
    assert round(2 * analysis.totals.macs / 1e9, 2) == billions


def test_yolov3_stores_the_numbers_of_its_weights_file() -> None:
    analysis = analyzed("yolov3")
    statistics = sum(shape[0] for name, shape in tensors(analysis, "buffers") if "running" in name)
    assert 4 * (analysis.totals.params + statistics) + 20 == 248_007_048
    assert sum(name.startswith(("stem", "stage")) and name.endswith("conv") for name in shapes(analysis)) == 52


def test_colorization_halves_three_times_and_grows_back() -> None:
    found = shapes(analyzed("colorization"))
    assert [found[f"conv{i}.norm"][1] for i in range(1, 8)] == [128, 64, 32, 32, 32, 32, 32]
    assert (found["scores"], found["resize"]) == ((313, 64, 64), (2, 256, 256))


def test_deeplab_keeps_stride_8() -> None:
    found = {layer.name: layer for layer in analyzed("deeplabv3").layers}
    last = found["backbone.layer4.2.relu3"]
    assert last.output_shape == (1, 2048, 65, 65)
    assert last.receptive_field is not None and last.receptive_field.stride == (8, 8)
    assert found["out"].output_shape == found["aux"].output_shape == (1, 21, 520, 520)


def test_faster_rcnn_has_five_levels_of_anchors() -> None:
    found = shapes(analyzed("faster_rcnn"))
    levels = [found["rpn.head.cls_logits"], *(found[f"rpn.level{i}.cls_logits"] for i in range(1, 5))]
    assert levels == [(3, size, size) for size in (200, 100, 50, 25, 13)]
    assert found["roi_heads.box_predictor.bbox_pred"] == (1000, 364)

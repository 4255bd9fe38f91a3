"""Drawings as geometry: every layer in one box, no overlaps, no edge through a box, no text that leaves its box."""

from __future__ import annotations

from typing import Any

import pytest
from drawings import Drawing, faults_of

import cnnstat
from cnnstat.draw import draw_analysis
from cnnstat.sources import zoo

FOLDINGS: tuple[dict[str, Any], ...] = (
    {}, {"by": "macs"}, {"full": True}, {"depth": 1}, {"depth": 2, "by": "params"}, {"depth": 4},
)  # fmt: skip


@pytest.mark.parametrize("name", zoo.names())
def test_drawings_of_the_zoo_are_sound(name: str) -> None:
    analysis = cnnstat.analyze(name)
    for folding in FOLDINGS:
        assert faults_of(draw_analysis(analysis, **folding), analysis.graph) == [], folding
        edges = Drawing(draw_analysis(analysis, **folding)).edges()
        assert all(a == c or b == d for edge in edges for (a, b), (c, d) in zip(edge, edge[1:])), folding
    assert faults_of(draw_analysis(analysis, style="volumes"), analysis.graph) == []
    assert faults_of(draw_analysis(analysis, style="volumes", depth=1), analysis.graph) == []
    assert len(Drawing(draw_analysis(analysis)).boxes) <= 30
    assert len(Drawing(draw_analysis(analysis, full=True)).boxes) == len(analysis.graph.nodes)


LIBRARY = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet1_0",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_x_800mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vgg11_bn",
    "vgg16_bn",
    "vit_b_16",
    "deeplabv3_resnet50",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
    "fasterrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "ssd300_vgg16",
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
    "s3d",
    "mvit_v1_b",
    "raft_small",
]


@pytest.mark.parametrize("name", LIBRARY)
def test_drawings_of_torchvision_are_sound(name: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    analysis = cnnstat.analyze(f"torchvision:{name}")
    boxes = Drawing(draw_analysis(analysis)).boxes
    assert len(boxes) <= 40
    for options in ({}, {"by": "macs", "depth": 2}, {"style": "volumes"}):
        assert faults_of(draw_analysis(analysis, **options), analysis.graph) == [], options  # type: ignore[arg-type]


def test_every_layer_of_a_deep_network_can_be_drawn_by_itself() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    analysis = cnnstat.analyze("torchvision:densenet121")
    drawing = draw_analysis(analysis, full=True)
    assert len(Drawing(drawing).boxes) == len(analysis.graph.nodes) and faults_of(drawing, analysis.graph) == []

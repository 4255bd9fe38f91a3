"""What is alive at the peak, and what the peak would be without it."""

import subprocess

import pytest
from graph_builder import Builder

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.node_order import run_earlier
from cnnstat.analysis.peak import peak_of
from cnnstat.analysis.transforms.deploy import deploy
from cnnstat.ops.conv import Conv2d
from cnnstat.ops.join import Concat
from cnnstat.ops.norm import BatchNorm2d
from cnnstat.ops.rectifier import ReLU

MAP = 4 * 8 * 16 * 16
"""Bytes of a map of 8 channels, 16 × 16 pixels, in float32."""


def skip():
    """A map that waits for a concatenation behind two others, which are larger."""
    builder = Builder((1, 8, 16, 16))
    first = builder.add(Conv2d(8, 1), name="early")
    builder.add(Conv2d(16, 1), name="wide")
    builder.add(ReLU(), name="relu")
    builder.add(Concat(), first, builder.last, name="join")
    return analyze_graph(builder.build()[0])


def test_the_largest_come_first_and_are_all_there_is():
    found = peak_of(skip())
    assert found.layer == "join" and found.bytes == 6 * MAP
    assert [(each.name, each.bytes) for each in found.tensors] == [("join", 3 * MAP), ("relu", 2 * MAP), ("early", MAP)]
    assert sum(each.bytes for each in found.tensors) == found.bytes


def test_the_peak_without_a_tensor_is_that_of_the_others():
    by_name = {each.name: each.peak_without for each in peak_of(skip()).tensors}
    # Without the result, the ReLU is where most is alive: what waits, what it reads and what it makes.
    assert by_name == {"join": 5 * MAP, "relu": 4 * MAP, "early": 5 * MAP}


@pytest.mark.parametrize("name", ["resnet18", "unet", "maskrcnn_head"])
def test_what_is_alive_is_the_peak(name):
    analysis = cnnstat.analyze(name, deploy="int8")
    found = peak_of(analysis)
    assert sum(each.bytes for each in found.tensors) == analysis.memory.peak_inference_bytes
    assert all(each.peak_without <= found.bytes for each in found.tensors)


def branches(*, early: bool):
    """A map that two branches read; its small branch runs first, or waits until the wide one is done."""
    builder = Builder((1, 8, 16, 16))
    start = builder.add(Conv2d(8, 1), name="start")

    def small():
        builder.add(Conv2d(2, 1), start, name="small")
        return builder.add(BatchNorm2d(), name="norm")

    first = small() if early else None
    builder.add(Conv2d(16, 1), start, name="wide")
    builder.add(Conv2d(32, 1), name="wider")
    last = builder.add(Conv2d(4, 1), name="narrow")
    builder.add(Concat(), small() if first is None else first, last, name="join")
    return builder.build()[0]


@pytest.mark.parametrize("precision", [None, "float32", "int8"])
def test_an_order_that_is_advised_has_the_peak_that_is_said(precision):
    late, early = (branches(early=each) for each in (False, True))
    if precision is not None:
        late, early = deploy(late, precision), deploy(early, precision)
    found = peak_of(analyze_graph(late))
    assert found.other_order == (("small",), "start", analyze_graph(early).memory.peak_inference_bytes)
    assert found.other_order.bytes < found.bytes
    assert any(text.startswith("run small right behind start: the peak is ") for text in found.to_dict()["changes"])
    assert peak_of(analyze_graph(early)).other_order is None


def test_no_order_is_advised_that_changes_results():
    builder = Builder((1, 8, 16, 16))
    start = builder.add(Conv2d(8, 1), name="start")
    builder.add(Conv2d(32, 1), start, name="wide")
    last = builder.add(Conv2d(4, 1), name="narrow")
    builder.add(ReLU(inplace=True), start, name="relu")  # must not come before `wide` reads what it writes over
    builder.add(Concat(), builder.last, last, name="join")
    graph = builder.build()[0]
    assert peak_of(analyze_graph(graph)).other_order is None
    assert run_earlier(graph, 3, 0) is None and run_earlier(graph, 2, 0) is None
    moved = run_earlier(graph, 3, 1)
    assert moved is not None and [node.name for node in moved[0].nodes] == ["start", "wide", "relu", "narrow", "join"]


def test_deploying_is_said_to_lower_it():
    values = peak_of(cnnstat.analyze("resnet50")).to_dict()
    assert values["peak"]["deployed_bytes"] == 7_225_344
    assert values["changes"][0].startswith("--deploy float32 has 6.89 MiB")
    assert peak_of(cnnstat.analyze("resnet50", deploy="float32")).deployed_bytes is None


def test_a_layer_or_the_peak(run_process):
    def said(*arguments) -> subprocess.CompletedProcess[str]:
        return run_process("explain", "lenet5", *arguments)

    assert said("--peak").returncode == 0
    for arguments in ((), ("C1", "--peak")):
        wrong = said(*arguments)
        assert wrong.returncode == 2 and "a LAYER or --peak" in wrong.stderr and wrong.stderr.count("\n") == 1

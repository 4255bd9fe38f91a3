"""What is alive at the peak, and what the peak would be without it."""

import subprocess

import pytest
from graph_builder import Builder

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.peak import peak_of
from cnnstat.ops.conv import Conv2d
from cnnstat.ops.join import Concat
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

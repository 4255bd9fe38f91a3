"""The figures that benchmarks/gpu.py reads off profiles."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu_figures
from gpu_figures import Figure


def layer(name: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "op": "Conv2d",
        "forward": {"median": seconds},
        "warm": None,
        "cold": None,
        "flops": 10**9,
        "bytes": 10**6,
        **more,
    }


FOUND: dict[str, Any] = {
    "environment": {"device_name": "NVIDIA H200", "dtype": "bfloat16", "settings": {"backward": "false"}},
    "ceilings": {"flops_per_second": 8e14, "bytes_per_second": 4e12, "launch": 1.5e-6},
    "identity": {"whole": 50e-6, "layers": 45e-6, "gaps": 4e-6, "unattributed": 0.4e-6, "drift": 0.6e-6},
    "whole": {"replayed": True, "eager": {"median": 800e-6}, "enqueue": {"median": 790e-6}},
    "peak_bytes": 2**20,
    "predicted_peak_bytes": 2**20,
    "joules": None,
    "lost_kernels": 0,
    "notes": [],
    "layers": [layer("a", 30e-6), layer("b", 15e-6)],
}


def figures(**changes: Any) -> dict[str, Figure]:
    found = {**copy.deepcopy(FOUND), **changes}
    return {figure.name.partition(": ")[2]: figure for figure in gpu_figures.of_case("ResNet-50, batch 1", found)}


def test_a_good_run_keeps_its_goals() -> None:
    found = figures()
    assert found["drift"].measured == "+1.20%" and found["drift"].kept
    assert found["unattributed"].kept and found["lost kernels"].kept
    assert found["against the floor on paper"].kept
    assert found["replay"].measured.startswith("50.00 µs = layers 45.00 µs, gaps 4.00 µs")
    assert found["floor"].measured.endswith("the replay takes 20.00 ×")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"identity": {**FOUND["identity"], "drift": -2e-6}}, "drift"),
        ({"identity": {**FOUND["identity"], "unattributed": 1e-6}}, "unattributed"),
        ({"identity": {**FOUND["identity"], "whole": 40e-6}}, "against the floor on paper"),
        ({"lost_kernels": 3}, "lost kernels"),
        ({"predicted_peak_bytes": 2**21}, "peak memory measured, predicted"),
    ],
)
def test_a_bad_run_misses_them(changes: dict[str, Any], name: str) -> None:
    assert figures(**changes)[name].kept is False


def test_two_runs_agree_or_not() -> None:
    other = copy.deepcopy(FOUND)
    other["layers"][0]["forward"]["median"] = 30.8e-6
    other["layers"][1]["forward"]["median"] = 15.4e-6
    (figure,) = gpu_figures.of_two_runs("x", FOUND, other)
    assert figure.kept
    other["layers"][1]["forward"]["median"] = 15.6e-6
    (figure,) = gpu_figures.of_two_runs("x", FOUND, other)
    assert figure.kept is False and "1 of 2 layers; worst b" in figure.measured


def test_layers_alone_bracket_those_in_the_model() -> None:
    one = layer("a", 30e-6, warm={"median": 25e-6}, cold={"median": 40e-6})
    two = layer("b", 30e-6, warm={"median": 35e-6}, cold={"median": 40e-6})
    found = figures(layers=[one, two])
    assert found["in the model between warm and cold (± 10 %)"].measured.startswith("1 of 2 layers")


NCU = """==PROF== Connected to process 12
"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","gemm","gpu__time_duration.sum","nsecond","12,345"
"1","relu","gpu__time_duration.sum","usecond","20.5"
==PROF== Disconnected
"""


def test_durations_of_ncu_are_read() -> None:
    assert gpu_figures.durations(NCU) == [12345, 20500]


def test_kernels_are_compared_where_they_are_long() -> None:
    ours = [["gemm", 12_500], ["relu", 9_000], ["tiny", 900]]
    assert gpu_figures.compared("ncu", ours, [12_345, 9_500, 500]).kept
    assert gpu_figures.compared("ncu", ours, [11_000, 9_500, 500]).kept is False
    assert gpu_figures.compared("ncu", ours, [12_345]).kept is None
    assert gpu_figures.compared("ncu", ours, [500, 500, 500]).measured == "no kernel is that long"


def test_table_is_markdown() -> None:
    text = gpu_figures.table([Figure("drift", "≤ 3%", "+1%", True), Figure("eager", "", "1 µs")], "2026: a GPU.")
    assert text.splitlines()[-2:] == ["| drift | ≤ 3% | +1% | yes |", "| eager |  | 1 µs |  |"]

"""Slips that are legal specs get a warning that names both readings; towers are written once; channels have a name."""

from __future__ import annotations

import pytest

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.errors import SpecError
from cnnstat.sources import zoo
from cnnstat.sources.load import load_source
from cnnstat.sources.request import Request
from cnnstat.spec.spec_graph import parse_spec

IMAGE = "input: [3, 32, 32]"


def analysis(layers: str, inputs: str = IMAGE, blocks: str = "") -> Analysis:
    return analyze_graph(parse_spec(f"{inputs}\n{blocks}\nlayers:\n{layers}"))


def fault(layers: str, inputs: str = IMAGE, blocks: str = "") -> str:
    with pytest.raises(SpecError) as error:
        analysis(layers, inputs, blocks)
    return str(error.value)


@pytest.mark.parametrize("name", zoo.names())
def test_no_network_of_the_zoo_is_taken_for_a_slip(name: str) -> None:
    warnings = analyze_graph(load_source(name, Request())).warnings
    assert not [line for line in warnings if "row by row" in line or "here; for" in line or "height × width" in line]


@pytest.mark.parametrize(
    ("channels", "call", "written"),
    [
        (3, "Conv2d(3, 16, 3)", "Conv2d(16, 3)"),
        (3, "Conv2d(3, 64, 7, padding=3)", "Conv2d(64, 7)"),
        (1, "Conv2d(1, 6, 5)", "Conv2d(6, 5)"),
        (6, "Conv2d(6, 16, 5)", "Conv2d(16, 5)"),
        (4, "Conv2d(4, 32, 1)", "Conv2d(32, 1)"),
    ],
)
def test_a_line_pasted_from_pytorch_is_warned_of_with_both_readings(channels: int, call: str, written: str) -> None:
    (warning,) = analysis(f"  - {call}", f"input: [{channels}, 64, 64]").warnings
    assert f"is {channels} filters of" in warning and "as PyTorch reads it" in warning and written in warning


@pytest.mark.parametrize(
    "call",
    ["Conv2d(16, 3)", "Conv2d(3, 3)", "Conv2d(3, 7, padding=3, groups=3)", "Conv2d(3, 4, 4)", "Conv2d(3, 3, 2)",
     "Conv2d(3, 4, stride=2)", "Conv2d(3, [1, 7], padding=[0, 3])", "Conv2d(64, 16, stride=16)"],
)  # fmt: skip
def test_usual_convolutions_are_not(call: str) -> None:
    assert analysis(f"  - {call}").warnings == ()


def test_channels_at_the_end_of_an_input_are_warned_of() -> None:
    (warning,) = analysis("  - Conv2d(16, 3)", "input: [224, 224, 3]").warnings
    assert "224 channels of 224×3" in warning and "write [3, 224, 224]" in warning
    assert analysis("  - Conv2d(16, 3)", "input: [64, 64, 64]").warnings == ()
    assert analysis("  - Linear(16)", "input: [224, 224, 3]").warnings == ()


def test_a_linear_layer_on_a_map_is_warned_of() -> None:
    (warning,) = analysis("  - Conv2d(64, 3)\n  - ReLU\n  - Dropout\n  - Linear(10)").warnings
    assert warning.startswith("fc1 reads the 64×30×30 of conv1 row by row, 30 numbers at once, and gives 64×30×10")
    assert "put Flatten before it" in warning


@pytest.mark.parametrize("between", ["Flatten", "Permute(0, 2, 3, 1)", "Flatten(2)"])
def test_a_linear_layer_behind_a_change_of_layout_is_not(between: str) -> None:
    assert analysis(f"  - Conv2d(64, 3)\n  - {between}\n  - Linear(10)").warnings == ()


TOWER = "blocks:\n  tower:\n    - Conv2d(8, 3)\n    - BatchNorm2d\n    - head: [Conv2d(16, 3), GlobalAvgPool]"
PAIR = "inputs: {a: [3, 32, 32], b: [3, 32, 32]}"


def test_a_siamese_tower_is_written_once() -> None:
    left = "  - left: tower\n    from: a\n"
    both = analysis(f"{left}  - right: tower\n    from: b\n    share: left\n", PAIR, TOWER)
    alone = analysis("  - left: tower\n", IMAGE, TOWER)
    assert both.totals.params == alone.totals.params
    assert both.totals.macs == 2 * alone.totals.macs
    names = [node.name for node in both.graph.nodes]
    shared = {node.name: names[node.shares] for node in both.graph.nodes if node.shares is not None}
    assert shared["right.conv1"] == "left.conv1" and shared["right.head.conv1"] == "left.head.conv1"


def test_three_towers_share_the_first_ones_weights_through_each_other() -> None:
    towers = "".join(f"  - t{i}: tower\n    from: a\n" + (f"    share: t{i - 1}\n" if i else "") for i in range(3))
    found = analysis(towers, "inputs: {a: [3, 32, 32]}", TOWER)
    assert found.totals.params == analysis("  - t: tower\n", IMAGE, TOWER).totals.params


def test_a_named_list_of_layers_shares_too() -> None:
    layers = "  - one: [Conv2d(3, 3, padding=1), ReLU]\n  - two: [Conv2d(3, 3, padding=1), ReLU]\n    share: one\n"
    assert analysis(layers.replace("  - two: [", "  - name: two\n    layers: [")).totals.params == 3 * 3 * 9 + 3


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            "  - one: [Conv2d(3, 3)]\n  - name: two\n    layers: [Conv2d(4, 3)]\n    share: one",
            "both must hold the same",
        ),
        (
            "  - one: [Conv2d(3, 3)]\n  - name: two\n    layers: [Conv2d(3, 3), ReLU]\n    share: one",
            "has no such one.relu1",
        ),
        ("  - one: Conv2d(3, 3)\n  - name: two\n    layers: [Conv2d(3, 3)]\n    share: one", "is no block"),
        ("  - one: [Conv2d(3, 3)]\n  - layers: [Conv2d(3, 3)]\n    share: one", "needs a name for the list"),
        ("  - name: two\n    layers: [Conv2d(3, 3)]\n    share: two", "two is no block"),
    ],
)
def test_lists_that_cannot_share_are_refused(layers: str, message: str) -> None:
    assert message in fault(layers)


def test_a_branch_may_pass_another_tensor_on() -> None:
    branches = "    - [Conv2d(4, 3, padding=1)]\n    - from: down\n    - from: input"
    layers = f"  - down: Conv2d(8, 3, padding=1)\n  - concat:\n{branches}"
    found = analysis(layers)
    assert found.layers[-1].output_shape == (1, 15, 32, 32)
    assert len(found.layers) == 3


@pytest.mark.parametrize("call", ["Concat: [a, b]", "Add: [a, b]"])
def test_names_as_arguments_of_a_join_get_the_hint_to_from(call: str) -> None:
    layers = f"  - a: Conv2d(3, 3)\n  - b: Conv2d(3, 3)\n    from: a\n  - {call}"
    assert "reads stands behind from:, as in {" in fault(layers) and "from: [a, b]}" in fault(layers)


def test_expressions_know_the_channels_that_a_layer_reads() -> None:
    layers = (
        "  - Conv2d(in_channels * 8, 3)\n  - Conv2d(in_channels // 2, 1)\n  - Flatten\n  - Linear(in_channels // 12)"
    )
    assert [layer.output_shape[1] for layer in analysis(layers).layers] == [24, 12, 10800, 900]


def test_channels_are_those_of_the_tensor_behind_from() -> None:
    found = analysis("  - a: Conv2d(16, 3)\n  - Conv2d(32, 3)\n  - Conv2d: [in_channels, 1]\n    from: a")
    assert found.layers[-1].output_shape[1] == 16


def test_each_call_of_a_block_has_its_own_channels() -> None:
    blocks = "blocks:\n  squeeze:\n    - Conv2d(in_channels // 2, 1)"
    assert [
        layer.output_shape[1] for layer in analysis("  - squeeze\n  - squeeze\n", "input: [64, 8, 8]", blocks).layers
    ] == [
        32,
        16,
    ]


def test_a_variable_of_that_name_comes_first() -> None:
    assert analysis("  - Conv2d(in_channels, 1)", f"{IMAGE}\nlet: {{in_channels: 5}}").layers[0].output_shape[1] == 5


def test_channels_behind_a_fault_tell_of_the_fault() -> None:
    assert "groups=2" in fault("  - Conv2d(4, 3, groups=2)\n  - Conv2d(in_channels, 1)")
    assert "from:" in fault("  - Conv2d(in_channels, 1)", PAIR)


def test_the_absolute_value_is_an_op() -> None:
    found = analysis("  - Abs")
    assert found.totals.flop_parts["element-wise"] == 3 * 32 * 32


@pytest.mark.parametrize(
    ("pasted", "written"),
    [
        ("nn.Conv2d(3, 64, 3)", "Conv2d(64, 3)"),
        ("nn.Conv2d(64, 3)", "Conv2d(64, 3)"),
        ("torch.nn.Conv2d(in_channels=3, out_channels=64, kernel_size=3)", "Conv2d(out_channels=64, kernel_size=3)"),
        ("nn.Linear(512, 10, bias=False),", "Linear(10, bias=False)"),
        ("self.conv1 = nn.Conv2d(3, 64, 7, stride=2)", "conv1: Conv2d(64, 7, stride=2)"),
        ("(conv1): Conv2d(3, 64, kernel_size=(7, 7), bias=False)", "conv1: Conv2d(64, kernel_size=(7, 7), bias=False)"),
        ("(0): BatchNorm2d(64, eps=1e-05)", "BatchNorm2d(eps=1e-05)"),
        ("nn.GroupNorm(32, 256)", "GroupNorm(32)"),
        ("x = F.relu(x)", "ReLU"),
        ("F.max_pool2d(x, 2)", "MaxPool2d(2)"),
        ("F.dropout(x, p=0.5, training=self.training)", "Dropout(p=0.5)"),
        ("torch.cat([x, y], 1)", "Concat"),
        ("x.view(x.size(0), -1)", "Flatten or Reshape"),
        ("tf.keras.layers.Dense(10)", "Linear(10)"),
        ("nn.Sequential(nn.ReLU(), nn.ReLU())", "its layers one by one"),
    ],
)
def test_lines_of_pytorch_are_answered_with_the_line_of_a_spec(pasted: str, written: str) -> None:
    assert f"write {written}\n" in fault(f"  - {pasted}") + "\n"
    if "one by one" not in written and " or " not in written and written != "Concat":
        assert analysis(f"  - before: Conv2d(256, 3)\n  - {written}\n").layers[1].op

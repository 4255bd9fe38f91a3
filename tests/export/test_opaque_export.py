"""What a spec states beyond ops of the library: opaque calls, operands, inputs with a batch of their own."""

from textwrap import dedent

import pytest

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.errors import SpecError
from cnnstat.spec.spec_graph import parse_spec


def analyzed(text):
    return analyze_graph(parse_spec(dedent(text)))


def faults(text):
    with pytest.raises(SpecError) as error:
        analyzed(text)
    return str(error.value)


def test_an_opaque_call_has_the_figures_it_states():
    analysis = analyzed(
        """\
        input: [4, 8, 8]
        layers:
          - opaque: deform
            inputs: [[1, 4, 8, 8]]
            output: [1, 6, 8, 8]
            parameters: {weight: [6, 4, 3, 3], scale: {shape: [6], frozen: true}}
            buffers: {seen: [6]}
            macs: 13824
            flops: {bias: 384}
            weighted: true
            counted: false
            reads: [[0, null, [2, 1, [-1, 2, 1]], [3, 1, [-1, 2, 1]]]]
          - ReLU
        """
    )
    layer = analysis.layers[0]
    assert (layer.name, layer.output_shape, layer.macs, layer.flops) == ("deform1", (1, 6, 8, 8), 13824, 28032)
    assert (layer.params, layer.trainable_params, layer.buffers) == (222, 216, 6)
    assert layer.receptive_field.size == (3, 3)
    assert analysis.uncounted == ("deform1",)
    assert analysis.memory.weighted_activation_bytes == 6 * 64 * 4


def test_operands_are_numbers_constants_and_learnt_tensors():
    analysis = analyzed(
        """\
        input: [16, 8]
        let: {width: 8}
        layers:
          - {tokens: Concat(1), operands: [{class_token: [1, 1, width]}, input]}
          - {layer: Add, operands: [input, {positions: [1, 17, width]}]}
          - {layer: Multiply, operands: [input, 0.5]}
          - {layer: Add, operands: [input, [17, 8]]}
        """
    )
    assert [layer.params for layer in analysis.layers] == [8, 136, 0, 0]
    assert [layer.output_shape for layer in analysis.layers] == [(1, 17, 8)] * 4
    assert str(analysis.layers[2].op) == "Multiply by 0.5"


def test_a_batch_of_its_own_gives_way_to_another():
    text = "input: {shape: [3, 8, 8], batch: 4}\nlayers: [ReLU]\n"
    assert parse_spec(text).inputs[0].shape == (4, 3, 8, 8)


def test_an_input_without_a_batch_is_taken_whole(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text("inputs: {image: {shape: [3, 8, 9], batch: null}}\nlayers: [ReLU]\n", encoding="utf-8")
    assert cnnstat.load(str(path), batch=2).inputs[0].shape == (3, 8, 9)
    assert cnnstat.load(str(path), (5, 8, 9)).inputs[0].shape == (5, 8, 9)


def test_a_list_of_names_is_read_as_a_whole():
    analysis = analyzed(
        """\
        input: [4, 8, 8]
        blocks:
          dense(skips): [{layer: Concat, from: "{skips}"}, "Conv2d(4, 1)"]
        layers:
          - a: ReLU
          - b: dense(['a'])
          - c: dense(['a', 'b'])
          - d: dense(['a', 'b', 'c'])
        """
    )
    assert [layer.output_shape[1] for layer in analysis.layers] == [4, 4, 4, 8, 4, 12, 4]


WRONG = [
    ("{opaque: f}", "an opaque call states either output: or outputs:"),
    ("{opaque: f, output: [1, -3]}", "sizes are whole numbers, batch included"),
    ("{opaque: f, output: [1, 3], macs: -1}", "macs: takes a whole number of operations"),
    ("{opaque: f, output: [1, 3], familly: layout}", "unknown key familly; did you mean family?"),
    ("{opaque: f, output: [1, 3], family: layuot}", "there is no family layuot; did you mean layout?"),
    ("{opaque: f, output: [1, 3], dtype: int46}", "there is no dtype called int46; did you mean int64?"),
    ("{opaque: f, inputs: [[1, 4]], output: [1, 3]}", "inputs=1×4 is what it is stated for, but it gets 1×4×8×8"),
    ("{opaque: f, output: [1, 3], reads: [[9, 0]]}", "reads=9 is no axis of 1×4×8×8"),
    ("{opaque: f, output: [1, 3], reads: [[0, [1, x]]]}", "there is no word or variable called x"),
    ("{opaque: f, output: [1, 3], parameters: [3]}", "parameters: takes names with sizes"),
    ("{layer: Add, operands: [input, 'input[1]']}", "the layer has 1 inputs; input[0] is the first"),
    ("{layer: Add, operands: [input]}", "Add takes at least 2 input tensors, but gets 1; change from: or operands:"),
    ("{layer: Add, operands: [input, true]}", "an operand is input, input[1], a number, sizes"),
    ("{add: [[], ReLU], operands: [1]}", "operands: and tensors stand on single layers; write Add with from:"),
    ("{group: [ReLU], operands: [1]}", "operands: stands on single layers"),
    ("[{opaque: f, output: [0, 3, 8, 8]}, GroupNorm(3)]", "cannot take a tensor of 0×3×8×8"),
    ("{layer: ReLU, from: '{[true]}'}", "a list behind from: holds names in quotes"),
]


@pytest.mark.parametrize(("item", "said"), WRONG)
def test_faults_are_told_with_their_remedy(item, said):
    assert said in faults(f"input: [4, 8, 8]\nlayers:\n  - {item}\n")

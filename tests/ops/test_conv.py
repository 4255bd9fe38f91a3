"""Convolutions and transposed convolutions beside PyTorch's, for drawn arguments and shapes."""

import math

import pytest

from cnnstat.errors import OpError
from cnnstat.ops import lookup
from cnnstat.ops.conv import Conv1d, Conv2d, Conv3d, ConvTranspose2d

torch = pytest.importorskip("torch")
pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, assume, event, given, settings  # noqa: E402  # hypothesis may be missing
from hypothesis import strategies as st  # noqa: E402  # hypothesis may be missing
from oracles.calls import (  # noqa: E402  # imports torch
    assert_explained,
    assert_reads_as_torch,
    build,
    diagonal,
    examples_of,
    kept_by_op,
    kept_by_torch,
    macs_by_torch,
    shapes_by_op,
    shapes_by_torch,
)

unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")


def per_axis(values, spatial):
    """One value, or a list with one for each axis."""
    return st.one_of(values, st.tuples(*[values] * spatial))


@st.composite
def convolutions(draw, transposed=False, largest=9):
    """An op with an input shape; PyTorch takes some of them and refuses others."""
    spatial = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    numbers = {"kernel_size": (1, 4), "stride": (1, 3), "padding": (0, 3), "dilation": (1, 3)}
    if transposed:
        numbers["output_padding"] = (0, 2)
    chosen = {name: draw(per_axis(st.integers(*bounds), spatial)) for name, bounds in numbers.items()}
    if not transposed:
        chosen["padding"] = draw(st.one_of(st.just(chosen["padding"]), st.sampled_from(["same", "valid"])))
        chosen["padding_mode"] = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    channels, filters = (draw(st.integers(1, 3)) * draw(st.sampled_from([1, groups])) for _ in range(2))
    kind = lookup(f"Conv{'Transpose' * transposed}{spatial}d")
    space = [draw(st.integers(1, largest)) for _ in range(spatial)]
    batch = draw(st.integers(1, 2))
    return kind(filters, groups=groups, bias=draw(st.booleans()), **chosen), (batch, channels, *space)


def accepted(op, shape):
    """The output's shape; drops the example if the op refuses it."""
    outputs = shapes_by_op(op, (shape,))
    assume(outputs is not None)
    return outputs[0]


@settings(unhurried, max_examples=120)
@given(st.one_of(convolutions(), convolutions(transposed=True)))
def test_shape_and_weights_are_pytorchs_and_so_are_the_refusals(drawn):
    op, shape = drawn
    outputs = shapes_by_torch(op, (shape,))
    event(f"accepted: {outputs is not None}")
    assert shapes_by_op(op, (shape,)) == outputs
    if outputs is not None:
        module = build(op, (shape,))
        assert op.weights((shape,)) == {name: tuple(weight.shape) for name, weight in module.named_parameters()}
        assert op.buffers((shape,)) == dict(module.named_buffers())


@unhurried
@given(st.one_of(convolutions(), convolutions(transposed=True)))
def test_macs_are_half_of_what_torch_counts(drawn):
    op, shape = drawn
    output = accepted(op, shape)
    assert op.macs((shape,), (output,)) == macs_by_torch(
        build(op, (shape,), "meta"), [torch.empty(shape, device="meta")]
    )


@unhurried
@given(st.one_of(convolutions(), convolutions(transposed=True)))
def test_training_keeps_what_autograd_keeps(drawn):
    op, shape = drawn
    accepted(op, shape)
    assert kept_by_op(op, (shape,)) == kept_by_torch(build(op, (shape,)), (shape,))


@settings(unhurried, max_examples=40)
@given(st.one_of(convolutions(largest=14), convolutions(transposed=True)))
def test_outputs_read_the_inputs_of_their_window(drawn):
    op, shape = drawn
    output = accepted(op, shape)
    is_clipped = getattr(op, "padding_mode", "zeros") == "zeros"
    compared = assert_reads_as_torch(op, (shape,), diagonal(output), is_clipped=is_clipped)
    # Other padding repeats the input's own pixels, so that fields that pass a border are not compared.
    assert compared == len(diagonal(output)) if is_clipped else assume(compared > 0)


@pytest.mark.parametrize(("op", "inputs"), examples_of("conv"))
def test_explained_numbers_come_out(op, inputs):
    assert_explained(op, inputs)


@unhurried
@given(st.one_of(convolutions(), convolutions(transposed=True)))
def test_explained_numbers_come_out_for_any_arguments(drawn):
    op, shape = drawn
    accepted(op, shape)
    assert_explained(op, (shape,))


def refusal(op, *inputs):
    with pytest.raises(OpError) as caught:
        op.output(inputs)
    return str(caught.value)


def test_alexnets_first_layer():
    op, image = Conv2d(64, 11, stride=4, padding=2), ((1, 3, 224, 224),)
    outputs = op.output(image)
    assert outputs == ((1, 64, 55, 55),)
    assert sum(math.prod(shape) for shape in op.weights(image).values()) == 23_296
    assert op.macs(image, outputs) == 70_276_800


def test_the_lectures_six_filters():
    op, image = Conv2d(6, 5), ((1, 3, 32, 32),)
    lines = {line.quantity: line for line in op.formulas(image, op.output(image))}
    assert op.output(image) == ((1, 6, 28, 28),)
    assert lines["dot product"].value == 75
    assert lines["output height"].numbers == "(32 − 5 + 2·0) / 1 + 1"


def test_a_stride_that_does_not_divide_says_what_it_drops():
    op, image = Conv2d(64, 11, stride=4, padding=2), ((1, 3, 224, 224),)
    height = op.formulas(image, op.output(image))[0]
    assert height.numbers == "⌊(224 − 11 + 2·2) / 4⌋ + 1"
    assert height.note == "stride 4 does not divide 217: the last 1 dropped (padding only)"


def test_transposed_convolution_works_per_input():
    op, image = ConvTranspose2d(8, 2, stride=2), ((1, 16, 14, 14),)
    assert op.macs(image, op.output(image)) == 14 * 14 * 16 * 8 * 4


def test_messages_name_the_argument_and_the_remedy():
    assert "use 1, 2, 4" in refusal(Conv2d(4, 3, groups=3), (1, 64, 8, 8))
    assert "use Conv1d" in refusal(Conv2d(4, 3), (1, 64, 8))
    assert "the height is 4 with padding" in refusal(Conv2d(4, 5), (1, 64, 4, 8))
    assert "padding=same needs stride 1" in refusal(Conv1d(4, 3, stride=2, padding="same"), (1, 2, 8))
    assert "has 2 values; write one, or 3" in refusal(Conv3d(4, (3, 3)), (1, 2, 8, 8, 8))

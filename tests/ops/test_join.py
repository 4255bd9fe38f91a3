"""Ops that join branches, beside PyTorch's."""

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.op import Storage
from cnnstat.ir.window import IDENTITY
from cnnstat.ops.join import Add, Concat, Divide, Maximum, Minimum, Multiply, Stack, Subtract, broadcast

torch = pytest.importorskip("torch")
pytest.importorskip("hypothesis")
from hypothesis import assume, given, settings  # noqa: E402  # hypothesis may be missing
from hypothesis import strategies as st  # noqa: E402  # hypothesis may be missing
from oracles.calls import (  # noqa: E402  # imports torch
    assert_explained,
    assert_reads_as_torch,
    build,
    diagonal,
    evaluated,
    examples_of,
    kept_by_op,
    kept_by_torch,
    shapes_by_op,
    shapes_by_torch,
)

unhurried = settings(deadline=None)
CHAINS = (Add, Multiply, Maximum, Minimum)
PAIRS = (Subtract, Divide)
IN_PLACE = (Add, Multiply, Subtract, Divide)
MAP = (1, 64, 56, 56)


@pytest.mark.parametrize(("op", "inputs"), examples_of("join"))
class TestExamples:
    def test_shapes(self, op, inputs):
        assert shapes_by_torch(op, inputs) == op.output(inputs)

    def test_training_keeps_what_autograd_keeps(self, op, inputs):
        assert kept_by_op(op, inputs) == kept_by_torch(build(op, inputs), inputs)

    def test_outputs_read_the_inputs_of_their_window(self, op, inputs):
        assert_reads_of_concerned(op, inputs)

    def test_explained_numbers_come_out(self, op, inputs):
        assert_explained(op, inputs)


def assert_reads_of_concerned(op, inputs):
    """Outputs read what the window says; of a stack, which reads one input only, along one input's part."""
    (shape,) = op.output(inputs)
    if isinstance(op, Stack):
        together = build(op, inputs)
        op_axis = op.dim % len(shape)
        function = lambda *xs: together(*xs).sum(op_axis, keepdim=True)  # noqa: E731  # every input is read then
        shape = tuple(1 if axis == op_axis else size for axis, size in enumerate(shape))
        assert assert_reads_as_torch(op, inputs, diagonal(shape), function) > 0
        return
    assert assert_reads_as_torch(op, inputs, diagonal(shape)) > 0


@st.composite
def broadcasts(draw, slips=True):
    """An element-wise join with input shapes that broadcast, except where one size slipped."""
    full = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    count = draw(st.integers(2, 4))
    inputs = []
    for _ in range(count):
        sizes = [1 if draw(st.integers(0, 4)) == 0 else size for size in full]
        if slips and draw(st.integers(0, 9)) == 0:
            sizes[draw(st.integers(0, len(sizes) - 1))] += 1
        inputs.append(tuple(sizes[draw(st.sampled_from([0, 0, 0, 1])) :]))
    kind = draw(st.sampled_from(CHAINS + PAIRS if count == 2 else CHAINS))
    inplace = {"inplace": draw(st.booleans())} if kind in IN_PLACE else {}
    return kind(**inplace), tuple(inputs)


@given(broadcasts())
@settings(unhurried, max_examples=150)
def test_shapes_and_refusals_are_pytorchs(drawn):
    op, inputs = drawn
    assert shapes_by_op(op, inputs) == shapes_by_torch(op, inputs)


@given(broadcasts(slips=False))
@settings(unhurried, max_examples=100)
def test_training_keeps_what_autograd_keeps(drawn):
    op, inputs = drawn
    assume(shapes_by_op(op, inputs) is not None)
    assert kept_by_op(op, inputs) == kept_by_torch(build(op, inputs), inputs)


@given(broadcasts(slips=False))
@settings(unhurried, max_examples=100)
def test_outputs_read_the_inputs_of_their_window(drawn):
    op, inputs = drawn
    assume(shapes_by_op(op, inputs) is not None)
    assert_reads_of_concerned(op, inputs)
    assert_explained(op, inputs)


@st.composite
def neighbours(draw):
    """A concatenation or a stack with input shapes that fit except where one size slipped."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    op = draw(st.sampled_from((Concat, Stack)))(draw(st.integers(-5, 5)))
    inputs = []
    for _ in range(draw(st.integers(1, 3))):
        sizes = list(shape)
        if -len(shape) <= op.dim < len(shape) and draw(st.booleans()):
            sizes[op.dim] = draw(st.integers(1, 3))
        if draw(st.integers(0, 9)) == 0:
            sizes[draw(st.integers(0, len(sizes) - 1))] += 1
        inputs.append(tuple(sizes))
    return op, tuple(inputs)


@given(neighbours())
@settings(unhurried, max_examples=150)
def test_concatenations_and_refusals_are_pytorchs(drawn):
    op, inputs = drawn
    assert shapes_by_op(op, inputs) == shapes_by_torch(op, inputs)


def test_a_residual_connection():
    op, inputs = Add(), (MAP, MAP)
    assert op.output(inputs) == (MAP,)
    assert op.other_flops(inputs, (MAP,)) == {"element-wise": 200_704}
    assert op.saved(inputs, (MAP,)).inputs == ()


def test_a_gate_reads_no_axis_of_space():
    op, inputs = Multiply(), (MAP, (1, 64, 1, 1))
    image, gate = op.window(inputs, (MAP,))
    assert image == tuple((axis, IDENTITY) for axis in range(4))
    assert gate == ((0, IDENTITY), (1, IDENTITY), None, None)


def test_operations_count_once_for_every_partial_result():
    inputs = ((1, 1, 1, 1), (1, 1, 1, 1), (1, 2, 3, 4))
    (line,) = Add().formulas(inputs, ((1, 2, 3, 4),))
    assert (line.numbers, line.value) == ("1 + 24", 25)
    assert evaluated(line.numbers) == 25


def test_denses_concatenation():
    assert Concat().output(((1, 64, 56, 56), (1, 32, 56, 56), (1, 32, 56, 56))) == ((1, 128, 56, 56),)


def test_in_place_only_if_asked():
    assert Add().storage is Storage.FRESH
    assert Add(inplace=True).storage is Storage.IN_PLACE


def test_broadcasting_aligns_the_last_axes():
    assert broadcast((6, 1, 4), (5, 1)) == (6, 5, 4)
    assert broadcast((6, 2, 4), (5, 1)) is None


@pytest.mark.parametrize(
    ("op", "inputs", "said"),
    [
        (
            Add(),
            (MAP, (1, 128, 28, 28)),
            "branch 1 gives 64×56×56, branch 2 gives 128×28×28; "
            "give them equal channels and stride, or project the shortcut",
        ),
        (
            Add(),
            (MAP, MAP, (1, 128, 56, 56)),
            "branch 1 gives 64×56×56, branch 3 gives 128×56×56; "
            "give both 64 channels, or project the shortcut with a 1×1 convolution",
        ),
        (
            Multiply(),
            ((1, 64, 1, 1), MAP, (1, 64, 28, 28)),
            "branch 2 gives 64×56×56, branch 3 gives 64×28×28; "
            "give them equal stride and padding, or resize one with ResizeLike",
        ),
        (Add(), ((1, 512), (1, 128)), "branch 1 gives 512, branch 2 gives 128; give both 512 features"),
        (Add(), ((1, 512, 7), (1, 512, 6, 6)), "give them equally many axes (Flatten, Reshape or Unsqueeze)"),
        (Add(), ((2, 8), (3, 8)), "branch 1 gives 2×8, branch 2 gives 3×8; give them the same batch"),
        (
            Add(inplace=True),
            ((1, 64, 1, 1), MAP),
            "inplace=true cannot write 64×56×56 into the first input's 64×1×1; use inplace=false",
        ),
        (
            Concat(),
            (MAP, (1, 32, 28, 28)),
            "branch 1 gives 64×56×56, branch 2 gives 32×28×28; "
            "give them equal height and width: equal stride and padding, or CropLike or ResizeLike on one of them",
        ),
        (Concat(2), (MAP, (1, 32, 28, 56)), "give them equal channels, or concatenate along another axis than dim=2"),
        (Concat(), (MAP, (1, 32)), "give them equally many axes"),
        (Stack(), (MAP, (1, 32, 56, 56)), "give them equal shapes, or use Concat"),
    ],
)
def test_refusals_name_both_shapes_and_the_remedy(op, inputs, said):
    with pytest.raises(OpError) as caught:
        op.output(inputs)
    assert said in str(caught.value)

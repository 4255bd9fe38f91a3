"""Padding beside PyTorch's."""

import itertools

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.window import sliding
from cnnstat.ops import lookup
from cnnstat.ops.padding import CircularPad1d, ConstantPad2d, ReflectionPad2d, ZeroPad1d, ZeroPad2d

torch = pytest.importorskip("torch")
pytest.importorskip("hypothesis")
from hypothesis import assume, event, given, settings  # noqa: E402  # hypothesis may be missing
from hypothesis import strategies as st  # noqa: E402  # hypothesis may be missing
from oracles.calls import (  # noqa: E402  # imports torch
    assert_explained,
    assert_reads_as_torch,
    build,
    diagonal,
    examples_of,
    kept_by_op,
    kept_by_torch,
    shapes_by_op,
    shapes_by_torch,
)

unhurried = settings(deadline=None)
KINDS = ("Zero", "Constant", "Reflection", "Replication", "Circular")
MAP = ((1, 3, 6, 5),)


@pytest.mark.parametrize(("op", "inputs"), examples_of("padding"))
class TestExamples:
    def test_shapes(self, op, inputs):
        assert shapes_by_torch(op, inputs) == op.output(inputs)

    def test_training_keeps_what_autograd_keeps(self, op, inputs):
        assert kept_by_op(op, inputs) == kept_by_torch(build(op, inputs), inputs)

    def test_explained_numbers_come_out(self, op, inputs):
        assert_explained(op, inputs)


@st.composite
def paddings(draw, kinds=KINDS):
    """A padding with an input shape; PyTorch takes some of them and refuses others."""
    kind, spatial = draw(st.sampled_from(kinds)), draw(st.integers(1, 3))
    amount = st.integers(-3, 4)
    padding = draw(st.one_of(amount, st.tuples(*[amount] * 2 * spatial)))
    value = {"value": 1.5} if kind == "Constant" else {}
    shape = (1, draw(st.integers(1, 2)), *(draw(st.integers(1, 7)) for _ in range(spatial)))
    return lookup(f"{kind}Pad{spatial}d")(padding, **value), shape


def is_contradictory(op, shape):
    """Whether one side cuts off what the other pads with; PyTorch's kinds differ in what they make of that."""
    kept = [length + min(b, 0) + min(a, 0) for length, (b, a) in zip(shape[2:], op.sides)]
    is_circular = op.kind.startswith("Circular")
    return min(kept) < 1 or (is_circular and any(max(sides) > left for sides, left in zip(op.sides, kept)))


@given(paddings())
@settings(unhurried, max_examples=150)
def test_shapes_and_refusals_are_pytorchs(drawn):
    op, shape = drawn
    assume(not is_contradictory(op, shape))
    expected = shapes_by_torch(op, (shape,))
    event(f"accepted: {expected is not None}")
    assert shapes_by_op(op, (shape,)) == expected


@given(paddings())
@settings(unhurried, max_examples=60)
def test_outputs_read_the_inputs_of_their_window(drawn):
    op, shape = drawn
    outputs = shapes_by_op(op, (shape,))
    assume(outputs is not None and not is_contradictory(op, shape))
    assert kept_by_op(op, (shape,)) == kept_by_torch(build(op, (shape,)), (shape,))
    assume(assert_reads_as_torch(op, (shape,), diagonal(outputs[0])) > 0)
    assert_explained(op, (shape,))


def test_padding_is_written_last_axis_first():
    op = ZeroPad2d((1, 2, 3, 4))
    assert op.sides == [(3, 4), (1, 2)]
    assert op.output(MAP) == ((1, 3, 13, 8),)
    assert [rule for _, rule in op.window(MAP, op.output(MAP))[0][2:]] == [sliding(1, padding=3), sliding(1, padding=1)]


def test_negative_padding_cuts_off():
    assert ZeroPad2d(-1).output(MAP) == ((1, 3, 4, 3),)


@pytest.mark.parametrize(("kind", "spatial"), list(itertools.product(KINDS, (1, 2, 3))))
def test_a_wrong_number_of_axes_is_refused(kind, spatial):
    value = {"value": 0} if kind == "Constant" else {}
    op = lookup(f"{kind}Pad{spatial}d")(1, **value)
    with pytest.raises(OpError, match=f"{kind}Pad{spatial}d takes batch×channels×"):
        op.output(((1, 6),))


@pytest.mark.parametrize(
    ("op", "inputs", "said"),
    [
        (ReflectionPad2d(5), MAP, "padding=5 is too much for a width of 5; use at most 4, or ZeroPad2d"),
        (CircularPad1d(6), ((1, 3, 5),), "padding=6 is too much for a length of 5; use at most 5, or ZeroPad1d"),
        (ZeroPad2d((1, 2)), MAP, "padding=[1, 2] has 2 values; write one, or 4: left, right, top, bottom"),
        (ConstantPad2d((-3, -2, 0, 0), 1), MAP, "padding=-3 and -2 leave nothing of a width of 5; cut off less"),
        (ZeroPad1d(1), MAP, "use ZeroPad2d, or reshape the input first"),
    ],
)
def test_refusals_name_the_remedy(op, inputs, said):
    with pytest.raises(OpError) as caught:
        op.output(inputs)
    assert said in str(caught.value)

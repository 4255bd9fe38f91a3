"""Resizing beside PyTorch's interpolation."""

from fractions import Fraction

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.op import Storage
from cnnstat.ir.window import IDENTITY, NOTHING, UNFOLLOWED, Window, nearest
from cnnstat.ops.resize import ResizeLike, Upsample

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
MODES = ("nearest", "nearest-exact", "area", "linear", "bilinear", "bicubic", "trilinear")
FITTING = {1: ("linear",), 2: ("bilinear", "bicubic"), 3: ("trilinear",)}
MAP = ((1, 64, 28, 28),)


@pytest.mark.parametrize(("op", "inputs"), examples_of("resize"))
class TestExamples:
    def test_shapes(self, op, inputs):
        assert shapes_by_torch(op, inputs) == op.output(inputs)

    def test_training_keeps_what_autograd_keeps(self, op, inputs):
        assert kept_by_op(op, inputs) == kept_by_torch(build(op, inputs), inputs)

    def test_explained_numbers_come_out(self, op, inputs):
        assert_explained(op, inputs)
        flops = sum(op.other_flops(inputs, op.output(inputs)).values())
        assert op.formulas(inputs, op.output(inputs))[-1].value == flops


def per_axis(values, spatial):
    """One value, or a list with one for each axis."""
    return st.one_of(values, st.tuples(*[values] * spatial))


factors = st.one_of(st.sampled_from([1, 2, 3, 0.5, 1.5, 0.25]), st.integers(2, 35).map(lambda tenths: tenths / 10))


@st.composite
def resizings(draw, fits=False):
    """An upsampling with an input shape; unless it fits, PyTorch may refuse it."""
    spatial = draw(st.integers(1, 3))
    modes = ("nearest", "nearest-exact", "area", *FITTING[spatial]) if fits else MODES
    arguments = {"mode": draw(st.sampled_from(modes))}
    if draw(st.booleans()):
        arguments["size"] = draw(per_axis(st.integers(1, 14), spatial))
    else:
        arguments["scale_factor"] = draw(per_axis(factors, spatial))
        arguments["recompute_scale_factor"] = draw(st.sampled_from([None, False, True]))
    if arguments["mode"] in FITTING[spatial] or not fits:
        arguments["align_corners"] = draw(st.sampled_from([None, False, True]))
    shape = (1, draw(st.integers(1, 2)), *(draw(st.integers(1, 12)) for _ in range(spatial)))
    return Upsample(**arguments), shape


@given(resizings())
@settings(unhurried, max_examples=200)
def test_shapes_and_refusals_are_pytorchs(drawn):
    op, shape = drawn
    expected = shapes_by_torch(op, (shape,))
    event(f"accepted: {expected is not None}")
    assert shapes_by_op(op, (shape,)) == expected


@given(resizings(fits=True))
@unhurried
def test_training_keeps_what_autograd_keeps(drawn):
    op, shape = drawn
    assume(shapes_by_op(op, (shape,)) is not None)
    assert kept_by_op(op, (shape,)) == kept_by_torch(build(op, (shape,)), (shape,))
    assert_explained(op, (shape,))


def is_well_defined(axis, mode, output):
    """Whether PyTorch's kernels must agree with each other about the pixel that nearest neighbour takes.

    They compute the place in float32, which may fall short of a whole number; and the CPU takes a shortcut where an
    axis keeps or doubles its size, whatever the scale factor.
    """
    if mode not in ("nearest", "nearest-exact"):
        return True
    step = axis.step(align_corners=False)
    if axis.size in (axis.length, 2 * axis.length) and step != Fraction(axis.length, axis.size):
        return False
    place = (output + Fraction(mode == "nearest-exact", 2)) * step
    return place == 0 or step.denominator in (1, 2, 4) or abs(place - round(place)) > Fraction(1, 1000)


@given(resizings(fits=True))
@settings(unhurried, max_examples=120)
def test_outputs_read_the_inputs_of_their_window(drawn):
    op, shape = drawn
    outputs = shapes_by_op(op, (shape,))
    assume(outputs is not None)
    axes = op.axes((shape,))
    positions = [p for p in diagonal(outputs[0]) if all(is_well_defined(a, op.mode, o) for a, o in zip(axes, p[2:]))]
    assume(assert_reads_as_torch(op, (shape,), positions) > 0)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_resize_like_reads_its_first_input_only(mode):
    op, inputs = ResizeLike(mode), ((1, 2, 9, 7), (1, 5, 13, 16))
    assert assert_reads_as_torch(op, inputs, diagonal((1, 2, 13, 16))) > 0
    assert op.window(inputs, op.output(inputs))[1] == tuple((axis, NOTHING) for axis in range(4))


def space(op, inputs=MAP):
    """The rules of the spatial axes of the first input."""
    return tuple(rule for _, rule in op.window(inputs, op.output(inputs))[0][2:])


def test_doubling():
    op = Upsample(scale_factor=2)
    assert op.output(MAP) == ((1, 64, 56, 56),)
    assert space(op) == (nearest(Fraction(1, 2)),) * 2
    assert op.storage is Storage.FRESH


def test_bilinear_doubling_reads_two_pixels_an_axis():
    assert space(Upsample(scale_factor=2, mode="bilinear")) == (Window((range(-1, 1), range(2)), 1),) * 2


def test_a_scale_factor_steps_by_its_inverse_unless_it_is_recomputed():
    sequence = ((1, 1, 30),)
    assert space(Upsample(scale_factor=1.05), sequence) == (nearest(Fraction(20, 21)),)
    assert space(Upsample(scale_factor=1.05, recompute_scale_factor=True), sequence) == (nearest(Fraction(30, 31)),)


def test_linear_interpolation_to_the_same_size_is_the_identity():
    assert space(Upsample(28, mode="bilinear")) == (IDENTITY, IDENTITY)
    assert space(Upsample(scale_factor=1.02, mode="bilinear")) == (IDENTITY, IDENTITY)


def test_a_factor_without_a_short_period_is_not_followed():
    assert space(Upsample(scale_factor=4097.5)) == (UNFOLLOWED, UNFOLLOWED)
    assert space(Upsample(scale_factor=2**20)) == (UNFOLLOWED, UNFOLLOWED)


@pytest.mark.parametrize(
    ("mode", "inputs", "each"),
    [
        ("linear", ((1, 8, 10),), 3),
        ("bilinear", ((1, 8, 10, 10),), 9),
        ("bicubic", ((1, 8, 10, 10),), 35),
        ("trilinear", ((1, 8, 10, 10, 10),), 21),
    ],
)
def test_operations_for_one_output(mode, inputs, each):
    op = Upsample(scale_factor=2, mode=mode)
    outputs = op.output(inputs)
    assert op.other_flops(inputs, outputs) == {"resampling": each * 8 * 20 ** (len(inputs[0]) - 2)}


def test_nearest_computes_nothing_and_area_its_bins():
    assert Upsample(scale_factor=2).other_flops(MAP, ((1, 64, 56, 56),)) == {}
    # Bins of 28 → 8 have 4, 4, 5 (with one shared) … pixels: 4 · 8 + 4 in all.
    assert Upsample(14, mode="area").other_flops(MAP, ((1, 64, 14, 14),)) == {"resampling": 64 * 28 * 28}
    assert Upsample(8, mode="area").other_flops(MAP, ((1, 64, 8, 8),)) == {"resampling": 64 * 32 * 32}


@pytest.mark.parametrize(
    ("op", "inputs", "said"),
    [
        (Upsample(), MAP, "write either size or scale_factor"),
        (Upsample(7, 2), MAP, "write either size or scale_factor"),
        (Upsample(7, recompute_scale_factor=True), MAP, "recompute_scale_factor has no meaning with size"),
        (Upsample(scale_factor=0.01), MAP, "28×28 would shrink to 0×0; use a larger scale_factor"),
        (Upsample((7, 7, 7)), MAP, "size=[7, 7, 7] has 3 values; write one, or 2"),
        (Upsample(scale_factor=(2, 2, 2)), MAP, "scale_factor=[2, 2, 2] has 3 values; write one, or 2"),
        (Upsample(7, mode="linear"), MAP, "does not fit 2 spatial axes of 1×64×28×28; use bilinear or bicubic"),
        (Upsample(7, align_corners=True), MAP, "align_corners has no meaning with mode=nearest; leave it out"),
        (Upsample(7), ((1, 64),), "Upsample takes batch×channels×space, not 1×64; reshape the input first"),
        (ResizeLike(), (*MAP, (1, 64, 28)), "must have equally many spatial axes"),
    ],
)
def test_refusals_name_the_remedy(op, inputs, said):
    with pytest.raises(OpError) as caught:
        op.output(inputs)
    assert said in str(caught.value)

"""Ops that reshape, reorder, shuffle, slice and reduce, beside PyTorch's."""

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.op import Linearity, Storage
from cnnstat.ir.window import IDENTITY, WHOLE
from cnnstat.ops.reduction import Max, Mean, Sum
from cnnstat.ops.reorder import ChannelShuffle, Permute, PixelShuffle, PixelUnshuffle, Squeeze, Transpose, Unsqueeze
from cnnstat.ops.shape import Flatten, Identity, Reshape, Unflatten, regrouped
from cnnstat.ops.slicing import CenterCrop, Chunk, Crop, CropLike, Slice, Split

torch = pytest.importorskip("torch")
pytest.importorskip("hypothesis")
from hypothesis import assume, given, settings  # noqa: E402  # hypothesis may be missing
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
    shapes_of,
)

unhurried = settings(deadline=None)
EXAMPLES = examples_of("shape", "reorder", "slicing", "reduction")
IMAGE = ((2, 6, 5, 4),)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)
axis = st.integers(-6, 6)


def centred(x, sizes):
    """The middle of the spatial axes."""
    starts = [(length - size) // 2 for length, size in zip(x.shape[2:], sizes)]
    return x[(..., *(slice(start, start + size) for start, size in zip(starts, sizes)))]


def cut(x, size, offset):
    """A box of the spatial axes, given as in `Crop`."""
    sizes, offsets = ((v,) * (x.dim() - 2) if isinstance(v, int) else v for v in (size, offset))
    return x[(..., *(slice(first, first + length) for first, length in zip(offsets, sizes)))]


WITHOUT_TWIN = {
    Crop: lambda op: lambda x: cut(x, op.size, op.offset),
    CenterCrop: lambda op: lambda x: centred(x, (op.size,) * (x.dim() - 2) if isinstance(op.size, int) else op.size),
    CropLike: lambda op: lambda x, like: centred(x, like.shape[2:]),
}


def reference(op, inputs):
    """PyTorch's twin, or the few lines that stand for it."""
    return WITHOUT_TWIN[type(op)](op) if type(op) in WITHOUT_TWIN else build(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
class TestExamples:
    def test_shapes(self, op, inputs):
        assert shapes_of(reference(op, inputs)(*map(torch.zeros, inputs))) == op.output(inputs)

    def test_training_keeps_what_autograd_keeps(self, op, inputs):
        assert kept_by_op(op, inputs) == kept_by_torch(reference(op, inputs), inputs)

    def test_views_share_their_inputs_memory_and_copies_do_not(self, op, inputs):
        x, *others = map(torch.zeros, inputs)
        made = reference(op, inputs)(x, *others)
        pieces = made if isinstance(made, tuple) else (made,)
        shared = {piece.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() for piece in pieces}
        assert shared == {op.storage is Storage.VIEW}

    def test_explained_numbers_come_out(self, op, inputs):
        assert_explained(op, inputs)
        assert sum(op.other_flops(inputs, op.output(inputs)).values()) == sum(
            line.value for line in op.formulas(inputs, op.output(inputs)) if line.quantity == "FLOPs"
        )

    def test_outputs_read_the_inputs_of_their_window(self, op, inputs):
        if isinstance(op, PixelUnshuffle):
            pytest.skip("its channels read different pixels of one window; a test of its own below")
        for index, shape in enumerate(op.output(inputs)):
            assert assert_reads_as_torch(op, inputs, diagonal(shape), reference(op, inputs), index) > 0


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
@unhurried
def test_the_channels_of_pixel_unshuffle_together_read_its_window(factor, rows, columns):
    op, inputs = PixelUnshuffle(factor), ((1, 2, rows * factor, columns * factor),)
    together = lambda x: build(op, inputs)(x).sum(1, keepdim=True)  # noqa: E731  # one line, used once
    assert assert_reads_as_torch(op, inputs, diagonal((1, 1, rows, columns)), together) > 0


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
@settings(unhurried, max_examples=40)
def test_pixel_shuffle_reads_its_window(factor, channels, rows, columns):
    op, inputs = PixelShuffle(factor), ((1, channels * factor**2, rows, columns),)
    (shape,) = op.output(inputs)
    assert assert_reads_as_torch(op, inputs, diagonal(shape)) > 0


def drawn(kind, **arguments):
    """A strategy for ops of one kind."""
    return st.builds(kind, **arguments)


REARRANGERS = st.one_of(
    drawn(Flatten, start_dim=axis, end_dim=axis),
    drawn(Unflatten, dim=axis, unflattened_size=st.lists(st.integers(-1, 4), min_size=1, max_size=3).map(tuple)),
    drawn(Permute, dims=st.permutations(range(4)).map(tuple)),
    drawn(Permute, dims=st.lists(axis, min_size=1, max_size=4).map(tuple)),
    drawn(Transpose, dim0=axis, dim1=axis),
    drawn(Squeeze, dim=st.one_of(axis, st.lists(axis, min_size=1, max_size=3).map(tuple))),
    drawn(Unsqueeze, dim=axis),
    drawn(Slice, dim=axis, start=axis, end=st.one_of(st.none(), axis), step=st.integers(1, 4)),
    drawn(Split, sections=st.one_of(st.integers(1, 6), st.lists(st.integers(1, 3), min_size=1).map(tuple)), dim=axis),
    drawn(Chunk, chunks=st.integers(1, 6), dim=axis),
    drawn(Mean, dim=st.one_of(axis, st.lists(axis, min_size=1, max_size=3).map(tuple)), keepdim=st.booleans()),
    drawn(Max, dim=st.lists(axis, min_size=1, max_size=3).map(tuple), keepdim=st.booleans()),
)


@given(REARRANGERS, shapes)
@settings(unhurried, max_examples=100)
def test_shapes_and_refusals_are_pytorchs(op, shape):
    assert shapes_by_op(op, (shape,)) == shapes_by_torch(op, (shape,))


@given(REARRANGERS, shapes)
@settings(unhurried, max_examples=100)
def test_outputs_read_the_inputs_of_their_window(op, shape):
    outputs = shapes_by_op(op, (shape,))
    assume(outputs is not None)
    for index, made in enumerate(outputs):
        assert assert_reads_as_torch(op, (shape,), diagonal(made), index=index) > 0


@st.composite
def regroupings(draw):
    """Two shapes of equally many elements."""
    source = draw(shapes)
    factors = [p for size in source for p in {1: [], 2: [2], 3: [3], 4: [2, 2], 5: [5]}[size]]
    target = [1] * draw(st.integers(1, 5))
    for factor in draw(st.permutations(factors)):
        target[draw(st.integers(0, len(target) - 1))] *= factor
    return source, tuple(target)


@given(regroupings())
@settings(unhurried, max_examples=100)
def test_a_reshape_reads_what_its_window_says(shapes_of_both):
    source, target = shapes_of_both
    op, inputs = Reshape(target), ((1, *source),)
    assert op.output(inputs) == ((1, *target),)
    assert assert_reads_as_torch(op, inputs, diagonal((1, *target))) > 0


def test_axes_that_stay_whole_keep_their_window():
    assert regrouped((2, 6, 5, 4), (2, 2, 3, 5, 4)) == ((0, IDENTITY), None, None, (2, IDENTITY), (3, IDENTITY))
    assert regrouped((2, 6, 5, 4), (2, 6, 20)) == ((0, IDENTITY), (1, IDENTITY), None)
    assert regrouped((2, 6, 1, 1), (2, 6)) == ((0, IDENTITY), (1, IDENTITY))


def refusal(op, *inputs):
    with pytest.raises(OpError) as caught:
        op.output(inputs)
    return str(caught.value)


def test_flatten_before_a_classifier():
    assert Flatten().output(((1, 256, 6, 6),)) == ((1, 9216),)
    line = Flatten().formulas(((1, 256, 6, 6),), ((1, 9216),))[0]
    assert (line.symbols, line.numbers, line.value) == ("C·H·W", "256·6·6", 9216)


def test_slices_count_as_python_does():
    assert Slice(1, -3).output(IMAGE) == ((2, 3, 5, 4),)
    assert Slice(2, 0, None, 2).output(IMAGE) == ((2, 6, 3, 4),)


def test_chunk_makes_fewer_pieces_where_it_does_not_divide():
    assert len(Chunk(5, 1).output(((1, 8),))) == 4


def test_u_nets_crop():
    assert CropLike().output(((1, 512, 64, 64), (1, 512, 56, 56))) == ((1, 512, 56, 56),)


def test_a_mean_over_space_is_whole_and_a_sum_does_not_divide():
    inputs = ((1, 512, 7, 7),)
    op = Mean((2, 3), keepdim=True)
    assert op.window(inputs, op.output(inputs)) == (((0, IDENTITY), (1, IDENTITY), (2, WHOLE), (3, WHOLE)),)
    assert op.other_flops(inputs, op.output(inputs)) == {"pooling": 512 * 49}
    assert Sum((2, 3)).other_flops(inputs, ((1, 512),)) == {"pooling": 512 * 48}


def test_the_identity_is_affine_and_a_flatten_is_not():
    assert Identity().linearity is Linearity.AFFINE
    assert Flatten().linearity is Linearity.NONE


@pytest.mark.parametrize(
    ("op", "inputs", "said"),
    [
        (Flatten(3, 1), IMAGE, "start_dim=3 lies behind end_dim=1; swap them"),
        (Flatten(7), IMAGE, "start_dim=7 is no axis of a tensor of 4 axes; use -4 to 3"),
        (Reshape((7, -1)), IMAGE, "shape=[7, -1] does not divide into the 120 of 6×5×4; write -1 for one size"),
        (Reshape((6, 19)), IMAGE, "shape=[6, 19] holds 114 elements, not the 120 of 6×5×4"),
        (Reshape((-1, -1)), IMAGE, "-1 at most once"),
        (Permute((0, 2, 3)), IMAGE, "must name each of the 4 axes 0 to 3 once"),
        (Mean((2, -2)), IMAGE, "dim=[2, -2] names an axis twice"),
        (ChannelShuffle(4), IMAGE, "groups=4 does not divide 6 input channels; use 1, 2, 3"),
        (ChannelShuffle(2), ((1, 6),), "takes batch×channels×space, not 1×6"),
        (PixelShuffle(2), IMAGE, "needs channels in multiples of 4, not 6; give the layer before 8 channels"),
        (PixelUnshuffle(2), IMAGE, "downscale_factor=2 does not divide 5×4; pad the input to multiples of 2"),
        (PixelShuffle(2), ((1, 8, 4),), "takes batch×channels×height×width, not 1×8×4"),
        (Slice(1, 4, 2), IMAGE, "leave nothing of the 6 entries of axis 1"),
        (Split((2, 2)), IMAGE, "sections=[2, 2] add up to 4; axis 1 has 6 entries"),
        (Split(1, 1), ((1, 5000),), "makes 5000 pieces of 5000 entries; make at most 4096"),
        (Crop(3, 3), IMAGE, "cannot crop 3 pixels from 3 on out of a height of 5"),
        (CenterCrop(6), IMAGE, "cannot crop 6 pixels out of a height of 5; use a smaller size, or pad the input"),
        (CenterCrop((1, 1, 1)), IMAGE, "size=[1, 1, 1] has 3 values; write one, or 2"),
        (CenterCrop(1), ((1, 6),), "takes batch×channels×space, not 1×6"),
        (CropLike(), (*IMAGE, (1, 6, 3)), "must have equally many spatial axes"),
    ],
)
def test_refusals_name_the_remedy(op, inputs, said):
    assert said in refusal(op, *inputs)

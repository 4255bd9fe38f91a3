"""Receptive fields of whole graphs: published values, brute force over random graphs, and the gradients of PyTorch."""

import time
from fractions import Fraction

import pytest
from graph_builder import VGG, Builder, alexnet_features, resnet_features, vgg_features
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnstat.ir.graph import Edge
from cnnstat.ir.op import numel
from cnnstat.ops.adaptive_pool import AdaptiveAvgPool2d
from cnnstat.ops.concat import Concat
from cnnstat.ops.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d
from cnnstat.ops.join import Add, Multiply
from cnnstat.ops.padding import ConstantPad1d
from cnnstat.ops.pool import AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d
from cnnstat.ops.rectifier import ReLU
from cnnstat.ops.reduction import Mean
from cnnstat.ops.reorder import Permute
from cnnstat.ops.resize import ResizeLike, Upsample
from cnnstat.ops.shape import Flatten
from cnnstat.ops.shuffle import PixelShuffle
from cnnstat.ops.slicing import CropLike, Slice, Split
from cnnstat.ops.softmax import Softmax
from cnnstat.passes.gridding import covered_fraction
from cnnstat.passes.receptive_field import receptive_fields


def fields_of(builder, *outputs, strict=False):
    """The receptive fields of a built graph."""
    graph, values = builder.build(*outputs)
    return receptive_fields(graph, values, strict=strict)


def total(builder, *outputs, strict=False):
    """The receptive field of a network."""
    return fields_of(builder, *outputs, strict=strict).total


def named(fields, name):
    """The receptive field of a layer."""
    names = [node.name for node in fields.graph.nodes]
    return fields.of(fields.graph.arity + names.index(name))


# Published values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "size"), [(11, 150), (13, 156), (16, 212), (19, 268)])
def test_vgg(depth, size):
    found = total(vgg_features(depth))
    assert found.size == (size, size)
    assert found.stride == (32, 32)
    assert found.exact
    assert found.aligned
    assert found.centred
    assert not found.global_context


def test_vgg16_layer_by_layer():
    fields = fields_of(vgg_features(16))
    sizes = [fields.of(value).size[0] for value in range(1, 19)]
    assert sizes == [3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212]
    assert named(fields, "conv5_3").size == (196, 196)
    assert named(fields, "conv1_1").start == (-1, -1)
    assert named(fields, "conv1_2").start == (-2, -2)
    assert named(fields, "pool1").stride == (2, 2)


def test_alexnet():
    found = total(alexnet_features())
    assert found.size == (195, 195)
    assert found.stride == (32, 32)


@pytest.mark.parametrize(("depth", "size"), [(18, 435), (34, 899), (50, 427), (101, 971), (152, 1451)])
def test_resnet(depth, size):
    found = total(resnet_features(depth))
    assert found.size == (size, size)
    assert found.stride == (32, 32)
    assert found.aligned
    assert found.centred


def test_resnet50_with_the_stride_of_the_paper():
    assert total(resnet_features(50, stride_in_first=True)).size == (483, 483)


def test_a_classifier_reports_its_last_map():
    builder = vgg_features(16)
    last = builder.last
    builder.chain(ReLU(), AdaptiveAvgPool2d(1), Flatten())
    fields = fields_of(builder)
    assert fields.total.size == (212, 212)
    assert fields.total_at == Edge(last.value + 1)
    assert fields.of(builder.last.value) is None
    assert fields.sees_whole_input(builder.last.value)
    assert not fields.sees_whole_input(last.value)


def test_a_map_of_one_position_is_no_last_map_but_may_be_the_result():
    builder = Builder((1, 3, 14, 14))
    builder.chain(Conv2d(4, 3, 2, 1), AvgPool2d(7))
    assert total(builder).size == (15, 15)
    builder.add(Flatten())
    fields = fields_of(builder)
    assert fields.total.size == (3, 3)
    assert fields.of(2).size == (15, 15)
    single = Builder((1, 3, 5, 5))
    single.chain(Conv2d(4, 5), Flatten())
    assert total(single).size == (5, 5)


def test_axes_are_independent():
    builder = Builder((1, 2, 20, 30, 40))
    builder.chain(Conv3d(2, (1, 3, 7), (1, 2, 3), (0, 1, 3)), Conv3d(2, (3, 1, 2)))
    found = total(builder)
    assert found.size == (3, 3, 10)
    assert found.stride == (1, 2, 3)
    assert found.start == (0, -1, -3)


def test_permuted_axes_are_followed():
    builder = Builder((1, 2, 20, 30))
    builder.chain(Conv2d(2, (3, 5)), Permute((0, 1, 3, 2)), Conv2d(2, (7, 1)))
    assert total(builder).size == (3, 11)


def test_same_padding_puts_the_odd_pixel_right():
    builder = Builder((1, 2, 20))
    builder.add(Conv1d(2, 4, padding="same"))
    assert total(builder).start == (-1,)


# Up again ------------------------------------------------------------------------------------------------------------


def test_a_two_by_two_transposed_convolution_keeps_the_field():
    builder = Builder((1, 3, 32, 32))
    builder.chain(Conv2d(4, 3, padding=1), MaxPool2d(2), Conv2d(4, 3, padding=1))
    before = total(builder)
    builder.add(ConvTranspose2d(4, 2, stride=2))
    after = total(builder)
    assert before.size == after.size == (8, 8)
    assert (before.stride, after.stride) == ((2, 2), (1, 1))
    assert after.exact


def unet(depth, size, up):
    """A U-Net of one convolution a level; `up` makes the op that doubles the size."""
    builder = Builder((1, 1, size, size))
    skips = []
    for _ in range(depth):
        skips.append(builder.add(Conv2d(1, 3, padding=1)))
        builder.add(AvgPool2d(2))
    builder.add(Conv2d(1, 3, padding=1))
    while skips:
        builder.add(up())
        builder.add(Concat(), skips.pop(), builder.last)
        builder.add(Conv2d(1, 3, padding=1))
    return builder


def test_a_unet_is_aligned_and_centred():
    found = total(unet(4, 128, lambda: ConvTranspose2d(1, 2, stride=2)))
    assert found.exact
    assert found.aligned
    assert found.centred
    assert found.stride == (1, 1)
    assert found.size == (110, 110)


def test_the_tile_of_the_unet_paper():
    builder = Builder((1, 1, 572, 572))
    skips = []
    for _ in range(4):
        skips.append(builder.chain(Conv2d(1, 3), Conv2d(1, 3)))
        builder.add(MaxPool2d(2))
    builder.chain(Conv2d(1, 3), Conv2d(1, 3))
    while skips:
        up = builder.add(ConvTranspose2d(1, 2, stride=2))
        builder.add(Concat(), builder.add(CropLike(), skips.pop(), up), up)
        builder.chain(Conv2d(1, 3), Conv2d(1, 3))
    fields = fields_of(builder)
    value = builder.last.value
    # Ronneberger et al. 2015, figure 1: 388 × 388 outputs need a tile of 572 × 572.
    assert fields.values.outputs[value][0][2:] == (388, 388)
    assert fields.inside_share(value) == 1
    (_, (_, field)), _ = fields.followed(value)
    assert field.at(0)[0] == 0
    assert field.at(387)[1] == 571


def test_sub_pixel_convolution():
    builder = Builder((1, 1, 16, 16))
    builder.chain(Conv2d(4, 5, padding=2), PixelShuffle(2), Conv2d(1, 3, padding=1))
    found = total(builder)
    assert found.size == (6, 6)
    assert found.stride == (Fraction(1, 2), Fraction(1, 2))


# Merges --------------------------------------------------------------------------------------------------------------


def test_branches_of_different_padding_are_not_centred():
    builder = Builder((1, 1, 32))
    left = builder.add(ConstantPad1d((2, 0), 0.0))
    left = builder.add(Conv1d(1, 3), left)
    right = builder.add(Conv1d(1, 3, padding=1), Edge(0))
    builder.add(Add(), left, right)
    builder.add(Conv1d(1, 3, padding=1))
    found = total(builder)
    assert not found.centred
    assert found.aligned
    assert found.size == (6,)
    assert found.start == (-3,)


def test_branches_of_different_stride_are_not_aligned():
    builder = Builder((1, 1, 64))
    fast = builder.add(Conv1d(1, 1, 4), Edge(0))
    slow = builder.add(Conv1d(1, 3, 2, 1), Edge(0))
    slow = builder.add(Slice(2, 0, 16), slow)
    builder.add(Add(), fast, slow, name="merge")
    builder.add(Conv1d(1, 3, padding=1), name="after")
    fields = fields_of(builder)
    found = fields.total
    assert not found.aligned
    assert found.stride == (None,)
    assert found.misaligned_at == "merge"
    assert found.exact
    # Output 7 is the centre of 16: it reads 24, 28, 32 through one branch and 11 … 17 through the other.
    assert found.size == (32 - 11 + 1,)
    assert found.start == (-4,)


def test_inputs_of_equal_rank_share_their_coordinates():
    builder = Builder((1, 1, 16, 16), (1, 1, 16, 16))
    left, right = builder.add(Conv2d(1, 3, padding=1), Edge(0)), builder.add(Conv2d(1, 7, padding=3), Edge(1))
    builder.add(Add(), left, right)
    assert total(builder).size == (7, 7)


def test_a_vector_beside_an_image_changes_nothing():
    builder = Builder((1, 1, 16, 16), (1, 4))
    image = builder.add(Conv2d(4, 3, padding=1), Edge(0))
    vector = builder.add(Softmax(1), Edge(1))
    fields = fields_of(builder, image, vector)
    assert fields.of(vector.value) is None
    assert not fields.sees_whole_input(vector.value)
    assert not fields.total.global_context


def test_tokens_are_followed_along_their_positions():
    builder = Builder((2, 16), dtypes=("int64",))
    assert fields_of(builder).of(0).size == (1,)
    assert fields_of(Builder((2, 16))).of(0) is None


def test_the_size_reference_of_a_resize_is_not_read():
    builder = Builder((1, 1, 16, 16))
    small = builder.add(AvgPool2d(4))
    wide = builder.add(Conv2d(1, 7, padding=3), Edge(0))
    builder.add(ResizeLike("nearest"), small, wide)
    found = total(builder)
    assert found.size == (4, 4)
    assert found.aligned


# The whole input -----------------------------------------------------------------------------------------------------


def gated(pool):
    """A convolution, and a squeeze-excite gate on it that pools by `pool`."""
    builder = Builder((1, 4, 16, 16))
    body = builder.add(Conv2d(4, 3, padding=1))
    builder.chain(pool, Conv2d(4, 1))
    gate = builder.last
    builder.add(Multiply(), body, gate)
    builder.add(Conv2d(4, 3, padding=1))
    return builder


@pytest.mark.parametrize("pool", [AdaptiveAvgPool2d(1), Mean((2, 3), True), AvgPool2d(16)], ids=str)
def test_a_gate_is_global_context_beside_the_local_field(pool):
    found = total(gated(pool))
    assert found.size == (5, 5)
    assert found.global_context


@pytest.mark.parametrize("pool", [AdaptiveAvgPool2d(1), Mean((2, 3), True)], ids=str)
def test_strictly_a_gate_shows_the_whole_input(pool):
    fields = fields_of(gated(pool), strict=True)
    last = len(fields.traces) - 1
    assert fields.of(last) is None
    assert fields.sees_whole_input(last)
    assert fields.total.size == (3, 3)
    assert not fields.total.global_context


def test_softmax_over_space_sees_everything():
    builder = Builder((1, 4, 16, 16))
    builder.chain(Conv2d(4, 3), Softmax(3))
    fields = fields_of(builder)
    assert fields.sees_whole_input(2)
    assert fields.total_at == Edge(1)


def test_a_sum_of_a_map_and_its_transpose_has_no_local_field():
    builder = Builder((1, 1, 8, 8))
    builder.add(Permute((0, 1, 3, 2)))
    builder.add(Add(), Edge(0), builder.last)
    fields = fields_of(builder)
    assert fields.sees_whole_input(2)


def test_a_network_without_maps_has_no_field():
    builder = Builder((1, 10))
    builder.add(ReLU())
    assert total(builder) is None


def test_outputs_of_a_split_are_traced_each():
    builder = Builder((1, 1, 12))
    builder.add(Conv1d(1, 3, padding=1))
    builder.add(Split(4, 2))
    fields = fields_of(builder)
    assert [fields.of(2, output).start for output in range(3)] == [(-1,), (3,), (7,)]


# Border and holes ----------------------------------------------------------------------------------------------------


def test_share_of_outputs_inside_the_input():
    builder = Builder((1, 1, 10, 20))
    builder.add(Conv2d(1, 3, padding=1))
    builder.add(Conv2d(1, 5, padding=2))
    fields = fields_of(builder)
    assert fields.inside_share(1) == Fraction(8 * 18, 10 * 20)
    assert fields.inside_share(2) == Fraction(4 * 14, 10 * 20)
    assert fields.inside_share(0) == 1


def test_dilated_stacks_leave_holes():
    builder = Builder((1, 1, 64))
    builder.add(Conv1d(1, 3, padding=2, dilation=2))
    builder.add(Conv1d(1, 3, padding=2, dilation=2))
    fields = fields_of(builder)
    assert fields.of(2).size == (9,)
    assert covered_fraction(fields, 1) == (Fraction(3, 5),)
    assert covered_fraction(fields, 2) == (Fraction(5, 9),)
    smooth = Builder((1, 1, 64))
    smooth.chain(*(Conv1d(1, 3, padding=d, dilation=d) for d in (1, 2, 5)))
    assert covered_fraction(fields_of(smooth), 3) == (1,)


def test_coverage_leaves_out_what_only_a_gate_sees():
    fields = fields_of(gated(AdaptiveAvgPool2d(1)))
    assert covered_fraction(fields, 5) == (1, 1)
    assert covered_fraction(fields, 2) is None


def test_coverage_of_fields_too_long_to_look_at_is_not_given():
    builder = Builder((1, 1, 2**23))
    builder.add(Conv1d(1, 3, dilation=2**21))
    assert covered_fraction(fields_of(builder), 1) is None


# Brute force ---------------------------------------------------------------------------------------------------------


def read_by_hand(op, index, length, size):
    """The positions of an input of `length` that output `index` of `size` reads, and whether any lies outside.

    Written from the definitions in PyTorch's documentation, one output at a time.
    """
    if isinstance(op, ConvTranspose1d):
        wanted = [i for i in range(-200, length + 200) for j in range(op.kernel_size)
                  if i * op.stride - op.padding + op.dilation * j == index]  # fmt: skip
    elif isinstance(op, (Conv1d, MaxPool1d)):
        wanted = [index * op.stride - op.padding + op.dilation * j for j in range(op.kernel_size)]
    elif isinstance(op, AvgPool1d):
        wanted = [index * op.stride - op.padding + j for j in range(op.kernel_size)]
    elif isinstance(op, ConstantPad1d):
        wanted = [index - op.padding[0]]
    elif isinstance(op, Slice):
        wanted = [op.start + index]
    elif isinstance(op, Upsample) and op.mode == "nearest":
        wanted = [index * length // size]
    elif isinstance(op, Upsample):
        position = Fraction(2 * index + 1, 2) * Fraction(length, size) - Fraction(1, 2)
        if op.align_corners:
            position = Fraction(index * (length - 1), size - 1)
        below = position.numerator // position.denominator
        wanted = [below] if below == position else [below, below + 1]
    else:
        wanted = [index]
    return [i for i in wanted if 0 <= i < length], any(not 0 <= i < length for i in wanted)


def brute_force(graph, values):
    """For each value, each position: the set of input positions it depends on, and whether a border cut it short."""
    found = [[({i}, False) for i in range(graph.inputs[0].shape[2])]]
    for index, node in enumerate(graph.nodes):
        size = values.outputs[graph.arity + index][0][2]
        outputs = []
        for position in range(size):
            depends, is_cut = set(), False
            for source in node.inputs:
                taps, leaves = read_by_hand(node.op, position, len(found[source.value]), size)
                is_cut = is_cut or leaves or any(found[source.value][tap][1] for tap in taps)
                depends = depends.union(*(found[source.value][tap][0] for tap in taps))
            outputs.append((depends, is_cut))
        found.append(outputs)
    return found


ONE = st.just(1)
KERNEL = st.integers(1, 4)
UNARY = st.one_of(
    st.builds(Conv1d, ONE, KERNEL, st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)),
    st.builds(AvgPool1d, st.just(3), st.integers(1, 2), st.integers(0, 1)),
    st.builds(MaxPool1d, st.just(2), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2)),
    st.builds(ConvTranspose1d, ONE, KERNEL, st.integers(1, 3), st.integers(0, 1), dilation=st.integers(1, 2)),
    st.builds(Upsample, scale_factor=st.sampled_from([2.0, 3.0, 0.5])),
    st.builds(Upsample, st.integers(40, 90), mode=st.just("linear"), align_corners=st.booleans()),
    st.builds(Upsample, st.integers(40, 90)),
    st.builds(ConstantPad1d, st.tuples(st.integers(-2, 3), st.integers(-2, 3)), st.just(0.0)),
    st.builds(Slice, st.just(2), st.integers(0, 4)),
    st.just(ReLU()),
)


@st.composite
def random_graphs(draw):
    """A graph of one-channel maps: ops on any earlier map, sums and concatenations of two cut to one length."""
    builder = Builder((1, 1, 60))
    maps = [Edge(0)]
    for _ in range(draw(st.integers(1, 7))):
        values = builder.build(Edge(0))[1]
        length = {edge: values.outputs[edge.value][0][2] for edge in maps}
        recent = st.sampled_from(maps[-3:])
        first, second = draw(recent), draw(recent)
        if draw(st.integers(0, 3)):
            if 12 <= length[first] <= 200:
                maps.append(builder.add(draw(UNARY), first))
            continue
        common = min(length[first], length[second])
        pair = [builder.add(Slice(2, 0, common), e) if length[e] > common else e for e in (first, second)]
        if draw(st.booleans()):
            maps.append(builder.add(Add(), *pair))
        else:
            builder.add(Concat(), *pair)
            maps.append(builder.add(Conv1d(1, 1)))
    return builder.build(maps[-1])


SLOW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(random_graphs())
def test_random_graphs_against_brute_force(built):
    graph, values = built
    fields = receptive_fields(graph, values)
    for value, positions in enumerate(brute_force(graph, values)):
        if fields.followed(value) is None:
            # A stride over a transposed convolution's gaps reads nothing but them.
            assert not any(depends for depends, _ in positions)
            assert not fields.sees_whole_input(value)
            continue
        ((_, (_, field)),) = fields.followed(value)
        inside = 0
        for index, (depends, is_cut) in enumerate(positions):
            hull = field.at(index)
            inside += hull is None or (hull[0] >= 0 and hull[1] < 60)
            if field.is_exact and not is_cut:
                assert hull == ((min(depends), max(depends)) if depends else None), (value, index)
            elif depends:
                assert hull[0] <= min(depends)
                assert hull[1] >= max(depends)
        if field.is_exact:
            assert fields.inside_share(value) == Fraction(inside, len(positions))
            check_summary(fields, value, positions)
        else:
            assert fields.inside_share(value) <= Fraction(inside, len(positions))


def check_summary(fields, value, positions):
    """The size is that of the longest uncut field wherever every residue has one; the centre gives the coverage."""
    found, ((_, (_, field)),) = fields.of(value), fields.followed(value)
    period = len(field.components[0].lo)
    uncut = {i % period: max(d) - min(d) + 1 for i, (d, is_cut) in enumerate(positions) if d and not is_cut}
    if found.aligned and len(uncut) == period:
        assert found.size == (max(uncut.values()),)
    depends, is_cut = positions[(len(positions) - 1) // 2]
    if depends and not is_cut:
        hull = max(depends) - min(depends) + 1
        assert covered_fraction(fields, value) == (Fraction(len(depends), hull),)
        assert found.aligned or found.size == (hull,)


# PyTorch -------------------------------------------------------------------------------------------------------------


def gradient_hulls(graph, values, edge, position):
    """For each axis, the first and last input position with a gradient from one output, all weights positive."""
    torch = pytest.importorskip("torch")
    from torch_interpreter import Interpreter

    module = Interpreter(graph, values).double()
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, 1 / numel(parameter.shape))
    x = torch.ones(graph.inputs[0].shape, dtype=torch.float64, requires_grad=True)
    output = module(x)[edge.value][edge.output]
    (gradient,) = torch.autograd.grad(output[(0, slice(None), *position)].sum(), x)
    places = (gradient[0].abs().sum(0) > 0).nonzero()
    return tuple((places[:, axis].min().item(), places[:, axis].max().item()) for axis in range(x.dim() - 2))


def strided_resnet():
    """Two residual blocks with stride, pools by means so that gradients reach every tap."""
    builder = Builder((1, 1, 60, 60))
    builder.chain(Conv2d(2, 7, 2, 3, bias=False), AvgPool2d(3, 2, 1))
    for stride in (1, 2):
        shortcut = builder.last
        builder.chain(Conv2d(2, 3, stride, 1), Conv2d(2, 3, 1, 1))
        builder.add(Add(), builder.last, builder.add(Conv2d(2, 1, stride), shortcut))
    return builder


def bilinear_decoder():
    """A pyramid whose coarse level is resized to the fine one; stretched corners misalign it."""
    builder = Builder((1, 1, 48, 40))
    fine = builder.add(Conv2d(2, 3, padding=1))
    builder.chain(AvgPool2d(4), Conv2d(2, 3, padding=1))
    builder.add(Upsample((48, 40), mode="bilinear", align_corners=True))
    builder.add(Add(), fine, builder.last)
    return builder


def smooth_upsampling():
    """Overlapping transposed convolutions, a bilinear and a cubic resize."""
    builder = Builder((1, 1, 24, 20))
    builder.chain(
        Conv2d(1, 3, 2, 1),
        ConvTranspose2d(1, 4, 2, 1),
        Upsample(scale_factor=2.0, mode="bilinear"),
        Slice(2, 3, 33),
        Slice(3, 1, 35),
        AvgPool2d(2),
        ConvTranspose2d(1, 3, 2, 1, dilation=3),
    )
    return builder


NETS = {
    "resnet": strided_resnet,
    "unet": lambda: unet(2, 48, lambda: ConvTranspose2d(1, 2, stride=2)),
    "nearest unet": lambda: unet(2, 48, lambda: Upsample(scale_factor=2.0)),
    "bilinear decoder": bilinear_decoder,
    "smooth upsampling": smooth_upsampling,
}


@pytest.mark.parametrize("name", NETS)
def test_gradients_of_pytorch(name):
    builder = NETS[name]()
    graph, values = builder.build()
    edge = builder.last
    fields = receptive_fields(graph, values)
    followed = fields.followed(*edge)
    extents = values.outputs[edge.value][0][2:]
    for shift in range(5):
        position = tuple((extent - 1) // 2 + shift for extent in extents)
        hulls = gradient_hulls(graph, values, edge, position)
        for (_, (_, field)), index, hull, length in zip(
            followed, position, hulls, graph.inputs[0].shape[2:], strict=True
        ):
            low, high = field.at(index)
            assert (max(low, 0), min(high, length - 1)) == hull


@pytest.mark.parametrize("depth", VGG)
def test_every_first_field_starts_in_the_padding(depth):
    assert named(fields_of(vgg_features(depth)), "conv1_1").start == (-1, -1)


# Cost ----------------------------------------------------------------------------------------------------------------


def seconds(layers):
    """The time for a chain of residual blocks."""
    builder = Builder((1, 1, 64, 64))
    conv, relu, add = Conv2d(1, 3, padding=1), ReLU(), Add()
    for _ in range(layers // 3):
        shortcut = builder.last
        builder.chain(conv, relu)
        builder.add(add, shortcut, builder.last)
    graph, values = builder.build()
    start = time.process_time()
    fields = receptive_fields(graph, values)
    assert fields.total.size[0] == 2 * (layers // 3) + 1
    return time.process_time() - start


def test_time_is_linear_in_the_graph():
    seconds(300)
    assert seconds(30_000) < 40 * seconds(3_000) + 0.5

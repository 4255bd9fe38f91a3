"""Receptive fields against brute force over random graphs, against PyTorch's gradients, and their cost."""

import time
from fractions import Fraction

import pytest
from graph_builder import Builder, unet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnstat.analysis.receptive_field.gridding import covered_fraction
from cnnstat.analysis.receptive_field.propagation import receptive_fields
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import numel
from cnnstat.ops.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from cnnstat.ops.join import Add, Concat
from cnnstat.ops.padding import ConstantPad1d
from cnnstat.ops.pool import AvgPool1d, AvgPool2d, MaxPool1d
from cnnstat.ops.rectifier import ReLU
from cnnstat.ops.resize import Upsample
from cnnstat.ops.slicing import Slice

# Brute force ------------------------------------------------------------------------------------------------


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


# PyTorch ------------------------------------------------------------------------------------------------


def gradient_hulls(graph, values, edge, position):
    """For each axis, the first and last input position with a gradient from one output, all weights positive."""
    torch = pytest.importorskip("torch")
    from oracles.interpreter import Interpreter

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


# Cost ------------------------------------------------------------------------------------------------


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
    assert seconds(30_000) < 40 * min(seconds(3_000) for _ in range(3))

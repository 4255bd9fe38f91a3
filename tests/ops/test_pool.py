"""Pooling against PyTorch: sizes, refusals, kept tensors and windows."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnstat.errors import OpError
from cnnstat.ir.op import numel
from cnnstat.ops import FAMILIES, lookup
from cnnstat.ops.adaptive_pool import AdaptiveAvgPool2d, AdaptiveMaxPool1d, GlobalAvgPool, GlobalMaxPool, taps_of_bins
from cnnstat.ops.pool import AvgPool2d, LPPool1d, LPPool2d, MaxPool2d

torch = pytest.importorskip("torch")
from oracles.calls import (  # noqa: E402  # imports torch
    check_formulas,
    examples_of,
    kept_by_op,
    kept_by_torch,
    ones,
    shapes_of,
    support_by_op,
    support_by_torch,
    tensors_in,
    twin,
)

WINDOWED = FAMILIES["pool"]
EXAMPLES = examples_of("pool", "adaptive_pool")


@st.composite
def pools(draw):
    """A windowed pool with arguments that PyTorch may refuse, and an input."""
    cls = lookup(draw(st.sampled_from(WINDOWED)))
    sizes = st.integers(1, 4)
    per_axis = sizes | st.lists(sizes, min_size=cls.spatial, max_size=cls.spatial)
    arguments = {"kernel_size": draw(per_axis), "stride": draw(st.none() | per_axis), "ceil_mode": draw(st.booleans())}
    if "padding" in cls.__dataclass_fields__:
        arguments["padding"] = draw(st.integers(0, 2))
    if "dilation" in cls.__dataclass_fields__:
        arguments["dilation"] = draw(st.integers(1, 3))
        arguments["return_indices"] = draw(st.booleans())
    if "count_include_pad" in cls.__dataclass_fields__:
        arguments["count_include_pad"] = draw(st.booleans())
    if "divisor_override" in cls.__dataclass_fields__:
        arguments["divisor_override"] = draw(st.none() | st.integers(-2, 2))
    if "norm_type" in cls.__dataclass_fields__:
        arguments["norm_type"] = draw(st.sampled_from([1, 2, 2.5, -1, 0]))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *(draw(st.integers(1, 9)) for _ in range(cls.spatial)))
    return cls(**arguments), (shape,)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_examples_are_pytorchs(op, inputs):
    made = tensors_in(twin(op, inputs)(torch.ones(inputs[0])))
    assert op.output(inputs) == tuple(tuple(tensor.shape) for tensor in made)
    assert op.dtypes(("float32",), "float32", len(made)) == tuple(str(tensor.dtype)[6:] for tensor in made)
    assert op.weights(inputs) == op.buffers(inputs) == {}
    check_formulas(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_examples_keep_what_autograd_keeps(op, inputs):
    assert kept_by_op(op, inputs) == kept_by_torch(twin(op, inputs), ones(inputs))


@settings(max_examples=120, deadline=None)
@given(pools())
def test_sizes_refusals_and_kept_tensors_are_pytorchs(case):
    op, inputs = case
    try:
        expected = shapes_of(twin(op, inputs)(torch.ones(inputs[0])))
    except (RuntimeError, ZeroDivisionError, ValueError):
        with pytest.raises(OpError):
            op.output(inputs)
        return
    assert op.output(inputs) == expected
    assert kept_by_op(op, inputs) == kept_by_torch(twin(op, inputs), ones(inputs))
    check_formulas(op, inputs)


def probes(shape):
    """The first, a middle and the last index of each axis, all combinations."""
    return itertools.product(*({0, size // 2, size - 1} for size in shape))


@pytest.mark.parametrize(("op", "inputs"), [e for e in EXAMPLES if "Avg" in e.values[0].kind])
def test_windows_of_averages_are_where_the_gradient_is(op, inputs):
    (shape,) = op.output(inputs)
    for position in probes(shape):
        inside = [taps & set(range(size)) for taps, size in zip(support_by_op(op, inputs, position), inputs[0])]
        assert inside == support_by_torch(twin(op, inputs), ones(inputs), position)


@pytest.mark.parametrize(("op", "inputs"), [e for e in EXAMPLES if "Max" in e.values[0].kind])
def test_windows_of_maxima_are_what_can_win(op, inputs):
    """An input is in the window of an output if and only if making it the largest one decides that output."""
    module = twin(op, inputs)
    shape = op.output(inputs)[0]
    (n, c, *space) = inputs[0]
    x = torch.zeros(numel(space), 1, *space)
    x.view(numel(space), -1).fill_diagonal_(1)
    won = tensors_in(module(x))[0]
    for position in itertools.islice(probes(shape), 30):
        winners = won[(slice(None), 0, *position[2:])].reshape(space).nonzero().tolist()
        taps = support_by_op(op, inputs, position)[2:]
        inside = [sorted(set(range(size)) & along) for size, along in zip(space, taps)]
        assert winners == [list(place) for place in itertools.product(*inside)]


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_taps_of_bins_are_the_sum_over_bins(size, bins):
    assert taps_of_bins(size, bins) == sum(-(-(o + 1) * size // bins) - o * size // bins for o in range(bins))


def test_explain_states_the_largest_bin():
    op = AdaptiveAvgPool2d(5)
    notes = [line.note for line in op.formulas(((1, 1, 13, 10),), ((1, 1, 5, 5),))]
    assert notes[:2] == ["13 in 5 bins of up to 4", "10 in 5 bins of up to 2"]


def test_work_of_known_pools():
    vgg = ((1, 64, 224, 224),)
    half = ((1, 64, 112, 112),)
    assert MaxPool2d(2).output(vgg) == half
    assert MaxPool2d(2).other_flops(vgg, half) == {"pooling": 3 * 802_816}
    assert AvgPool2d(2).other_flops(vgg, half) == {"pooling": 4 * 802_816}
    assert LPPool2d(2, 2).other_flops(vgg, half) == {"pooling": 2 * 3_211_264}
    resnet, one = ((1, 512, 7, 7),), ((1, 512, 1, 1),)
    assert AdaptiveAvgPool2d(1).other_flops(resnet, one) == {"pooling": 25_088}
    assert GlobalAvgPool().other_flops(resnet, one) == {"pooling": 25_088}
    assert GlobalMaxPool().other_flops(resnet, one) == {"pooling": 24_576}
    assert MaxPool2d(2).macs(vgg, half) == 0


def test_explain_says_where_a_rounded_up_window_is_left_out():
    op = MaxPool2d(2, stride=3, padding=1, ceil_mode=True)
    inputs = ((1, 1, 8, 8),)
    line = op.formulas(inputs, op.output(inputs))[0]
    assert (line.numbers, line.value) == ("⌈(8 − 2 + 2·1) / 3⌉ + 1 − 1", 3)
    assert line.note.endswith("a further window would start in the padding")


@pytest.mark.parametrize(
    ("op", "shape", "message"),
    [
        (MaxPool2d(3, padding=2), (1, 1, 9, 9), "padding=2 is more than half of kernel_size=3; use at most 1"),
        (MaxPool2d(9), (1, 1, 8, 9), "kernel_size=9"),
        (AvgPool2d(2, divisor_override=0), (1, 1, 4, 4), "divisor_override=0"),
        (LPPool1d(0, 2), (1, 1, 4), "norm_type=0"),
        (AdaptiveAvgPool2d((1, 2, 3)), (1, 1, 4, 4), "output_size=[1, 2, 3] has 3 values"),
        (MaxPool2d(2), (1, 1, 4), "use MaxPool1d"),
        (GlobalAvgPool(), (1, 10), "GlobalAvgPool takes batch×channels×space"),
    ],
)
def test_refusals_name_the_argument(op, shape, message):
    with pytest.raises(OpError) as error:
        op.output((shape,))
    assert message in str(error.value)


def test_null_keeps_an_axis_in_one_dimension_too():
    op = AdaptiveMaxPool1d((None,))
    assert op.output(((1, 2, 9),)) == ((1, 2, 9),)
    assert op.torch_arguments(((1, 2, 9),))["output_size"] == 9

"""Normalizations beside PyTorch's."""

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.op import Linearity
from cnnstat.ir.window import IDENTITY, STATISTIC
from cnnstat.ops import lookup
from cnnstat.ops.layer_norm import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm
from cnnstat.ops.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm2d

torch = pytest.importorskip("torch")
hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402  # hypothesis may be missing, as torch may
from oracles.calls import (  # noqa: E402  # imports torch
    between_flat_parts,
    check_example,
    examples_of,
    in_inference,
    kept_by_op,
    kept_by_torch,
    support_by_op,
    support_by_torch,
    twin,
)

EXAMPLES = examples_of("norm", "layer_norm")
MAP = ((2, 6, 5, 4),)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_examples_are_pytorchs(op, inputs):
    check_example(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_saved_is_what_autograd_keeps(op, inputs):
    assert kept_by_op(op, inputs) == kept_by_torch(twin(op, inputs).train(), inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_window_is_where_the_gradient_is(op, inputs):
    for position in ((0,) * len(inputs[0]), tuple(size - 1 for size in inputs[0])):
        named = support_by_op(op, inputs, position)
        found = support_by_torch(in_inference(twin(op, inputs)), [between_flat_parts(inputs[0])], position)
        if op.kind == "GroupNorm":
            # A window is one rule for all outputs, so it names all channels where an output reads its own group.
            assert found[1] <= named[1]
            named[1] = found[1]
        assert named == found


SIZES = st.integers(1, 4)
FLAGS = st.booleans()


@st.composite
def channel_norms(draw):
    """A batch or instance norm with a shape that may have too few or too many axes."""
    spatial = draw(st.integers(1, 3))
    is_batch_norm = draw(FLAGS)
    cls = lookup(f"{'BatchNorm' if is_batch_norm else 'InstanceNorm'}{spatial}d")
    momentum = draw(st.sampled_from([0.1, 0.5, None]))
    op = cls(eps=draw(st.floats(1e-6, 1)), momentum=momentum, affine=draw(FLAGS), track_running_stats=draw(FLAGS))
    # PyTorch takes an instance norm's input without a batch; every shape here has one.
    fewest = 2 if is_batch_norm else spatial + 2
    return op, (tuple(draw(st.lists(SIZES, min_size=fewest, max_size=5))),)


@st.composite
def example_norms(draw):
    """A norm by layer, group, root mean square or neighbours, with a shape it may not fit."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=5)))
    last = shape[-draw(st.integers(1, len(shape))) :]
    sizes = draw(st.one_of(st.just(last), st.just(last[-1]), SIZES))
    affine = draw(FLAGS)
    ops = (
        LayerNorm(sizes, 1e-4, affine, draw(FLAGS)),
        RMSNorm(sizes, draw(st.sampled_from([None, 1e-4])), affine),
        GroupNorm(draw(st.integers(1, 7)), 1e-4, affine),
        LocalResponseNorm(draw(st.integers(1, 7))),
    )
    return draw(st.sampled_from(ops)), (shape,)


@hypothesis.given(st.one_of(channel_norms(), example_norms()))
@hypothesis.settings(deadline=None)
def test_takes_and_refuses_what_pytorch_does(call):
    op, inputs = call
    try:
        module = twin(op, inputs).eval()
        module(torch.rand(inputs[0]))
    except (ValueError, RuntimeError):
        with pytest.raises(OpError):
            op.output(inputs)
        return
    check_example(op, inputs)


@pytest.mark.parametrize("cls", [BatchNorm1d, BatchNorm2d, InstanceNorm2d])
def test_channels_are_never_written(cls):
    with pytest.raises(TypeError):
        cls(64)


def test_bias_alone_can_be_left_out():
    assert dict(BatchNorm2d(bias=False).weights(MAP)) == {"weight": (6,)}
    assert dict(BatchNorm2d(affine=False).weights(MAP)) == {}
    assert "bias" not in BatchNorm2d().torch_arguments(MAP)
    assert GroupNorm(2, bias=False).torch_arguments(MAP)["bias"] is False


@pytest.mark.parametrize(
    ("op", "shape", "flops"),
    [
        (BatchNorm2d(), (1, 64, 112, 112), 1_605_632),
        (BatchNorm2d(affine=False), (1, 64, 112, 112), 1_605_632),
        (BatchNorm2d(track_running_stats=False), (1, 64, 112, 112), 7 * 802_816 + 5 * 64),
        (LayerNorm(768), (1, 197, 768), 1_060_057),
        (LayerNorm(768, bias=False), (1, 197, 768), 908_761),
        (RMSNorm(4096), (1, 1, 4096), 16_388),
        (GroupNorm(32), (1, 64, 56, 56), 1_405_088),
        (LocalResponseNorm(5), (1, 96, 55, 55), 3_194_400),
    ],
)
def test_flops(op, shape, flops):
    assert op.other_flops((shape,), (shape,)) == {"normalization": flops}


def test_fixed_statistics_are_affine_and_local():
    for op in (BatchNorm2d(), InstanceNorm2d(track_running_stats=True)):
        assert op.linearity is Linearity.AFFINE
        assert op.window(MAP, MAP)[0] == tuple((axis, IDENTITY) for axis in range(4))


def test_own_statistics_are_of_all_of_space():
    for op in (BatchNorm2d(track_running_stats=False), InstanceNorm2d(), GroupNorm(3), LayerNorm((6, 5, 4))):
        assert op.linearity is Linearity.NONE
        assert op.window(MAP, MAP)[0][2:] == ((2, STATISTIC), (3, STATISTIC))


def test_layer_norm_with_channels_last_is_local():
    assert LayerNorm(4).window(MAP, MAP)[0] == ((0, IDENTITY), (1, IDENTITY), (2, IDENTITY), (3, STATISTIC))


@pytest.mark.parametrize(
    ("op", "shape", "message"),
    [
        (
            BatchNorm1d(),
            (1, 3, 8, 8),
            "BatchNorm1d takes batch×channels×length, but its input is 1×3×8×8; use BatchNorm2d, "
            "or reshape the input first",
        ),
        (BatchNorm2d(), (1, 3), "BatchNorm2d takes feature maps, but its input is 1×3; use BatchNorm1d"),
        (
            BatchNorm3d(),
            (1, 3, 8, 8),
            "BatchNorm3d takes batch×channels×depth×height×width, but its input is 1×3×8×8; use BatchNorm2d, "
            "or reshape the input first",
        ),
        (GroupNorm(5), (1, 64, 8, 8), "num_groups=5 does not divide 64 channels; use 4 or 8"),
        (GroupNorm(100), (1, 64, 8, 8), "num_groups=100 does not divide 64 channels; use 64"),
        (GroupNorm(8), (1, 8), "num_groups=8 leaves one value a group of 1×8; use fewer groups"),
        (
            LayerNorm(64),
            (1, 64, 8, 9),
            "normalized_shape=64 is not how 1×64×8×9 ends; use 9, or move the axes to normalize to the end",
        ),
        (
            LayerNorm((8, 8)),
            (1, 64, 8, 9),
            "normalized_shape=8×8 is not how 1×64×8×9 ends; use [8, 9], or move the axes to normalize to the end",
        ),
        (
            InstanceNorm2d(),
            (1, 3, 1, 1),
            "track_running_stats=false needs more than one value for each statistic, but the input is 1×3×1×1; "
            "write track_running_stats=true",
        ),
        (
            LocalResponseNorm(5),
            (1, 3),
            "LocalResponseNorm takes batch×channels×space, but its input is 1×3; put it before Flatten",
        ),
    ],
)
def test_refusals_name_the_argument_and_the_remedy(op, shape, message):
    with pytest.raises(OpError) as caught:
        op.output((shape,))
    assert str(caught.value) == message

"""Dropout beside PyTorch's."""

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.op import Linearity, Storage
from cnnstat.ops.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
    StochasticDepth,
)

torch = pytest.importorskip("torch")
from oracles.calls import (  # noqa: E402  # imports torch
    check_all_arithmetic,
    check_example,
    examples_of,
    kept_by_op,
    kept_by_torch,
    twin,
)

EXAMPLES = [example for example in examples_of("dropout") if example.values[0].kind != "StochasticDepth"]
MAP = ((2, 6, 5, 4),)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_examples_are_pytorchs(op, inputs):
    check_example(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_inference_returns_the_input(op, inputs):
    x = torch.rand(inputs[0])
    assert twin(op, inputs).eval()(x) is x
    assert op.storage is Storage.VIEW
    assert op.other_flops(inputs, inputs) == {}
    assert op.linearity is Linearity.AFFINE


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_training_is_in_place_where_pytorch_overwrites(op, inputs):
    x = torch.rand(inputs[0])
    is_same = twin(op, inputs).train()(x).data_ptr() == x.data_ptr()
    assert (op.training_storage is not Storage.FRESH) == is_same


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_saved_is_what_autograd_keeps(op, inputs):
    is_fused_on_a_gpu = op.kind == "Dropout" and 0 < op.p < 1 and not op.inplace
    module = (lambda x: torch.native_dropout(x, op.p, True)[0]) if is_fused_on_a_gpu else twin(op, inputs).train()
    assert kept_by_op(op, inputs) == kept_by_torch(module, inputs)


def test_noise_in_bytes():
    assert kept_by_op(Dropout(), MAP).extra_bytes == 240
    assert kept_by_op(Dropout(inplace=True), MAP).extra_bytes == 4 * 240
    assert kept_by_op(Dropout2d(), MAP).extra_bytes == 4 * 12
    assert kept_by_op(AlphaDropout(), MAP).extra_bytes == 4 * 240
    assert kept_by_op(FeatureAlphaDropout(), MAP).extra_bytes == 4 * 12
    assert kept_by_op(Dropout(0), MAP).extra_bytes == 0
    assert kept_by_op(StochasticDepth(0.2), MAP).extra_bytes == 4 * 2
    assert kept_by_op(StochasticDepth(0.2, "batch"), MAP).extra_bytes == 4


def test_alpha_dropout_never_overwrites():
    assert AlphaDropout(inplace=True).training_storage is Storage.FRESH
    assert Dropout(inplace=True).training_storage is Storage.IN_PLACE


@pytest.mark.parametrize("example", StochasticDepth.examples(), ids=lambda example: str(example.op))
def test_stochastic_depth_is_torchvisions(example):
    try:
        module = twin(*example)
    except (ImportError, RuntimeError):
        pytest.skip("torchvision cannot be imported")
    x = torch.rand(example.inputs[0])
    assert module.eval()(x) is x
    assert kept_by_op(*example) == kept_by_torch(module.train(), example.inputs)


@pytest.mark.parametrize("example", StochasticDepth.examples(), ids=lambda example: str(example.op))
def test_stochastic_depth_explains_itself(example):
    check_all_arithmetic(*example)
    assert example.op.training_storage is (Storage.FRESH if example.op.p else Storage.VIEW)


@pytest.mark.parametrize(
    ("op", "shape", "message"),
    [
        (Dropout1d(), (2, 6), "Dropout1d takes batch×channels×length, but its input is 2×6; use Dropout"),
        (Dropout1d(), (2, 6, 5, 4), "Dropout1d takes batch×channels×length, but its input is 2×6×5×4; use Dropout2d"),
        (Dropout2d(), (6,), "Dropout2d takes batch×channels×…; use Dropout, or reshape the input first"),
        (
            Dropout3d(),
            (2, 6, 5, 4),
            "Dropout3d would take the batch for channels, as PyTorch does unless there are five axes; use Dropout2d",
        ),
    ],
)
def test_refusals_name_the_remedy(op, shape, message):
    with pytest.raises(OpError) as caught:
        op.output((shape,))
    assert str(caught.value) == message


def test_probabilities_are_between_0_and_1():
    with pytest.raises(OpError, match="^p=1.5 must be a number of at least 0 and at most 1$"):
        Dropout(1.5)
    with pytest.raises(OpError, match="^mode=rows must be one of batch, row; did you mean row?"):
        StochasticDepth(0.1, "rows")

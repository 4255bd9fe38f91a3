"""Activations beside PyTorch's."""

import math
import re
import warnings

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.op import Family, Storage
from cnnstat.ir.window import IDENTITY, WHOLE, Window
from cnnstat.ops import FAMILIES, lookup
from cnnstat.ops.activation import Arctan, BinaryStep, Hardtanh, Logistic, ScaledTanh, Sigmoid
from cnnstat.ops.rectifier import CELU, ELU, GELU, LeakyReLU, PReLU, ReLU, ReLU6, SiLU, Softplus
from cnnstat.ops.softmax import GLU, LogSoftmax, Softmax

torch = pytest.importorskip("torch")
hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402  # hypothesis may be missing, as torch may
from oracles.calls import (  # noqa: E402  # imports torch
    between_flat_parts,
    check_all_arithmetic,
    check_example,
    examples_of,
    in_inference,
    kept_by_op,
    kept_by_torch,
    support_by_op,
    support_by_torch,
    twin,
)

FILES = ("activation", "rectifier", "softmax")
NAMES = [name for file in FILES for name in FAMILIES[file]]
EXAMPLES = examples_of(*FILES)
WITHOUT_TWIN = {
    "BinaryStep": lambda op: lambda x: (x >= 0).to(x.dtype),
    "ScaledTanh": lambda op: lambda x: op.amplitude * torch.tanh(op.slope * x),
}
IMAGE = ((1, 64, 55, 55),)


def torch_function(op, inputs):
    """The PyTorch module of an op, or its definition where PyTorch has none."""
    return twin(op, inputs) if op.torch else WITHOUT_TWIN[op.kind](op)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_examples_are_pytorchs(op, inputs):
    if op.torch:
        check_example(op, inputs)
    check_all_arithmetic(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_saved_is_what_autograd_keeps(op, inputs):
    if op.kind == "BinaryStep":
        assert kept_by_op(op, inputs) == ((), (), 0)
    else:
        assert kept_by_op(op, inputs) == kept_by_torch(torch_function(op, inputs), inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_storage_is_in_place_where_pytorch_overwrites(op, inputs):
    x = torch.rand(inputs[0])
    is_same = torch_function(op, inputs)(x).data_ptr() == x.data_ptr()
    assert op.storage is (Storage.IN_PLACE if is_same else Storage.FRESH)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_window_is_where_the_gradient_is(op, inputs):
    if op.kind == "BinaryStep":
        pytest.skip("has no gradient")
    (output,) = op.output(inputs)
    for position in ((0,) * len(output), tuple(size - 1 for size in output)):
        assert support_by_op(op, inputs, position) == support_by_torch(
            in_inference(torch_function(op, inputs)), [between_flat_parts(inputs[0])], position
        )


NUMBERS = st.floats(-3, 3)
POSITIVE = st.floats(0.1, 3)
OPS_WITH_CURVE = st.one_of(
    *(st.just(lookup(name)()) for name in NAMES if name not in ("Softmax", "LogSoftmax", "GLU")),
    st.builds(ELU, NUMBERS),
    st.builds(CELU, POSITIVE),
    st.builds(LeakyReLU, NUMBERS),
    st.builds(PReLU, st.just(1), NUMBERS),
    st.builds(Softplus, POSITIVE, st.floats(0, 30)),
    st.builds(GELU, st.sampled_from(["none", "tanh"])),
    st.builds(Hardtanh, st.floats(-3, 0), POSITIVE),
    st.builds(ScaledTanh, NUMBERS, NUMBERS),
)


@hypothesis.given(OPS_WITH_CURVE, st.lists(st.floats(-40, 40), min_size=1, max_size=20))
@hypothesis.settings(deadline=None)
def test_curve_is_pytorchs_function(op, drawn):
    grid = torch.tensor([*drawn, -30.0, -3.0, -1.0, -1e-9, 0.0, 0.5, 1.0, 3.0, 6.0, 30.0], dtype=torch.float64)
    function = torch_function(op, ((1,),))
    if isinstance(function, torch.nn.Module):
        function.double()
    with torch.no_grad():
        expected = function(grid.clone())
    curve = torch.tensor([op.curve(x) for x in grid.tolist()], dtype=torch.float64)
    torch.testing.assert_close(curve, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_activation_says_what_it_computes(name):
    cls = lookup(name)
    assert cls.family is Family.ACTIVATION
    assert re.match("(f|fᵢ)\\(.*\\) = ", cls.equation)
    assert re.match("f′\\(x\\) = |∂f", cls.derivative)
    assert f": {', '.join(cls.steps)}" in cls.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_curve_never_overflows(name):
    op = lookup(name)()
    values = [op.curve(x) for x in (-1e300, -1e3, 1e3, 1e300)]
    if name in FAMILIES["softmax"]:
        assert values == [None] * 4
        assert "no curve" in op.__doc__
    else:
        assert all(map(math.isfinite, values))


def test_lenet_squashing_keeps_plus_and_minus_one():
    assert ScaledTanh().curve(1) == pytest.approx(1, abs=1e-4)
    assert ScaledTanh().curve(-1) == pytest.approx(-1, abs=1e-4)


def test_logistic_is_sigmoid():
    assert (Logistic.equation, Logistic.steps) == (Sigmoid.equation, Sigmoid.steps)
    assert Logistic().curve(0.0) == 0.5
    assert Arctan().curve(1.0) == pytest.approx(math.pi / 4)
    assert [BinaryStep().curve(x) for x in (-1, 0, 1)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("op", "flops"),
    [
        (ReLU(), 193_600),
        (ReLU6(), 387_200),
        (Sigmoid(), 774_400),
        (SiLU(), 774_400),
        (GELU(), 968_000),
        (GELU("tanh"), 1_742_400),
    ],
)
def test_flops_of_an_image(op, flops):
    assert op.other_flops(IMAGE, IMAGE) == {"activation": flops}


def test_flops_of_vectors():
    classes = ((2, 1000),)
    assert Softmax().other_flops(classes, classes) == {"activation": 10_000}
    assert LogSoftmax().other_flops(classes, classes) == {"activation": 10_002}
    assert GLU().other_flops(classes, ((2, 500),)) == {"activation": 5_000}


@pytest.mark.parametrize("shape", [(3, 7), (4, 6, 5), (2, 6, 5, 4), (2, 3, 4, 3, 2)])
def test_softmax_without_dim_guesses_as_pytorch_does(shape):
    x = torch.rand(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.nn.Softmax(None)(x)
    assert torch.equal(twin(Softmax(None), (shape,))(x), expected)


def test_softmax_over_space_sees_all_of_it_and_over_channels_none():
    assert Softmax(-1).window(IMAGE, IMAGE)[0][2:] == ((2, IDENTITY), (3, WHOLE))
    assert Softmax(1).window(IMAGE, IMAGE)[0][2:] == ((2, IDENTITY), (3, IDENTITY))


def test_glu_reads_both_halves():
    assert GLU(1).window(IMAGE, GLU(1).output(IMAGE))[0][1] == (1, Window((range(0, 33, 32),), 1))


def refusal(make):
    with pytest.raises(OpError) as caught:
        make()
    return str(caught.value)


def test_refusals_name_the_argument_and_the_remedy():
    assert (
        refusal(lambda: PReLU(3).output(((1, 64, 5, 5),))) == "num_parameters=3 does not fit 64 channels; use 1 or 64"
    )
    assert refusal(lambda: PReLU(3).output(((7,),))) == "num_parameters=3 does not fit 1 channels; use 1"
    assert (
        refusal(lambda: GLU(1).output(((1, 3, 5, 5),)))
        == "dim=1 has 3 elements, which cannot be halved; choose an even axis"
    )
    assert refusal(lambda: Softmax(4).output(((1, 3, 5, 5),))) == "dim=4 names no axis of 1×3×5×5; use -4 to 3"
    assert refusal(lambda: Hardtanh(2)) == "min_val=2 must be smaller than max_val=1.0"
    assert refusal(lambda: GELU("tan")) == "approximate=tan must be one of none, tanh; did you mean tanh?"
    assert refusal(lambda: Softplus(0)) == "beta=0 must be a number above 0"
    assert refusal(lambda: CELU("x")) == "alpha=x must be a number above 0"
    assert refusal(lambda: ReLU(1)) == "inplace=1 must be true or false"

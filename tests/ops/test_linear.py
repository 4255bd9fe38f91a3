"""Linear, Bilinear, MatMul and Embedding against PyTorch."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnstat.errors import OpError
from cnnstat.ir.op import Linearity
from cnnstat.ops.embedding import Embedding
from cnnstat.ops.linear import Bilinear, Linear
from cnnstat.ops.matmul import MatMul

torch = pytest.importorskip("torch")
from oracles.calls import (  # noqa: E402  # imports torch
    check_formulas,
    examples_of,
    kept_by_op,
    kept_by_torch,
    macs_by_torch,
    ones,
    parameters_of,
    shapes_of,
    support_by_op,
    support_by_torch,
    twin,
)

MAPS = examples_of("linear")
PRODUCTS = examples_of("matmul")
TABLES = examples_of("embedding")

sizes = st.integers(1, 4)
shapes = st.lists(sizes, min_size=1, max_size=4).map(tuple)
batches = st.lists(st.integers(1, 2), max_size=3).map(tuple)


@pytest.mark.parametrize(("op", "inputs"), MAPS + PRODUCTS)
def test_examples_are_pytorchs(op, inputs):
    function = twin(op, inputs)
    tensors = ones(inputs)
    parameters = dict(op.weights(inputs))
    if parameters:
        assert parameters == parameters_of(function)
    owned = list(function.parameters()) if parameters else []
    assert op.output(inputs) == shapes_of(function(*tensors))
    assert kept_by_op(op, inputs) == kept_by_torch(function, tensors, owned)
    assert op.buffers(inputs) == {}
    check_formulas(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), MAPS + PRODUCTS)
def test_windows_are_where_the_gradient_is(op, inputs):
    (shape,) = op.output(inputs)
    function = twin(op, inputs)
    for position in itertools.islice(itertools.product(*map(range, shape)), 0, None, 7):
        for which in range(len(inputs)):
            tensors = ones(inputs)
            by_op = support_by_op(op, inputs, position, which)
            assert by_op == support_by_torch(function, tensors, position, which)


@settings(deadline=None)
@given(shapes, sizes, st.booleans())
def test_linear_works_as_pytorchs_counter_says(shape, out_features, bias):
    op = Linear(out_features, bias)
    if len(shape) == 1:
        with pytest.raises(OpError, match="Linear takes batch×features"):
            op.output((shape,))
        return
    module = twin(op, (shape,))
    assert op.macs((shape,), op.output((shape,))) == macs_by_torch(module, ones((shape,)))
    assert op.weights((shape,)) == parameters_of(module)
    assert kept_by_op(op, (shape,)) == kept_by_torch(module, ones((shape,)), list(module.parameters()))


def test_bilinear_is_a_linear_map_of_all_products():
    inputs = ((4, 3), (4, 5))
    op = Bilinear(2)
    first, second = torch.rand(inputs[0]), torch.rand(inputs[1])
    module = twin(op, inputs)
    products = torch.einsum("ni,nj->nij", first, second).flatten(1)
    expected = products @ module.weight.flatten(1).T + module.bias
    torch.testing.assert_close(module(first, second), expected)
    outputs = op.output(inputs)
    assert op.other_flops(inputs, outputs) == {"element-wise": products.numel(), "bias": 8}
    assert op.macs(inputs, outputs) == Linear(2).macs(((4, 15),), outputs)


@settings(max_examples=150, deadline=None)
@given(batches, batches, st.tuples(sizes, sizes, sizes, sizes), st.booleans(), st.booleans())
def test_products_are_pytorchs(left, right, rows_and_columns, left_is_vector, right_is_vector):
    m, k, other, n = rows_and_columns
    other = other if other == 1 else k  # most pairs should fit
    inputs = ((k,) if left_is_vector else (*left, m, k), (other,) if right_is_vector else (*right, other, n))
    op = MatMul()
    try:
        expected = shapes_of(torch.matmul(*ones(inputs)))
    except RuntimeError:
        with pytest.raises(OpError, match="cannot multiply"):
            op.output(inputs)
        return
    assert op.output(inputs) == expected
    assert kept_by_op(op, inputs) == kept_by_torch(torch.matmul, ones(inputs))
    if not (left_is_vector or right_is_vector):
        assert op.macs(inputs, expected) == macs_by_torch(torch.matmul, ones(inputs))


def test_a_product_with_a_vector_is_one_dot_product_an_output():
    # PyTorch's counter knows no matrix-vector products.
    assert MatMul().macs(((2, 3, 4), (4,)), ((2, 3),)) == 24


@pytest.mark.parametrize(("op", "inputs"), TABLES)
def test_embeddings_are_pytorchs(op, inputs):
    module = twin(op, inputs)
    numbers = torch.zeros(inputs[0], dtype=torch.int64)
    assert op.weights(inputs) == parameters_of(module)
    assert op.output(inputs) == shapes_of(module(numbers))
    assert kept_by_op(op, inputs) == kept_by_torch(module, [numbers], list(module.parameters()))
    assert op.dtypes(("int64",), "float16", 1) == ("float16",)
    assert op.macs(inputs, op.output(inputs)) == 0
    check_formulas(op, inputs)


@settings(deadline=None)
@given(st.integers(-5, 5), st.integers(1, 4))
def test_padding_idx_is_in_the_table(padding_idx, num_embeddings):
    op = Embedding(num_embeddings, 2, padding_idx)
    try:
        twin(op, ((1,),))
    except AssertionError:
        with pytest.raises(OpError, match="padding_idx"):
            op.output(((1,),))
        return
    assert op.output(((1,),)) == ((1, 2),)


def test_classifier_of_vgg16():
    op, inputs = Linear(4096), ((1, 25_088),)
    outputs = op.output(inputs)
    assert op.macs(inputs, outputs) == 102_760_448
    assert op.weights(inputs) == {"weight": (4096, 25_088), "bias": (4096,)}
    assert op.other_flops(inputs, outputs) == {"bias": 4096}
    assert op.counted_as_weighted
    assert op.linearity is Linearity.DENSE


def test_looking_up_costs_nothing_but_scaling_does():
    inputs = ((2, 9),)
    assert Embedding(100, 16).other_flops(inputs, ((2, 9, 16),)) == {}
    assert Embedding(100, 16, max_norm=1).other_flops(inputs, ((2, 9, 16),)) == {"normalization": 900}


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (Bilinear(2), ((3, 4), (2, 4)), "two inputs that differ in the last axis only"),
        (MatMul(), ((2, 3), (4, 5)), "the last axis of the first, 3, must equal the last but one of the second, 4"),
        (MatMul(), ((2, 3, 4), (3, 4, 5)), "give them equal sizes, or 1"),
        (MatMul(), ((), (3,)), "gets a single number"),
    ],
)
def test_refusals_say_what_to_change(op, inputs, message):
    with pytest.raises(OpError) as error:
        op.output(inputs)
    assert message in str(error.value)

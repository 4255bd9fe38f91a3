"""Attention against PyTorch's."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnstat.errors import OpError
from cnnstat.ops.attention import ScaledDotProductAttention

torch = pytest.importorskip("torch")
from autograd_oracle import (  # noqa: E402  # imports torch
    check_formulas,
    examples_of,
    kept_by_op,
    kept_by_torch,
    macs_by_torch,
    ones,
    shapes_of,
    support_by_op,
    support_by_torch,
    twin,
)

PRODUCTS = examples_of("attention")


def attention_inputs(inputs, device="cpu"):
    """Query, key and value that require a gradient, and a boolean mask that does not."""
    masks = [torch.ones(shape, dtype=torch.bool, device=device) for shape in inputs[3:]]
    return [*ones(inputs[:3], device), *masks]


@pytest.mark.parametrize(("op", "inputs"), PRODUCTS)
def test_dot_product_examples_are_pytorchs(op, inputs):
    function = twin(op, inputs)
    assert op.output(inputs) == shapes_of(function(*attention_inputs(inputs)))
    assert op.macs(inputs, op.output(inputs)) == macs_by_torch(function, attention_inputs(inputs, "meta"))
    assert kept_by_op(op, inputs) == kept_by_torch(function, attention_inputs(inputs))
    assert op.weights(inputs) == op.buffers(inputs) == {}
    check_formulas(op, inputs)


@st.composite
def dot_products(draw):
    """Attention whose inputs mostly fit together, some of them only by broadcasting or by sharing heads."""
    sizes = st.integers(1, 3)
    batch = draw(st.lists(sizes, min_size=1, max_size=3).map(tuple))
    queries, keys, length, heads = draw(sizes), draw(sizes), draw(sizes), draw(st.sampled_from([1, 2, 3]))
    own = [batch if draw(st.booleans()) else (*batch[:-1], heads) for _ in range(2)]
    value_length = draw(st.sampled_from([length, 4]))
    inputs = ((*batch, queries, length), (*own[0], keys, length), (*own[1], keys, value_length))
    masks = [(queries, keys), (1, keys), (*batch, queries, keys), (queries + 1, keys)]
    mask = draw(st.none() | st.sampled_from(masks))
    # PyTorch looks at heads before it looks at batches, and takes a single matrix for a batch in 3-axis products.
    assume(len(batch) > 1 or len({shape[0] for shape in inputs}) == 1)
    op = ScaledDotProductAttention(
        dropout_p=draw(st.sampled_from([0, 0, 0.5])),
        is_causal=mask is None and draw(st.booleans()),
        enable_gqa=len(batch) > 1 and draw(st.booleans()),
    )
    return op, inputs if mask is None else (*inputs, mask)


@settings(max_examples=300, deadline=None)
@given(dot_products())
def test_dot_products_are_pytorchs(case):
    op, inputs = case
    function = twin(op, inputs)
    try:
        expected = shapes_of(function(*attention_inputs(inputs)))
    except RuntimeError:
        with pytest.raises(OpError):
            op.output(inputs)
        return
    assert op.output(inputs) == expected
    assert op.macs(inputs, expected) == macs_by_torch(function, attention_inputs(inputs, "meta"))
    assert kept_by_op(op, inputs) == kept_by_torch(function, attention_inputs(inputs))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_position_reads_its_own_query_and_all_keys_and_values(which):
    op, inputs = ScaledDotProductAttention(), ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 2))
    for position in ((0, 0, 0, 0), (1, 2, 4, 1)):
        tensors = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in inputs]
        assert support_by_op(op, inputs, position, which) == support_by_torch(
            twin(op, inputs), tensors, position, which
        )


def test_work_of_one_vit_block():
    shape = (1, 12, 197, 64)
    op, inputs = ScaledDotProductAttention(), (shape, shape, shape)
    assert op.macs(inputs, op.output(inputs)) == 2 * 12 * 197 * 197 * 64
    assert op.other_flops(inputs, op.output(inputs)) == {"attention": 6 * 12 * 197 * 197}


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (ScaledDotProductAttention(), ((2, 5, 8), (2, 5, 9), (2, 5, 9)), "a query has 8 features and a key 9"),
        (ScaledDotProductAttention(), ((2, 5, 8), (2, 7, 8), (2, 6, 8)), "there are 7 keys and 6 values"),
        (ScaledDotProductAttention(), ((2, 6, 5, 8), (2, 3, 5, 8), (2, 3, 5, 8)), "enable_gqa=true"),
        (ScaledDotProductAttention(enable_gqa=True), ((2, 6, 5, 8), (2, 4, 5, 8), (2, 4, 5, 8)), "do not divide 6"),
        (ScaledDotProductAttention(), ((5, 8), (5, 8), (5, 8)), "reshape them"),
        (ScaledDotProductAttention(), ((2, 5, 8), (2, 7, 8), (2, 7, 8), (4, 7)), "give it 5×7"),
        (ScaledDotProductAttention(is_causal=True), ((2, 5, 8),) * 3 + ((5, 5),), "is_causal=true brings its own mask"),
    ],
)
def test_refusals_say_what_to_change(op, inputs, message):
    with pytest.raises(OpError) as error:
        op.output(inputs)
    assert message in str(error.value)

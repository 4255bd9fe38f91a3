"""Attention against PyTorch's."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnstat.errors import OpError
from cnnstat.ops.attention import ScaledDotProductAttention
from cnnstat.ops.multihead_attention import MultiheadAttention

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

RELEASE = tuple(map(int, torch.__version__.split(".")[:2]))

PRODUCTS = examples_of("attention")
HEADS = examples_of("multihead_attention")


def attention_inputs(inputs, device="cpu"):
    """Query, key and value that require a gradient, and a boolean mask that does not."""
    masks = [torch.ones(shape, dtype=torch.bool, device=device) for shape in inputs[3:]]
    return [*ones(inputs[:3], device), *masks]


@pytest.mark.parametrize(("op", "inputs"), PRODUCTS)
def test_dot_product_examples_are_pytorchs(op, inputs):
    function = twin(op, inputs)
    assert op.output(inputs) == shapes_of(function(*attention_inputs(inputs)))
    assert op.macs(inputs, op.output(inputs)) == macs_by_torch(function, attention_inputs(inputs, "meta"))
    if op.enable_gqa and RELEASE < (2, 13):
        return  # older releases repeat the heads and do not fuse, so that they keep other tensors
    assert kept_by_op(op, inputs) == kept_by_torch(function, attention_inputs(inputs))
    assert op.weights(inputs) == op.buffers(inputs) == {}
    check_formulas(op, inputs)


@st.composite
def dot_products(draw):
    """Attention whose inputs mostly fit together, some of them only by broadcasting or by sharing heads."""
    sizes = st.integers(1, 3)
    batch = draw(st.lists(sizes, max_size=3).map(tuple))
    queries, keys, length, heads = draw(sizes), draw(sizes), draw(sizes), draw(st.sampled_from([1, 2, 3]))
    own = [batch if not batch or draw(st.booleans()) else (*batch[:-1], heads) for _ in range(2)]
    value_length = draw(st.sampled_from([length, 4]))
    inputs = ((*batch, queries, length), (*own[0], keys, length), (*own[1], keys, value_length))
    masks = [(queries, keys), (1, keys), (*batch, queries, keys), (queries + 1, keys)]
    mask = draw(st.none() | st.sampled_from(masks))
    # PyTorch looks at heads before it looks at batches, and takes a single matrix for a batch in 3-axis products.
    assume(len(batch) != 1 or len({shape[0] for shape in inputs}) == 1)
    op = ScaledDotProductAttention(
        dropout_p=draw(st.sampled_from([0, 0, 0.5])),
        is_causal=mask is None and draw(st.booleans()),
        enable_gqa=len(batch) != 1 and draw(st.booleans()),
    )
    return op, inputs if mask is None else (*inputs, mask)


@settings(max_examples=80, deadline=None)
@given(dot_products())
def test_dot_products_are_pytorchs(case):
    op, inputs = case
    function = twin(op, inputs)
    try:
        expected = shapes_of(function(*attention_inputs(inputs)))
    except (RuntimeError, IndexError):
        with pytest.raises(OpError):
            op.output(inputs)
        return
    assert op.output(inputs) == expected
    assert op.macs(inputs, expected) == macs_by_torch(function, attention_inputs(inputs, "meta"))
    if op._is_fused(inputs) or RELEASE < (2, 14):  # later releases take ever more layouts into the fused kernel
        assert kept_by_op(op, inputs) == kept_by_torch(function, attention_inputs(inputs))


def test_one_sequence_without_a_batch_is_a_batch_of_one():
    inputs = ((5, 8), (7, 8), (7, 4), (5, 7))
    op, twins = ScaledDotProductAttention(), tuple((1, *shape) for shape in inputs)
    assert op.macs(inputs, op.output(inputs)) == macs_by_torch(twin(op, twins), attention_inputs(twins, "meta"))
    assert op.other_flops(inputs, op.output(inputs)) == op.other_flops(twins, op.output(twins))
    assert kept_by_op(op, inputs)[2] == kept_by_op(op, twins)[2]
    tensors = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in inputs[:3]]
    for which in range(3):
        assert support_by_op(op, inputs[:3], (1, 2), which) == support_by_torch(
            twin(op, inputs), tensors, (1, 2), which
        )


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


def heads_of(op, inputs, device="cpu"):
    """PyTorch's module, and a function of one, two or three tensors that calls it."""
    module = torch.nn.MultiheadAttention(**op.torch_arguments(inputs)).to(device)

    def function(query, key=None, value=None):
        memory = query if key is None else key
        made = module(query, memory, memory if value is None else value, need_weights=op.need_weights)
        return made if op.need_weights else made[0]

    return module, function


def check_heads(op, inputs):
    """Sizes, weights, products and kept tensors are PyTorch's."""
    module, function = heads_of(op, inputs)
    assert op.output(inputs) == shapes_of(function(*ones(inputs)))
    assert op.weights(inputs) == parameters_of(module)
    assert op.macs(inputs, op.output(inputs)) == macs_by_torch(heads_of(op, inputs, "meta")[1], ones(inputs, "meta"))
    assert kept_by_op(op, inputs) == kept_by_torch(function, ones(inputs), list(module.parameters()))
    check_formulas(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), HEADS)
def test_multihead_examples_are_pytorchs(op, inputs):
    check_heads(op, inputs)
    assert op.buffers(inputs) == {}


@st.composite
def multihead_calls(draw):
    """Multi-head attention with one, two or three inputs that fit together."""
    sizes, flags = st.integers(1, 4), st.booleans()
    heads = draw(st.integers(1, 3))
    n, queries, keys, features = draw(sizes), draw(sizes), draw(sizes), heads * draw(st.integers(1, 3))
    key_features, value_features = (draw(st.sampled_from([features, 5])) for _ in range(2))
    batch_first, count = draw(flags), draw(st.integers(1, 3))
    shapes = [(queries, features), (keys, key_features), (keys, value_features)][:count]
    inputs = tuple((n, *shape) if batch_first else (shape[0], n, shape[1]) for shape in shapes)
    inputs = inputs if draw(st.integers(0, 3)) else tuple(shapes)
    names = ("bias", "add_bias_kv", "add_zero_attn", "need_weights")
    options = {name: draw(flags) for name in names}
    return MultiheadAttention(heads, draw(st.sampled_from([0, 0.5])), batch_first=batch_first, **options), inputs


@settings(max_examples=60, deadline=None)
@given(multihead_calls())
def test_multihead_calls_are_pytorchs(case):
    check_heads(*case)


HEADS_OF_ONE = [(MultiheadAttention(3, need_weights=True), ((5, 12), (7, 12), (7, 12))[:count]) for count in (1, 2, 3)]


CALLS = [*(example.values for example in HEADS), *HEADS_OF_ONE]


@pytest.mark.parametrize(
    ("op", "inputs", "index"),
    [(op, inputs, index) for op, inputs in CALLS for index in range(len(op.output(inputs)))],
)
def test_multihead_windows_are_where_the_gradient_is(op, inputs, index):
    outputs = op.output(inputs)
    _, function = heads_of(MultiheadAttention(**{**vars(op), "dropout": 0}), inputs)
    for which in range(len(inputs)):
        torch.manual_seed(0)
        tensors = [torch.rand(shape, requires_grad=True) for shape in inputs]
        place = (1,) * len(outputs[index])
        ours = support_by_op(op, inputs, place, which, index)
        if index and which == 2:
            function(*tensors)[index][place].backward()
            assert tensors[which].grad is None
            assert ours[:-1] == [set()] * (len(place) - 1)
        else:
            assert ours == support_by_torch(function, tensors, place, which, index)


def test_work_of_vit_b_attention():
    op, inputs = MultiheadAttention(12), ((1, 197, 768),)
    outputs = op.output(inputs)
    assert op.macs(inputs, outputs) == 4 * 197 * 768 * 768 + 2 * 197 * 197 * 768
    assert sum(torch.Size(shape).numel() for shape in op.weights(inputs).values()) == 2_362_368
    assert op.other_flops(inputs, outputs) == {"bias": 4 * 197 * 768, "attention": 6 * 12 * 197 * 197}


def test_need_weights_is_no_argument_of_the_module():
    assert "need_weights" not in MultiheadAttention(3, need_weights=True).torch_arguments(((2, 5, 12),))


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (ScaledDotProductAttention(), ((2, 5, 8), (2, 5, 9), (2, 5, 9)), "a query has 8 features and a key 9"),
        (ScaledDotProductAttention(), ((2, 5, 8), (2, 7, 8), (2, 6, 8)), "there are 7 keys and 6 values"),
        (ScaledDotProductAttention(), ((2, 6, 5, 8), (2, 3, 5, 8), (2, 3, 5, 8)), "enable_gqa=true"),
        (ScaledDotProductAttention(enable_gqa=True), ((2, 6, 5, 8), (2, 4, 5, 8), (2, 4, 5, 8)), "do not divide 6"),
        (ScaledDotProductAttention(), ((8,), (8,), (8,)), "reshape them"),
        (ScaledDotProductAttention(enable_gqa=True), ((5, 8), (5, 8), (5, 8)), "needs heads"),
        (ScaledDotProductAttention(), ((2, 5, 8), (2, 7, 8), (2, 7, 8), (4, 7)), "give it 5×7"),
        (MultiheadAttention(5), ((2, 5, 12),), "num_heads=5 does not divide 12 features; use 1, 2, 3, 4, 6, 12"),
        (MultiheadAttention(3, kdim=8), ((2, 5, 12), (2, 7, 9)), "write kdim=9, or leave it out"),
        (MultiheadAttention(3), ((2, 5, 12), (3, 7, 12)), "give all the same batch"),
        (MultiheadAttention(3), ((12,),), "takes batch×positions×features"),
        (MultiheadAttention(3), ((1, 5, 12), (5, 12)), "give all the same batch"),
        (ScaledDotProductAttention(is_causal=True), ((2, 5, 8),) * 3 + ((5, 5),), "is_causal=true brings its own mask"),
    ],
)
def test_refusals_say_what_to_change(op, inputs, message):
    with pytest.raises(OpError) as error:
        op.output(inputs)
    assert message in str(error.value)

"""What sees the whole input: gates, attention, reductions, and what has no receptive field at all."""

import pytest
from graph_builder import Builder, fields_of, gated, total

from cnnstat.analysis.receptive_field.fields import Extent
from cnnstat.ir.graph import Edge
from cnnstat.ops.adaptive_pool import AdaptiveAvgPool2d
from cnnstat.ops.attention import ScaledDotProductAttention
from cnnstat.ops.conv import Conv1d, Conv2d
from cnnstat.ops.embedding import Embedding
from cnnstat.ops.join import Add
from cnnstat.ops.linear import Linear
from cnnstat.ops.matmul import MatMul
from cnnstat.ops.pool import AvgPool2d
from cnnstat.ops.rectifier import ReLU
from cnnstat.ops.reduction import Mean
from cnnstat.ops.reorder import Permute, Transpose
from cnnstat.ops.shape import Flatten
from cnnstat.ops.slicing import Split
from cnnstat.ops.softmax import Softmax


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


@pytest.mark.parametrize("kept", [True, False])
def test_a_mean_over_space_sees_everything(kept):
    builder = Builder((1, 4, 16, 16))
    builder.chain(Conv2d(4, 3), Mean((2, 3), kept))
    assert fields_of(builder).sees_whole_input(2)


def test_softmax_over_an_axis_sees_all_of_it_and_leaves_the_other_local():
    builder = Builder((1, 4, 16, 16))
    builder.chain(Conv2d(4, 3), Softmax(3))
    fields = fields_of(builder)
    assert (fields.of(2).size, fields.of(2).whole) == ((3, 16), (False, True))
    assert fields.total_at == Edge(2)


def test_a_sum_of_a_map_and_its_transpose_has_no_local_field():
    builder = Builder((1, 1, 8, 8))
    builder.add(Permute((0, 1, 3, 2)))
    builder.add(Add(), Edge(0), builder.last)
    fields = fields_of(builder)
    assert (fields.extent(2), fields.of(2)) == (Extent.NOT_FOLLOWED, None)


def test_attention_by_hand_and_by_one_op_see_every_position():
    builder = Builder((1, 16), dtypes=("int64",))
    tokens = builder.add(Embedding(10, 8))
    builder.add(Transpose(1, 2), tokens)
    scores = builder.add(MatMul(), tokens, builder.last)
    weights = builder.add(Softmax(2), scores)
    mixed = builder.add(MatMul(), weights, tokens)
    fused = builder.add(ScaledDotProductAttention(), tokens, tokens, tokens)
    beside = builder.add(Add(), tokens, mixed)
    fields = fields_of(builder)
    assert fields.of(tokens.value).size == (1,)
    # A score depends on its query's and its key's position; the weights on all keys.
    assert fields.extent(scores.value) is Extent.NOT_FOLLOWED
    assert [fields.sees_whole_input(edge.value) for edge in (weights, mixed, fused)] == [True] * 3
    assert fields.of(beside.value).size == (1,)
    assert fields.of(beside.value).global_context


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


def test_each_element_of_a_flattened_map_has_its_field_until_a_linear_layer_mixes_them():
    builder = Builder((1, 4, 16, 16))
    builder.chain(Conv2d(4, 3), Flatten(), ReLU(), Linear(10), ReLU())
    fields = fields_of(builder)
    assert fields.total.size == (3, 3)
    assert [fields.of(value).size for value in (1, 2, 3)] == [(3, 3)] * 3
    assert [fields.of(value) for value in (4, 5)] == [None] * 2
    assert [fields.sees_whole_input(value) for value in range(1, 6)] == [False, False, False, True, True]


def test_a_flattened_pool_of_everything_has_seen_everything():
    builder = Builder((1, 4, 16, 16))
    builder.chain(AdaptiveAvgPool2d(1), Flatten())
    assert fields_of(builder).sees_whole_input(2)

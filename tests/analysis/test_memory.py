"""Memory: lecture figures, a simulation of random graphs, and what PyTorch's autograd keeps."""

import math
from dataclasses import replace

import pytest
from graph_builder import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnstat.analysis.memory import memory
from cnnstat.analysis.shapes import infer_shapes
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import DTYPE_BYTES, Edge
from cnnstat.ir.op import Storage
from cnnstat.ops.conv import Conv2d
from cnnstat.ops.join import Add, Concat
from cnnstat.ops.linear import Linear
from cnnstat.ops.norm import BatchNorm2d
from cnnstat.ops.pool import MaxPool2d
from cnnstat.ops.rectifier import ReLU
from cnnstat.ops.shape import Flatten, Identity
from cnnstat.ops.slicing import Chunk, Slice


def memory_of(builder, *outputs, optimizer="sgd"):
    """The memory of a built graph."""
    return memory(*builder.build(*outputs), optimizer=optimizer)


IMAGE = 4 * 8 * 16 * 16
"""Bytes of a map of 8 channels, 16 × 16 pixels, in float32."""


def images(batch=1):
    """A builder that starts from one such map a batch item."""
    return Builder((batch, 8, 16, 16))


# Parameters ----------------------------------------------------------------------------------------------------------


def test_parameters_and_buffers():
    builder = images()
    builder.chain(Conv2d(8, 3, padding=1), BatchNorm2d())
    found = memory_of(builder)
    assert found.params_bytes == 4 * (8 * 8 * 9 + 8 + 8 + 8)
    # Running mean and variance, and the number of batches as one int64.
    assert found.buffers_bytes == 4 * 16 + 8
    assert found.gradient_bytes == found.params_bytes


def test_half_precision_halves_all_but_the_batch_count():
    builder = images()
    builder.chain(Conv2d(8, 3, padding=1), BatchNorm2d())
    graph, _ = builder.build()
    half = replace(graph, dtype="float16", inputs=(replace(graph.inputs[0], dtype="float16"),))
    found = memory(half, infer_shapes(half))
    assert found.params_bytes == 2 * (8 * 8 * 9 + 8 + 8 + 8)
    assert found.buffers_bytes == 2 * 16 + 8
    assert found.output_bytes == (IMAGE // 2, IMAGE // 2)


def test_shared_weights_count_once():
    builder = images()
    conv = Conv2d(8, 3, padding=1)
    builder.add(conv)
    builder.add(conv, shares=0)
    found = memory_of(builder)
    assert found.params_bytes == found.gradient_bytes == 4 * (8 * 8 * 9 + 8)
    assert found.activation_bytes == 2 * IMAGE


@pytest.mark.parametrize(("optimizer", "copies"), [("sgd", 0), ("momentum", 1), ("adam", 2)])
def test_optimizer_state_belongs_to_trainable_weights_only(optimizer, copies):
    builder = images()
    builder.add(Conv2d(8, 1), trainable=False)
    builder.add(Conv2d(8, 3, padding=1))
    found = memory_of(builder, optimizer=optimizer)
    trainable = 4 * (8 * 8 * 9 + 8)
    assert found.params_bytes == trainable + 4 * (64 + 8)
    assert found.gradient_bytes == trainable
    assert found.optimizer_bytes == copies * trainable
    assert found.training_bytes == found.params_bytes + (1 + copies) * trainable + found.saved_bytes


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(CnnstatError, match="no optimizer called adamm; did you mean adam"):
        memory_of(images(), optimizer="adamm")


# Activations ---------------------------------------------------------------------------------------------------------


def test_activations_are_the_sum_of_their_column():
    builder = images(batch=2)
    builder.chain(Conv2d(8, 3, padding=1), ReLU(True), MaxPool2d(2), Flatten(), Linear(10))
    found = memory_of(builder)
    map_bytes = 2 * IMAGE
    assert found.output_bytes == (map_bytes, map_bytes, map_bytes // 4, map_bytes // 4, 2 * 10 * 4)
    assert found.activation_bytes == sum(found.output_bytes)
    assert found.weighted_activation_bytes == map_bytes + 2 * 10 * 4


def test_indices_of_a_pool_are_integers_of_eight_bytes():
    builder = images()
    builder.add(MaxPool2d(2, return_indices=True))
    assert memory_of(builder).output_bytes == (IMAGE // 4 + 2 * IMAGE // 4,)


# Peak ----------------------------------------------------------------------------------------------------------------


def test_a_chain_holds_input_and_output_of_one_layer():
    builder = images()
    builder.chain(Conv2d(8, 3, padding=1), Conv2d(16, 3, padding=1), Conv2d(8, 3, padding=1))
    found = memory_of(builder)
    assert found.peak_inference_bytes == 3 * IMAGE
    assert found.peak_at == 1


def test_a_shortcut_keeps_its_tensor_alive():
    builder = images()
    shortcut = builder.add(Conv2d(8, 3, padding=1))
    builder.chain(Conv2d(8, 3, padding=1), Conv2d(8, 3, padding=1))
    builder.add(Add(), builder.last, shortcut)
    assert memory_of(builder).peak_inference_bytes == 3 * IMAGE


def test_views_and_work_in_place_cost_nothing():
    builder = images()
    builder.chain(Conv2d(8, 3, padding=1), ReLU(True), Flatten(), Linear(1))
    assert memory_of(builder).peak_inference_bytes == 2 * IMAGE
    copied = images()
    copied.chain(Conv2d(8, 3, padding=1), ReLU(), Conv2d(8, 1))
    assert memory_of(copied).peak_inference_bytes == 2 * IMAGE


def test_a_part_keeps_the_whole_alive():
    builder = images()
    conv = builder.add(Conv2d(8, 3, padding=1))
    part = builder.add(Slice(1, 0, 1), conv)
    builder.add(Conv2d(8, 1), part)
    builder.add(Conv2d(8, 1), builder.last)
    builder.add(Concat(), builder.last, part)
    found = memory_of(builder)
    # The map, its sliced channel inside it, the last convolution's output, and both put together.
    assert found.peak_inference_bytes == 3 * IMAGE + IMAGE // 8


def test_results_live_to_the_end():
    builder = images()
    early = builder.add(Conv2d(8, 3, padding=1))
    late = builder.chain(*[Conv2d(8, 3, padding=1)] * 4)
    assert memory_of(builder, late).peak_inference_bytes == 2 * IMAGE
    assert memory_of(builder, early, late).peak_inference_bytes == 3 * IMAGE


def test_a_graph_without_layers_holds_its_inputs():
    found = memory_of(images())
    assert found.peak_inference_bytes == IMAGE
    assert found.peak_at is None
    assert found.training_bytes == 0


def bytes_of(graph, values, value, output):
    """Bytes of one tensor."""
    return math.prod(values.outputs[value][output]) * DTYPE_BYTES[values.dtypes[value][output]]


def simulated_peak(graph, values):
    """Run the layers one by one with explicit sets of owners: a tensor's owner is the tensor whose memory it uses."""
    owner = {(value, 0): (value, 0) for value in range(graph.arity)}
    for index, node in enumerate(graph.nodes):
        value = graph.arity + index
        for output in range(len(values.outputs[value])):
            is_fresh = node.op.storage is Storage.FRESH
            owner[value, output] = (value, output) if is_fresh else owner[tuple(node.inputs[0])]
    live, peaks = {owner[value, 0] for value in range(graph.arity)}, []
    for index in range(len(graph.nodes)):
        value = graph.arity + index
        live |= {owner[value, output] for output in range(len(values.outputs[value]))}
        peaks.append(sum(bytes_of(graph, values, *tensor) for tensor in live))
        needed = [edge for later in graph.nodes[index + 1 :] for edge in later.inputs] + list(graph.outputs)
        live &= {owner[tuple(edge)] for edge in needed}
    return max(peaks), peaks.index(max(peaks))


@st.composite
def random_graphs(draw):
    """A graph of maps of one size: convolutions, views, work in place, sums, and channels cut and put together."""
    builder = Builder((1, 4, 4, 4), (1, 4, 4, 4))
    maps = [Edge(0), Edge(1)]
    for _ in range(draw(st.integers(1, 12))):
        source = draw(st.sampled_from(maps))
        kind = draw(st.sampled_from(["conv", "relu", "in place", "view", "add", "chunk", "wide"]))
        if kind == "add":
            maps.append(builder.add(Add(), source, draw(st.sampled_from(maps))))
        elif kind == "chunk":
            cut = builder.add(Chunk(2, 1), source)
            maps.append(builder.add(Concat(), Edge(cut.value, 1), Edge(cut.value, 0)))
        elif kind == "wide":
            builder.add(Conv2d(draw(st.integers(1, 20)), 1), source)
            maps.append(builder.add(Conv2d(4, 1)))
        else:
            op = {"conv": Conv2d(4, 1), "relu": ReLU(), "in place": ReLU(True), "view": Identity()}[kind]
            maps.append(builder.add(op, source))
    return builder.build(*draw(st.lists(st.sampled_from(maps), min_size=1, max_size=3)))


@settings(max_examples=100, deadline=None)
@given(random_graphs())
def test_the_peak_against_a_simulation(built):
    graph, values = built
    found = memory(graph, values)
    assert (found.peak_inference_bytes, found.peak_at) == simulated_peak(graph, values)
    assert found.peak_inference_bytes >= max(found.output_bytes)

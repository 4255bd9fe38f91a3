"""Random graphs over every op: what must hold between the figures of any network. PyTorch is not needed."""

import dataclasses

from graph_strategy import CNN_OPS, graphs
from hypothesis import HealthCheck, Phase, given, settings

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.memory import OPTIMIZER_STATES
from cnnstat.ir.graph import Edge, Input, Node
from cnnstat.ops.shape import Identity

STEADY = settings(
    max_examples=40,
    derandomize=True,
    phases=(Phase.generate, Phase.shrink),
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def of_batch(graph, factor):
    """The same graph with a batch so many times larger."""
    larger = (Input(i.name, (factor * i.shape[0], *i.shape[1:]), i.dtype) for i in graph.inputs)
    return dataclasses.replace(graph, inputs=tuple(larger))


@STEADY
@given(graphs())
def test_totals_are_column_sums(graph):
    analysis = analyze_graph(graph)
    totals, layers = analysis.totals, analysis.layers
    for column in ("params", "trainable_params", "buffers", "macs", "flops"):
        assert getattr(totals, column) == sum(getattr(layer, column) for layer in layers), column
    assert totals.memory.activation_bytes == sum(layer.output_bytes for layer in layers)
    assert totals.layers == len(layers) == len(graph.nodes)
    assert totals.flops == sum(totals.flop_parts.values())
    assert totals.flop_parts["2 × MACs"] == 2 * totals.macs


@STEADY
@given(graphs())
def test_figures_fit_each_other(graph):
    analysis = analyze_graph(graph)
    memory = analysis.memory
    given_bytes = sum(layer.output_bytes for layer in analyze_graph(identities(graph)).layers)
    assert memory.weighted_activation_bytes <= memory.activation_bytes
    assert memory.peak_inference_bytes <= given_bytes + memory.activation_bytes
    assert analysis.totals.trainable_params <= analysis.totals.params
    for layer, node in zip(analysis.layers, graph.nodes, strict=True):
        assert layer.flops >= 2 * layer.macs
        assert layer.trainable_params in (0, layer.params)
        assert node.shares is None or layer.params == layer.buffers == 0
    if not analysis.totals.trainable_params:
        assert memory.saved_bytes == memory.gradient_bytes == 0


def identities(graph):
    """A graph that passes each input on."""
    nodes = tuple(Node(f"x{number}", Identity(), (Edge(number),)) for number in range(graph.arity))
    return dataclasses.replace(graph, nodes=nodes, outputs=(Edge(0),))


@STEADY
@given(graphs())
def test_an_optimizer_changes_nothing_but_its_state(graph):
    memories = {name: analyze_graph(graph, optimizer=name).memory for name in OPTIMIZER_STATES}
    plain = memories["sgd"]
    for name, states in OPTIMIZER_STATES.items():
        assert memories[name].training_bytes == plain.training_bytes + states * plain.gradient_bytes


@STEADY
@given(graphs(allowed=CNN_OPS))
def test_the_batch_scales_everything_but_weights(graph):
    one, three = analyze_graph(graph), analyze_graph(of_batch(graph, 3))
    assert three.totals.macs == 3 * one.totals.macs
    assert three.totals.params == one.totals.params
    assert three.totals.buffers == one.totals.buffers
    assert three.memory.output_bytes == tuple(3 * size for size in one.memory.output_bytes)
    assert three.memory.peak_inference_bytes == 3 * one.memory.peak_inference_bytes
    assert [layer.receptive_field for layer in three.layers] == [layer.receptive_field for layer in one.layers]

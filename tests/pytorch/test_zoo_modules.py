"""Every network of the zoo, built as a PyTorch module on the meta device: all figures are what the module does."""

import pytest

import cnnstat
from cnnstat.pytorch.modules import build
from cnnstat.sources import zoo

torch = pytest.importorskip("torch")
from oracles.modules import kept_by, kept_elsewhere, macs_of, made_by, peak_of, said_of  # noqa: E402  # imports torch

NAMES = [pytest.param(name, id=name) for name in zoo.names()]


@pytest.fixture(scope="module")
def analyze():
    """Analyses, every network once."""
    known = {}

    def analyzed(name):
        if name not in known:
            known[name] = cnnstat.analyze(name)
        return known[name]

    return analyzed


@pytest.mark.parametrize("name", NAMES)
def test_shapes_weights_and_work(name, analyze):
    analysis = analyze(name)
    graph, totals = analysis.graph, analysis.totals
    module = build(graph, device="meta")
    made = made_by(module, graph)
    assert made.tensors == said_of(graph, analysis.values)
    # Only lenet5_1998 has layers that PyTorch's counter sees otherwise, see `macs_seen`.
    assert made.macs == macs_of(graph, analysis.values)
    assert made.macs == totals.macs or name == "lenet5_1998"
    assert totals.params == sum(p.numel() for p in module.parameters())
    assert totals.trainable_params == sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert totals.buffers == sum(b.numel() for b in module.buffers())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_called_as_the_layers_are(name, analyze):
    analysis = analyze(name)
    module = build(analysis.graph, device="meta")
    for facet, tensors in (("weights", module.named_parameters()), ("buffers", module.named_buffers())):
        said = {
            f"{node.name}.{key}": shape
            for node, inputs in zip(analysis.graph.nodes, analysis.values.inputs)
            if node.shares is None
            for key, shape in getattr(node.op, facet)(inputs).items()
        }
        assert {key: tuple(tensor.shape) for key, tensor in tensors} == said


@pytest.mark.parametrize("name", NAMES)
def test_peak_of_inference(name, analyze):
    peak = peak_of(analyze(name).graph)
    assert peak.bytes == analyze(name).memory.peak_inference_bytes
    # ssd300 brings the boxes of permuted maps into a list, which copies them; torchvision does the same.
    assert not peak.copies or name == "ssd300"


@pytest.mark.parametrize("name", NAMES)
def test_training_keeps_what_autograd_keeps(name):
    analysis = cnnstat.analyze(name, batch=2)  # batch norm of a single pixel cannot train on one image
    assert kept_by(analysis.graph) == analysis.memory.saved_bytes + kept_elsewhere(analysis.graph, analysis.values)

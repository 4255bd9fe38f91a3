"""Random graphs over every op, built as PyTorch modules: what the passes say is what the modules do."""

import inspect
import math

import pytest
from graph_strategy import CNN_OPS, Pool, graphs, single_calls
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from cnnstat.analysis.analysis import count_parameters
from cnnstat.analysis.memory import memory
from cnnstat.analysis.receptive_field.propagation import receptive_fields
from cnnstat.analysis.shapes import infer_shapes
from cnnstat.ir.op import Family, numel
from cnnstat.ops import lookup, names
from cnnstat.pytorch.modules import build

torch = pytest.importorskip("torch")
from oracles.modules import (  # noqa: E402  # imports torch
    kept_by,
    kept_elsewhere,
    layers_of,
    macs_of,
    made_by,
    peak_of,
    said_of,
)

# PyTorch advises against some of the arguments drawn here: even kernels with padding=same, dropout in a single LSTM, …
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def steady(examples):
    """Settings that draw the same examples in every run."""
    return settings(
        max_examples=examples,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def suit_this_release(graph):
    """Leave out what older releases do otherwise: norms without bias, and shared heads in the fused attention."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
        assume(not any(getattr(node.op, "enable_gqa", False) for node in graph.nodes))
    if "bias" not in inspect.signature(torch.nn.BatchNorm2d).parameters:
        norms = (node.op for node in graph.nodes if node.op.family is Family.NORMALIZATION)
        assume(all(getattr(op, "bias", True) or op.kind == "LayerNorm" for op in norms))


def check_tensors_and_work(graph, values):
    """Every node's tensors, every weight and buffer by name, and what PyTorch's FLOP counter sees."""
    module = build(graph, device="meta")
    made = made_by(module, graph)
    assert made.tensors == said_of(graph, values)
    assert made.macs == macs_of(graph, values)
    check_weights(module, graph, values)


def check_weights(module, graph, values):
    """Every weight and buffer by name, and how many numbers they hold."""
    for node, layer, inputs in zip(graph.nodes, layers_of(module), values.inputs, strict=True):
        own = (layer.named_parameters(), layer.named_buffers())
        weights, buffers = ({name: tuple(tensor.shape) for name, tensor in tensors} for tensors in own)
        assert weights == dict(node.op.weights(inputs))
        assert buffers == dict(node.op.buffers(inputs))
    counted = count_parameters(graph, values)
    assert sum(counted.params) == sum(p.numel() for p in module.parameters())
    assert sum(counted.trainable) == sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert sum(counted.buffers) == sum(b.numel() for b in module.buffers())


def check_peak(graph, values):
    """Peak memory of inference, unless PyTorch had to copy a view, which the pass leaves out by convention."""
    peak = peak_of(graph)
    if not peak.copies:
        assert peak.bytes == memory(graph, values).peak_inference_bytes


def check_training(graph, values):
    """What autograd keeps. An LSTM is held against PyTorch's own code, not oneDNN's."""
    try:
        with torch.backends.mkldnn.flags(enabled=False):
            kept = kept_by(graph)
    except ValueError as error:
        # Norms by statistics of the batch need more than one value for each, in training only.
        assert "Expected more than 1" in str(error)
        return
    assert kept == memory(graph, values).saved_bytes + kept_elsewhere(graph, values)


@pytest.mark.parametrize("name", names())
@steady(3)
@given(data=st.data())
def test_calls_of_every_op(name, data):
    graph = data.draw(single_calls(name))
    suit_this_release(graph)
    values = infer_shapes(graph)
    check_tensors_and_work(graph, values)
    check_peak(graph, values)
    check_training(graph, values)


@steady(40)
@given(graphs())
def test_graphs_of_all_ops(graph):
    suit_this_release(graph)
    values = infer_shapes(graph)
    try:
        check_tensors_and_work(graph, values)
    except RuntimeError as error:
        # PyTorch's LocalResponseNorm takes no volume whose axes were moved before.
        assert "view size is not compatible" in str(error)
        return
    check_peak(graph, values)


@steady(40)
@given(graphs(allowed=CNN_OPS, longest=12))
def test_training_keeps_what_autograd_keeps(graph):
    suit_this_release(graph)
    check_training(graph, infer_shapes(graph))


# Receptive fields ----------------------------------------------------------------------------------------------------


def small(kind, **arguments):
    """A strategy for an op with these arguments, for one, two or three axes."""
    return lambda spatial: st.builds(lookup(f"{kind}{spatial}d"), **arguments)


KERNEL, STRIDE, STEP = st.integers(1, 4), st.integers(1, 3), st.integers(1, 2)
MAPS = {"out_channels": st.integers(1, 2), "kernel_size": KERNEL, "bias": st.just(False)}
UNARY = (
    small("Conv", **MAPS, stride=STRIDE, padding=st.integers(0, 3), dilation=STEP),
    small("Conv", **MAPS, padding=st.integers(0, 2)),
    small("ConvTranspose", **MAPS, stride=STRIDE, padding=st.integers(0, 1), dilation=STEP),
    small("AvgPool", kernel_size=st.integers(2, 4), stride=STRIDE, padding=st.integers(0, 1)),
    small("ZeroPad", padding=st.integers(-2, 2)),
    lambda spatial: st.builds(lookup("Upsample"), scale_factor=st.sampled_from((0.5, 1.5, 2, 3))),
    lambda spatial: st.builds(lookup("Slice"), st.just(2), st.integers(0, 3), st.none(), STEP),
)
LONGEST = {1: 60, 2: 24, 3: 12}


@st.composite
def maps_of_maps(draw):
    """A graph of positive linear ops and of joins, whose gradient is zero nowhere but outside the receptive field."""
    spatial = draw(st.sampled_from((1, 1, 2, 2, 3)))
    longest = LONGEST[spatial]
    pool = Pool()
    recent = [pool.add_input((1, 2, *(draw(st.integers(longest // 2, longest)) for _ in range(spatial))))]
    for is_join in draw(st.lists(st.sampled_from((False, False, False, True)), min_size=3, max_size=6)):
        first = draw(st.sampled_from(recent[-3:]))
        if is_join:
            other = draw(st.sampled_from(recent[-4:]))
            second = pool.add(lookup("CropLike")(), [other, first]) or first
            kind = draw(st.sampled_from(("Concat", "Add")))
            added = pool.add(lookup(kind)(), [first, second])
        else:
            added = pool.add(draw(draw(st.sampled_from(UNARY))(spatial)), [first])
        if added is not None and max(pool.tensors[added][0][2:]) <= 2 * longest:
            recent.append(added)
    if len(recent) == 1:
        recent.append(pool.add(lookup("Identity")(), recent))
    return pool.graph(recent[-1])


def averaging(graph):
    """The module, with every layer scaled so that ones become ones, unless it reads zeros of some padding."""
    module = build(graph, device="cpu", dtype="float64").eval()
    for node, layer in zip(graph.nodes, layers_of(module), strict=True):
        for weight in layer.parameters():
            torch.nn.init.ones_(weight)
        layer.register_forward_hook(lambda _, given, made, op=node.op: made / terms(op, given, made))
    return module


def terms(op, given, made):
    """How many inputs each output adds up, those on padding included."""
    if op.kind == "Add":
        return len(given)
    if op.kind.startswith("ConvTranspose"):
        counts = torch.full(made.shape[2:], float(given[0].shape[1]), dtype=made.dtype)
        for axis, (kernel, stride, padding, dilation, _) in enumerate(op._geometry()):
            taps = [
                sum((o + padding - dilation * j) % stride == 0 for j in range(kernel))
                for o in range(made.shape[2 + axis])
            ]
            counts *= torch.tensor(taps, dtype=made.dtype).reshape(-1, *(1,) * (counts.dim() - 1 - axis))
        return counts
    return given[0].shape[1] * math.prod(op.kernel) if op.kind.startswith("Conv") else 1


@steady(30)
@given(maps_of_maps())
def test_fields_are_the_support_of_the_gradient(graph):
    """At every position that no padding reaches: there the average of ones is one."""
    values = infer_shapes(graph)
    fields = receptive_fields(graph, values)
    end = graph.outputs[0].value
    followed = fields.followed(end)
    image = torch.ones(graph.inputs[0].shape, dtype=torch.float64, requires_grad=True)
    # All channels together: behind a concatenation each sees one branch only.
    output = averaging(graph)(image)
    inner = (output[0] > 1 - 1e-9).all(0).nonzero().tolist()
    for position in inner[:: max(1, len(inner) // 6)]:
        (gradient,) = torch.autograd.grad(output[(0, slice(None), *position)].sum(), image, retain_graph=True)
        support = gradient[0].abs().sum(0).nonzero()
        said = [track.field.at(position[place - 2]) for place, track in followed]
        assert said == list(zip(support.amin(0).tolist(), support.amax(0).tolist(), strict=True))
    assert numel(values.outputs[end][0]) == output.numel()

"""Calls that need not run: the same graph comes of a trace in which every call runs, whatever was traced before."""

from __future__ import annotations

import gc
import itertools

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from cnnstat.pytorch import op_cache  # noqa: E402
from cnnstat.pytorch.example import examples_of  # noqa: E402
from cnnstat.pytorch.fake import Faker  # noqa: E402
from cnnstat.pytorch.recorder import Recorder  # noqa: E402
from cnnstat.pytorch.trace import trace_with  # noqa: E402
from cnnstat.sources.request import Request  # noqa: E402


class EveryCallRuns(Recorder):
    """A recorder that takes no shortcuts."""

    takes_shortcuts = False


class Twice(nn.Module):
    """Calls that differ in one argument only, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4, 3, 3))
        self.other = nn.Parameter(torch.ones(4, 4, 3, 3))
        self.bias = nn.Parameter(torch.ones(4))
        self.conv = nn.Conv2d(4, 4, 3)
        self.plain = nn.BatchNorm2d(4)
        self.cumulative = nn.BatchNorm2d(4, momentum=None)


def _same_and_other(m, x):
    y = x * 2
    return x + x, x + y, y + x, y + y, x * x, x * y


def _numbers(m, x):
    return x + 1, x + 1.0, x + True, x * 2, x * 2.5, torch.add(x, x.relu(), alpha=2), torch.add(x, x.relu())


def _joined(m, x):
    y = x.relu()
    return torch.cat([x, y], 1), torch.cat((x, y), 1), torch.cat([x, y], 2), torch.cat([y, y], 1), torch.cat([x, y], -1)


def _flattened(m, x):
    return x.flatten(1), x.flatten(-3), x.flatten(2), x.flatten(1, 2), torch.flatten(x), x.flatten(start_dim=2)


def _convolved(m, x):
    return (
        F.conv2d(x, m.weight),
        F.conv2d(x, m.other),
        F.conv2d(x, m.weight, m.bias),
        F.conv2d(x, m.weight, None, 1, 1),
        F.conv2d(x, m.weight, padding=(1, 1)),
        F.conv2d(x, m.weight, padding="same"),
        F.conv2d(x, m.weight, stride=1, dilation=2),
        F.conv2d(x, m.weight * 2),
        F.conv_transpose2d(x, m.weight),
    )


def _normalized(m, x):
    return m.plain(x), m.cumulative(x), m.plain(x + 1)


def _in_place(m, x):
    y = x * 3
    z = F.relu(y, inplace=True)
    z = F.relu(z)
    z += x
    return z + y, F.relu6(z, True), F.relu6(z, False)


def _pooled(m, x):
    return (
        F.max_pool2d(x, 2),
        F.max_pool2d(x, 2, 1),
        F.max_pool2d(x, 3, 2, ceil_mode=True),
        F.avg_pool2d(x, 2, count_include_pad=False),
        F.adaptive_avg_pool2d(x, 1),
        F.adaptive_avg_pool2d(x, (1, 1)),
        F.adaptive_avg_pool2d(x, (None, 1)),
    )


def _indexed(m, x):
    y = x * 2
    return (
        *(y[:, 1], y[:, 1:2], y[:, :1], y[:, 1:3], y[..., 1], y[..., ::2], y[:, None], y[:], y[1 - 1], y[-1]),
        *(y[0, 1], y[[0, 1]], y[(0, 1)], y[[0, 1], :], y[True], y[torch.tensor([0, 1])], y[:, 2, 3:5]),
    )


def _viewed(m, x):
    y = x * 2
    z = y.transpose(1, 2)
    return (
        *(z, z.transpose(1, 2), y.permute(0, 2, 3, 1), torch.permute(y, [0, 3, 1, 2]), y.unsqueeze(1).squeeze(1)),
        *(y.reshape(y.shape[0], -1), z.reshape(y.shape[0], -1), y.view(y.shape), y.view(-1), z.contiguous() + 1),
        *(*y.chunk(2, 1), *y.split(1, 1), *y.split([1, 3], 1), *y.unbind(1), *torch.unbind(y, dim=2)),
        *(y.narrow(1, 1, 2), y.select(1, 2), y.select(1, 3), y[:, :1].expand(-1, 3, -1, -1), y.swapaxes(0, 1)),
    )


def _written(m, x):
    y = x * 2
    z = torch.zeros_like(x)
    for place in range(3):
        y[:, place] = x[:, place]
        z[:, place] = x[:, place]
        y[..., place] = 1
    y[:, 1:3] = y[:, :2]
    y[:, :, 2:4, 2:4] = F.relu(y[:, :, 2:4, 2:4])
    y[0, 0] = x[0, 1]
    return y, z, y.transpose(1, 2).reshape(x.shape)


def _called_again(m, x):
    results = [m.conv(x + 1), m.conv(x + 2), m.conv(x + 1), m.plain(m.conv(x)), m.plain(x), F.conv2d(x, m.other)]
    with torch.no_grad():
        m.other.mul_(2)
    results += [F.conv2d(x, m.other), F.conv2d(x, m.weight), F.conv2d(x, m.weight), F.conv2d(x, m.weight * 2)]
    m.plain.train()
    results += [m.plain(x), m.plain(x)]
    m.plain.eval()
    return *results, m.plain(x), m.conv(x), F.conv2d(x, m.conv.weight), F.conv2d(x, m.conv.weight, m.bias)


WAYS = (
    _indexed,
    _viewed,
    _written,
    _called_again,
    _same_and_other,
    _numbers,
    _joined,
    _flattened,
    _convolved,
    _normalized,
    _in_place,
    _pooled,
)


def graph_of(way, recorder, shape):
    """The graph of one function of a model and an input, without what it was loaded from."""
    model = Twice().eval()
    model.forward = lambda x: way(model, x)

    def listen(builder, stack, faker, inputs):
        return recorder(builder, stack, faker)

    return trace_with(
        model,
        examples_of(model, Request(values=(shape, None)), None)[0],
        listen,
        dtype=None,
        mode="eval",
        seed=0,
        real=False,
    )


def forget():
    op_cache._known.clear()
    op_cache._views.clear()


def fields_of(graph):
    """All that a graph says of its nodes: ops of traces have no equality of their own."""
    return [(node, vars(node.op), node.recorded, node.copies, node.overwrites) for node in graph.nodes], graph.outputs


@pytest.mark.parametrize("way", WAYS)
def test_known_calls_become_the_same_nodes_again(way):
    forget()
    first = fields_of(graph_of(way, Recorder, (2, 4, 9, 9)))
    assert fields_of(graph_of(way, Recorder, (2, 4, 9, 9))) == first
    graph_of(way, Recorder, (1, 4, 12, 9))
    assert fields_of(graph_of(way, Recorder, (2, 4, 9, 9))) == first


@pytest.mark.parametrize("way", WAYS)
def test_shortcuts_make_the_graph_of_a_full_trace(way):
    forget()
    for shape in ((2, 4, 9, 9), (1, 4, 12, 9), (2, 4, 9, 9)):
        expected = graph_of(way, EveryCallRuns, shape)
        assert graph_of(way, Recorder, shape) == expected
        assert graph_of(way, Recorder, shape) == expected


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations((_same_and_other, _joined, _convolved), 2)])
def test_what_was_traced_before_makes_no_difference(first, second):
    forget()
    expected = graph_of(second, Recorder, (2, 4, 9, 9))
    forget()
    graph_of(first, Recorder, (2, 4, 9, 9))
    assert graph_of(second, Recorder, (2, 4, 9, 9)) == expected


def test_calls_are_recalled_and_forgotten(monkeypatch):
    forget()
    graph_of(_pooled, Recorder, (2, 4, 9, 9))
    known = len(op_cache._known)
    assert known >= 5
    graph_of(_pooled, Recorder, (2, 4, 9, 9))
    assert len(op_cache._known) == known
    monkeypatch.setattr(op_cache, "MAX_KNOWN", 3)
    graph_of(_pooled, Recorder, (1, 4, 9, 9))
    assert 0 < len(op_cache._known) <= 3
    graph_of(_indexed, Recorder, (1, 4, 12, 9))
    assert 0 < len(op_cache._views) <= 3


def test_a_trace_leaves_no_garbage_that_waits_for_the_collector():
    graph_of(_convolved, Recorder, (2, 4, 9, 9))
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        graph_of(_convolved, Recorder, (2, 4, 9, 9))
        gc.collect()
        left = {type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("cnnstat.")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left


KINDS = {
    "in order": lambda: torch.rand(2, 3, 4),
    "turned": lambda: torch.rand(2, 3, 4).transpose(1, 2),
    "a part": lambda: torch.rand(2, 3, 8)[..., ::2],
    "channels last": lambda: torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "half": lambda: torch.rand(5).half(),
    "one number": lambda: torch.rand(()),
    "integers": lambda: torch.arange(4),
    "complex": lambda: torch.rand(4, dtype=torch.complex64),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sin", "cos", "tanh", "exp", "log", "sqrt", "rsqrt", "abs", "neg"])
def test_functions_of_each_element_lie_in_memory_as_pytorch_lays_them(name, kind):
    x, faker = KINDS[kind](), Faker()
    real = getattr(torch, name)(x)
    made = faker.on_meta(getattr(torch.ops.aten, name).default, (faker.fake_of(x),), {})
    assert made.device == real.device
    assert (made.shape, made.dtype, made.stride()) == (real.shape, real.dtype, real.stride())

"""Handlers follow from an op's class: a new activation is one class, which is traced, built, exported and verified."""

from __future__ import annotations

import math

import pytest

import cnnstat
from cnnstat import ops
from cnnstat.ir.op import register
from cnnstat.ops import activation

torch = pytest.importorskip("torch")

from cnnstat.pytorch import handlers  # noqa: E402  # imports torch


@register
class Tanhshrink(activation.Activation):
    """What tanh leaves of a number: tanh (4 steps), subtract."""

    torch = "torch.nn.Tanhshrink"
    calls = {"tanhshrink": "input"}
    equation = "f(x) = x − tanh(x)"
    derivative = "f′(x) = tanh²(x)"
    steps = ("tanh", "subtract")

    def curve(self, x: float) -> float:
        """Return f(x)."""
        return x - math.tanh(x)


@pytest.fixture
def new_op(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class in its file and its name in the list, as adding an op means."""
    monkeypatch.setattr(activation, "Tanhshrink", Tanhshrink, raising=False)
    monkeypatch.setitem(ops._FILES, "Tanhshrink", "activation")
    for name, handler in handlers.handlers_of(Tanhshrink).items():
        monkeypatch.setitem(handlers.HANDLERS, name, handler)
    yield
    ops.lookup.cache_clear()


class Net(torch.nn.Module):
    """The activation as a function and as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.act = torch.nn.Tanhshrink()

    def forward(self, x):
        return self.act(torch.nn.functional.tanhshrink(self.conv(x)))


@pytest.mark.usefixtures("new_op")
def test_a_new_activation_is_one_class():
    torch.manual_seed(0)
    model = Net()
    graph = cnnstat.load(model, (1, 3, 8, 8))
    assert [node.op.kind for node in graph.nodes] == ["Conv2d", "Tanhshrink", "Tanhshrink"]
    x = torch.rand(2, 3, 8, 8)
    built = cnnstat.build(cnnstat.load(model, (2, 3, 8, 8)))
    built.load_state_dict(model.state_dict())
    assert torch.equal(built(x), model(x))
    text = cnnstat.export(graph, to="torch")
    assert "Tanhshrink()" in text
    namespace: dict = {}
    exec(text, namespace)
    exported = next(v for v in reversed(namespace.values()) if isinstance(v, type) and issubclass(v, torch.nn.Module))()
    exported.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(exported(x), model(x))
    verification = cnnstat.verify(model, (1, 3, 8, 8))
    assert verification.exit_code == 0, verification


def test_no_call_has_two_handlers():
    irregular = [name for table in handlers.IRREGULAR for name in table]
    named = [name for op in map(ops.lookup, ops.names()) for name in op.calls]
    everything = irregular + named
    assert sorted(set(everything)) == sorted(everything)
    assert set(everything) == set(handlers.HANDLERS)

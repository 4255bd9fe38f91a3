"""A trace leaves a model as it was: also where it fails, and where the model runs for real."""

import functools
import random
from collections import OrderedDict, defaultdict, deque
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

import cnnstat  # noqa: E402  # needs torch
from cnnstat.errors import CnnstatError  # noqa: E402

X = (1, 4, 8, 8)


class Restless(nn.Module):
    """Changes everything it can reach; `reads` makes it need values, `fails` makes it raise at the end."""

    def __init__(self, reads=False, fails=False):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("steps", torch.zeros(1))
        self.register_buffer("mean", torch.zeros(100))
        self.plain = torch.zeros(3)
        self.cache = [torch.zeros(2), "text"]
        self.table = {"a": torch.zeros(2)}
        self.log = []
        self.generator = torch.Generator().manual_seed(1)
        self.conv.eval()
        self.reads, self.fails = reads, fails

    def forward(self, x):
        self.steps += 1
        self.mean.mul_(0.9).add_(x.mean())
        self.plain += 1
        self.cache[0].add_(1)
        self.cache.append(x)
        self.table["a"].fill_(3)
        self.table["b"] = x
        self.log.append("called")
        self.conv.weight.data.mul_(0.5)
        self.extra = x
        self.norm.momentum = 0.5
        torch.rand(2, generator=self.generator)
        torch.rand(2)
        random.random()
        torch.set_default_dtype(torch.float64)
        y = self.norm(self.conv(x))
        if self.reads and float(x.sum()) < -1e9:
            return None
        if self.fails:
            raise KeyError("in the middle")
        return y


def state(model):
    """All there is to know about the model, as plain values."""
    return {
        "tensors": {name: value.clone() for name, value in model.state_dict().items()},
        "identities": [id(tensor) for tensor in (*model.parameters(), *model.buffers())],
        "grads": [parameter.grad for parameter in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "plain": (model.plain.tolist(), id(model.plain), model.cache[0].tolist(), len(model.cache), id(model.cache)),
        "table": (model.table["a"].tolist(), sorted(model.table), id(model.table)),
        "log": list(model.log),
        "momentum": model.norm.momentum,
        "generator": model.generator.get_state().tolist(),
        "random": (torch.get_rng_state().tolist(), random.getstate()),
        "dtype": torch.get_default_dtype(),
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "global hooks": len(torch.nn.modules.module._global_forward_hooks),
    }


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(mode, reads, fails):
    model = Restless(reads, fails)
    before = state(model)
    if fails:
        with pytest.raises(CnnstatError, match="KeyError: 'in the middle' .test_untouched.py:"):
            cnnstat.analyze(model, X, mode=mode)
    else:
        analysis = cnnstat.analyze(model, X, mode=mode)
        assert analysis.totals.macs == 64 * 4 * 4 * 9
        assert ("holds for this input" in str(analysis.graph.about)) == reads
    after = state(model)
    for name, value in before.pop("tensors").items():
        assert torch.equal(after["tensors"][name], value), name
    after.pop("tensors")
    assert after == before


def test_gradients_stay():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten())
    model(torch.rand(X)).sum().backward()
    kept = [(parameter.grad, parameter.grad.clone()) for parameter in model.parameters()]
    cnnstat.analyze(model, X)
    for parameter, (grad, value) in zip(model.parameters(), kept, strict=True):
        assert parameter.grad is grad
        assert torch.equal(grad, value)


def test_a_model_without_memory_cannot_need_values():
    model = Restless(reads=True).to("meta")
    with pytest.raises(CnnstatError, match="depends on the values of a tensor, and it cannot be run for real"):
        cnnstat.analyze(model, X)


class State:
    """What a model remembers between calls."""

    def __init__(self):
        self.last, self.count, self.seen = torch.zeros(2), 0, []


class Table(dict):
    """A dictionary whose items are attributes, as many configurations are."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class Rememberer(nn.Module):
    """Keeps its state in containers and objects of every kind, some below others, and one for all instances."""

    shared = {"calls": []}

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.nested = {"keys": [], "sizes": {"n": 0, "mean": torch.zeros(2)}}
        self.recent, self.groups = deque([torch.zeros(1)], maxlen=2), defaultdict(list)
        self.state, self.space = State(), SimpleNamespace(memory=torch.zeros(3), pair=(torch.zeros(2), "text"))
        self.several = [State(), (State(), 1)]
        self.table, self.ordered = Table(inner=Table(scale=torch.ones(1))), OrderedDict(a=torch.zeros(1), b=1)
        self.outside = [nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))]
        self.weights = [nn.Parameter(torch.zeros(2))]

    def forward(self, x):
        y = self.outside[0](self.conv(x)) * self.table.inner.scale
        self.nested["keys"].append(y)
        self.nested["sizes"]["n"] += 1
        self.nested["sizes"]["mean"].add_(1)
        self.recent.append(y)
        self.groups["all"].append(y)
        for state in (self.state, self.several[0], self.several[1][0]):
            state.last.add_(1)
            state.last, state.count = y, state.count + 1
            state.seen.append(y)
        self.space.memory.add_(1)
        self.space.pair[0].add_(1)
        self.space.new = y
        self.table.inner.scale.add_(1)
        self.table.inner.more = y
        self.ordered["a"].add_(1)
        self.ordered.move_to_end("a")
        self.shared["calls"].append(y)
        with torch.no_grad():
            self.weights[0].add_(1)
        return y


def held(value):
    """What a value holds, however deep, as text: identities of tensors and their values."""
    if isinstance(value, torch.Tensor):
        return f"{id(value)} {value.tolist() if type(value) in (torch.Tensor, nn.Parameter) else value}"
    if isinstance(value, dict):
        return f"{type(value)} {[(key, held(item)) for key, item in value.items()]}"
    if isinstance(value, (list, tuple, deque)):
        return f"{type(value)} {[held(item) for item in value]}"
    return held(vars(value)) if hasattr(value, "__dict__") and type(value) is not type else repr(value)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_what_modules_hold_is_put_back(mode):
    model = Rememberer()
    before = held({**vars(model), "class": Rememberer.shared})
    analysis = cnnstat.analyze(model, X, mode=mode)
    assert analysis.totals.macs == 64 * 4 * 4 * (9 + 1)
    assert held({**vars(model), "class": Rememberer.shared}) == before


def test_methods_that_remember_results_forget_those_of_the_trace():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2000))

        @functools.lru_cache  # noqa: B019  # as models do it
        def squared(self):
            return self.scale**2

        def forward(self, x):
            return x * self.squared()

    model = Net()
    cnnstat.analyze(model, (1, 2000))
    assert type(model(torch.ones(1, 2000))) is torch.Tensor


def test_verify_leaves_a_model_as_it_was():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, momentum=None))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cnnstat.verify(model, X, mode="train")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_list_that_two_attributes_hold_stays_as_long_as_it_was():
    sizes = [2, 2]
    layer = nn.Unfold(kernel_size=sizes, stride=sizes)
    for _ in range(2):
        cnnstat.analyze(layer, (1, 1, 8, 8))
    assert layer.kernel_size is layer.stride and sizes == [2, 2]

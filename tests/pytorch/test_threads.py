"""Threads: models are analyzed in some while others build and run models, and nobody sees what the others do."""

from __future__ import annotations

import asyncio
import gc
import queue
import sys
import threading
import warnings
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.pytorch.construct import WAYS, construct  # noqa: E402
from cnnstat.pytorch.thread_changes import quiet, replaced, stdout_to_stderr  # noqa: E402

X = (1, 4, 8, 8)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return nn.functional.relu(self.norm(self.conv(x))) + x


def network(blocks=6):
    return nn.Sequential(*(Block() for _ in range(blocks)), nn.Flatten(), nn.Linear(256, 10))


FILLS = {
    "uniform_": lambda x: nn.init.uniform_(x, 3, 4),
    "normal_": lambda x: nn.init.normal_(x, 50.0),
    "trunc_normal_": lambda x: nn.init.trunc_normal_(x, 5.0, 1.0, 4.0, 6.0),
    "constant_": lambda x: nn.init.constant_(x, 7.0),
    "orthogonal_": nn.init.orthogonal_,
    "dirac_": nn.init.dirac_,
    "eye_": nn.init.eye_,
    "xavier_normal_": nn.init.xavier_normal_,
    "kaiming_uniform_": nn.init.kaiming_uniform_,
}


@pytest.mark.parametrize("name", FILLS)
def test_a_factory_fills_nothing_while_another_thread_does(name):
    """A factory waits in the middle until another thread has filled a tensor."""
    shape = (8, 8) if name == "eye_" else (8, 8, 3)
    inside, filled = threading.Event(), threading.Event()
    results = {}

    def factory():
        inside.set()
        assert filled.wait(5)
        results["own"] = FILLS[name](torch.zeros(shape))
        return nn.Identity()

    def other():
        assert inside.wait(5)
        results["other"] = FILLS[name](torch.zeros(shape))
        filled.set()

    thread = threading.Thread(target=other)
    thread.start()
    _, way = construct(factory, {}, "factory")
    thread.join()
    assert way == WAYS[0]
    assert results["other"].abs().sum() > 0
    assert name == "eye_" or results["own"].abs().sum() == 0


def test_layers_that_others_make_are_initialized_while_models_are_built():
    layers = []

    def build():
        for _ in range(20):
            cnnstat.analyze(f"{__name__}:network", X)

    def make():
        while thread.is_alive() and len(layers) < 2000:
            layers.append(nn.Linear(64, 64))

    thread = threading.Thread(target=build)
    thread.start()
    make()
    thread.join()
    assert layers
    assert all(0.05 < layer.weight.abs().max() <= 0.1251 and layer.weight.std() > 0.05 for layer in layers)


@pytest.mark.parametrize("same", [True, False])
def test_models_are_analyzed_by_several_threads(same):
    model = network()
    names = [layer.name for layer in cnnstat.analyze(model, X).layers]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def look(_):
        analysis = cnnstat.analyze(model if same else network(), X)
        return [layer.name for layer in analysis.layers], analysis.totals.params, analysis.totals.macs

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(look, range(12)))
    assert all(result == (names, *results[0][1:]) for result in results)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(isinstance(tensor, torch._subclasses.FakeTensor) for tensor in model.parameters())


def test_modules_that_another_thread_runs_are_not_in_the_trace():
    inside, done = threading.Event(), threading.Event()
    other = nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU())

    class Waiting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 5, 3)

        def forward(self, x):
            inside.set()
            assert done.wait(5)
            return self.conv(x)

    def run():
        assert inside.wait(5)
        for _ in range(3):
            other(torch.rand(1, 3, 5, 5))
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    analysis = cnnstat.analyze(Waiting(), X)
    thread.join()
    assert [layer.name for layer in analysis.layers] == ["conv"]


def mapped(one, two, x):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda layer: layer(x), (one, two)))


def as_completed(one, two, x):
    with ThreadPoolExecutor(2) as pool:
        return [each.result() for each in futures.as_completed(pool.submit(layer, x) for layer in (one, two))]


def in_threads(one, two, x):
    results = {}
    threads = [threading.Thread(target=lambda f=f: results.update({f: f(x)})) for f in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results[one], results[two]


class Running(threading.Thread):
    """Applies a function, not a module, in a thread of its own kind."""

    def __init__(self, layer, x):
        super().__init__()
        self.layer, self.x = layer, x

    def run(self):
        self.result = functional.conv2d(self.x, self.layer.weight, self.layer.bias)


def in_threads_of_its_own_kind(one, two, x):
    threads = [Running(layer, x) for layer in (one, two)]
    for thread in threads:
        thread.start()
        thread.join()
    return [thread.result for thread in threads]


def in_threads_of_threads(one, two, x):
    return one(x), mapped(lambda x: mapped(two, nn.Identity(), x)[0], nn.Identity(), x)[0]


async def gathered(one, two, x):
    return await asyncio.gather(asyncio.to_thread(one, x), asyncio.to_thread(two, x))


class Forked(nn.Module):
    """Two convolutions that a function calls."""

    def __init__(self, call):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 8, 3)
        self.call = call

    def forward(self, x):
        return torch.cat(tuple(self.call(self.one, self.two, x)), 1)


FORKS = {
    "map": mapped,
    "as completed": as_completed,
    "threads": in_threads,
    "own kind": in_threads_of_its_own_kind,
    "threads of threads": in_threads_of_threads,
    "asyncio": lambda one, two, x: asyncio.run(gathered(one, two, x)),
    "parallel_apply": lambda one, two, x: nn.parallel.parallel_apply([one, two], [x, x]),
}


@pytest.mark.parametrize("name", FORKS)
def test_layers_in_threads_of_the_model_are_counted(name):
    if name == "parallel_apply" and torch.cuda.is_available():
        pytest.skip("it wants the layers on the GPU of this machine")
    model = Forked(FORKS[name])
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit
    analysis = cnnstat.analyze(model, X)
    assert (analysis.totals.macs, analysis.totals.params) == (12 * 36 * 36, 12 * 37)
    assert [layer.output_shape for layer in analysis.layers][-1] == (1, 12, 6, 6) and not analysis.notes
    assert cnnstat.verify(model, X).exit_code == 0
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == (start, submit)


def test_values_that_a_thread_asks_for_make_the_pass_a_real_one():
    analysis = cnnstat.analyze(Forked(lambda one, two, x: mapped(lambda x: one(x) * float(x.sum()), two, x)), X)
    assert analysis.totals.macs == 12 * 36 * 36 and "run for real" in analysis.notes[0]


def test_threads_that_call_no_layers_may_wait():
    def watched(one, two, x):
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        result = one(x), two(x)
        done.set()
        thread.join()
        return result

    assert cnnstat.analyze(Forked(watched), X).totals.macs == 12 * 36 * 36


def waiting(one, two, x):
    tasks, results = queue.Queue(), queue.Queue()
    thread = threading.Thread(target=lambda: results.put(one(tasks.get())))
    thread.start()
    tasks.put(x)
    return results.get(timeout=20), two(x)


def in_a_pool(one, two, x):
    with ThreadPool(2) as pool:
        return pool.map(lambda layer: layer(x), (one, two))


class Served(Forked):
    """Has a thread from the start that serves one of its layers."""

    def __init__(self):
        super().__init__(None)
        self.tasks, self.results = queue.Queue(), queue.Queue()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            self.results.put(self.one(self.tasks.get()))

    def forward(self, x):
        self.tasks.put(x)
        return torch.cat((self.results.get(timeout=20), self.two(x)), 1)


@pytest.mark.parametrize("model", [Forked(waiting), Forked(in_a_pool), Served()], ids=["waiting", "pool", "served"])
def test_layers_in_threads_that_cannot_be_followed_are_refused(model):
    with pytest.raises(cnnstat.ModelError, match="^the model runs layers in threads"):
        cnnstat.analyze(model, X)


def test_processes_settings_are_as_before_when_contexts_of_threads_overlap(capfd):
    """One thread enters before another and leaves before it, which a saved and restored global does not survive."""
    stdout, filters, is_enabled = sys.stdout, list(warnings.filters), gc.isenabled()
    entered, left = threading.Event(), threading.Event()

    def first():
        with stdout_to_stderr(), quiet(), replaced((warnings, "showwarning", print)):
            entered.set()
            assert left.wait(5)

    thread = threading.Thread(target=first)
    function = warnings.showwarning
    thread.start()
    assert entered.wait(5)
    print("to standard output")
    with pytest.warns(UserWarning):
        warnings.warn("is seen")  # noqa: B028
    second = threading.Thread(target=lambda: cnnstat.analyze(network(), X))
    second.start()
    left.set()
    second.join()
    thread.join()
    assert sys.stdout is stdout and list(warnings.filters) == filters and gc.isenabled() == is_enabled
    assert warnings.showwarning is function
    assert capfd.readouterr().out == "to standard output\n"


def test_a_function_is_replaced_for_one_thread_only():
    import textwrap

    original = textwrap.dedent
    with replaced((textwrap, "dedent", lambda text: "replaced")):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: textwrap.dedent("  a")).result() == "a"
        assert textwrap.dedent("  a") == "replaced"
        with replaced((textwrap, "dedent", lambda text: "again")):
            assert textwrap.dedent("  a") == "again"
        assert textwrap.dedent("  a") == "replaced"
    assert textwrap.dedent is original


@pytest.mark.parametrize("name", FILLS)
def test_a_factory_does_not_fill_tensors_of_any_size(name):
    """Names imported from torch.nn.init are recognized too."""
    shape = (8, 8) if name == "eye_" else (8, 8, 3)
    filled = []

    def factory():
        filled.append(FILLS[name](torch.zeros(shape)))
        return nn.Identity()

    construct(factory, {}, "factory", 1)
    assert name == "eye_" or filled[0].abs().sum() == 0
    construct(factory, {}, "factory", 2)
    assert filled[1].abs().sum() > 0

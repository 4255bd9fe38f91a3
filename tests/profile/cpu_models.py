"""Subjects for tests: models that are ready to be measured, and what their runs tell."""

import pytest

torch = pytest.importorskip("torch")

from cnnstat.ir.graph import Edge  # noqa: E402
from cnnstat.profile.instrumentation import NetworkInstrumentation, Observer  # noqa: E402
from cnnstat.profile.profile_model import prepare_model  # noqa: E402
from cnnstat.profile.profile_options import Options  # noqa: E402
from cnnstat.profile.profile_result import UNATTRIBUTED  # noqa: E402
from cnnstat.profile.runnable_model import RunnableModel  # noqa: E402
from cnnstat.pytorch.modules.network import Network, Step  # noqa: E402
from cnnstat.sources.load import model_reference  # noqa: E402

CPU = torch.device("cpu")


def model_of(source, *shape, mode="eval", backward=False, **options):
    """A model on the CPU; shape: of the only input."""
    reference = model_reference(source, tuple(shape) or None, mode=mode)
    return prepare_model(reference, Options(backward=backward, **options), CPU)


class Diary(Observer):
    """Writes down what it is told."""

    def __init__(self):
        self.entries = []
        self.results = []

    def enter(self, row, call):
        self.entries.append(("enter", row, call))

    def leave(self, row, call):
        self.entries.append(("leave", row, call))

    def returned(self, row, result):
        self.results.append((row, result))


def rows_of(model):
    """The names of the rows of one run, in the order in which they ran; None for what belongs to no row."""
    diary = Diary()
    with model.observing(diary):
        model.run()
    entered = [entry for entry in diary.entries if entry[0] == "enter"]
    assert [(row, call) for _, row, call in entered] == [e[1:] for e in diary.entries if e[0] == "leave"]
    names = [node.name for node in model.analysis.graph.nodes]
    return [None if row == UNATTRIBUTED else names[row] for _, row, _ in entered]


class FakeClock:
    """A clock that moves only when it is told to, and by `tick` whenever it is read; nanoseconds."""

    def __init__(self, tick=0):
        self.now = 0
        self.tick = tick

    def __call__(self):
        self.now += self.tick
        return self.now


class Takes(torch.nn.Module):
    """A layer that takes so many nanoseconds of a fake clock."""

    def __init__(self, clock, nanoseconds):
        super().__init__()
        self.clock = clock
        self.nanoseconds = nanoseconds

    def forward(self, x):
        self.clock.now += self.nanoseconds
        return x * 1.0


def timed_model(clock, times, gap=0):
    """A network of layers that take these times, with a gap before each, on a spec's graph of as many layers."""

    import cnnstat

    spec = cnnstat.load("lenet5")
    network = Network("slow", ("x",), (Edge(len(times)),))
    for number, time in enumerate(times):
        network.add_module(f"layer{number}", Takes(clock, time))
    network.network_steps = tuple(Step(f"layer{n}", (Edge(n),), (Edge(n + 1),), (Edge(n),)) for n in range(len(times)))
    instrumentation = NetworkInstrumentation(network)
    network.register_forward_pre_hook(lambda module, inputs: setattr(clock, "now", clock.now + gap))
    return RunnableModel(
        module=network.eval(),
        arguments=(torch.rand(1, 4),),
        keywords={},
        analysis=cnnstat.analyze(spec),
        instrumentation=instrumentation,
        device=CPU,
    )

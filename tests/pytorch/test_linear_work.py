"""The work of an analysis grows with the number of calls, not with its square; counted in calls of Python functions."""

import sys

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import cnnstat  # noqa: E402


class Steps(nn.Module):
    """Something that is done some number of times."""

    def __init__(self, count):
        super().__init__()
        self.count = count
        self.scale = nn.Parameter(torch.rand(8))
        self.linear = nn.Linear(8, 8)


class OneFunction(Steps):
    def forward(self, x):
        for _ in range(self.count):
            x = torch.sigmoid(x)
        return x


class GeneralFunction(Steps):
    def forward(self, x):
        for _ in range(self.count):
            x = torch.erfinv(x)
        return x


class Tiles(Steps):
    def forward(self, x):
        result = torch.zeros(1, 4, 2 * self.count, 8)
        for place in range(0, 2 * self.count, 2):
            result[:, :, place : place + 2] = x[:, :, place : place + 2].tanh()
        return result


class Scan(Steps):
    def forward(self, x):
        state, states = x[:, :, 0], []
        for step in range(self.count):
            state = torch.tanh(self.linear(state) + x[:, :, step])
            states.append(state)
        return torch.stack(states, 2)


class ScanOfWeights(Steps):
    """The kernel of a recurrence, computed from weights alone."""

    def forward(self, x):
        power, powers = self.scale, []
        for _ in range(self.count):
            power = power * self.scale
            powers.append(power)
        return x * torch.stack(powers[:2]).sum(0)


def python_calls(model, shape):
    """How many Python functions an analysis calls."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        cnnstat.load(model, shape)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("kind", [OneFunction, GeneralFunction, Tiles, Scan, ScanOfWeights])
def test_work_per_call_is_flat(kind):
    cnnstat.load(kind(2), (1, 4, 4, 8))
    few, many = (python_calls(kind(count), (1, 4, 2 * count, 8)) / count for count in (50, 400))
    assert many < 1.2 * few


def test_equal_names_are_numbered_in_order():
    names = [node.name for node in cnnstat.load(OneFunction(4), (1, 4, 8, 8)).nodes]
    assert names[:4] == ["sigmoid", "sigmoid_2", "sigmoid_3", "sigmoid_4"]


def test_a_scan_of_weights_counts_every_step_once():
    graph = cnnstat.analyze(ScanOfWeights(100), (1, 4, 8, 8))
    assert graph.totals.flops == 100 * 8 + 2 * 8 + 256

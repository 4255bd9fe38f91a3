"""Maps of different fields side by side: what reads some channels sees what these see, held against gradients."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

import cnnstat  # noqa: E402
from cnnstat.analysis.receptive_field import channel_parts  # noqa: E402


class Joined(nn.Module):
    """Four channels that see 3×3 beside four that see 7×7, and what is done with them."""

    def __init__(self, rest):
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 7, padding=3)
        self.depthwise, self.halves = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.pointwise, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.rest = rest

    def forward(self, x):
        return self.rest(self, torch.cat([self.narrow(x), self.wide(x)], 1))


def turned(y):
    """Channels in turns, as ShuffleNet's own code has it."""
    return y.view(1, 2, 4, 16, 16).transpose(1, 2).reshape(1, 8, 16, 16)


CASES = {
    "all": (lambda m, y: y, 7),
    "first half": (lambda m, y: y[:, :4], 3),
    "last half": (lambda m, y: y[:, 4:], 7),
    "the middle": (lambda m, y: y[:, 2:6], 7),
    "one channel": (lambda m, y: y[:, 3], 3),
    "chunk": (lambda m, y: y.chunk(2, 1)[0], 3),
    "split": (lambda m, y: torch.split(y, [4, 4], 1)[0] * 2, 3),
    "narrow": (lambda m, y: y.narrow(1, 1, 3), 3),
    "unbind": (lambda m, y: y.unbind(1)[0], 3),
    "behind a norm": (lambda m, y: F.relu(m.norm(y))[:, :4], 3),
    "depthwise": (lambda m, y: m.depthwise(y)[:, :4], 5),
    "depthwise, all": (lambda m, y: m.depthwise(y), 9),
    "grouped": (lambda m, y: m.halves(y)[:, :4], 5),
    "pointwise": (lambda m, y: m.pointwise(y)[:, :4], 7),
    "shuffled": (lambda m, y: F.channel_shuffle(y, 2)[:, :4], 7),
    "shuffled, one": (lambda m, y: F.channel_shuffle(y, 2)[:, :1], 3),
    "turned": (lambda m, y: turned(y)[:, :4], 7),
    "turned, one": (lambda m, y: turned(y)[:, 2:3], 3),
    "every other of turned": (lambda m, y: turned(y)[:, ::2], 3),
    "groups": (lambda m, y: y.view(1, 2, 4, 16, 16)[:, 0], 3),
    "joined again": (lambda m, y: torch.cat([y[:, :4], y[:, :4]], 1), 3),
    "sum of halves": (lambda m, y: y[:, :4] + y[:, 4:], 7),
    "gated": (lambda m, y: F.glu(y, 1), 7),
    "mean of channels": (lambda m, y: y.mean(1, keepdim=True), 7),
    "softmax over channels": (lambda m, y: y.softmax(1)[:, :4], 7),
    "channels last": (lambda m, y: y.permute(0, 2, 3, 1)[..., :4].permute(0, 3, 1, 2), 3),
}


def field_of(model):
    field = cnnstat.analyze(model.eval(), (1, 2, 16, 16)).totals.receptive_field
    return field.size, field.exact


def size_by_gradient(model):
    """The largest field along each axis, of outputs in the middle."""
    x = torch.rand(1, 2, 16, 16, requires_grad=True)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.01, 0.02)  # nothing cancels or saturates
    made = model.eval()(x)
    largest = [0, 0]
    for place in range(made.shape[-1] // 2 - 1, made.shape[-1] // 2 + 2):
        (gradient,) = torch.autograd.grad(made[..., place, place].sum(), x, retain_graph=True)
        read = gradient.abs().sum((0, 1)).nonzero()
        largest = [max(a, b) for a, b in zip(largest, (read.max(0)[0] - read.min(0)[0] + 1).tolist())]
    return tuple(largest)


@pytest.mark.parametrize("case", CASES)
def test_a_part_sees_what_its_channels_see(case):
    rest, size = CASES[case]
    model = Joined(rest)
    assert field_of(model) == ((size, size), True)
    assert size_by_gradient(model) == (size, size)


KINDS = (
    *("conv", "conv", "depthwise", "grouped", "cat", "cat", "cat"),
    *("cut", "cut", "chunk", "shuffle", "turn", "add", "pool"),
)


class Program(nn.Module):
    """Random calls that join and part channels."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed
        self.layers = nn.ModuleDict()

    def layer(self, name, *arguments, **keywords):
        if name not in self.layers:
            self.layers[name] = nn.Conv2d(*arguments, **keywords)
        return self.layers[name]

    def forward(self, x):
        chance, maps = random.Random(self.seed), [x]
        for number in range(chance.randint(4, 12)):
            y, kernel = chance.choice(maps[-4:]), chance.choice((1, 3, 5))
            channels, padding = y.shape[1], kernel // 2
            kind = chance.choice(KINDS)
            if kind == "conv":
                y = self.layer(f"c{number}", channels, chance.choice((2, 4)), kernel, padding=padding)(y)
            elif kind == "depthwise":
                y = self.layer(f"d{number}", channels, channels, kernel, padding=padding, groups=channels)(y)
            elif kind == "grouped" and channels % 2 == 0:
                y = self.layer(f"g{number}", channels, 4, kernel, padding=padding, groups=2)(y)
            elif kind == "cat":
                y = torch.cat([chance.choice(maps) for _ in range(chance.randint(2, 3))], 1)
            elif kind == "cut":
                start = chance.randrange(channels)
                y = y[:, start : chance.randint(start + 1, channels)]
            elif kind == "chunk" and channels > 1:
                y = chance.choice(y.chunk(2, 1))
            elif kind == "shuffle" and channels % 2 == 0:
                y = F.channel_shuffle(y, 2)
            elif kind == "turn" and channels % 2 == 0:
                y = y.unflatten(1, (2, channels // 2)).transpose(1, 2).flatten(1, 2)
            elif kind == "add":
                y = y + chance.choice([each for each in maps if each.shape == y.shape])
            elif kind == "pool":
                y = F.avg_pool2d(y, 3, 1, 1)
            if y.shape[1] <= 32:
                maps.append(y)
        return maps[-1] * 1


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_see_what_their_gradients_reach(seed):
    model = Program(seed)
    model(torch.rand(1, 2, 16, 16))
    actual = size_by_gradient(model)
    if max(actual) >= 13:
        return  # the border may cut it off
    size, is_exact = field_of(model)
    assert size == actual if is_exact else all(a >= b for a, b in zip(size, actual))


class Steps(nn.Module):
    """Writes step by step, each along an axis that is not followed."""

    def forward(self, x):
        made, state = torch.zeros_like(x), x[:, 0]
        for step in range(x.shape[1]):
            state = state + F.avg_pool1d(x[:, step].unsqueeze(1), 3, 1, 1).squeeze(1)
            made[:, step] = state
        return made


def test_writes_step_by_step_look_for_no_parts(monkeypatch):
    def fail(*_):
        raise AssertionError("this takes the square of the steps")

    monkeypatch.setattr(channel_parts.ChannelParts, "_parts", fail)
    assert cnnstat.analyze(Steps(), (2, 30, 16)).totals.receptive_field.size == (3,)


def test_a_part_behind_pixel_shuffle_is_bounded():
    assert field_of(Joined(lambda m, y: F.pixel_shuffle(y, 2))) == ((7, 7), True)
    assert field_of(Joined(lambda m, y: F.pixel_shuffle(y, 2)[:, :1])) == ((7, 7), False)


def test_beyond_some_work_a_part_is_bounded(monkeypatch):
    monkeypatch.setattr(channel_parts, "MAX_WORK", 4)
    assert field_of(Joined(CASES["first half"][0])) == ((7, 7), False)

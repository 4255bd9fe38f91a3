"""Modes: dropout and norms that do not follow the model's, autocast, and masks that an op leaves to a flag."""

import pytest
from same_results import assert_refused, assert_same

import cnnstat

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # from torch
from torch.nn import functional  # noqa: E402

X = torch.linspace(-1, 1, 2 * 4 * 6 * 6).view(2, 4, 6, 6)


class Own(nn.Module):
    """Calls one function with itself, and reads what the call may have changed."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))

    def forward(self, x):
        y = x * 1.5
        part = y[:, 1]
        return self.function(self, y) + 1, y * 2, part * 3


CALLS = {
    "always": lambda m, x: functional.dropout(x, 0.5, True),
    "default": lambda m, x: functional.dropout(x),
    "never": lambda m, x: functional.dropout(x, 0.5, False),
    "as the model": lambda m, x: functional.dropout(x, 0.5, m.training),
    "otherwise": lambda m, x: functional.dropout(x, 0.5, not m.training),
    "in place": lambda m, x: functional.dropout(x, 0.5, m.training, True),
    "always in place": lambda m, x: functional.dropout(x, 0.5, True, inplace=True),
    "maps": lambda m, x: functional.dropout2d(x, 0.5, training=True),
    "alpha": lambda m, x: functional.alpha_dropout(x, 0.5, True),
    "torch": lambda m, x: torch.dropout(x, 0.5, True),
    "norm of the batch": lambda m, x: functional.batch_norm(x, m.mean, m.var, training=True, momentum=0.0),
    "norm as stored": lambda m, x: functional.batch_norm(x, m.mean, m.var),
    "norm of the map": lambda m, x: functional.instance_norm(x, m.mean, m.var, use_input_stats=True, momentum=0.0),
    "norm of stored maps": lambda m, x: functional.instance_norm(x, m.mean, m.var, use_input_stats=False),
}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("call", CALLS)
def test_functions_that_are_told_the_mode(call, mode):
    model = Own(CALLS[call])
    assert_same(model, cnnstat.load(model, X, mode=mode), X, mode=mode)


class Frozen(nn.Module):
    """Layers that stay in the other mode, whatever the model is set to."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.5)
        self.cells = nn.LSTM(6, 5, 2, dropout=0.5)
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.5)
        self.steady = nn.BatchNorm2d(4, track_running_stats=False)

    def train(self, mode=True):
        super().train(mode)
        for layer in self.children():
            layer.train(not mode)
        return self

    def forward(self, x):
        y = self.drop(self.norm(self.steady(x)))
        return y, self.cells(y[0])[0], self.attention(x[0], x[0], x[0])[0]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_layers_that_stay_in_one_mode(mode):
    model = Frozen()
    graph = cnnstat.load(model, X, mode=mode)
    assert_same(model, graph, X, mode=mode, passes=2)
    assert "self.steady = nn.BatchNorm2d(4, track_running_stats=False)" in cnnstat.export(graph, to="torch")


class Counted(nn.BatchNorm2d):
    """A norm that counts its batches, and is the network itself, or one without a module."""

    def forward(self, x):
        if self.training:
            self.num_batches_tracked.add_(1)
        y = functional.batch_norm(x, self.running_mean, self.running_var, None, None, self.training, 0.1)
        return y * self.weight.exp()[:, None, None]


@pytest.mark.parametrize("make", [nn.BatchNorm2d, Counted, lambda n: nn.Sequential(Counted(n), nn.BatchNorm2d(n))])
def test_norms_count_their_batches(make):
    model = make(4)
    text = cnnstat.export(model, X, to="torch", mode="train")
    assert "num_batches_tracked" in text or "nn.BatchNorm2d" in text
    assert_same(model, cnnstat.load(model, X, mode="train"), X, mode="train", passes=3)


def test_layers_in_the_mode_of_the_model_are_modules():
    text = cnnstat.export(nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5, inplace=True)), X, to="torch", mode="train")
    assert "nn.BatchNorm2d(4)" in text
    assert "nn.Dropout(inplace=True)" in text


class Causal(nn.Module):
    """Attention to what came before, as nn.TransformerEncoderLayer asks for it."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(4)
        return self.attention(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0]


def test_causal_masks_stay():
    model = Causal().eval()
    assert_same(model, cnnstat.load(model, (4, 2, 6)), torch.randn(4, 2, 6))


class Halved(nn.Module):
    """A convolution, and a product of weights, under autocast."""

    def __init__(self, enabled):
        super().__init__()
        self.conv, self.enabled = nn.Conv2d(4, 4, 1), enabled

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.enabled):
            y = self.conv(x)
        return y.float()


def test_autocast_is_not_repeated():
    assert_refused(cnnstat.load(Halved(True), X), r"conv \(Conv2d\): it runs under autocast")
    assert_same(Halved(False), cnnstat.load(Halved(False), X), X)

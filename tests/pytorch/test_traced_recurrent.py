"""Recurrent layers of traced models are the library's ops, with the figures that hand and PyTorch's counter give."""

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from oracles.flop_counter import counted_macs  # noqa: E402  # needs torch

import cnnstat  # noqa: E402
from cnnstat.ops.recurrent import GRU, LSTM, RNN  # noqa: E402

STEPS, BATCH, FEATURES, HIDDEN = 7, 2, 5, 6
SEQUENCE = (STEPS, BATCH, FEATURES)


class Sequence(nn.Module):
    """A recurrent layer whose states are dropped."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


LAYERS = {
    "lstm": (lambda: nn.LSTM(FEATURES, HIDDEN), LSTM(6, batch_first=False)),
    "deep": (
        lambda: nn.LSTM(FEATURES, HIDDEN, 2, bidirectional=True, dropout=0.5),
        LSTM(6, 2, batch_first=False, dropout=0.5, bidirectional=True),
    ),
    "projected": (lambda: nn.LSTM(FEATURES, HIDDEN, proj_size=3), LSTM(6, batch_first=False, proj_size=3)),
    "gru": (lambda: nn.GRU(FEATURES, HIDDEN, bias=False), GRU(6, bias=False, batch_first=False)),
    "rnn": (lambda: nn.RNN(FEATURES, HIDDEN, nonlinearity="relu"), RNN(6, nonlinearity="relu", batch_first=False)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_ops_of_the_library(name):
    make, op = LAYERS[name]
    model = Sequence(make())
    analysis = cnnstat.analyze(model, SEQUENCE)
    (layer,) = analysis.layers
    assert layer.op == op
    assert layer.params == sum(p.numel() for p in model.parameters())
    assert layer.macs == counted_macs(model, torch.rand(SEQUENCE))
    assert analysis.uncounted == ()


def test_batch_first_and_a_given_state():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.GRU(FEATURES, HIDDEN, batch_first=True)
            self.decoder = nn.GRU(FEATURES, HIDDEN, batch_first=True)

        def forward(self, x):
            return self.decoder(x, self.encoder(x)[1])

    analysis = cnnstat.analyze(Decoder(), ((2, 7, 5),))
    assert [layer.op for layer in analysis.layers] == [GRU(6), GRU(6)]
    assert len(analysis.graph.nodes[1].inputs) == 2
    assert analysis.totals.macs == 2 * 14 * 3 * (30 + 36)


def test_a_learnt_first_state_is_counted_with_the_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.GRU(FEATURES, HIDDEN)
            self.first = nn.Parameter(torch.zeros(1, 1, HIDDEN))

        def forward(self, x):
            return self.layer(x, self.first.repeat(1, x.shape[1], 1))[0]

    analysis = cnnstat.analyze(Net(), SEQUENCE)
    (layer,) = analysis.layers
    assert layer.op.kind == "GRU"
    assert layer.params == 3 * (30 + 36) + 2 * 18 + 6


def test_a_layer_called_twice_weighs_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.LSTM(FEATURES, FEATURES)

        def forward(self, x):
            return self.layer(self.layer(x)[0])[0]

    first, second = cnnstat.analyze(Twice(), SEQUENCE).layers
    assert (first.macs, second.macs) == (14 * 4 * 50,) * 2
    assert (first.params, second.params) == (4 * 50 + 40, 0)


class Packed(nn.Module):
    """Sequences of 7 and 3 steps, packed."""

    def __init__(self, kind):
        super().__init__()
        self.layer = kind(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x, lengths=(7, 3)):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_work_for_the_steps_they_have(kind):
    model = Packed(kind)
    analysis = cnnstat.analyze(model, ((2, 7, 5),))
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    assert analysis.totals.macs == 10 * gates * (30 + 36) == counted_macs(model, torch.rand(2, 7, 5))
    assert analysis.totals.params == sum(p.numel() for p in model.parameters())
    assert "notes_torch" not in analysis.graph.about


def test_unknown_lengths_are_an_upper_bound_that_is_said():
    analysis = cnnstat.analyze(Packed(nn.GRU), inputs={"x": (2, 7, 5), "lengths": "2:int64"})
    assert analysis.totals.macs == 14 * 3 * (30 + 36)
    assert "upper bound" in analysis.graph.about["notes_torch"][0]


def test_lengths_that_are_given_count():
    analysis = cnnstat.analyze(Packed(nn.GRU), ((2, 7, 5), torch.tensor([7, 3])))
    assert analysis.totals.macs == 10 * 3 * (30 + 36)
    assert "values that are given decide" in analysis.graph.about["notes_torch"][0]


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_work_as_one_step_of_their_layer(kind):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = kind(FEATURES, HIDDEN)

        def forward(self, x):
            return self.cell(x)

    model = Net()
    analysis = cnnstat.analyze(model, ((2, 5),))
    layer = {nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU, nn.RNNCell: nn.RNN}[kind](FEATURES, HIDDEN)
    same = cnnstat.analyze(Sequence(layer), ((1, 2, 5),)).totals
    assert (analysis.totals.macs, analysis.totals.flops) == (same.macs, same.flops)
    assert analysis.totals.macs == counted_macs(model, torch.rand(2, 5))
    assert analysis.totals.params == same.params
    assert analysis.uncounted == ()

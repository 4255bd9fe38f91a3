"""Every op call of a run is told as the row that `cnnstat analyze` shows it as."""

import pytest

torch = pytest.importorskip("torch")

from cpu_models import Diary, model_of, rows_of  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from torch.utils.checkpoint import checkpoint  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.profile.profile_result import UNATTRIBUTED  # noqa: E402
from cnnstat.profile.stopwatch import BackwardStopwatch  # noqa: E402
from cnnstat.pytorch.tensors import tensors_in  # noqa: E402


def names_of(model):
    return [node.name for node in model.analysis.graph.nodes]


class Functional(nn.Module):
    """Functions and operators between modules."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = F.relu(self.conv(x)) + x
        return F.interpolate(y * 2, scale_factor=2).flatten(1)


class Shared(nn.Module):
    """One module called three times."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.conv(self.conv(self.conv(x)))


class Block(nn.Module):
    """A module in a module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x).relu()


class Attending(nn.Module):
    """PyTorch's attention, in the arrangement that it has a fused path for."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Checkpointed(nn.Module):
    """Part of it is computed again in the backward pass."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)

    def forward(self, x):
        return self.second(checkpoint(lambda y: self.first(y).relu(), x, use_reentrant=False))


MODELS = {
    "functional": (Functional(), (1, 4, 8, 8)),
    "shared": (Shared(), (1, 4, 8, 8)),
    "nested": (Block(Block(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))), (1, 4, 8, 8)),
    "lstm": (nn.Sequential(nn.LSTM(8, 8, batch_first=True)), (1, 5, 8)),
    "attention": (Attending(), (1, 5, 8)),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 5, 8)),
    "checkpoint": (Checkpointed(), (2, 8)),
}


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", MODELS)
def test_rows_run_in_the_order_of_the_graph(name, backward):
    model, shape = MODELS[name]
    model = model_of(model, *shape, backward=backward)
    assert model.notes == ()
    assert model.instrumentation.alignment.is_exact
    # A checkpoint asks for constants in some releases; they belong to no layer.
    ignored = {None} if name == "checkpoint" else set()
    assert [row for row in dict.fromkeys(rows_of(model)) if row not in ignored] == names_of(model)
    assert model.instrumentation.diverged == 0


def test_a_shared_module_has_a_row_for_each_call():
    model = model_of(*_with_shape("shared"))
    assert rows_of(model) == ["conv", "conv_2", "conv_3"]


def _with_shape(name):
    model, shape = MODELS[name]
    return (model, *shape)


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "unet"])
def test_a_network_built_from_a_spec_runs_row_by_row(name):
    # On small images: which row runs does not depend on sizes.
    small = {"unet": (1, 1, 188, 188)}.get(name, ())
    model = model_of(cnnstat.load(name, small) if small else name)
    assert rows_of(model) == names_of(model)


def test_work_on_weights_belongs_to_the_layer_that_uses_them():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.ReLU())
    model = model_of(model, 1, 8)
    rows = rows_of(model)
    assert len(rows) > 2
    assert set(rows) == {"0", "1"}
    assert [row for row in rows if row == "1"] == ["1"]
    assert model.instrumentation.counts == {0: 1, 1: 1}


def test_constants_belong_to_the_layer_that_uses_them():
    class Shifted(nn.Module):
        def forward(self, x):
            mask = torch.zeros(8, 8)
            mask[:4] = 1.0
            mask[4:] = 2.0
            return x @ mask

    rows = rows_of(model_of(Shifted(), 1, 8))
    assert rows
    assert set(rows) == {"matmul"}


def test_a_model_that_fails_inside_and_goes_on_is_followed():
    class Tries(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            try:
                return self.conv(x[:, :2])
            except RuntimeError:
                return self.conv(x)

    model = model_of(Tries(), 1, 4, 8, 8)
    assert "conv" in rows_of(model)
    assert model.instrumentation.diverged == 0


def test_a_model_that_calls_itself_is_followed():
    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, depth=2):
            x = self.fc(x)
            return x if depth == 0 else self(x, depth - 1)

    model = model_of(Again(), 1, 4)
    assert rows_of(model) == ["fc", "fc_2", "fc_3"] == rows_of(model)


def test_where_values_decide_the_rows_are_those_of_the_real_run():
    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.few, self.many = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.many(x[x.sum(1) > 1e9]) if (x > -1).all() else self.few(x)

    model = model_of(Picks(), 4, 8)
    assert None not in rows_of(model)
    assert "many" in rows_of(model)
    assert model.analysis.totals.macs == 0


def test_calls_that_the_trace_has_not_seen_belong_to_no_row():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model = model_of(model, 1, 4)
    inner = model.module[1]
    model.module[1].forward = lambda x: torch.sigmoid(F.relu(x))
    assert rows_of(model)[:2] == ["0", "1"]
    assert rows_of(model)[2:] == [None]
    assert model.instrumentation.diverged == 2
    inner.forward = lambda x: torch.tanh(x)
    assert rows_of(model) == ["0", None]


def test_an_error_ends_the_mark():
    model = model_of(nn.Sequential(nn.Linear(4, 4)), 1, 4)
    diary = Diary()
    with pytest.raises(RuntimeError), model.observing(diary):
        model.module(torch.rand(1, 5))
    assert diary.entries == [("enter", 0, 0), ("leave", 0, 0)]
    assert rows_of(model) == ["0"]


def test_nothing_is_heard_once_the_marking_ends():
    model = model_of(*_with_shape("functional"))
    diary = Diary()
    with model.observing(diary):
        model.run()
    count = len(diary.entries)
    model.run()
    assert len(diary.entries) == count
    assert not model.module._forward_pre_hooks


@pytest.mark.parametrize("name", ["functional", "nested", "attention", "checkpoint"])
def test_steps_of_the_backward_pass_belong_to_the_rows_that_made_them(name):
    model = model_of(*_with_shape(name), backward=True)
    clock = iter(range(10**6))
    watch = BackwardStopwatch(lambda: next(clock))
    with model.observing(watch):
        result = model.run()
        model.run_backward(result)
    rows = {lap.row for lap in watch.backward_laps}
    assert UNATTRIBUTED not in rows
    assert {layer for layer, found in enumerate(model.analysis.layers) if found.params} <= rows
    assert len(watch.backward_laps) >= len(rows)


def test_captured_layers_give_what_they_gave_in_the_model():
    for name in ("functional", "shared", "encoder"):
        model = model_of(*_with_shape(name))
        diary = Diary()
        with model.observing(diary):
            model.run()
        with torch.no_grad():
            for call, (row, result) in zip(model.capture(), diary.results):
                assert call.row == row
                again = list(tensors_in(call.run()))
                assert again
                torch.testing.assert_close(again, list(tensors_in(result)))


def test_a_run_that_ends_early_has_not_followed_the_plan_either():
    class Fickle(nn.Module):
        runs = 0

        def forward(self, x):
            self.runs += 1
            x = torch.relu(x)
            return torch.sigmoid(x) if self.runs % 2 else x

    model = model_of(Fickle(), 1, 4)
    assert model.instrumentation.diverged == 0
    lengths = [len(rows_of(model)) for _ in range(4)]
    assert sorted(lengths) == [1, 1, 2, 2]
    assert model.instrumentation.diverged == 2

"""Exported files make calls again with what ops leave out: dtypes, first states, memory seen as other numbers."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402

VECTORS, MAP, STEPS = (3, 8), (2, 4, 6, 6), (2, 6, 8)


class Net(nn.Module):
    """A function of some layers and the input."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(self.layers, x)


def swapped(m, x):
    """Two channels that change places, one of which is a view of what is written over first."""
    x = x * 1
    first = x[:, 0]
    x[:, 0] = x[:, 1]
    x[:, 1] = first
    return x


def with_added_bits(m, x):
    """The lowest bits of the numbers set to zero, through a view as whole numbers."""
    y = m[0](x)
    y.view(torch.int32).__iand__(-256)
    return y * 2


CASES = {
    "dtype of a sum": (lambda m, x: x.sum(1, dtype=torch.float64), MAP),
    "dtype of a mean": (lambda m, x: x.mean((2, 3), dtype=torch.float64), MAP),
    "dtype of a softmax": (lambda m, x: functional.softmax(x, 1, dtype=torch.float64), VECTORS),
    "dtype of a method": (lambda m, x: x.log_softmax(-1, dtype=torch.float64), VECTORS),
    "first state": (lambda m, x: m[0](x, torch.ones(1, 2, 5)), STEPS, nn.GRU(8, 5, batch_first=True)),
    "first state of ones like the input": (
        lambda m, x: m[0](x, (x.new_ones(1, 2, 5), x.new_zeros(1, 2, 5)))[0], STEPS, nn.LSTM(8, 5, batch_first=True),
    ),
    "first state of zeros": (lambda m, x: m[0](x, x.new_zeros(1, 2, 5)), STEPS, nn.GRU(8, 5, batch_first=True)),
    "whole numbers of floats": (
        lambda m, x: (0x5F3759DF - (x.view(torch.int32) >> 1)).view(torch.float32), VECTORS,
    ),
    "halves of floats": (lambda m, x: x.view(torch.float16).float().nan_to_num(), VECTORS),
    "bits written": (with_added_bits, VECTORS, nn.Linear(8, 4)),
    "swapped channels": (swapped, MAP),
    "patches": (lambda m, x: m[1](m[0](x)), MAP, nn.Unfold(2, stride=2), nn.Fold(6, 2, stride=2)),
    "windows": (lambda m, x: x.unfold(2, 3, 2).unfold(3, 2, 2), MAP),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_gives_the_models_results(case):
    function, shape, *layers = CASES[case]
    torch.manual_seed(0)
    model, x = Net(function, *layers).eval(), torch.rand(shape)
    made = {}
    exec(compile(cnnstat.export(model, x.clone(), to="torch"), "<export>", "exec"), made)
    copy = [each for each in made.values() if isinstance(each, type) and issubclass(each, nn.Module)][-1]().eval()
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        wanted, given = model(x.clone()), copy(x.clone())
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (wanted, given)), strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, equal_nan=True)


def test_a_mirrored_map_keeps_its_field_in_a_spec(tmp_path):
    model = Net(lambda m, x: m[0](x.flip(3)), nn.Conv2d(4, 2, 3))
    file = tmp_path / "mirrored.yaml"
    file.write_text(cnnstat.export(model, MAP))
    assert cnnstat.analyze(str(file)).totals.receptive_field == cnnstat.analyze(model, MAP).totals.receptive_field

"""Products of constants: rows of their own, whose results stay constants."""

import runpy

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import cnnstat  # noqa: E402


class Positions(nn.Module):
    """A table of sines and cosines, the angles of which are a product, in front of a linear layer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 8)

    def forward(self, x):
        place = torch.arange(20, dtype=torch.float32)
        angles = place[:, None] @ (1 / 10000 ** (torch.arange(16, dtype=torch.float32) / 16))[None]
        return self.linear(x + torch.cat([angles.sin(), angles.cos()], 1))


class Filters(nn.Module):
    """A plain tensor, no buffer, times itself."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 8)
        self.basis = torch.rand(16, 8)

    def forward(self, x):
        return self.linear(x) @ (self.basis.t() @ self.basis)


class Smoothed(nn.Module):
    """A constant is convolved with a constant kernel; with a bias, that is one more operation an output."""

    def forward(self, x):
        kernel = torch.ones(1, 1, 3, 3) / 9
        return x + nn.functional.conv2d(torch.ones(1, 1, 10, 10), kernel, torch.zeros(1), padding=1)


def test_a_table_computed_in_the_pass_counts():
    analysis = cnnstat.analyze(Positions(), (2, 20, 32))
    assert [(layer.name, layer.macs) for layer in analysis.layers] == [
        ("matmul", 20 * 16),
        ("add", 0),
        ("linear", 2 * 20 * 32 * 8),
    ]
    assert analysis.layers[0].flops == 2 * 20 * 16
    assert analysis.layers[0].receptive_field is None
    assert not analysis.warnings


def test_a_product_of_plain_attributes_counts():
    analysis = cnnstat.analyze(Filters(), (4, 32))
    assert analysis.totals.macs == 4 * 32 * 8 + 8 * 16 * 8 + 4 * 8 * 8


def test_a_convolution_of_constants_counts_and_keeps_the_field():
    analysis = cnnstat.analyze(Smoothed(), (1, 1, 10, 10))
    assert analysis.totals.macs == 9 * 100
    assert analysis.layers[0].output_shape == (1, 1, 10, 10)
    assert analysis.totals.receptive_field.size == (1, 1)


@pytest.mark.parametrize(("model", "shape"), [(Positions, (2, 20, 32)), (Filters, (4, 32)), (Smoothed, (1, 1, 10, 10))])
def test_flop_counter_mode_and_fvcore_agree(model, shape):
    pytest.importorskip("fvcore")
    verification = cnnstat.verify(model(), shape)
    assert verification.exit_code == 0


@pytest.mark.parametrize(("model", "shape"), [(Positions, (2, 20, 32)), (Filters, (4, 32))])
def test_an_exported_file_computes_the_same_with_the_same_work(model, shape, tmp_path):
    original, x = model(), torch.rand(shape)
    path = tmp_path / "exported.py"
    path.write_text(cnnstat.export(original, shape, to="torch"))
    scope = runpy.run_path(str(path))
    exported = scope[model.__name__]()
    exported.load_state_dict(original.state_dict())
    assert torch.equal(exported(x), original(x))
    again = cnnstat.analyze(exported, shape).totals
    assert (again.macs, again.flops) == (
        cnnstat.analyze(original, shape).totals.macs,
        cnnstat.analyze(original, shape).totals.flops,
    )


class Angle(nn.Module):
    """A call that no op covers, of an input and of a tensor that is computed from a parameter alone."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(5))

    def forward(self, x):
        return torch.atan2(x, self.weight * 2)


def test_work_on_weights_is_counted_beside_the_work_of_the_call():
    totals = cnnstat.analyze(Angle(), (4, 5)).totals
    assert totals.flop_parts == {"2 × MACs": 0, "element-wise": 4 * 5 + 5}

"""Complex numbers: MACs of complex numbers, FLOPs of real ones."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import cnnstat  # noqa: E402


class Complex(nn.Module):
    """A convolution, a linear layer, products and sums of complex numbers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, dtype=torch.cfloat)
        self.linear = nn.Linear(6, 5, bias=False, dtype=torch.cfloat)

    def forward(self, x):
        y = self.linear(self.conv(x))
        return torch.fft.fft(y * y + y) @ y.transpose(2, 3)


def analysis():
    return cnnstat.analyze(Complex(), inputs={"x": "1x2x8x8:complex64"})


def test_a_complex_multiply_accumulate_is_one_mac_and_eight_flops():
    conv, linear, multiply, add, fft, _, matmul = analysis().layers
    outputs = 4 * 6 * 6
    assert (conv.macs, conv.flops) == (outputs * 18, outputs * 18 * 8 + outputs * 2)
    assert (linear.macs, linear.flops) == (4 * 6 * 5 * 6, 4 * 6 * 5 * 6 * 8)
    assert (multiply.flops, add.flops) == (120 * 6, 120 * 2)
    assert fft.flops == pytest.approx(5 * 120 * 2.3219280948873623, abs=1)
    assert matmul.flops == 8 * matmul.macs


def test_parts_add_up():
    result = analysis()
    assert sum(result.totals.flop_parts.values()) == result.totals.flops
    assert result.totals.flop_parts["2 × MACs"] == 2 * result.totals.macs


def test_the_reason_of_a_complex_convolution_is_no_connection_table():
    pytest.importorskip("fvcore")
    verification = cnnstat.verify(Complex(), inputs={"x": "1x2x8x8:complex64"})
    conv = verification.layers[0]
    for reference in conv.references:
        assert not any("table" in reason for reason in reference.reasons)
    assert any("three real ones" in reason for reference in conv.references for reason in reference.reasons)
    assert verification.exit_code == 0


def test_rotary_positions_agree_with_the_gradient_of_both_parts():
    class Rotary(nn.Module):
        def forward(self, x):
            turns = torch.polar(torch.ones(6, 4), torch.outer(torch.arange(6.0), torch.ones(4)))
            turned = torch.view_as_complex(x.unflatten(2, (4, 2))) * turns
            return torch.view_as_real(turned).flatten(2)

    assert cnnstat.verify(Rotary(), (2, 6, 8)).exit_code == 0

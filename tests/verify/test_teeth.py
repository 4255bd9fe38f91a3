"""Faults put into cnnstat on purpose have to be found."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import verified_models as models  # noqa: E402  # they need PyTorch

import cnnstat  # noqa: E402
from cnnstat.analysis import shapes  # noqa: E402
from cnnstat.ir.window import sliding  # noqa: E402
from cnnstat.ops import conv, pool, rectifier  # noqa: E402

SPEC = """
input: [3, 24, 24]
layers:
  - c1: Conv2d(4, 3, padding=1)
  - r1: ReLU
  - p1: MaxPool2d(2)
  - c2: Conv2d(4, 3)
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(SPEC)
    return str(path)


class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(
            torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(4, 4, 3)
        )


def both(spec):
    """The same network, from a spec and from PyTorch."""
    return (lambda: cnnstat.verify(spec)), (lambda: cnnstat.verify(Net(), (1, 3, 24, 24)))


def test_without_a_fault_all_agree(spec):
    for verify in both(spec):
        assert verify().exit_code == 0


@pytest.mark.parametrize(
    "wrong", [lambda count: count + 1, lambda count: 2 * count, lambda count: 0, lambda count: count // 3]
)
def test_a_wrong_count_is_found(spec, monkeypatch, wrong):
    right = conv.Conv2d.macs
    monkeypatch.setattr(conv.Conv2d, "macs", lambda self, i, o: wrong(right(self, i, o)))
    for verify in both(spec):
        found = verify()
        assert found.exit_code == 3
        bad = [layer for layer in found.layers if layer.verdict.value == "unexplained"]
        assert [layer.op for layer in bad] == ["Conv2d", "Conv2d"]
        assert bad[0].flop_counter.value == 3 * 4 * 9 * 24 * 24


def test_work_where_there_is_none_is_found(spec, monkeypatch):
    monkeypatch.setattr(rectifier.ReLU, "macs", lambda self, i, o: 17)
    for verify in both(spec):
        found = verify()
        assert found.exit_code == 3
        assert [layer.op for layer in found.layers if layer.verdict.value == "unexplained"] == ["ReLU"]


def test_a_wrong_count_of_a_convention_is_not_excused(monkeypatch):
    """fvcore's estimate for batch norm accounts for its own number only."""
    norm = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    from cnnstat.ops.norm import BatchNorm2d

    monkeypatch.setattr(BatchNorm2d, "macs", lambda self, i, o: 2 * 4 * 6 * 6)
    found = cnnstat.verify(norm, (1, 3, 8, 8))
    assert found.exit_code == 3


def test_a_wrong_shape_is_found_in_a_spec(spec, monkeypatch):
    right = pool.MaxPool2d.output

    def wrong(self, inputs):
        ((n, c, h, w),) = right(self, inputs)
        return ((n, c, h, w + 1),)

    monkeypatch.setattr(pool.MaxPool2d, "output", wrong)
    found = cnnstat.verify(spec)
    assert found.exit_code == 3
    bad = next(layer for layer in found.layers if layer.verdict.value == "unexplained")
    assert (bad.layer, bad.made) == ("p1", ((1, 4, 12, 12),))
    assert "PyTorch makes 1×4×12×12" in bad.reasons


def test_a_wrong_shape_is_found_in_a_model(monkeypatch):
    """The tracer trusts an op's shapes where it takes a shortcut; the forward pass takes none."""
    right = conv.Conv2d.output

    def wrong(self, inputs):
        ((n, c, h, w),) = right(self, inputs)
        return ((n, c, h, w + 1),)

    monkeypatch.setattr(conv.Conv2d, "output", wrong)
    assert cnnstat.verify(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), (1, 3, 8, 8)).exit_code == 3


def test_a_wrong_dtype_is_found(spec, monkeypatch):
    monkeypatch.setattr(rectifier.ReLU, "dtypes", lambda self, i, m, c: ("float64",))
    found = cnnstat.verify(spec)
    assert found.exit_code == 3
    assert "PyTorch makes float32, cnnstat says float64" in found.layers[1].reasons


@pytest.mark.parametrize(
    "window", [sliding(5, 1, 2), sliding(3, 1, 0), sliding(1), sliding(3, 2, 1), sliding(3, 1, 1, 2)], ids=str
)
def test_a_wrong_window_is_found(spec, monkeypatch, window):
    """Too wide, moved, too narrow, another stride, another dilation; the right one is sliding(3, 1, 1)."""
    from cnnstat.ops.spatial import spatial_reads

    def wrong(self, inputs, outputs, index=0):
        if self.padding == 0:
            return right(self, inputs, outputs, index)
        return spatial_reads([window, window], channels=None)

    right = conv.Conv2d.window
    monkeypatch.setattr(conv.Conv2d, "window", wrong)
    for verify in both(spec):
        found = verify()
        assert found.exit_code == 3
        assert any(field.verdict.value == "unexplained" for field in found.fields)
        assert all(layer.verdict.value != "unexplained" for layer in found.layers)


def test_wrong_parameters_are_found(spec, monkeypatch):
    right = conv.Conv2d.weights

    def wrong(self, inputs):
        weights = dict(right(self, inputs))
        weights["bias"] = (self.out_channels + 1,)
        return weights

    monkeypatch.setattr(conv.Conv2d, "weights", wrong)
    found = cnnstat.verify(spec)
    assert found.exit_code == 3
    parameters = next(total for total in found.totals if total.figure == "parameters")
    assert parameters.ours == parameters.theirs.value + 2


def test_a_pass_with_other_layers_than_the_trace_is_no_witness():
    calls: list[int] = []

    class Moody(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x):
            calls.append(1)
            return self.layer(x) if len(calls) == 1 else self.layer(self.layer(x))

    found = cnnstat.verify(Moody(), (1, 4))
    assert (found.exit_code, found.has_reference) == (3, False)
    assert found.references[0].problem == "could not run: it calls other layers than the trace did"


def test_a_custom_operation_that_nobody_counts_is_said():
    library = torch.library.Library("cnnstat_test", "DEF")
    library.define("mystery(Tensor x) -> Tensor")
    library.impl("mystery", lambda x: x @ x, "CPU")
    library.impl("mystery", lambda x: torch.empty_like(x), "Meta")

    class Mystery(torch.nn.Module):
        def forward(self, x):
            return torch.ops.cnnstat_test.mystery(x)

    found = cnnstat.verify(Mystery(), torch.rand(4, 4))
    (layer,) = found.layers
    assert layer.flop_counter.verdict.value == "no witness"
    assert "nobody has a formula for cnnstat_test.mystery" in layer.reasons


def test_the_fields_of_a_model_are_those_of_the_model(monkeypatch):
    """A window that is wrong only for the second of two equal convolutions' inputs shows too."""
    assert cnnstat.verify(models.Transposed(), (1, 4, 32, 32)).exit_code == 0
    right = conv.ConvTranspose2d.window

    def wrong(self, inputs, outputs, index=0):
        (reads,) = right(self, inputs, outputs, index)
        return ((*reads[:-1], (3, sliding(3, 1, 1))),)

    monkeypatch.setattr(conv.ConvTranspose2d, "window", wrong)
    shapes._remembered.clear()  # of the pass before
    assert cnnstat.verify(models.Transposed(), (1, 4, 32, 32)).exit_code == 3


def test_an_op_that_does_not_read_the_whole_input_is_found(monkeypatch):
    from cnnstat.ir.window import IDENTITY, WHOLE

    def wrong(self, inputs, outputs, index=0):
        return (((0, IDENTITY), (1, IDENTITY), (2, WHOLE), (3, WHOLE)),)

    monkeypatch.setattr(pool.MaxPool2d, "window", wrong)
    found = cnnstat.verify(Net(), (1, 3, 24, 24))
    assert found.exit_code == 3
    (bad,) = (field for field in found.fields if field.verdict.value == "unexplained")
    assert (bad.layer, bad.ours, bad.reason) == ("2", None, "the gradient does not reach what the map reads")


class Masked(torch.nn.Module):
    """A mask of the last map, which has a receptive field but no gradient."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x) > 0


def test_no_gradient_is_asked_of_a_mask():
    verification = cnnstat.verify(Masked(), (1, 3, 16, 16))
    assert verification.exit_code == 0
    assert {field.layer for field in verification.fields} == {"conv"}


def test_a_model_of_masks_alone_says_why_no_field_is_checked():
    verification = cnnstat.verify(Threshold(), (1, 3, 16, 16))
    assert verification.exit_code == 0 and not verification.fields
    assert any("gradients do not come through comparisons" in note for note in verification.notes)


class Threshold(torch.nn.Module):
    def forward(self, x):
        return x.gt(0).roll(1, 2)

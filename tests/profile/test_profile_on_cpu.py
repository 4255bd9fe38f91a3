"""Whole profiles on the CPU: rows, floors, notes, and layers that add up to the model."""

import json
import time
from statistics import median

import pytest

torch = pytest.importorskip("torch")

from cpu_models import model_of  # noqa: E402
from residual import residual  # noqa: E402
from torch import nn  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.analysis.memory import moved_bytes  # noqa: E402
from cnnstat.profile import interleaved, profile, profile_model, roofline_measurement  # noqa: E402
from cnnstat.profile.cpu import measure_cpu  # noqa: E402
from cnnstat.profile.device import threads  # noqa: E402
from cnnstat.profile.profile_options import Options, Silent  # noqa: E402
from cnnstat.profile.roofline import Roofline  # noqa: E402
from cnnstat.sources.load import model_reference  # noqa: E402

LIMIT = 0.15


@pytest.fixture(autouse=True)
def known_ceilings(monkeypatch):
    """Ceilings that need not be measured, and no more rounds than asked for or than a second takes."""
    found = Roofline(flops_per_second=1e10, bandwidth=1e10, launch=2e-6, measured="2026-01-01")
    monkeypatch.setattr(roofline_measurement, "measure_on", lambda *arguments: found)
    monkeypatch.setattr(profile_model, "remeasure_roofline", lambda known, *others: (known, ""))
    monkeypatch.setattr(interleaved, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(interleaved, "STEADY_SECONDS", 1.0)


def measured(source, input=None, mode="eval", **options):
    options = {"device": "cpu", "samples": 3, "threads": 1, **options}
    return profile(model_reference(source, input, mode=mode), Options(**options), Silent())


class Residual(nn.Module):
    """A few milliseconds of work, functions and modules."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(4))
        self.norm = nn.BatchNorm2d(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        for conv in self.convs:
            x = torch.relu(self.norm(conv(x)) + x)
        return self.head(x.mean((2, 3)))


def smallest_drift(model, tries=5):
    """The smallest drift of a few tries, as a share of the whole.

    The clock counts what this thread computes, so that other work on the machine matters little.
    """
    drifts = []
    with threads(1):
        for _ in range(tries):
            found = measure_cpu(model, Options(samples=31), Silent(), time.thread_time_ns)
            whole = found.whole.plain.median
            rows = found.rows.values()
            layers = sum(median(row.forward) + median(row.backward or (0.0,)) for row in rows)
            drifts.append(abs(whole - layers - found.idle - found.unattributed) / whole)
            if drifts[-1] <= LIMIT:
                break
    return min(drifts)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_layers_of_a_pytorch_model_add_up_to_the_model(backward):
    assert smallest_drift(model_of(Residual(), 1, 32, 64, 64, backward=backward)) <= LIMIT


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_layers_of_a_network_add_up_to_the_network(backward):
    assert smallest_drift(model_of(residual(), backward=backward)) <= LIMIT


def test_a_slow_layer_is_seen_as_slow():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.small = nn.Linear(64, 64)
            self.large = nn.Linear(64, 64)

        def forward(self, x):
            y = self.small(x)
            for _ in range(60):
                x = torch.sigmoid(x)
            return self.large(x.expand(40000, 64)).sum() + y.sum()

    found = {layer.name: layer for layer in measured(Two(), input=(1, 64), samples=9).layers}
    assert found["large"].seconds > 5 * found["small"].seconds


def test_rows_are_the_layers_of_analyze():
    found, analysis = measured("lenet5"), cnnstat.analyze("lenet5")
    assert [layer.name for layer in found.layers] == [layer.name for layer in analysis.layers]
    assert sum(layer.macs for layer in found.layers) == analysis.totals.macs
    assert sum(layer.flops for layer in found.layers) == analysis.totals.flops
    assert all(layer.calls == 1 and layer.forward.count >= 3 for layer in found.layers)
    assert found.model == "lenet5"
    assert found.source == "lenet5"
    assert found.environment.threads == 1
    assert found.peak_bytes is None
    assert found.complete


def test_views_and_what_does_not_run_have_no_floor():
    found = {layer.name: layer for layer in measured(Idle(), input=(1, 3, 4)).layers}
    assert (found["flatten"].bound_seconds, found["flatten"].bound, found["flatten"].moved) == (0.0, None, 0)
    assert found["used"].bound == "latency"
    idle = found["idle"]
    assert (idle.calls, idle.forward.count, idle.seconds, idle.bound_seconds, idle.bound) == (0, 0, 0.0, 0.0, None)


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(12, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x.flatten(1))


def test_bytes_are_inputs_weights_and_outputs_each_once():
    class Square(nn.Module):
        def forward(self, x):
            return x * x

    square = cnnstat.analyze(Square(), (1, 100))
    assert square.layers[0].moved_bytes == 2 * 400
    linear = cnnstat.analyze(nn.Linear(10, 20), (1, 10))
    assert linear.layers[0].moved_bytes == 4 * (10 + 10 * 20 + 20 + 20)
    table = cnnstat.analyze(nn.Embedding(1000, 8), "2x3:int64")
    assert table.layers[0].moved_bytes == 8 * 6 + 2 * (4 * 2 * 3 * 8)
    shared = cnnstat.analyze(nn.Sequential(*[nn.Conv2d(2, 2, 1)] * 2), (1, 2, 4, 4))
    assert shared.layers[0].moved_bytes == shared.layers[1].moved_bytes == 4 * (32 + 32 + 4 + 2)


def test_dropout_moves_nothing_but_in_training():
    analysis = cnnstat.analyze(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), (1, 4))
    assert analysis.layers[1].moved_bytes == 0
    assert moved_bytes(analysis.graph, analysis.values, training=True)[1] > 0


def test_attention_says_that_its_fused_path_is_off():
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    was = torch.backends.mha.get_fastpath_enabled()
    found = measured(model, input=(1, 5, 16))
    assert any("fused" in note for note in found.notes)
    assert torch.backends.mha.get_fastpath_enabled() == was
    assert not any("fused" in note for note in measured(model, input=(1, 5, 16), backward=True).notes)


def test_training_mode_is_the_same_in_every_run_and_leaves_the_random_numbers_alone():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = measured(model, (4, 8), "train", backward=True)
    assert torch.equal(torch.rand(1), expected)
    assert all(layer.backward is not None for layer in found.layers)
    assert found.environment.settings["mode"] == "train"


def test_backward_predicts_what_training_keeps():
    forward, backward = measured("lenet5"), measured("lenet5", backward=True)
    assert backward.predicted_peak_bytes > forward.predicted_peak_bytes > 0
    memory = cnnstat.analyze("lenet5").memory
    assert backward.predicted_peak_bytes == memory.saved_bytes + memory.gradient_bytes
    assert forward.predicted_peak_bytes <= memory.peak_inference_bytes


def test_a_slow_machine_measures_less_often(monkeypatch):
    monkeypatch.setattr(interleaved, "LONGEST_SECONDS", 0.0)
    monkeypatch.setattr(interleaved, "MAX_SECONDS", 0.0)
    found = measured("lenet5", samples=500)
    assert found.whole.plain.count == interleaved.MIN_ROUNDS
    assert any("3 measurements instead of 500" in note for note in found.notes)


def test_unsteady_times_are_measured_more_often():
    assert interleaved.is_steady([1.0] * 30)
    assert not interleaved.is_steady([1.0, 2.0] * 15)
    assert interleaved.is_steady([1.0, 1.2] * 200)


def test_a_trace_that_cannot_be_written_does_not_cost_the_profile(tmp_path):
    (tmp_path / "file").write_text("where a folder would have to be")
    found = measured("lenet5", trace=tmp_path / "file" / "trace.json")
    assert found.layers[0].seconds > 0
    assert any("cannot write the trace" in note for note in found.notes)


def test_a_trace_has_the_names_of_the_layers(tmp_path):
    path = tmp_path / "trace.json"
    measured("lenet5", trace=path, backward=True)
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert {"C1", "C1 (backward)", "output"} <= names


def test_a_model_by_name(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n\nclass Net(nn.Sequential):\n    def __init__(self, width=4):\n"
        "        super().__init__(nn.Conv2d(3, width, 3), nn.ReLU())\n"
    )
    model = model_reference(f"{file}:Net", (1, 3, 8, 8), arguments={"width": 6}, dtype="bfloat16")
    found = profile(model, Options(device="cpu", samples=3, threads=1), Silent())
    assert [layer.name for layer in found.layers] == ["0", "1"]
    assert found.environment.dtype == "bfloat16"
    assert found.layers[0].macs == 6 * 3 * 9 * 36

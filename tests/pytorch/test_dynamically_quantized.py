"""Dynamic quantization: packed weights are parameters of the layers that use them, with the bytes of their dtypes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.ao import quantization  # noqa: E402

import cnnstat  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

if "fbgemm" not in torch.backends.quantized.supported_engines:
    pytest.skip("this PyTorch has no engine for quantized layers", allow_module_level=True)


class Recurrent(nn.Module):
    """A recurrent layer and a linear one."""

    def __init__(self, kind: Callable[..., nn.Module], **options: object) -> None:
        super().__init__()
        self.rnn = kind(64, 128, **options)
        self.fc = nn.Linear(256 if options.get("bidirectional") else 128, 10)

    def forward(self, x):
        return self.fc(self.rnn(x)[0])


def dynamic(model: nn.Module, dtype: torch.dtype = torch.qint8) -> nn.Module:
    kinds = {nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quantization.quantize_dynamic(model.eval(), kinds, dtype=dtype)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 64))


STACKED = {"num_layers": 2, "bidirectional": True}
MODELS = {
    "linear": (mlp, (1, 16), 2),
    "lstm": (lambda: Recurrent(nn.LSTM), (5, 2, 64), 3),
    "stacked lstm": (lambda: Recurrent(nn.LSTM, **STACKED), (5, 2, 64), 9),
    "gru": (lambda: Recurrent(nn.GRU), (5, 2, 64), 3),
    "stacked gru": (lambda: Recurrent(nn.GRU, batch_first=True, **STACKED), (5, 2, 64), 9),
    "lstm cell": (lambda: nn.Sequential(nn.LSTMCell(16, 32)), (3, 16), 2),
    "gru cell": (lambda: nn.Sequential(nn.GRUCell(16, 32)), (3, 16), 2),
    "rnn cell": (lambda: nn.Sequential(nn.RNNCell(16, 32)), (3, 16), 2),
}
"""Models with their input and the number of weight matrices, each of which gets one scale."""


def file_bytes(model: nn.Module) -> int:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell()


@pytest.mark.parametrize("name", MODELS)
def test_packed_weights_are_parameters_with_their_bytes(name: str) -> None:
    make, sizes, matrices = MODELS[name]
    plain = make().eval()
    model = dynamic(make())
    before, after = cnnstat.analyze(plain, torch.zeros(sizes)), cnnstat.analyze(model, torch.zeros(sizes))
    assert after.totals.params == before.totals.params + matrices
    assert after.totals.macs == before.totals.macs
    biases = sum(p.numel() for p in plain.parameters() if p.dim() == 1)
    weights = sum(p.numel() for p in plain.parameters() if p.dim() == 2)
    assert after.memory.params_bytes == weights + 4 * biases + 4 * matrices
    assert "Unused" not in {layer.kind for layer in after.layers} and after.notes == ()
    assert after.memory.params_bytes <= after.memory.file_size
    assert after.memory.file_size == pytest.approx(file_bytes(model), rel=0.05, abs=1024)


@pytest.mark.parametrize("name", ["linear", "lstm", "stacked lstm"])
def test_half_precision_has_no_scales(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests build models that choose the engine of phones, which has no half precision.
    engines = [engine for engine in ("x86", "fbgemm", "onednn") if engine in torch.backends.quantized.supported_engines]
    if not engines:
        pytest.skip("this build of PyTorch has no engine for half precision")
    monkeypatch.setattr(torch.backends.quantized, "engine", engines[0])
    make, sizes, _ = MODELS[name]
    after = cnnstat.analyze(dynamic(make(), torch.float16), torch.zeros(sizes))
    assert after.totals.params == cnnstat.analyze(make().eval(), torch.zeros(sizes)).totals.params
    assert "Unused" not in {layer.kind for layer in after.layers}


def test_linear_layers_stay_linear_layers() -> None:
    layers = cnnstat.analyze(dynamic(mlp()), torch.zeros(1, 16)).layers
    assert [layer.kind for layer in layers] == ["Linear", "ReLU", "Linear"]
    assert [layer.params for layer in layers] == [16 * 256 + 256 + 1, 0, 256 * 64 + 64 + 1]


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_quantized_tables_are_parameters(kind: type[nn.Module]) -> None:
    table = kind(100, 16)
    table.qconfig = quantization.float_qparams_weight_only_qconfig
    model = nn.Sequential(table).eval()
    quantization.prepare(model, inplace=True)
    quantization.convert(model, inplace=True)
    analysis = cnnstat.analyze(model, torch.zeros(2, 7, dtype=torch.long))
    # one byte a number, and a scale and a zero point for each row
    assert analysis.totals.params == 100 * 16 + 200 and analysis.memory.params_bytes == 100 * 16 + 4 * 200


def test_a_layer_that_is_called_twice_has_its_weights_once() -> None:
    model = dynamic(mlp()).requires_grad_(False)
    twice = nn.Sequential(model[0], nn.Linear(256, 16), model[0]).eval()
    assert [layer.params for layer in cnnstat.analyze(twice, torch.zeros(1, 16)).layers] == [4353, 4112, 0]


@pytest.mark.parametrize("name", ["linear", "lstm", "stacked gru", "gru cell"])
def test_verify_explains_what_flop_counter_mode_has_no_formula_for(name: str) -> None:
    make, sizes, _ = MODELS[name]
    verification = cnnstat.verify(dynamic(make()), torch.zeros(sizes))
    assert verification.exit_code == 0

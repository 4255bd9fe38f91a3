"""A tensor weighs what its own dtype says: in traced models, in specs, and in files."""

import io
from pathlib import Path

import pytest

import cnnstat
from cnnstat.testing import assert_budget

torch = pytest.importorskip("torch")
nn = torch.nn


class Quantized(nn.Module):
    """An int8 weight with a float32 scale."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1000, 1000, dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(1000))

    def forward(self, x):
        return x @ (self.weight.float() * self.scale)


class Adapted(nn.Module):
    """A bfloat16 base that is not trained, and float32 adapters."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(64, 64, dtype=torch.bfloat16).requires_grad_(False)
        self.down, self.up = nn.Linear(64, 8, bias=False), nn.Linear(8, 64, bias=False)

    def forward(self, x):
        return self.base(x.bfloat16()).float() + self.up(self.down(x))


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(16, 16, dtype=torch.complex64))

    def forward(self, x):
        return (x.to(torch.complex64) @ self.weight).abs()


class HalfWithNorm(nn.Module):
    """Half-precision convolutions, a float32 norm, an int64 buffer, and a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3).half()
        self.norm = nn.BatchNorm2d(32)
        self.project = nn.Conv2d(32, 32, 3).half()
        self.register_buffer("index", torch.arange(100))
        self.register_buffer("table", torch.ones(500), persistent=False)

    def forward(self, x):
        y = self.project(self.norm(self.conv(x.half()).float()).half())
        return y * self.table[0] * self.index[1]


class Masked(nn.Module):
    """Filters times a mask of booleans, under other names than a convolution's own."""

    def __init__(self):
        super().__init__()
        self.mask = nn.Parameter(torch.ones(16, 3, 3, 3, dtype=torch.bool), requires_grad=False)
        self.conv = nn.Conv2d(3, 16, 3)

    def forward(self, x):
        return nn.functional.conv2d(x, self.conv.weight * self.mask, self.conv.bias)


class LookedUp(nn.Module):
    """An int8 table with float16 scales."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(100, 16, dtype=torch.int8))
        self.scale = nn.Parameter(torch.ones(100, 1, dtype=torch.float16))

    def forward(self, x):
        places = x.long()
        rows, scales = (nn.functional.embedding(places, each) for each in (self.table, self.scale))
        return rows.half() * scales


class ExtraState(nn.Module):
    """A layer whose state has tensors beside its parameters."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def get_extra_state(self):
        return {"seen": torch.zeros(1000), "steps": 3}

    def forward(self, x):
        return self.linear(x)


MODELS = [
    pytest.param(Quantized, (1, 1000), id="int8"),
    pytest.param(Adapted, (1, 64), id="lora"),
    pytest.param(Complex, (1, 16), id="complex"),
    pytest.param(HalfWithNorm, (1, 3, 16, 16), id="half"),
    pytest.param(Masked, (1, 3, 8, 8), id="masked"),
    pytest.param(LookedUp, (1, 8), id="looked up"),
    pytest.param(lambda: nn.Sequential(ExtraState(), nn.Tanh()), (1, 16), id="extra state"),
    pytest.param(lambda: nn.Linear(2, 1), (1, 2), id="tiny"),
    pytest.param(lambda: nn.Sequential(*(nn.Linear(4, 4) for _ in range(20))), (1, 4), id="many tiny tensors"),
    pytest.param(lambda: nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64)), (1, 3, 8, 8), id="norm"),
]


def stored_bytes(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_parameters_buffers_and_gradients_weigh_what_they_weigh_in_pytorch(make, shape):
    model = make()
    memory = cnnstat.analyze(model, inputs=shape).memory
    trained = stored_bytes(p for p in model.parameters() if p.requires_grad)
    assert memory.params_bytes == stored_bytes(model.parameters())
    assert memory.buffers_bytes == stored_bytes(model.buffers())
    assert memory.gradient_bytes == trained
    assert cnnstat.analyze(model, inputs=shape, optimizer="adam").memory.optimizer_bytes == 2 * trained


def test_an_int8_weight_takes_one_byte_a_number():
    assert cnnstat.analyze(Quantized(), inputs=(1, 1000)).memory.params_bytes == 1_004_000


def empty_file() -> int:
    file = io.BytesIO()
    torch.save({}, file)
    return len(file.getvalue())


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_a_file_has_the_size_that_pytorch_writes(make, shape):
    model, file = make(), io.BytesIO()
    torch.save(model.state_dict(), file)
    size = cnnstat.analyze(model, inputs=shape).memory.file_size
    # What the archive itself takes differs from release to release, by 400 bytes.
    written = len(file.getvalue()) - empty_file() + 1261
    assert size == pytest.approx(written, rel=0.05)
    assert size >= stored_bytes(each for each in model.state_dict().values() if isinstance(each, torch.Tensor))


@pytest.mark.parametrize(("make", "shape"), MODELS[1:])
def test_a_spec_says_the_same(make, shape, tmp_path: Path):
    analysis = cnnstat.analyze(make(), inputs=shape)
    file = tmp_path / "net.yaml"
    file.write_text(cnnstat.export(make(), to="yaml", inputs=shape), encoding="utf-8")
    again = cnnstat.analyze(str(file))
    for figure in ("params_bytes", "buffers_bytes", "gradient_bytes", "file_size"):
        assert getattr(again.memory, figure) == getattr(analysis.memory, figure), figure
    assert again.totals.moved_bytes == analysis.totals.moved_bytes


class Neighbours(nn.Module):
    """A graph convolution: a sparse matrix of neighbours times features."""

    def __init__(self):
        super().__init__()
        self.register_buffer("neighbours", torch.eye(64).to_sparse())
        self.linear = nn.Linear(16, 16)

    def forward(self, x):
        return torch.sparse.mm(self.neighbours, self.linear(x))


def test_a_sparse_tensor_weighs_its_indices_and_values():
    model, file = Neighbours(), io.BytesIO()
    torch.save(model.state_dict(), file)
    memory = cnnstat.analyze(model, inputs=(64, 16)).memory
    assert memory.buffers_bytes == 64 * (2 * 8 + 4)
    assert memory.file_size == pytest.approx(len(file.getvalue()), rel=0.15)
    totals = {each.figure: each for each in cnnstat.verify(model, inputs=(64, 16)).totals}
    assert totals["bytes of buffers"].ours == totals["bytes of buffers"].theirs.value


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore::UserWarning")
def test_a_spec_has_the_file_size_of_packed_weights(tmp_path: Path):
    packed = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 10)))
    path = tmp_path / "packed.yaml"
    path.write_text(cnnstat.export(packed, inputs=(1, 64)), encoding="utf-8")
    assert "further_file_bytes:" in path.read_text(encoding="utf-8")
    size = cnnstat.analyze(packed, inputs=(1, 64)).memory.file_size
    assert cnnstat.analyze(str(path)).memory.file_size == size
    # Converted, nothing is known of the file but its tensors.
    assert cnnstat.analyze(str(path), dtype="float64").memory.file_size < size


def test_buffers_of_an_exported_file_have_memory_of_their_own():
    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("index", torch.arange(40) * 7 % 40)

        def forward(self, x):
            return x[:, self.index]

    model = nn.Sequential(Places(), Places())
    names: dict[str, type] = {}
    exec(cnnstat.export(model, to="torch", inputs=(1, 40)), names)
    assert stored_bytes(names["Sequential"]().buffers()) == stored_bytes(model.buffers())


def analysis_of(tmp_path: Path, layer: str) -> "cnnstat.Analysis":
    file = tmp_path / "net.yaml"
    file.write_text(f"input: [8]\nlayers:\n  - {layer}\n", encoding="utf-8")
    return cnnstat.analyze(str(file))


@pytest.mark.parametrize(
    ("dtypes", "size"),
    [
        ("float16", 2 * (4 * 8 + 4)),
        ("{weight: int8}", 4 * 8 + 4 * 4),
        ("{weight: int8, bias: float64}", 4 * 8 + 8 * 4),
    ],
)
def test_a_spec_states_the_dtype_of_a_layers_weights(tmp_path: Path, dtypes: str, size: int):
    analysis = analysis_of(tmp_path, f"{{layer: Linear(4), weight_dtype: {dtypes}}}")
    assert analysis.memory.params_bytes == analysis.memory.gradient_bytes == size


def test_a_spec_states_the_dtype_of_one_tensor(tmp_path: Path):
    layer = "{layer: Linear(4), parameters: {w: {shape: [4, 8], dtype: int8}, s: [4]}}"
    assert analysis_of(tmp_path, layer).memory.params_bytes == 4 * 8 + 4 * 4


def test_a_dtype_that_there_is_not_is_refused(tmp_path: Path):
    with pytest.raises(cnnstat.SpecError, match="int8"):
        analysis_of(tmp_path, "{layer: Linear(4), weight_dtype: int9}")


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_a_built_module_has_the_same_bytes(make, shape):
    model = make()
    built = cnnstat.build(cnnstat.analyze(model, inputs=shape).graph)
    assert stored_bytes(built.parameters()) == stored_bytes(model.parameters())
    assert stored_bytes(built.buffers()) == stored_bytes(model.buffers())


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_verify_compares_bytes(make, shape):
    totals = {each.figure: each for each in cnnstat.verify(make(), inputs=shape).totals}
    for figure in ("bytes of parameters", "bytes of buffers"):
        assert totals[figure].ours == totals[figure].theirs.value


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore::UserWarning")
def test_packed_weights_of_quantized_layers_are_parameters():
    models = pytest.importorskip("torchvision").models
    full = cnnstat.analyze(models.mobilenet_v2(), inputs=(1, 3, 64, 64))
    model = models.quantization.mobilenet_v2(quantize=True).eval()
    packed = cnnstat.analyze(model, inputs=(1, 3, 64, 64))
    norms = [layer for layer in full.layers if layer.op.kind == "BatchNorm2d"]
    # Each norm is folded into the bias of the convolution before it; each weight has one scale.
    folded = sum(layer.params for layer in norms) // 2
    layers = [layer for layer in packed.layers if layer.params]
    assert packed.totals.params == full.totals.params - folded + len(layers)
    assert packed.totals.macs == full.totals.macs
    weights = packed.totals.params - folded - 1000 - len(layers)
    assert packed.memory.params_bytes == weights + 4 * (folded + 1000 + len(layers))
    fields = [[each.receptive_field for each in a.layers if each.receptive_field] for a in (packed, full)]
    assert fields[0][-1].size == fields[1][-1].size
    with pytest.raises(AssertionError):
        assert_budget(model, inputs=(1, 3, 64, 64), params="1k")

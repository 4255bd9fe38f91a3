"""Models whose tensors have several dtypes: an exported file makes every tensor in its own dtype."""

import pytest

import cnnstat

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # from torch
from torch.nn.utils import parametrizations  # noqa: E402


class Adapted(nn.Module):
    """A bfloat16 base that is not trained, and float32 adapters."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(8, 8, dtype=torch.bfloat16).requires_grad_(False)
        self.down, self.up = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)

    def forward(self, x):
        return self.base(x.bfloat16()).float() + self.up(self.down(x.float()))


class AdaptedLayers(nn.Module):
    """The same several times, so that one class of the file stands for layers of several dtypes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Adapted() for _ in range(3)])
        self.layers[1].base.float()

    def forward(self, x):
        for layer in self.layers:
            x = layer.up(layer.down(x.float())) + layer.base(x.to(layer.base.weight.dtype)).float()
        return x


class ComplexConv(nn.Module):
    """A complex convolution, and a complex weight of its own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, dtype=torch.complex64)
        self.phase = nn.Parameter(torch.randn(4, 1, 1, dtype=torch.complex64))

    def forward(self, x):
        return (self.conv(x.to(torch.complex64)) * self.phase).abs()


class HalfWithNorm(nn.Module):
    """Half convolutions, float32 norms, an int64 buffer, and a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3).half(), nn.BatchNorm2d(8)
        self.stages = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)).half()
        self.scale = nn.Parameter(torch.ones(8, 1, 1).half())
        self.register_buffer("index", torch.arange(100))
        self.register_buffer("table", torch.ones(500), persistent=False)

    def forward(self, x):
        y = self.stages(self.norm(self.conv(x.half()).float()).half()) * self.scale
        return y * self.table[0] * self.index[1]


class Quantized(nn.Module):
    """An int8 weight with a float32 scale."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randint(-9, 9, (8, 8), dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.rand(8))

    def forward(self, x):
        return x.float() @ (self.weight.float() * self.scale)


class Int8Linear(nn.Linear):
    """A linear layer whose weight is int8, and whose bias is float64."""

    def __init__(self):
        super().__init__(8, 8)
        weight = torch.randint(-9, 9, (8, 8), dtype=torch.int8)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias.data = self.bias.data.double()

    def forward(self, x):
        return nn.functional.linear(x.float(), self.weight.float()) + self.bias


class HalfWithConstant(nn.Module):
    """A half model with a float32 constant and a float32 buffer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8).half()
        self.register_buffer("mean", torch.rand(8))
        self.bound = torch.linspace(0.1, 0.8, 8)

    def forward(self, x):
        return self.linear(x.half()) * self.bound - self.mean


class HalfAttention(nn.Module):
    """Half attention and LSTM between float32 layers."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True).bfloat16()
        self.lstm = nn.LSTM(8, 8, batch_first=True).double()

    def forward(self, x):
        y = self.norm(self.embed(x.float())).bfloat16()
        return self.lstm(self.attention(y, y, y)[0].double())[0]


class CalledTwice(nn.Module):
    """A float32 norm of bfloat16 images, a bfloat16 layer that is called twice, and a bfloat16 norm."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm2d(3), nn.Linear(8, 8, dtype=torch.bfloat16)
        self.last = nn.BatchNorm2d(3).bfloat16()

    def forward(self, x):
        y = self.norm(x.bfloat16())
        return self.last(self.linear(self.linear(y)))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return x + self.second(self.first(x).relu())


class HalfThenFull(nn.Module):
    """Two blocks that differ in nothing but their dtype, so that one class of the file stands for both."""

    def __init__(self):
        super().__init__()
        self.first, self.last = Residual().half(), Residual()

    def forward(self, x):
        return self.last(self.first(x.half()).float())


def weight_norm():
    return nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU())


MODELS = [
    pytest.param(Adapted, (1, 8), id="lora"),
    pytest.param(AdaptedLayers, (1, 8), id="lora layers"),
    pytest.param(ComplexConv, (1, 2, 8, 8), id="complex"),
    pytest.param(HalfWithNorm, (1, 3, 16, 16), id="half"),
    pytest.param(Quantized, (1, 8), id="int8"),
    pytest.param(Int8Linear, (1, 8), id="int8 linear"),
    pytest.param(HalfWithConstant, (1, 8), id="constant"),
    pytest.param(HalfAttention, (1, 4, 8), id="attention"),
    pytest.param(CalledTwice, (2, 3, 8, 8), id="norm"),
    pytest.param(HalfThenFull, (1, 8), id="blocks"),
    pytest.param(weight_norm, (1, 3, 8, 8), id="weight_norm"),
]


def network_of(text):
    """Return the network of an exported file."""
    scope = {"__name__": "exported"}
    exec(compile(text, "exported", "exec"), scope)
    classes = [each for each in scope.values() if isinstance(each, type) and each.__module__ == "exported"]
    return classes[-1]()


def dtypes_of(module):
    parameters = {name: (p.dtype, p.requires_grad) for name, p in module.named_parameters()}
    return parameters, {name: buffer.dtype for name, buffer in module.named_buffers()}


def assert_same(model, x):
    """A file takes the model's state dict, has its dtypes, and computes the same."""
    network = network_of(cnnstat.export(model, to="torch", inputs=x)).eval()
    (parameters, buffers), (expected, their_buffers) = dtypes_of(network), dtypes_of(model)
    assert parameters == expected
    # Constants that the model holds as plain attributes are buffers of the file that are not saved.
    assert {name: buffers.get(name) for name in their_buffers} == their_buffers
    assert network(x).isfinite().all()  # with the values that it draws
    network.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        result, wanted = network(x), model(x)
    assert result.dtype == wanted.dtype
    assert torch.equal(result, wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_a_file_makes_every_tensor_in_its_own_dtype(make, shape, dtype):
    torch.manual_seed(0)
    if make is weight_norm and dtype != "float32":
        pytest.skip("the model itself takes float32 only")
    assert_same(make().eval(), torch.rand(shape, dtype=getattr(torch, dtype)))


def test_a_model_of_one_dtype_is_converted_as_a_whole():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).half()
    text = cnnstat.export(model, to="torch", inputs=(1, 4))
    assert "self.to(torch.float16)" in text
    assert "dtype" not in text.partition("if __name__")[0]


def test_blocks_that_differ_in_their_dtype_share_a_class():
    text = cnnstat.export(HalfThenFull(), to="torch", inputs=(1, 8))
    assert "def __init__(self, dtype=torch.float32):" in text
    assert "self.last = Residual()" in text


def test_a_spec_that_states_dtypes(tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text(
        "input: [8]\nlayers:\n"
        "  - {layer: Linear(4), weight_dtype: {weight: int8, bias: float64}}\n"
        "  - {layer: Linear(4), weight_dtype: float16}\n"
        "  - {layer: Linear(4), weight_dtype: float8_e4m3fn}\n"
        "  - {layer: Add, operands: [input, {shift: {shape: [4], dtype: bfloat16}}]}\n"
        "  - Linear(2)\n",
        encoding="utf-8",
    )
    network = network_of(cnnstat.export(str(file), to="torch"))
    assert dtypes_of(network) == dtypes_of(cnnstat.build(str(file)))


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_a_spec_has_the_same_figures(make, shape, tmp_path):
    analysis = cnnstat.analyze(make(), inputs=shape)
    file = tmp_path / "net.yaml"
    file.write_text(cnnstat.export(make(), to="yaml", inputs=shape), encoding="utf-8")
    again = cnnstat.analyze(str(file))
    assert again.totals == analysis.totals
    for figure in ("params_bytes", "buffers_bytes", "gradient_bytes", "file_size"):
        assert getattr(again.memory, figure) == getattr(analysis.memory, figure), figure


def test_computed_weights_that_are_no_number_of_bytes_are_refused(tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text("input: [8]\nlayers:\n  - {layer: Linear(4), weight_bytes: -1}\n", encoding="utf-8")
    with pytest.raises(cnnstat.SpecError, match="weight_bytes: takes a whole number of bytes"):
        cnnstat.analyze(str(file))

"""Files of state dicts and parameters that are not one tensor each: shared, views, quantized, subclasses."""

import io
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Scaled(torch.Tensor):
    """Whole numbers and a scale for each row, as libraries of quantized weights keep them: floats to the outside."""

    @staticmethod
    def __new__(cls, numbers, scale):
        return torch.Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=torch.float32)

    def __init__(self, numbers, scale):
        self.numbers, self.scale = numbers, scale

    def __tensor_flatten__(self):
        return ["numbers", "scale"], None

    @classmethod
    def __tensor_unflatten__(cls, inner, context, size, stride):
        return cls(inner["numbers"], inner["scale"])

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        if function is functional.linear:
            x, weight, *bias = arguments
            return functional.linear(x, weight.numbers.to(x.dtype) * weight.scale, *bias)
        with torch._C.DisableTorchFunctionSubclass():
            return function(*arguments, **(keywords or {}))

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        if function in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return cls(arguments[0].numbers, arguments[0].scale)
        raise NotImplementedError(str(function))


def scaled():
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 8))
    weight = Scaled(torch.ones(96, 64, dtype=torch.int8), torch.ones(96, 1))
    model[0].weight = nn.Parameter(weight, requires_grad=False)
    return model


class Tied(nn.Module):
    """Tokens in and out share one table."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.embed(x.long().clamp(0, 9)))


class Rows(nn.Module):
    """Two parameters that are rows of one table, which is saved whole."""

    def __init__(self):
        super().__init__()
        table = torch.rand(100, 64)
        self.scale, self.shift = nn.Parameter(table[0]), nn.Parameter(table[1])

    def forward(self, x):
        return x * self.scale + self.shift


def convolutions():
    quantization = torch.ao.quantization
    model = nn.Sequential(
        quantization.QuantStub(), nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), quantization.DeQuantStub()
    ).eval()
    model.qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)
    quantization.prepare(model, inplace=True)
    model(torch.rand(1, 3, 16, 16))
    return quantization.convert(model)


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(16, 32, batch_first=True, bidirectional=True), nn.Linear(64, 4)

    def forward(self, x):
        return self.out(self.lstm(x)[0])


def dynamic():
    return torch.ao.quantization.quantize_dynamic(Steps(), {nn.LSTM, nn.Linear})


def dynamic_layers():
    """Three layers of LSTM in both directions: what is unpacked of each is another tensor."""
    model = nn.Sequential(nn.LSTM(16, 16, 3, bidirectional=True)).eval()
    return torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})


class Stored(nn.Module):
    """Adds up what it stores."""

    def __init__(self, *tensors):
        super().__init__()
        self.learnt = nn.ParameterList(
            [each for each in tensors if each.layout is torch.strided and not each.is_quantized]
        )
        for number, each in enumerate(tensors):
            if each.layout is not torch.strided or each.is_quantized:
                self.register_buffer(f"kept{number}", each)

    def forward(self, x):
        for each in (*self.learnt, *self._buffers.values()):
            dense = each.dequantize() if each.is_quantized else each.to_dense()
            x = x + dense.sum()
        return x


def sparse(convert, size):
    return lambda: Stored(convert(torch.eye(size) + torch.eye(size).roll(1, 0)))


def by_channel():
    return Stored(torch.quantize_per_channel(torch.rand(8, 64), torch.ones(8), torch.zeros(8).long(), 0, torch.qint8))


def long_names():
    return nn.Sequential(
        *[nn.Sequential(OrderedDict({"a_name_of_many_words" * 5: nn.Linear(2, 2)})) for _ in range(40)]
    )


def dynamic_cell():
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.RNNCell(16, 16)).eval(), {nn.RNNCell})


class Listed(nn.Module):
    """Parameters of a list, which no module of their own takes."""

    def __init__(self, *shape):
        super().__init__()
        self.own = nn.ParameterList(torch.rand(shape) for _ in range(6))

    def forward(self, x):
        for each in self.own:
            x = x @ each if each.dim() else x * each
        return x


MODELS = {
    "matrices of a list": (lambda: Listed(4, 4), (1, 4)),
    "dynamically quantized cell": (dynamic_cell, (4, 16)),
    "elements": (sparse(torch.Tensor.to_sparse, 6), (2,)), "rows": (sparse(torch.Tensor.to_sparse_csr, 6), (2,)),
    "rows of many": (sparse(lambda a: a.to_sparse().to_sparse_csr(), 300), (2,)),
    "blocks": (sparse(lambda a: a.to_sparse_bsr((2, 2)), 6), (2,)), "by channel": (by_channel, (2,)),
    "long names": (long_names, (1, 2)),
    "dynamically quantized layers": (dynamic_layers, (4, 2, 16)),
    "shared": (Tied, (2, 5)), "rows of a table": (Rows, (2, 64)), "subclass": (scaled, (2, 64)),
    "quantized": (convolutions, (1, 3, 16, 16)), "dynamically quantized": (dynamic, (1, 5, 16)),
}  # fmt: skip


@pytest.fixture
def engine(monkeypatch):
    """An engine of quantized kernels, where PyTorch has one."""
    engines = [each for each in torch.backends.quantized.supported_engines if each != "none"]
    if not engines:
        pytest.skip("this PyTorch has no engine for quantized kernels")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm" if "fbgemm" in engines else engines[-1]
    yield
    torch.backends.quantized.engine = before


def written(values):
    file = io.BytesIO()
    torch.save(values, file)
    return len(file.getvalue())


@pytest.mark.parametrize("name", MODELS)
def test_a_file_has_the_size_that_pytorch_writes(name, engine):
    make, shape = MODELS[name]
    model = make()
    memory = cnnstat.analyze(model, shape).memory
    size = memory.file_size
    assert size > memory.params_bytes + memory.buffers_bytes
    # What the archive itself takes differs from release to release, by 400 bytes.
    assert size == pytest.approx(written(model.state_dict()) - written({}) + 1261, rel=0.05)


def repeated(make, count):
    return nn.Sequential(*[make() for _ in range(count)])


class Block(nn.Module):
    """A layer with a parameter of its own beside it, as blocks with LayerScale have."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.layer(x) * self.scale


SMALL = {
    "numbers of a list": (lambda: Listed(), (1, 4)),
    "parameters of blocks": (lambda: repeated(Block, 12), (1, 4)),
    "one layer": (lambda: nn.Linear(4, 2), (1, 4)),
    "two convolutions": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)), (1, 3, 8, 8)),
    "five": (lambda: repeated(lambda: nn.Conv2d(4, 4, 1), 5), (1, 4, 5, 5)),
    "300 of a number": (lambda: repeated(nn.PReLU, 300), (1, 4)),
    "300 convolutions": (lambda: repeated(lambda: nn.Conv2d(4, 4, 1), 300), (1, 4, 5, 5)),
    "counters": (lambda: repeated(lambda: nn.BatchNorm2d(4), 50), (1, 4, 5, 5)),
    "eight tensors": (lambda: nn.LSTM(8, 16, 2, batch_first=True).bfloat16(), (1, 5, 8)),
    "encoder": (lambda: repeated(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 12), (1, 4, 8)),
}


@pytest.mark.parametrize("name", SMALL)
def test_files_of_small_tensors_have_the_size_that_pytorch_writes(name):
    make, shape = SMALL[name]
    model = make()
    x = torch.zeros(shape, dtype=next(model.parameters()).dtype)
    size = cnnstat.analyze(model, (x,)).memory.file_size
    assert size == pytest.approx(written(model.state_dict()) - written({}) + 1261, rel=0.03)


def test_a_subclass_weighs_what_it_stores():
    analysis = cnnstat.analyze(scaled(), (2, 64))
    assert analysis.memory.params_bytes == 96 * 64 + 4 * 96 + 4 * 96 + 4 * (8 * 96 + 8)
    assert analysis.totals.macs == 2 * 64 * 96 + 2 * 96 * 8
    assert analysis.totals.trainable_params == 96 + 8 * 96 + 8
    found = {each.figure: each for each in cnnstat.verify(scaled(), (2, 64)).totals}
    for figure in ("parameters", "bytes of parameters", "trainable parameters"):
        assert found[figure].ours == found[figure].theirs.value

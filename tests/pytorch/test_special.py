"""Operators on functions, custom, quantized and sparse operations, scripted and exported modules, unusual inputs."""

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

from oracles.flop_counter import counted_macs  # noqa: E402  # needs torch

import cnnstat  # noqa: E402

X = (1, 4, 8, 8)
CONV = 64 * 4 * 4 * 9


class Base(nn.Module):
    """Two convolutions, and a forward pass that is given."""

    def __init__(self, run, **attributes):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.run = run
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, *arguments, **named):
        return self.run(self, *arguments, **named)


def notes(analysis):
    """What was said of a trace, unused parameters left out."""
    return [note for note in analysis.graph.about.get("notes_torch", ()) if "does not use" not in note]


# Operators on functions ----------------------------------------------------------------------------------------------


def test_cond_follows_the_branch_of_a_constant():
    model = Base(lambda m, x: torch.cond(torch.tensor(False), lambda y: m.conv(y), lambda y: m.other(m.conv(y)), (x,)))
    analysis = cnnstat.analyze(model, X)
    assert analysis.totals.macs == 2 * CONV
    assert notes(analysis) == []


def test_cond_on_values_holds_for_this_input():
    model = Base(lambda m, x: torch.cond(x.sum() > -1, lambda y: m.conv(y), lambda y: m.other(m.conv(y)), (x,)))
    analysis = cnnstat.analyze(model, X)
    assert analysis.totals.macs == CONV
    assert "holds for this input" in notes(analysis)[0]
    assert analysis.to_dict()["coverage"]["notes"] == list(analysis.notes)


def test_while_loop_is_followed():
    from torch._higher_order_ops.while_loop import while_loop

    def run(m, x):
        return while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, m.conv(y)), (torch.tensor(0), x))[1]

    analysis = cnnstat.analyze(Base(run), X)
    assert analysis.totals.macs == 3 * CONV
    assert [layer.name for layer in analysis.layers if layer.macs] == ["conv", "conv_2", "conv_3"]


# Custom operations ---------------------------------------------------------------------------------------------------


@torch.library.custom_op("cnnstat_tests::convolve", mutates_args=())
def convolve(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A convolution that PyTorch does not see into; without a rule for its shape."""
    return F.conv2d(x, weight, padding=1)


@torch.library.custom_op("cnnstat_tests::by_value", mutates_args=())
def by_value(x: torch.Tensor) -> torch.Tensor:
    """An operation that reads values."""
    return x * float(x.sum())


@by_value.register_fake
def _(x):
    return torch.empty_like(x)


def test_a_custom_operation_is_listed_and_its_products_are_counted():
    analysis = cnnstat.analyze(Base(lambda m, x: convolve(x, m.other.weight)), X)
    assert analysis.totals.macs == CONV
    assert analysis.uncounted == ("convolve",)
    assert notes(analysis) == []


def test_a_custom_operation_that_reads_values_keeps_its_shape():
    analysis = cnnstat.analyze(Base(lambda m, x: by_value(m.conv(x))), X)
    assert analysis.totals.macs == CONV
    assert analysis.uncounted == ("by_value",)
    assert analysis.values.outputs[-2] == (X,)


def test_inference_mode_inside_a_model():
    def run(m, x):
        with torch.inference_mode():
            return torch.einsum("bchw,kc->bkhw", m.conv(x), torch.ones(5, 4))

    analysis = cnnstat.analyze(Base(run), X)
    assert analysis.totals.macs == CONV + 64 * 4 * 5


# Quantized and sparse ------------------------------------------------------------------------------------------------


@pytest.fixture
def engine():
    """A quantized engine, where this build has one."""
    engines = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if not engines:
        pytest.skip("no engine for quantized layers")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engines[-1]
    yield engines[-1]
    torch.backends.quantized.engine = before


def test_dynamically_quantized_layers(engine):
    from torch.ao.quantization import quantize_dynamic

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 8)
            self.fc = nn.Linear(8, 5)

        def forward(self, x):
            return self.fc(self.lstm(x)[0])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = quantize_dynamic(Net(), {nn.LSTM, nn.Linear}, dtype=torch.qint8)
    analysis = cnnstat.analyze(model, (3, 2, 4))
    assert analysis.totals.macs == 6 * 4 * 8 * (4 + 8) + 6 * 8 * 5
    # Packed weights are parameters, though PyTorch lists none: those of both layers, biases, a scale for each matrix.
    assert sum(p.numel() for p in model.parameters()) == 0
    assert analysis.totals.params == (4 * 8 * (4 + 8) + 2 * 32 + 2) + (5 * 8 + 5 + 1)


def test_statically_quantized_convolution(engine):
    from torch.ao import quantization

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.leave = quantization.QuantStub(), quantization.DeQuantStub()
            self.conv = nn.Conv2d(4, 6, 3, padding=1)

        def forward(self, x):
            return self.leave(self.conv(self.enter(x)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Net().eval()
        model.qconfig = quantization.get_default_qconfig(engine)
        quantization.prepare(model, inplace=True)
        model(torch.rand(X))
        model = quantization.convert(model)
    analysis = cnnstat.analyze(model, X)
    assert analysis.totals.macs == 64 * 4 * 6 * 9
    assert {layer.name: layer.output_shape for layer in analysis.layers}["conv"] == (1, 6, 8, 8)


@pytest.mark.parametrize("is_buffer", [True, False])
def test_sparse_products_count_what_is_there(is_buffer):
    matrix = torch.eye(256).to_sparse()

    def run(m, x):
        return torch.sparse.mm(m.matrix, x.flatten(1).t())

    model = Base(run)
    model.register_buffer("matrix", matrix) if is_buffer else setattr(model, "matrix", matrix)
    assert cnnstat.analyze(model, X).totals.macs == 256


# Scripted, compiled, exported ----------------------------------------------------------------------------------------


def network():
    """Layers of several families."""
    layers = (nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(2), nn.Flatten(), nn.LayerNorm(36))
    return nn.Sequential(*layers, nn.GELU(), nn.Linear(36, 3), nn.Softmax(-1)).eval()


KINDS = ["Conv2d", "BatchNorm2d", "ReLU6", "MaxPool2d", "Flatten", "LayerNorm", "GELU", "Linear", "Softmax"]

FORMS = {
    "plain": lambda: network(),
    "scripted": lambda: torch.jit.script(network()),
    "traced": lambda: torch.jit.trace(network(), torch.rand(X)),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(network())),
    "compiled": lambda: torch.compile(network()),
    "symbolic": lambda: torch.fx.symbolic_trace(network()),
    "exported": lambda: torch.export.export(network(), (torch.rand(X),)).module(),
    "parallel": lambda: nn.DataParallel(network()),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_network(form):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = FORMS[form]()
    analysis = cnnstat.analyze(model, X)
    plain = cnnstat.analyze(network(), X)
    assert analysis.totals.macs == plain.totals.macs == 36 * 4 * 36 + 36 * 3
    assert analysis.uncounted == ()
    if form != "frozen":
        assert analysis.totals.params == plain.totals.params == sum(p.numel() for p in model.parameters())
    if form not in ("scripted", "traced", "frozen"):
        assert [layer.op.kind for layer in analysis.layers if layer.op.kind != "Unused"] == KINDS
        assert analysis.totals.flops == plain.totals.flops
    has_no_mode = [note for note in notes(analysis) if "cannot be set to eval" in note]
    assert bool(has_no_mode) == (form in ("exported",))


# Inputs and outputs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """A data class with a tensor."""

    image: torch.Tensor
    label: Any = None


class Plain:
    """An object with a tensor and without anything else."""

    def __init__(self, image):
        self.image = image


@pytest.mark.parametrize("kind", [Batch, Plain])
def test_objects_with_tensors(kind):
    given = kind(torch.zeros(X))
    analysis = cnnstat.analyze(Base(lambda m, batch: Batch(m.conv(batch.image), "label")), (given,))
    assert [(i.name, i.shape) for i in analysis.graph.inputs] == [("input.image", X)]
    assert analysis.totals.macs == CONV
    assert len(analysis.graph.outputs) == 1
    assert torch.equal(given.image, torch.zeros(X))


def test_images_of_a_list_have_no_batch():
    analysis = cnnstat.analyze(Base(lambda m, images: [m.conv(i[None]) for i in images]), ([(4, 8, 8), (4, 6, 6)],))
    assert analysis.totals.macs == CONV + CONV * 36 // 64
    assert len(analysis.graph.outputs) == 2


def test_one_tuple_is_one_argument():
    analysis = cnnstat.analyze(Base(lambda m, pair: m.conv(pair[0]) + m.other(pair[1])), ((X, X),))
    assert analysis.totals.macs == 2 * CONV
    assert len(analysis.graph.inputs) == 2


def test_results_of_any_kind():
    for wrap in (OrderedDict, lambda out: iter(out.values()), lambda out: (None, [out], 3)):
        analysis = cnnstat.analyze(Base(lambda m, x, wrap=wrap: wrap({"out": m.conv(x)})), X)
        assert len(analysis.graph.outputs) == 1
    assert cnnstat.analyze(Base(lambda m, x: None if m.conv(x) is None else None), X).graph.outputs == ()


# What others fell into -----------------------------------------------------------------------------------------------


def test_the_same_every_time():
    model = network()
    first, second = cnnstat.analyze(model, X), cnnstat.analyze(model, X)
    assert (first.totals, first.memory) == (second.totals, second.memory)


def test_a_convolution_of_ones_own_with_computed_padding():
    class Same(nn.Conv2d):
        def forward(self, x):
            return super().forward(F.pad(x, (0, 1, 0, 1)))

    class Dynamic(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride)

    model = nn.Sequential(Same(4, 6, 2), Dynamic(6, 4, 3))
    analysis = cnnstat.analyze(model, X)
    assert analysis.totals.macs == 64 * 6 * 4 * 4 + 64 * 4 * 6 * 9 == counted_macs(model, torch.rand(X))


def test_single_numbers_of_a_parameter():
    def run(m, x):
        for number, block in enumerate((m.conv, m.other)):
            x = x + m.scales[number] * block(x)
        return x

    model = Base(run, scales=nn.Parameter(torch.zeros(2)))
    analysis = cnnstat.analyze(model, X)
    assert analysis.totals.macs == 2 * CONV
    assert analysis.totals.params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["addmm", "baddbmm", "addmv", "addbmm"])
def test_products_that_are_added_to_something(name):
    sizes = {
        "addmm": ((3, 5), (3, 4), (4, 5)),
        "baddbmm": ((2, 3, 5), (2, 3, 4), (2, 4, 5)),
        "addmv": ((3,), (3, 4), (4,)),
        "addbmm": ((3, 5), (2, 3, 4), (2, 4, 5)),
    }[name]

    class Net(nn.Module):
        def forward(self, *tensors):
            return getattr(torch, name)(*tensors)

    macs = {"addmm": 60, "baddbmm": 120, "addmv": 12, "addbmm": 120}[name]
    analysis = cnnstat.analyze(Net(), sizes)
    assert analysis.totals.macs == macs
    assert analysis.totals.flops > 2 * macs
    assert analysis.uncounted == ()


# Layers that read no input ------------------------------------------------------------------------------------------


class Generator(nn.Module):
    """Makes images of noise that it draws itself."""

    def __init__(self):
        super().__init__()
        self.linear, self.up = nn.Linear(16, 64), nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, count=2):
        return self.up(self.linear(torch.randn(count, 16)).view(count, 4, 4, 4))


def test_a_model_without_inputs():
    analysis = cnnstat.analyze(Generator())
    assert analysis.graph.inputs == ()
    assert [(layer.name, layer.macs, layer.params) for layer in analysis.layers if layer.macs] == [
        ("linear", 2 * 16 * 64, 16 * 64 + 64),
        ("up", 2 * 16 * 4 * 3 * 4, 4 * 3 * 4 + 3),
    ]


def test_layers_on_constants_have_rows_of_their_own():
    def run(m, x):
        grid = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 8)] * 2, indexing="ij"))[None]
        return m.conv(x) + m.places(grid)

    analysis = cnnstat.analyze(Base(run, places=nn.Conv2d(2, 4, 1)), X)
    assert [(layer.name, layer.macs, layer.params) for layer in analysis.layers if layer.macs] == [
        ("conv", CONV, 4 * 4 * 9 + 4),
        ("places", 64 * 2 * 4, 2 * 4 + 4),
    ]


def test_weights_made_by_a_layer_stay_work_on_weights():
    model = Base(lambda m, x: F.conv2d(x, m.maker(m.code).view(4, 4, 3, 3)), maker=nn.Linear(5, 144))
    model.code = nn.Parameter(torch.zeros(5))
    (layer,) = (layer for layer in cnnstat.analyze(model, X).layers if layer.macs)
    assert layer.macs == 36 * 144 + 5 * 144


# Bags of rows, affine grids, batch norm ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "is_weighted", "flops"), [("mean", False, 60), ("max", False, 60), ("sum", True, 120)]
)
def test_embedding_bags(mode, is_weighted, flops):
    rows = torch.zeros(2, 5, dtype=torch.int64)
    weights = {"weights": torch.ones(2, 5)} if is_weighted else {}
    model = Base(lambda m, x, weights=None: m.bag(x, per_sample_weights=weights), bag=nn.EmbeddingBag(10, 6, mode=mode))
    analysis = cnnstat.analyze(model, rows, inputs=weights)
    assert (analysis.totals.macs, analysis.totals.flops, analysis.uncounted) == (0, flops, ())


def test_spatial_transformers():
    def run(m, x):
        matrix = m.place(x.mean((2, 3))).view(-1, 2, 3)
        return F.grid_sample(x, F.affine_grid(matrix, x.shape, align_corners=False), align_corners=False)

    analysis = cnnstat.analyze(Base(run, place=nn.Linear(4, 6)), X)
    assert analysis.totals.macs == 4 * 6 + 8 * 8 * 3 * 2
    assert analysis.uncounted == ()


def test_batch_norm_of_a_single_sample_in_training():
    with pytest.raises(cnnstat.errors.CnnstatError, match='write batch=2, or mode="eval"'):
        cnnstat.analyze(nn.BatchNorm1d(4), (1, 4), mode="train")


def test_nested_tensors_are_told_of():
    def run(m, x):
        return torch.nested.to_padded_tensor(m.line(torch.nested.nested_tensor([x[0], x[1, :3]])), 0.0)

    with pytest.raises(cnnstat.errors.CnnstatError, match="nested tensors have no sizes to count; pad them"):
        cnnstat.analyze(Base(run, line=nn.Linear(4, 3)), torch.zeros(2, 5, 4))

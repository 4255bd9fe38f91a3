"""Models that compute with their weights: what is built from their graphs takes their state dict and does the same."""

import pytest

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.errors import CnnstatError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # from torch
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402


class PositionBias(nn.Module):
    """A table of learnt biases, looked up by distances that are worked out when it is built."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 2))
        places = torch.arange(4)
        self.register_buffer("index", (places[:, None] - places[None]) + 3)
        self.register_buffer("slope", torch.linspace(0.1, 0.9, 16).view(4, 4), persistent=False)

    def forward(self, x):
        bias = self.table[self.index.view(-1)].view(4, 4, -1).permute(2, 0, 1).contiguous()
        return x.softmax(-1) + bias.unsqueeze(0) * self.slope


class StandardizedConv(nn.Conv2d):
    """A convolution whose weights are normalized before each call."""

    def forward(self, x):
        weight = self.weight
        mean = weight.mean(dim=(1, 2, 3), keepdim=True)
        return functional.conv2d(x, (weight - mean) / (weight.std(dim=(1, 2, 3), keepdim=True) + 1e-5), self.bias)


class Flipped(nn.Conv2d):
    """A convolution that looks like one with plain weights, but is not."""

    def forward(self, x):
        return functional.conv2d(x, self.weight.flip(-1), self.bias)


class Square(nn.Linear):
    """A product with a square matrix, the other way round."""

    def forward(self, x):
        return functional.linear(x, self.weight.t(), self.bias)


class ClassToken(nn.Module):
    """A learnt token in front, and positions behind a name that modules could have."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.add = nn.Parameter(torch.randn(1, 5, 4))
        self.gate = nn.Parameter(torch.randn(4))

    def forward(self, x):
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1)
        return torch.add(x + self.add, self.gate.sigmoid(), alpha=0.5)


class Masked(nn.Module):
    """A mask that is written piece by piece, and coordinates that are made in each pass."""

    def forward(self, x):
        mask = x.new_zeros((4, 4))
        for number, piece in enumerate((slice(0, 1), slice(1, 3), slice(3, None))):
            mask[piece] = number
        mask = mask.masked_fill(mask == 1, -float("inf")).masked_fill(mask == 2, -100.0)
        rows = torch.arange(4, device=x.device, dtype=x.dtype)
        grid = torch.stack(torch.meshgrid(rows, rows, indexing="ij"))
        kept = mask.add(grid.sum(0)).unsqueeze(0)
        return x * torch.tensor([1.0, 2.0, 3.0, 5.0]) + kept.clamp(min=-50)


class Reused(nn.Module):
    """Weights without a module of their own, used twice, and buffers that nothing uses."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(4, 4))
        self.shift = nn.Parameter(torch.randn(4), requires_grad=False)
        self.inner = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.register_buffer("idle", torch.arange(3))
        self.scale = torch.tensor(3.0)

    def forward(self, x):
        x = functional.linear(x, self.matrix, self.shift)
        x = functional.linear(x, self.inner[0].weight, self.inner[1].bias)
        return functional.linear(x, self.matrix) * self.scale


class Filled(nn.Module):
    """Tensors that are filled part by part with what is computed, and changed in place through views."""

    def forward(self, x):
        out = torch.zeros(x.shape[0], 6, 4)
        out[:, 1:5] = x
        out[:, 0] = x.mean(1)
        part = out[:, 2:4]
        part.mul_(2.0).add_(1.0)
        batch = x.new_full((1, 2, 6, 4), 0.5)
        batch[:, 1].copy_(out)
        return batch, out.relu(), 1 - 2**x


class Named(nn.Module):
    """Functions whose results come in tuples, and arguments by name."""

    def forward(self, x):
        values, indices = x.max(dim=-1)
        left, right = torch.chunk(x, 2, dim=1)
        top = torch.topk(x, k=2, dim=-1)
        mean = x.mean(-1, keepdim=True).expand_as(x)
        return values, indices, mean, left @ right.mT, top.values, torch.einsum("bij,bkj->bik", x, x), -x // 0.3


class Projected(nn.Module):
    """Layers whose modules are there for their weights only."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(4, 12, bias=False)
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x):
        q, k, v = functional.linear(x, self.qkv.weight).chunk(3, dim=-1)
        mask = torch.triu(torch.full((x.shape[0],) * 2, -float("inf")), diagonal=1)
        return self.attention(q, k, v, attn_mask=mask, need_weights=False)[0]


MODELS = {
    "PositionBias": (PositionBias, (1, 2, 4, 4)),
    "StandardizedConv": (lambda: StandardizedConv(3, 4, 3), (1, 3, 8, 8)),
    "Flipped": (lambda: Flipped(3, 4, 3), (1, 3, 8, 8)),
    "Square": (lambda: Square(4, 4), (2, 4)),
    "ClassToken": (ClassToken, (2, 4, 4)),
    "Masked": (Masked, (2, 4, 4)),
    "Reused": (Reused, (2, 4)),
    "Filled": (Filled, (1, 4, 4)),
    "Named": (Named, (2, 4, 4)),
    "Projected": (Projected, (3, 2, 4)),
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3))), (1, 3, 8, 8)),
    "spectral norm": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4))), (2, 4)),
    "orthogonal": (
        lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4), use_trivialization=False)),
        (2, 4),
    ),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 3, 8)),
}


def module_of(text):
    """The module of an exported file, which is its last class."""
    space = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), space)
    return [value for value in space.values() if isinstance(value, type) and value.__module__ == "exported"][-1]()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", ["build", "file"])
def test_it_takes_their_weights_and_gives_their_results(name, way):
    make, shape = MODELS[name]
    torch.manual_seed(0)
    theirs = make().eval()
    graph = cnnstat.load(theirs, shape)
    ours = cnnstat.build(graph) if way == "build" else module_of(cnnstat.export(graph, to="torch"))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(shape)
    # With gradients, as PyTorch's transformers take another way without.
    torch.testing.assert_close(ours.eval()(x.clone()), theirs(x.clone()), rtol=0, atol=0, equal_nan=True)
    learnt = {key for key, parameter in theirs.named_parameters() if parameter.requires_grad}
    assert {key for key, parameter in ours.named_parameters() if parameter.requires_grad} == learnt
    again, before = cnnstat.analyze(ours, shape), analyze_graph(graph)
    made = ([layer.output_shapes for layer in analysis.layers] for analysis in (again, before))
    assert name == "Filled" or len({repr(shapes) for shapes in made}) == 1  # a constant is filled in a call of its own
    assert again.totals.params == before.totals.params and again.totals.flops == before.totals.flops


def test_modules_that_hold_weights_stay_modules():
    text = cnnstat.export(cnnstat.load(Projected(), (3, 2, 4)), to="torch")
    assert "        self.qkv = nn.Linear(4, 12, bias=False)\n" in text
    assert "= self.qkv(x)\n" in text


def test_tables_are_written_once():
    model = nn.Sequential(PositionBias(), PositionBias())
    text = cnnstat.export(cnnstat.load(model, (1, 2, 4, 4)), to="torch")
    assert text.count("unpack(\n") == 2  # the index and the slopes
    assert text.count('register_buffer("index", INDEX.clone())') == 1  # both are of one class


class Chosen(nn.Module):
    """As many rows as values are positive."""

    def forward(self, x):
        return torch.relu(x)[x.sum(-1) > 0]


class Counted(nn.Module):
    """A buffer that each pass changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        self.mean.mul_(0.9)
        return x - self.mean


@pytest.mark.parametrize(
    ("model", "said"),
    [(Chosen(), "how much getitem keeps depends on values"), (Counted(), "mean is changed while the model runs")],
)
def test_what_cannot_be_carried_is_named(model, said):
    graph = cnnstat.load(model, (3, 4))
    with pytest.raises(CnnstatError, match=rf"^\w+ \(\w+\): {said}.*; build the original model instead"):
        cnnstat.build(graph)
    with pytest.raises(CnnstatError, match=rf"^\w+ \(\w+\): {said}.*; export it to yaml instead"):
        cnnstat.export(graph, to="torch")
    assert cnnstat.export(graph)


def test_buffers_without_values_are_named():
    with torch.device("meta"):
        model = PositionBias()
    with pytest.raises(CnnstatError, match="the buffer index has no values"):
        cnnstat.build(cnnstat.load(model, (1, 2, 4, 4)))


class Dense(nn.Module):
    """Layers each of which reads all that came before."""

    def __init__(self):
        super().__init__()
        for number in range(4):
            self.add_module(f"layer{number}", Joined(2 + number))

    def forward(self, x):
        features = [x]
        for layer in self.children():
            features.append(layer(features))
        return torch.cat(features, 1)


class Joined(nn.Module):
    """A layer on several tensors."""

    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.relu = nn.ReLU()

    def forward(self, tensors):
        return self.relu(self.linear(torch.cat(tensors, 1)))


def test_layers_that_read_all_before_them_share_a_class_and_a_list():
    theirs = Dense()
    text = cnnstat.export(cnnstat.load(theirs, (3, 2)), to="torch")
    assert text.count("class ") == 2
    assert "    def forward(self, *tensors):\n        x = torch.cat(tensors, dim=1)\n" in text
    assert text.count("features.append(") == 4 and "return torch.cat(features, dim=1)\n" in text
    ours, x = module_of(text), torch.randn(3, 2)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)

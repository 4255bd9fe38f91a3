"""What training keeps of calls without a rule of their own, against the storages of a real pass."""

import gc

import pytest

torch = pytest.importorskip("torch")
from oracles.saved_tensors import saved_storages  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402
from torch.utils.checkpoint import checkpoint, checkpoint_sequential  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.pytorch import trace  # noqa: E402


def saved_bytes(model, x, mode="eval"):
    """What the analysis says training keeps."""
    memory = cnnstat.analyze(model, tuple(x.shape), mode=mode).memory
    return memory.training_bytes - memory.params_bytes - memory.gradient_bytes


def kept_by_torch(model, x):
    """Bytes of the storages that a real pass keeps."""
    model.train()
    _, storages = saved_storages(lambda: model(x), (*model.parameters(), *model.buffers()))
    return sum(storages.values())


class Net(nn.Module):
    """A function of some layers and the input."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return self.function(self.layers, x)


class Standardised(nn.Conv2d):
    """A convolution whose filters are standardised in every pass."""

    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / self.weight.std((1, 2, 3), keepdim=True), self.bias)


class LowRank(nn.Module):
    """A frozen linear layer with a learnt product of two thin matrices added to its weight."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(64, 64)
        self.base.weight.requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.rand(4, 64)), nn.Parameter(torch.rand(64, 4))

    def forward(self, x):
        return functional.linear(x, self.base.weight + self.up @ self.down, self.base.bias)


class Squared(torch.autograd.Function):
    """x² + 1, of which only x is kept although its forward pass computes in steps."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.exp(2 * torch.log(x)) + 1

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Swish(torch.autograd.Function):
    """x·σ(x), whose steps all have rules of their own; only x is kept."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        y = torch.sigmoid(x)
        return gradient * y * (1 + x * (1 - y))


class Fixed(nn.BatchNorm2d):
    """A batch norm that training leaves as it is."""

    def train(self, mode=True):
        return super().train(False)


class AsksForGradients(nn.Module):
    """A fixed scale of each channel, written out where something before it is learnt, as detectron2 has it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))

    def forward(self, x):
        if x.requires_grad:
            scale = (self.variance + 1e-5).rsqrt()
            return x * scale.view(-1, 1, 1) - (self.mean * scale).view(-1, 1, 1)
        return functional.batch_norm(x, self.mean, self.variance, training=False)


class InTrainingOnly(nn.Module):
    """Makes a checkpoint in training, if it is told to."""

    def __init__(self, use_checkpoint):
        super().__init__()
        self.use_checkpoint, self.stem, self.block = use_checkpoint, linear(), nn.Sequential(linear(), nn.GELU())

    def forward(self, x):
        if self.use_checkpoint and self.training:
            return checkpoint(self.block, self.stem(x), use_reentrant=False)
        return self.block(self.stem(x))


class Reentrant(nn.Module):
    """A checkpointed block behind a stem."""

    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Linear(32, 32)
        self.block = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x):
        # The block is called by a function of ours, so that no frame of a module lies between them.
        return checkpoint(lambda y: self.block(y), self.stem(x), use_reentrant=self.reentrant)


def linear():
    return nn.Linear(32, 32)


def back():
    """A convolution of 8 channels."""
    return nn.Conv2d(8, 4, 3)


def heads_of_four():
    return nn.MultiheadAttention(32, 4, batch_first=True)


def attention_of(layer, x, **options):
    return layer(x, x, x, need_weights=False, **options)[0]


def without_weights(layer):
    """A layer of which only the bias is learnt."""
    layer.weight.requires_grad_(False)
    return layer


def checkpointed_with_gradients(layers, x):
    y = layers[0](x)
    return checkpoint(layers[1], y, use_reentrant=False) if y.requires_grad else layers[1](y)


def likelihood(mean, variance):
    """A loss that looks at the values of the variance."""
    return functional.gaussian_nll_loss(mean, torch.ones(8, 32), variance.exp())


def part_in_place(layers, x):
    """A map of which a half is squashed where it lies."""
    y = layers[0](x)
    y[:, :4].sigmoid_()
    return layers[1](y)


VECTORS, IMAGES, SEQUENCES = (8, 32), (2, 4, 12, 12), (2, 5, 32)
ROWS = torch.arange(8 * 32).view(8, 32) % 32
CASES = {
    "unfold": (
        lambda: Net(lambda m, x: functional.unfold(m[0](x), 3).transpose(1, 2) @ torch.rand(72, 5), conv()),
        IMAGES,
    ),
    "where": (lambda: Net(lambda m, x: torch.where(x > 0.5, m[0](x), m[1](x)), linear(), linear()), VECTORS),
    "sort": (lambda: Net(lambda m, x: m[0](x).sort(-1).values, linear()), VECTORS),
    "cumprod": (lambda: Net(lambda m, x: m[0](x).cumprod(-1), linear()), VECTORS),
    "max": (lambda: Net(lambda m, x: m[0](x).max(-1).values, linear()), VECTORS),
    "gather": (lambda: Net(lambda m, x: m[0](x).gather(1, ROWS), linear()), VECTORS),
    "masked_fill": (lambda: Net(lambda m, x: m[0](x).masked_fill(x > 0.5, 0.0), linear()), VECTORS),
    "lerp": (lambda: Net(lambda m, x: torch.lerp(m[0](x), m[1](x), x), linear(), linear()), VECTORS),
    "topk": (lambda: Net(lambda m, x: m[0](x).topk(5).values, linear()), VECTORS),
    "logsumexp": (lambda: Net(lambda m, x: m[0](x).logsumexp(1), linear()), VECTORS),
    "normalize": (lambda: Net(lambda m, x: functional.normalize(m[0](x)), linear()), VECTORS),
    "variance": (lambda: Net(lambda m, x: m[0](x).var(1), linear()), VECTORS),
    "distances": (lambda: Net(lambda m, x: torch.cdist(m[0](x), m[1](x)), linear(), linear()), VECTORS),
    "constant factor": (lambda: Net(lambda m, x: m[0](x) * torch.arange(32.0), linear()), VECTORS),
    "write": (lambda: Net(lambda m, x: filled(m[0](x).exp()), linear()), VECTORS),
    "detach": (lambda: Net(lambda m, x: m[1](m[0](x).tanh().detach()), linear(), linear()), VECTORS),
    "a part without gradients": (
        lambda: Net(lambda m, x: m[1](without_gradients(m[0], x)).tanh(), linear(), linear()),
        VECTORS,
    ),
    "autocast": (lambda: Net(lambda m, x: in_bfloat16(m, x), linear(), linear()), VECTORS),
    "dropout behind": (lambda: Net(lambda m, x: m[1](m[0](x).cumprod(1)), linear(), nn.Dropout()), VECTORS),
    "Fourier": (lambda: Net(lambda m, x: torch.fft.rfft2(m[0](x)).abs(), conv()), IMAGES),
    "complex": (lambda: Net(lambda m, x: torch.complex(m[0](x), m[1](x)).abs(), linear(), linear()), VECTORS),
    "remainder": (lambda: Net(lambda m, x: torch.remainder(m[0](x), m[1](x)), linear(), linear()), VECTORS),
    "own gradient": (lambda: Net(lambda m, x: Squared.apply(m[0](x)), linear()), VECTORS),
    "reentrant checkpoint": (lambda: Reentrant(True), VECTORS),
    "checkpoint": (lambda: Reentrant(False), VECTORS),
    "checkpoints in a row": (
        lambda: Net(
            lambda m, x: checkpoint_sequential(m[1], 2, m[0](x), use_reentrant=False),
            linear(),
            nn.Sequential(linear(), nn.GELU(), linear(), nn.GELU()),
        ),
        VECTORS,
    ),
    "weight norm": (lambda: parametrizations.weight_norm(conv()), IMAGES),
    "spectral norm": (lambda: parametrizations.spectral_norm(conv()), IMAGES),
    "orthogonal": (lambda: parametrizations.orthogonal(linear()), VECTORS),
    "standardised": (lambda: Standardised(4, 8, 3), IMAGES),
    "low rank": (LowRank, (8, 64)),
    "own gradient of ruled steps": (lambda: Net(lambda m, x: m[1](Swish.apply(m[0](x))), conv(), back()), IMAGES),
    "filters that a layer makes": (
        lambda: Net(lambda m, x: functional.conv2d(x, m[0](x.mean((0, 2, 3))).view(4, 4, 3, 3)), nn.Linear(4, 144)),
        IMAGES,
    ),
    "constant filters": (
        lambda: Net(lambda m, x: m[1](functional.conv2d(m[0](x), torch.ones(8, 1, 3, 3), groups=8)), conv(), back()),
        IMAGES,
    ),
    "constant weights": (lambda: Net(lambda m, x: functional.linear(m[0](x), torch.ones(4, 32)), linear()), VECTORS),
    "learnt biases": (
        lambda: Net(lambda m, x: m[1](m[0](x).relu()), *map(without_weights, (linear(), linear()))),
        VECTORS,
    ),
    "learnt bias, used again": (
        lambda: Net(lambda m, x: m[1](m[1](m[0](x)).relu()), linear(), without_weights(linear())),
        VECTORS,
    ),
    "frozen attention": (
        lambda: Net(lambda m, x: attention_of(m[1], m[0](x)), linear(), heads_of_four().requires_grad_(False)),
        SEQUENCES,
    ),
    "masked attention": (
        lambda: Net(lambda m, x: attention_of(m[0], x, attn_mask=torch.ones(5, 5).triu(1).bool()), heads_of_four()),
        SEQUENCES,
    ),
    "attention to others": (
        lambda: Net(lambda m, x: m[0](x, y := m[1](x), y, need_weights=False)[0], heads_of_four(), linear()),
        SEQUENCES,
    ),
    "fixed batch norm": (lambda: Net(lambda m, x: m[1](m[0](x)), conv(), Fixed(8)), IMAGES),
    "scale by gradients": (
        lambda: Net(lambda m, x: m[2](m[1](m[0](x)).relu()), conv(), AsksForGradients(), back()),
        IMAGES,
    ),
    "checkpoint in training": (lambda: InTrainingOnly(True), VECTORS),
    "no checkpoint in training": (lambda: InTrainingOnly(False), VECTORS),
    "memory-efficient": (
        lambda: Net(lambda m, x: checkpointed_with_gradients(m, x), linear(), nn.Sequential(linear(), nn.GELU())),
        VECTORS,
    ),
    "run for real": (lambda: Net(lambda m, x: likelihood(m[0](x), m[1](x)), linear(), linear()), VECTORS),
    "a part in place": (lambda: Net(lambda m, x: part_in_place(m, x), conv(), back()), IMAGES),
    "float32 norm": (
        lambda: Net(lambda m, x: m[1](m[0](x.bfloat16())), conv().bfloat16(), nn.BatchNorm2d(8)),
        IMAGES,
    ),
    "float32 layer norm": (
        lambda: Net(lambda m, x: m[1](m[0](x.bfloat16()).float()), linear().bfloat16(), nn.LayerNorm(32)),
        VECTORS,
    ),
    "attention of turned heads": (
        lambda: Net(lambda m, x: attended(turned(m[0](x))), nn.Linear(32, 96)),
        VECTORS,
    ),
}


def without_gradients(layer, x):
    with torch.no_grad():
        return layer(x).tanh()


def in_bfloat16(layers, x):
    """Two layers under autocast, which keeps bfloat16 copies of their weights."""
    with torch.autocast("cpu", torch.bfloat16):
        return layers[1](layers[0](x).relu())


def conv():
    return nn.Conv2d(4, 8, 3)


def filled(x):
    """The square of x with a column of ones."""
    x[:, 0] = 1.0
    return x * x


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("case", CASES)
def test_training_keeps_what_a_real_pass_keeps(case, mode):
    make, shape = CASES[case]
    model, x = make(), torch.rand(shape)
    assert saved_bytes(model, x, mode) == kept_by_torch(model, x)


def test_dropped_out_maps_are_those_of_training():
    model = Net(lambda m, x: m[0](x).sort(-1).values.unsqueeze(1), linear())
    model.layers.append(nn.Dropout(0.5))
    x = torch.rand(VECTORS)
    assert saved_bytes(model, x) == kept_by_torch(model, x)


def test_dropout_that_is_told_to_drop_nothing_keeps_nothing():
    model = Net(lambda m, x: m[1](functional.dropout2d(m[0](x), 0.5, training=False).relu()), conv(), back())
    x = torch.rand(IMAGES)
    assert saved_bytes(model, x, "train") == kept_by_torch(model, x)


@pytest.mark.parametrize("function", [torch.cumsum, torch.cummax, torch.logcumsumexp, torch.softmax])
def test_functions_along_the_only_axis_of_a_single_number(function):
    model = Net(lambda m, x: function(m[0](x).sum(), 0), linear())
    assert cnnstat.analyze(model, VECTORS).totals.macs == 8 * 32 * 32


def test_a_checkpoint_keeps_only_its_input():
    x = torch.rand(VECTORS)
    plain = Net(lambda m, x: m[1](m[0](x)), linear(), Reentrant(False).block)
    input_bytes, hidden_bytes = 8 * 32 * 4, 8 * 64 * 4
    assert saved_bytes(Reentrant(False), x) == 2 * input_bytes
    assert saved_bytes(plain, x) == 2 * input_bytes + 2 * hidden_bytes


def test_computed_filters_are_alive_while_their_layer_runs():
    x = torch.rand(IMAGES)
    plain = cnnstat.analyze(conv(), IMAGES).totals.memory.peak_inference_bytes
    computed = cnnstat.analyze(Standardised(4, 8, 3), IMAGES).totals.memory.peak_inference_bytes
    assert computed - plain == 8 * 4 * 9 * 4
    assert plain == x.nbytes + 2 * 8 * 10 * 10 * 4


def test_a_map_squashed_where_it_lies_takes_no_memory_in_a_spec_too(tmp_path):
    model, path = Net(lambda m, x: torch.tanh_(m[0](x)), conv()), tmp_path / "squashed.yaml"
    path.write_text(cnnstat.export(model, IMAGES))
    assert "overwrites: 0" in path.read_text()
    for analysis in (cnnstat.analyze(model, IMAGES), cnnstat.analyze(path)):
        assert analysis.memory.peak_inference_bytes == 4 * (2 * 4 * 12 * 12 + 2 * 8 * 10 * 10)


def heads(x):
    """Queries, keys and values of 2 heads as parts of one tensor, over an axis of 2 tiles more."""
    return x.reshape(2, 2, 2, 3, 2, 16).permute(3, 0, 4, 1, 2, 5)


def turned(x):
    """Queries, keys and values of 2 heads whose features are not next to each other in memory."""
    return x.reshape(2, 2, 48, 4).transpose(2, 3).chunk(3, -1)


def attended(parts):
    return functional.scaled_dot_product_attention(*parts).sum((-1, -2))


ORDINARY = {
    "scaled": lambda: Scaled(),
    "scaled as one before": lambda: nn.Sequential(scaled := Scaled(), linear(), scaled),
    "waves": lambda: Net(lambda m, x: torch.sin(m[0](x)).cos() + m[1](x).abs().log1p() ** 2, linear(), linear()),
    "attention of tiles": lambda: Net(lambda m, x: attended(heads(m[0](x))), nn.Linear(32, 96)),
    "residual": lambda: Net(lambda m, x: m[2](m[0](x) + m[1](x)).relu(), linear(), linear(), linear()),
    "bottleneck": lambda: nn.Sequential(linear(), nn.LayerNorm(32), nn.GELU()),
    "moves": lambda: Net(lambda m, x: m[0](x)[:, ::2].reshape(8, 4, 4).permute(0, 2, 1).flip(1).sum(-1), linear()),
    "moves before": lambda: Net(lambda m, x: m[0](x.sort(-1).values), linear()),
    "one row": lambda: Net(lambda m, x: m[1](m[0](x)[:, :8].t().contiguous().t()[0][None]), linear(), nn.Linear(8, 4)),
    "frozen": lambda: Net(lambda m, x: m[0](x).sort(-1).values, linear()).requires_grad_(False),
    "position": lambda: LearntPosition(),
}


class Scaled(nn.Module):
    """Features by a learnt scale, of which a view is taken."""

    def __init__(self):
        super().__init__()
        self.linear, self.scale = linear(), nn.Parameter(torch.rand(32))

    def forward(self, x):
        return self.linear(x).view(-1, 32, 1).mul(self.scale.view(32, 1)).flatten(1)


class LearntPosition(nn.Module):
    """A learnt table is added, sliced and repeated."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.rand(1, 64))

    def forward(self, x):
        return x + self.table[:, :32].expand(8, -1)


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_models_are_run_once(case, monkeypatch):
    passes = []
    traced = trace.traced
    monkeypatch.setattr(trace, "traced", lambda *arguments: passes.append(1) or traced(*arguments))
    model, x = ORDINARY[case](), torch.rand(VECTORS)
    assert saved_bytes(model, x) == (kept_by_torch(model, x) if case != "frozen" else 0)
    assert len(passes) == 1


class OnlyForward(nn.Module):
    """Fails where gradients are on."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 32)

    def forward(self, x):
        if torch.is_grad_enabled():
            raise RuntimeError("for inference only")
        return self.linear(x).sort(-1).values


def test_a_model_that_cannot_be_trained_gets_an_estimate_and_a_note():
    analysis = cnnstat.analyze(OnlyForward(), VECTORS)
    assert any("no pass with gradients" in note for note in analysis.graph.about["notes_torch"])
    assert analysis.totals.memory.training_bytes > 0


def test_a_spec_says_what_only_a_pass_of_the_model_tells(tmp_path):
    model, path = Standardised(4, 8, 3), tmp_path / "standardised.yaml"
    path.write_text(cnnstat.export(model, IMAGES))
    memory, again = (cnnstat.analyze(*source).totals.memory for source in ((model, IMAGES), (path,)))
    assert again.training_bytes == memory.training_bytes
    # The weights that are computed in the pass are part of the peak.
    assert "weight_bytes:" in path.read_text()
    assert again.peak_inference_bytes == memory.peak_inference_bytes
    # What was measured for two images does not hold for four.
    assert cnnstat.analyze(path, batch=4).memory.saved_bytes != cnnstat.analyze(path).memory.saved_bytes


def test_columns_of_a_convolution_are_kept_whole():
    class Columns(nn.Module):
        """A 3×3 convolution written out: the product keeps columns that are nine times as large as the map."""

        def __init__(self):
            super().__init__()
            self.stem, self.weight = nn.Conv2d(4, 64, 1), nn.Parameter(torch.randn(64 * 9, 5))

        def forward(self, x):
            return nn.functional.unfold(self.stem(x), 3, padding=1).transpose(1, 2) @ self.weight

    analysis = cnnstat.analyze(Columns(), (1, 4, 32, 32))
    assert analysis.memory.saved_bytes == 4 * (4 * 32 * 32 + 64 * 9 * 32 * 32)
    assert analysis["unfold"].output_bytes == 4 * 64 * 9 * 32 * 32


class Attention(nn.Module):
    """Attention of windows with a bias that is looked up, whose heads are parts of one tensor."""

    def __init__(self):
        super().__init__()
        self.qkv, self.table = nn.Linear(8, 24), nn.Parameter(torch.rand(9, 2))
        self.register_buffer("places", torch.arange(36).view(6, 6) % 9)

    def forward(self, x):
        q, k, v = self.qkv(x).reshape(4, 6, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) + self.table[self.places].permute(2, 0, 1).contiguous()
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(4, 6, 8).tanh()


def test_copies_and_looked_up_biases_need_no_pass():
    # Products copy heads that are parts of another tensor, and a reshape behind a transpose is a copy.
    x = torch.rand(4, 6, 8)
    analysis = cnnstat.analyze(Attention(), tuple(x.shape))
    assert analysis.graph.saved_bytes is None
    assert saved_bytes(Attention(), x) == kept_by_torch(Attention(), x)


def test_parts_of_tensors_are_followed_as_pytorch_makes_them():
    def forward(m, x):
        result = torch.zeros_like(x)
        result[:, :, 2:6, 3:9] = m[0](x[:, :, 2:6, 3:9].relu())
        return result.transpose(1, 2).reshape(2, -1)[:, ::2]

    x = torch.rand(2, 4, 12, 12)
    model = Net(forward, nn.Conv2d(4, 4, 3, padding=1))
    analysis = cnnstat.analyze(model, tuple(x.shape))
    assert analysis.layers[-1].output_shape == tuple(model(x).shape)
    assert saved_bytes(model, x) == kept_by_torch(model, x)


class KeepsResults(nn.Module):
    """Calls of which autograd keeps the results, and which no rule covers."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return torch.cosh(self.linear(x)).exp().cumprod(1).prod(1)


def test_a_pass_with_gradients_leaves_nothing():
    """PyTorch's graph holds what hooks return: a cycle through it would stay for ever, with all tensors of the pass."""
    model = KeepsResults()

    def objects():
        gc.collect()
        return len(gc.get_objects())

    assert cnnstat.analyze(model, (4, 8)).graph.saved_bytes is not None
    cnnstat.analyze(model, (4, 8))
    before = objects()
    for _ in range(5):
        cnnstat.analyze(model, (4, 8))
    assert objects() - before < 5

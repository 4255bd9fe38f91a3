"""Models that trip tracers up, each with the figures that are true of it."""

from dataclasses import dataclass, field
from typing import Any

import pytest

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


@dataclass
class Case:
    """A model, its inputs, and what is true of it."""

    make: Any
    inputs: Any
    macs: int
    output: Any
    uncounted: tuple = ()
    mode: str = "eval"
    noted: bool = False
    options: dict = field(default_factory=dict)


CASES = {}
X = (1, 4, 8, 8)
CONV = 8 * 8 * 4 * 4 * 9
"""MACs of a 3×3 convolution of 4 to 4 channels that keeps 8×8."""


def case(macs, output, inputs=(X,), **options):
    """Add a model class to the cases."""

    def add(cls):
        CASES[cls.__name__] = Case(cls, inputs, macs, output, **options)
        return cls

    return add


class Base(nn.Module):
    """Two convolutions to play with."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 3, padding=1, bias=False)


@case(2 * CONV, X)
class SharedModule(Base):
    def __init__(self):
        super().__init__()
        del self.other

    def forward(self, x):
        return self.conv(F.relu(self.conv(x)))


@case(2 * CONV, X)
class SharedUnderTwoNames(Base):
    def __init__(self):
        super().__init__()
        self.other = self.conv

    def forward(self, x):
        return self.other(self.conv(x))


@case(CONV, X)
class InPlaceAfterView(Base):
    def forward(self, x):
        y = self.conv(x)
        flat = y.view(1, -1)
        flat.add_(1)
        return y * 2


@case(2 * CONV, X)
class SliceAssigned(Base):
    def forward(self, x):
        y = self.conv(x)
        y[:, :2] = self.other(x)[:, 2:]
        return y.relu()


@case(CONV, X)
class WrittenIntoConstant(Base):
    def forward(self, x):
        out = torch.zeros(1, 4, 8, 8)
        out[:, :, 1:] = self.conv(x)[:, :, :-1]
        return out


@case(CONV, X)
class CopiedIntoSlice(Base):
    def forward(self, x):
        out = x.clone()
        out[:, 1:3].copy_(self.conv(x)[:, :2])
        return out


@case(CONV, X)
class InPlaceChain(Base):
    def forward(self, x):
        y = self.conv(x)
        y += x
        y.mul_(2).relu_()
        y -= 1
        return y


@case(2 * CONV, X)
class ShapeDecides(Base):
    def forward(self, x):
        x = self.conv(x)
        return self.other(x) if x.shape[-1] > 4 else x


@case(CONV, X, noted=True)
class ValueDecides(Base):
    def forward(self, x):
        y = self.conv(x)
        return y if x.sum() > -1e9 else self.other(y)


@case(CONV, X)
class ConstantDecides(Base):
    def forward(self, x):
        for scale in torch.linspace(0, 1, 3).tolist():
            x = x * scale
        return self.conv(x) if torch.ones(1).item() else x


@case(CONV, X)
class SmallBufferDecides(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("flag", torch.ones(1, dtype=torch.long))

    def forward(self, x):
        return self.conv(x) if self.flag.item() else self.other(x)


@case(CONV, X, inputs=({"image": X, "mask": None},))
class DictIn(Base):
    def forward(self, batch):
        assert batch["mask"] is None
        return {"out": [self.conv(batch["image"]), None], "n": 3}


@case(2 * CONV, X, inputs=([X, (1, 4, 4, 4)],))
class ListIn(Base):
    def forward(self, maps):
        return self.conv(maps[0]), self.other(F.interpolate(maps[1], size=maps[0].shape[-2:])), "text"


class Doubled(torch.autograd.Function):
    """An autograd function of one's own."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x)
        return F.conv2d(x, weight, padding=1) * 2

    @staticmethod
    def backward(ctx, grad):
        return grad, None


@case(CONV, X)
class CustomFunction(Base):
    def forward(self, x):
        return Doubled.apply(x, self.conv.weight) + self.conv.bias.view(1, -1, 1, 1)


@case(2 * 5 * 6 * 10, (2, 5, 10), inputs=((2, 5),), options={"dtypes": {0: "int64"}})
class TiedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 6)
        self.decoder = nn.Linear(6, 10)
        self.decoder.weight = self.table.weight

    def forward(self, ids):
        return self.decoder(self.table(ids))


@case(CONV, X)
class WeightNorm(Base):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(self.conv)

    def forward(self, x):
        return self.conv(x)


@case(CONV, X)
class OldWeightNorm(Base):
    def __init__(self):
        super().__init__()
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.conv = nn.utils.weight_norm(self.conv)

    def forward(self, x):
        return self.conv(x)


@case(CONV + 4 * 36 + 4, X)
class SpectralNorm(Base):
    """Two products of the weight with a vector: W·v and u·(W·v)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.spectral_norm(self.conv)

    def forward(self, x):
        return self.conv(x)


@case(4 * 2 * 4 + 4 * 4, (1, 4), inputs=((1, 4),))
class LowRank(nn.Module):
    """W + B·A, merged before each call."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.a = nn.Parameter(torch.zeros(2, 4))
        self.b = nn.Parameter(torch.zeros(4, 2))

    def forward(self, x):
        return F.linear(x, self.linear.weight + self.b @ self.a, self.linear.bias)


@case(8 * 8 * 4 * 6 * 9 + 10, (1, 10), options={"lazy": True})
class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv2d(6, 3, padding=1)
        self.norm = nn.LazyBatchNorm2d()
        self.fc = nn.LazyLinear(10)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).mean((2, 3)))[:, :10]


CASES["Lazy"].macs = 8 * 8 * 4 * 6 * 9 + 6 * 10


@case(2 * CONV, X)
class Checkpointed(Base):
    def forward(self, x):
        from torch.utils.checkpoint import checkpoint

        x = checkpoint(self.conv, x, use_reentrant=False)
        return checkpoint(lambda y: self.other(y).relu(), x, use_reentrant=True)


@case(CONV, X)
class Scripted(Base):
    def __init__(self):
        super().__init__()
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.inner = torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()))

    def forward(self, x):
        return self.inner(x) + 1


@case(2 * 7 * 2 * 4 * (5 * 6 + 6 * 6), (2, 7, 12), inputs=((2, 7, 5),))
class BidirectionalLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 6, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.lstm(x)[0]


@case(7 * 2 * 3 * (5 * 6 + 6 * 6 + 2 * 6 * 6), (7, 2, 6), inputs=((7, 2, 5),))
class StackedGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 6, num_layers=2)

    def forward(self, x):
        return self.gru(x)[0]


@case(CONV, X)
class Autocast(Base):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.conv(x)


@case(CONV, X, options={"dtypes": {0: "float16"}})
class Half(Base):
    def __init__(self):
        super().__init__()
        self.half()

    def forward(self, x):
        return self.conv(x)


@case(3 * 4 * 5, (3, 5), inputs=((3, 4),))
class Vmapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return torch.vmap(lambda row: torch.mv(self.fc.weight, row) + self.fc.bias)(x)


@case(2 * 3 * 4 * 5, (2, 3, 5), inputs=((2, 3, 4), (2, 4, 5)))
class Einsum(nn.Module):
    def forward(self, a, b):
        return torch.einsum("bij,bjk->bik", a, b)


@case(CONV, X)
class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(4, 4, 3, 3))
        self.register_buffer("blur", torch.ones(4, 1, 1, 1))

    def forward(self, x):
        return F.conv2d(x, self.kernel, padding=1)


@case(CONV + 64 * 4, X)
class FixedKernel(Base):
    """A convolution with a buffer for a filter, one channel at a time."""

    def __init__(self):
        super().__init__()
        self.register_buffer("blur", torch.ones(4, 1, 1, 1))

    def forward(self, x):
        return F.conv2d(self.conv(x), self.blur, groups=4)


@case(64 * 4 * 4 * 9 + 4 * 4 * 4 * 9, X)
class DynamicKernel(Base):
    """The filter is computed from the image."""

    def __init__(self):
        super().__init__()
        del self.conv, self.other
        self.make = nn.Linear(4, 4 * 4 * 9, bias=False)

    def forward(self, x):
        weight = self.make(x.mean((2, 3))).view(4, 4, 3, 3)
        return F.conv2d(x, weight, padding=1)


@case(64 * 8 * 9 * 2 + 2, (1, 2, 16, 16), inputs=((1, 8, 8, 8),))
class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 2, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x):
        return self.up(x, output_size=(16, 16))


CASES["Transposed"].macs = 64 * 8 * 9 * 2

ATTENTION = 2 * 5 * 8 * (3 * 8) + 2 * 2 * 5 * 5 * 8 + 2 * 5 * 8 * 8


@case(ATTENTION, (2, 5, 8), inputs=((2, 5, 8),))
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


@case(ATTENTION, (2, 5, 8), inputs=((2, 5, 8),))
class MaskedAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
        return self.attention(x, x, x, attn_mask=mask)[0]


@case(2 * (ATTENTION + 2 * 2 * 5 * 8 * 16), (2, 5, 8), inputs=((2, 5, 8),))
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.encoder(x)


MEMORY = 3 * 2 * 4 * 8 * 8 + 2 * 2 * 5 * 4 * 8
CROSS = 2 * 4 * 8 * 8 + 2 * 5 * 8 * 16 + 2 * 2 * 4 * 5 * 8 + 2 * 4 * 8 * 8


@case(
    ATTENTION + 2 * 2 * 5 * 8 * 16 + (2 * 4 * 8 * 24 + 2 * 2 * 4 * 4 * 8 + 2 * 4 * 64) + CROSS + 2 * 2 * 4 * 8 * 16,
    (2, 4, 8),
    inputs=((2, 5, 8), (2, 4, 8)),
)
class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    def forward(self, source, target):
        return self.net(source, target)


@case(2 * 2 * 2 * 5 * 5 * 4, (2, 2, 5, 4), inputs=((2, 2, 5, 4),))
class BareAttention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)


@case(CONV, X, mode="train")
class TrainMode(Base):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(self.norm(self.conv(x)))
        return x if self.training else self.other(x)


@case(3 * CONV, X)
class ModuleList(Base):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([self.conv, self.other, nn.Conv2d(4, 4, 3, padding="same")])

    def forward(self, x):
        return sum(part(x) for part in self.parts)


@case(CONV, X)
class UnusedHead(Base):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.conv(x)


@case(CONV, X)
class RawParameter(Base):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 4, 8, 8))
        self.gamma = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.conv(x + self.position) * self.gamma.view(1, -1, 1, 1)


@case(CONV, (1, 4, 8, 8), noted=True)
class Selected(Base):
    """A mask decides how much is kept; the convolution's work does not depend on it."""

    def forward(self, x):
        y = self.conv(x)
        return y, y[y > 0].sum()


@case(CONV, X)
class Stateful(Base):
    calls = 0

    def __init__(self):
        super().__init__()
        self.seen = []
        self.cache = None

    def forward(self, x):
        self.seen.append(1)
        self.cache = self.conv(x)
        type(self).calls += 1
        return self.cache


@case(2 * CONV, X)
class Reflected(Base):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")

    def forward(self, x):
        return self.other(F.pad(self.conv(x), (0, 0, 0, 0)))


@case(64 * 9 * 4, X)
class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)

    def forward(self, x):
        return self.conv(x)


@case(2 * 3 * 5 * 4 * 6, (2, 3, 5, 6), inputs=((2, 3, 5, 4),))
class DeepLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x):
        return self.fc(x)


@case(4 * 6, (6,), inputs=((4,),), options={"unbatched": True})
class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x):
        return self.fc(x)


@case(CONV, X)
class Swapped(Base):
    """Modules outside the tree and functions of its own."""

    def __init__(self):
        super().__init__()
        self.hidden = [nn.ReLU()]

    def forward(self, x):
        return self.hidden[0](self.conv(x)).transpose(2, 3).contiguous().permute(0, 1, 3, 2)


@case(CONV, X)
class Unknown(Base):
    def forward(self, x):
        return torch.matrix_exp(self.conv(x))


CASES["Unknown"].uncounted = ("matrix_exp",)


@case(2 * 4 * 4 * 3 + 2 * 4 * 3 * 5, (2, 4, 5), inputs=((2, 4, 4),))
class Products(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("basis", torch.ones(4, 3))
        self.weight = nn.Parameter(torch.zeros(3, 5))

    def forward(self, x):
        return x @ self.basis @ self.weight


@case(CONV, X)
class KeywordOnly(Base):
    def forward(self, *, image, scale=2.0, flag=None):
        assert flag is None
        return self.conv(image) * scale


CASES["KeywordOnly"].inputs = {"image": X, "scale": 3.0, "flag": None}


@case(CONV, X)
class Frozen(Base):
    def __init__(self):
        super().__init__()
        self.conv.bias.requires_grad_(False)
        self.other.requires_grad_(False)

    def forward(self, x):
        return self.conv(x)


@case(CONV, X)
class HookedModule(Base):
    def __init__(self):
        super().__init__()
        self.conv.register_forward_hook(lambda module, inputs, output: output.relu() * 2)

    def forward(self, x):
        return self.conv(x)


@case(CONV, X)
class CallsItself(Base):
    def forward(self, x, depth=2):
        return self.conv(x) if depth == 0 else self.forward(x, depth - 1)


@case(CONV, X)
class SwallowsErrors(Base):
    def forward(self, x):
        try:
            return self.conv(self.other(x[:, :2]))
        except RuntimeError:
            return self.conv(x)


@case(4 * 2 * 4 + 2 * 4 * 4, (1, 4), inputs=((1, 4),))
class MergedOnce(nn.Module):
    """One product of two parameters, used as the weight of two calls: it is computed once."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(4, 2))
        self.b = nn.Parameter(torch.zeros(2, 4))

    def forward(self, x):
        weight = self.a @ self.b
        return F.linear(F.linear(x, weight), weight)


@case(4 * 4 * 4, (4, 4), inputs=((1, 4),))
class ReadsNoInput(nn.Module):
    """The result is made of parameters only."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(4, 4))

    def forward(self, x):
        return self.a @ self.a

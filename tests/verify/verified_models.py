"""PyTorch models that one witness or another stumbles over."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import nn


class Shared(nn.Module):
    """One convolution called three times."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Linear(3, 4)

    def forward(self, x):
        x = self.relu(self.conv(x))
        x = self.relu(self.conv(x))
        return self.head(self.conv(x).mean((2, 3)))


class Functional(nn.Module):
    """No submodules: all calls are functions, in one module."""

    def __init__(self):
        super().__init__()
        self.kernel, self.matrix = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        y = functional.gelu(functional.max_pool2d(functional.conv2d(x, self.kernel, padding="same"), 2))
        mixed = torch.einsum("bchw,cd->bdhw", y, self.matrix)
        return mixed.mean((2, 3)) + (y.flatten(2).transpose(1, 2) @ self.matrix).mean(1)


class Vector(nn.Module):
    """A product with a vector."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(5, 7))

    def forward(self, x):
        return torch.mv(self.matrix, x)


class AddedInPlace(nn.Module):
    """Products that are added to a tensor in its place."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        total = (x + 1).addmm_(x, self.matrix)
        stack = total.expand(2, 3, 4)
        return total.clone().addbmm_(stack, self.matrix.expand(2, 4, 4))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight):
        context.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        return gradient @ weight.t(), x.t() @ gradient


class Custom(nn.Module):
    """A product inside an autograd function of its own."""

    def __init__(self):
        super().__init__()
        self.conv, self.matrix = nn.Conv2d(1, 1, 3), nn.Parameter(torch.randn(6, 6))

    def forward(self, x):
        return _Product.apply(self.conv(x).flatten(1)[:, :6], self.matrix)


class Attention(nn.Module):
    """Self-attention, which PyTorch fuses in inference."""

    def __init__(self):
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)

    def forward(self, x):
        return self.norm(self.attention(x, x, x, need_weights=False)[0])


class Sequence(nn.Module):
    """Attention over positions × features, with batch or without."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        y, weights = self.attention(x, x, x)
        return functional.scaled_dot_product_attention(y, y, weights @ x)


class Scaled(nn.Module):
    """Attention without parameters."""

    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x)


class Encoder(nn.Module):
    """Encoder layers, which PyTorch fuses too."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)

    def forward(self, x):
        return self.encoder(x)


class Beside(nn.Module):
    """A module that is handed two tensors."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, token, x):
        return self.linear(token) + x


class Token(nn.Module):
    """A learnt token, expanded and handed to a module: a view of a parameter, which has no history without autograd."""

    def __init__(self):
        super().__init__()
        self.token, self.beside, self.attention = nn.Parameter(torch.zeros(1, 1, 8)), Beside(), Attention()

    def forward(self, x):
        return self.attention(self.beside(self.token.expand(x.shape[0], -1, -1), x))


class Remembered(nn.Module):
    """Attention to nothing but weights."""

    def __init__(self):
        super().__init__()
        self.memory, self.attention = nn.Parameter(torch.randn(1, 3, 8)), Attention()

    def forward(self, x):
        return x + self.attention(self.memory).mean(1, keepdim=True)


class Recurrent(nn.Module):
    """Two bidirectional layers, and a linear one."""

    def __init__(self, kind="LSTM"):
        super().__init__()
        self.layers, self.head = getattr(nn, kind)(5, 6, 2, bidirectional=True, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.layers(x)[0])


class Transposed(nn.Module):
    """Grouped, transposed and dilated depthwise convolutions."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(4, 8, 3, stride=2, groups=4, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2, padding=1, output_padding=1)
        self.wide = nn.Conv2d(6, 6, 3, groups=6, dilation=2, padding=2)

    def forward(self, x):
        return self.wide(self.up(self.down(x)))


class Unused(nn.Module):
    """A layer whose result nobody reads."""

    def __init__(self):
        super().__init__()
        self.read, self.unread = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        self.unread(x)
        return self.read(x)


class Gated(nn.Module):
    """A squeeze-excite gate between two convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3)

    def forward(self, x):
        x = self.first(x)
        return self.last(x * torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(x, 1))))


class Normed(nn.Module):
    """Weight norm and spectral norm, whose work is on weights."""

    def __init__(self):
        super().__init__()
        norms = nn.utils.parametrizations
        self.conv, self.head = norms.weight_norm(nn.Conv2d(3, 4, 3)), norms.spectral_norm(nn.Linear(4, 4))

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


class Pairs(nn.Module):
    """A bilinear map."""

    def __init__(self):
        super().__init__()
        self.map = nn.Bilinear(4, 4, 5)

    def forward(self, x):
        return self.map(x, x)


class Broadcast(nn.Module):
    """A product whose second factor has the batch."""

    def __init__(self):
        super().__init__()
        self.matrices = nn.Parameter(torch.randn(3, 4, 5))

    def forward(self, x):
        return x @ self.matrices


class Norms(nn.Module):
    """Every layer that fvcore counts by an estimate."""

    def __init__(self):
        super().__init__()
        self.batch, self.plain = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)
        self.group, self.instance, self.layer = nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm((4, 8, 8))

    def forward(self, x):
        x = self.layer(self.instance(self.group(self.plain(self.batch(x)))))
        x = functional.interpolate(functional.interpolate(x, scale_factor=2), size=(12, 12), mode="bilinear")
        return functional.adaptive_avg_pool2d(x, 1)


class Shifted(nn.Module):
    """Writes into slices and changes in place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        z = torch.zeros_like(y)
        z[:, :, 1:] = y[:, :, :-1]
        z += x
        z[:, 0].mul_(2)
        return self.conv(functional.relu(z - y, inplace=True))


class Decided(nn.Module):
    """A path that values decide."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) if x.sum() > 1e9 else self.layer(self.layer(x))


class Vanishing(nn.Module):
    """Gradients that vanish or cancel in everyday arithmetic, but not in dependence."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, x):
        y = self.conv(x)
        y = functional.softmax(y - y.detach(), 1) + functional.normalize(functional.relu(y - 100), dim=1)
        return self.last(functional.max_pool2d(torch.sign(y), 2, ceil_mode=True))


class Keywords(nn.Module):
    """Inputs by name, one of them optional, in a dictionary of results."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image, mask=None, scale=1.0):
        y = self.conv(image) * scale
        return {"y": y, "masked": y if mask is None else y * mask}


class Casts(nn.Module):
    """Casts to the dtype that a tensor has, which do nothing."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)

    def forward(self, x):
        return self.last(self.first(x).float().to(torch.float32).type_as(x))


class Layouts(nn.Module):
    """Channels last and back; whether `contiguous` has to copy depends on the layout that layer norm leaves."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Conv2d(4, 2, 3)

    def forward(self, x):
        y = self.norm(self.first(x).permute(0, 2, 3, 1)).contiguous()
        return self.last(y.permute(0, 3, 1, 2).contiguous())


class Idle(nn.Module):
    """Layers that are not called, and work on weights that nothing uses."""

    def __init__(self):
        super().__init__()
        self.memory, self.read, self.idle = nn.Parameter(torch.randn(3, 8)), nn.Linear(8, 5), nn.Linear(3, 3)
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x):
        self.read(self.memory)
        return self.conv(x)


class Rigid(nn.Module):
    """A network that takes one input size only, with wide layers behind its last local feature map."""

    def __init__(self):
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8 * 64, 4096)

    def forward(self, x):
        assert x.shape[-2:] == (32, 32), "only 32×32"
        return self.head(self.patches(x).flatten(1))


class Pooled(nn.Module):
    """A global pool behind a strided convolution that leaves out the last column and row of an odd input."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 2, stride=2), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


class Relative(nn.Module):
    """Scales by the distance of columns: the indices are computed, and have to keep their values."""

    def __init__(self):
        super().__init__()
        self.first, self.scales, self.last = nn.Conv2d(2, 2, 3), nn.Parameter(torch.ones(10)), nn.Conv2d(2, 2, 3)

    def forward(self, x):
        y = self.first(x)
        columns = torch.arange(y.shape[-1]) * 1.0
        distance = columns.max() - columns
        return self.last(y * self.scales[distance.long()])


class Unpooled(nn.Module):
    """A maximum that says where it was found."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2, return_indices=True), nn.Tanh()

    def forward(self, x):
        y, places = self.pool(self.conv(x))
        return self.last(y), places


class Kept(nn.Module):
    """Instance norm with statistics of its own, which inference takes."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


class Checkpointed(nn.Module):
    """Parts whose activations are not kept, in both of PyTorch's ways."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        y = torch.utils.checkpoint.checkpoint(self.first, x, use_reentrant=False)
        return torch.utils.checkpoint.checkpoint(self.second, y, use_reentrant=True)


class Packed(nn.Module):
    """Sequences of two lengths in one."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(8, 16, batch_first=True)

    def forward(self, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]), batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]


class Remainder(nn.Module):
    """A pool whose last window reaches past a map that ends before the input does."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 2, stride=4), nn.MaxPool2d(2, 2, ceil_mode=True)

    def forward(self, x):
        return self.pool(self.conv(x)).mean((2, 3))


class Turned(nn.Module):
    """Rotary position embeddings: angles are an outer product by einsum, which sums over nothing."""

    def forward(self, x):
        angles = torch.einsum("i,j->ij", torch.arange(x.shape[0]).float(), 0.1 ** torch.arange(x.shape[1] / 2))
        angles = torch.cat((angles, angles), -1)
        return x * angles.cos() + torch.einsum("bi,bi->bi", x, angles.sin())


class Causal(nn.Module):
    """Attention of positions to those before them."""

    def forward(self, x):
        y = x.transpose(1, 2)[:, None]
        return nn.functional.scaled_dot_product_attention(y, y, y, is_causal=True)


class SideBySide(nn.Module):
    """Windows side by side, a layer on each, and the way back."""

    def __init__(self):
        super().__init__()
        self.conv, self.each = nn.Conv2d(3, 4, 3, padding=1), nn.Conv1d(36, 36, 1)

    def forward(self, x):
        columns = nn.functional.unfold(self.conv(x), 3, padding=1)
        return nn.functional.fold(self.each(columns), x.shape[2:], 3, padding=1)

"""Receptive fields through views that split, merge and reorder axes, beside the positions that gradients reach."""

from __future__ import annotations

from itertools import product

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.analysis.receptive_field.fields import Extent  # noqa: E402


def conv(inputs: int, outputs: int, kernel: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


class SpaceToDepthAndBack(nn.Module):
    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.block, self.before, self.after = stride, conv(2, 3), conv(3, 3)
        self.inside = conv(3 * stride**2, 3 * stride**2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (n, c, h, w), b = (x := self.before(x)).shape, self.block
        y = x.view(n, c, h // b, b, w // b, b).permute(0, 1, 3, 5, 2, 4).reshape(n, c * b * b, h // b, w // b)
        y = self.inside(y).view(n, c, b, b, h // b, w // b).permute(0, 1, 4, 2, 5, 3).reshape(n, c, h, w)
        return self.after(x + y)


class PatchMerging(nn.Module):
    """Channels last, each block's pixels side by side, as in hierarchical transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.reduce, self.after = conv(2, 3), nn.Linear(12, 5), conv(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        x = x.reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.after(self.reduce(x).permute(0, 3, 1, 2))


class Windows(nn.Module):
    """Attention inside windows, after Liu et al. 2021 (Swin), without shifts."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size, self.before, self.after = size, conv(2, 4), conv(4, 2)
        self.qkv = nn.Linear(4, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, k = self.before(x).permute(0, 2, 3, 1), self.size
        n, h, w, c = x.shape
        y = x.view(n, h // k, k, w // k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, k * k, c)
        query, key, value = self.qkv(y).chunk(3, -1)
        y = (query @ key.transpose(1, 2)).softmax(-1) @ value
        y = y.view(n, h // k, w // k, k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return self.after((x + y).permute(0, 3, 1, 2))


class Grid(Windows):
    """Attention over a grid of distant positions, after Tu et al. 2022 (MaxViT)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, k = self.before(x).permute(0, 2, 3, 1), self.size
        n, h, w, c = x.shape
        y = x.view(n, k, h // k, k, w // k, c).permute(0, 2, 4, 1, 3, 5).reshape(-1, k * k, c)
        query, key, value = self.qkv(y).chunk(3, -1)
        y = (query @ key.transpose(1, 2)).softmax(-1) @ value
        y = y.view(n, h // k, w // k, k, k, c).permute(0, 3, 1, 4, 2, 5).reshape(n, h, w, c)
        return self.after((x + y).permute(0, 3, 1, 2))


class Tokens(nn.Module):
    """A map flattened to tokens, a layer on each, the map again, beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.each = nn.Sequential(conv(2, 3), conv(3, 3)), nn.Conv1d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return y + self.each(y.flatten(2)).view_as(y)


class Chunks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.each, self.after = conv(2, 3), nn.Conv2d(3, 3, 1), conv(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(torch.cat([self.each(piece) for piece in self.before(x).chunk(4, 2)], 2))


class PixelShuffleByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = conv(2, 8, stride=2), conv(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = (x := self.before(x)).shape
        x = x.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)
        return self.after(x)


class RowsAsChannels(nn.Module):
    """Each column of a map is one token, as text recognition does it; convolutions go along the width."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.along = conv(2, 3), nn.Conv1d(3 * 16, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.along(self.before(x).flatten(1, 2))


def reached(model: nn.Module, size: int, axis: int, index: int) -> tuple[int, int]:
    """Return the first and last input positions along an axis that one output position depends on, by gradients."""
    x = torch.rand(1, 2, size, size, dtype=torch.float64, requires_grad=True)
    made = model(x)
    picked = made.select(axis, index)
    (gradient,) = torch.autograd.grad(picked.sum(), x)
    other = 2 + (axis == 2)
    rows = gradient.abs().sum((0, 1, other)).nonzero().flatten()
    return int(rows.min()), int(rows.max())


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (SpaceToDepthAndBack(), 24), (SpaceToDepthAndBack(3), 36), (PatchMerging(), 24), (Windows(), 24),
        (Windows(3), 24), (Grid(), 16), (Tokens(), 16), (Chunks(), 16), (PixelShuffleByHand(), 16),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)  # fmt: skip
def test_every_output_position_reads_what_the_field_says(model: nn.Module, size: int) -> None:
    torch.manual_seed(0)
    model = model.double()
    analysis = cnnstat.analyze(model, (1, 2, size, size), dtype="float64")
    (edge,) = analysis.graph.outputs
    shape = analysis.values.outputs[edge.value][edge.output]
    found = analysis.fields.of(*edge)
    assert found is not None and found.exact and not found.global_context and not any(found.whole)
    followed = analysis.fields.followed(*edge)
    assert followed is not None
    compared = 0
    for (axis, (_, track)), index in product(zip((2, 3), (pair for pair in followed)), range(shape[2])):
        low, high = track.field.at(index)
        assert reached(model, size, axis, index) == (max(0, low), min(size - 1, high))
        compared += 1
    assert compared == 2 * shape[2]


def extent_of(model: nn.Module, *sizes: int, strict: bool = False) -> tuple[Extent, object]:
    analysis = cnnstat.analyze(model, (1, 2, *sizes), strict_receptive_field=strict)
    (edge,) = analysis.graph.outputs
    return analysis.fields.extent(*edge), analysis.fields.of(*edge)


def test_one_axis_may_be_whole_while_the_other_is_local() -> None:
    class MeanOverWidth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, (3, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).mean(3, keepdim=True))

    extent, field = extent_of(MeanOverWidth(), 28, 30)
    assert extent is Extent.LOCAL
    assert (field.size, field.stride, field.start, field.whole) == ((5, 30), (1, 0), (0, 0), (False, True))
    extent, field = extent_of(nn.Sequential(nn.Conv2d(2, 2, 3), nn.Sigmoid(), nn.Linear(26, 10)), 28, 28)
    assert (field.size, field.whole) == ((3, 28), (False, True))


def test_a_map_whose_columns_are_tokens_is_local_along_the_width() -> None:
    extent, field = extent_of(RowsAsChannels(), 16, 24)
    assert extent is Extent.LOCAL
    assert (field.size, field.whole) == ((16, 5), (True, False))


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, lambda c: nn.GroupNorm(1, c), lambda c: nn.LayerNorm((16, 16))])
def test_statistics_over_space_are_global_context(norm: object) -> None:
    model = nn.Sequential(conv(2, 4), norm(4), conv(4, 2))
    extent, field = extent_of(model, 16, 16)
    assert (extent, field.size, field.global_context) == (Extent.LOCAL, (5, 5), True)
    extent, field = extent_of(model, 16, 16, strict=True)
    assert (extent, field) == (Extent.WHOLE, None)


def test_what_is_not_followed_is_neither_local_nor_whole() -> None:
    class Warped(nn.Module):
        """Positions that a layer computes: they are not followed."""

        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = conv(2, 2), conv(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.before(x)
            y = functional.grid_sample(x, x.permute(0, 2, 3, 1), align_corners=False)
            return self.after(x + y)

    extent, field = extent_of(Warped(), 16, 16)
    assert (extent, field) == (Extent.NOT_FOLLOWED, None)
    pooled = nn.Sequential(Warped(), nn.AdaptiveAvgPool2d(1))
    assert extent_of(pooled, 16, 16)[0] is Extent.WHOLE


def test_a_map_and_its_transpose_together_are_not_followed() -> None:
    class Crossed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.transpose(2, 3)

    assert extent_of(Crossed(), 16, 16) == (Extent.NOT_FOLLOWED, None)


def test_patchgan_sees_70_pixels_whatever_its_norm() -> None:
    """Isola et al. 2017 (arXiv:1611.07004) and Zhu et al. 2017 (arXiv:1703.10593) call it the 70×70 PatchGAN."""

    def discriminator(norm: type[nn.Module]) -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(2, 8, 4, 2, 1), nn.LeakyReLU(0.2)]
        for stride in (2, 2, 1):
            layers += [nn.Conv2d(8, 8, 4, stride, 1), norm(8), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, nn.Conv2d(8, 1, 4, 1, 1))

    for norm in (nn.BatchNorm2d, nn.InstanceNorm2d):
        assert extent_of(discriminator(norm), 256, 256)[1].size == (70, 70)


def test_an_encoder_decoder_with_instance_norm_has_the_field_of_its_convolutions() -> None:
    def network(norm: object) -> nn.Module:
        def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(conv(inputs, outputs, stride=stride), norm(outputs), nn.LeakyReLU())

        return nn.Sequential(
            block(2, 4), block(4, 4), block(4, 8, 2), block(8, 8), nn.ConvTranspose2d(8, 4, 2, 2), block(4, 4)
        )

    plain = extent_of(network(lambda c: nn.Identity()), 64, 64)[1]
    normed = extent_of(network(nn.InstanceNorm2d), 64, 64)[1]
    assert normed.size == plain.size == (13, 13)
    assert (normed.global_context, plain.global_context) == (True, False)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d, lambda channels: nn.GroupNorm(2, channels)])
@pytest.mark.parametrize("flat", [lambda y: y.flatten(2), lambda y: y.permute(0, 2, 3, 1).flatten(1, 2).mT])
def test_ten_convolutions_see_21_pixels_beside_a_skip_that_is_reshaped(norm: object, flat: object) -> None:
    class Skipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            blocks = [nn.Sequential(conv(2 if not n else 4, 4), norm(4), nn.ReLU()) for n in range(10)]
            self.body, self.each = nn.Sequential(*blocks), nn.Conv1d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.body(x)
            return y + self.each(flat(y)).view_as(y)

    extent, field = extent_of(Skipped(), 32, 32)
    assert (extent, field.size, field.exact) == (Extent.LOCAL, (21, 21), True)


class ShiftedWindows(Windows):
    """Windows moved on by half their size, as every second block of Swin has them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = self.size // 2
        y = self.before(x).roll((-half, -half), (2, 3)).permute(0, 2, 3, 1)
        (n, h, w, c), k = y.shape, self.size
        y = y.view(n, h // k, k, w // k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, k * k, c)
        query, key, value = self.qkv(y).chunk(3, -1)
        y = (query @ key.transpose(1, 2)).softmax(-1) @ value
        y = y.view(n, h // k, w // k, k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return self.after(y.permute(0, 3, 1, 2).roll((half, half), (2, 3)))


def test_rolled_positions_are_followed_inside_the_map() -> None:
    extent, field = extent_of(ShiftedWindows(), 24, 24)
    # A window and the convolution before it, over the phases of the one behind: 4 + 4 rows and one more on either side.
    assert (extent, field.size, field.exact) == (Extent.LOCAL, (10, 10), True)


@pytest.mark.parametrize(
    ("model", "size"),
    [(SpaceToDepthAndBack(), 24), (Windows(), 24), (ShiftedWindows(), 24), (Tokens(), 16), (RowsAsChannels(), 16)],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_verify_follows_the_same_positions(model: nn.Module, size: int) -> None:
    found = cnnstat.verify(model, (1, 2, size, size))
    assert found.exit_code == 0
    assert [field.layer for field in found.fields]

"""Receptive fields through windows laid side by side, parts of complex numbers and positions by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from oracles.positions_read import compared_fields  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.analysis.receptive_field.fields import Extent  # noqa: E402

IMAGE = (1, 2, 12, 12)


def conv(inputs: int = 2, outputs: int = 2, kernel: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


class Net(nn.Module):
    """A function of some layers and the input."""

    def __init__(self, function: Callable[[Any, Any], Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layers, x)


def by_columns(m: Any, x: torch.Tensor) -> torch.Tensor:
    """A convolution as a product with columns."""
    return (m[1].weight.flatten(1) @ functional.unfold(m[0](x), 3, padding=1)).view(1, 2, 12, 12)


def there_and_back(kernel: int, **options: int) -> Callable[[Any, Any], Any]:
    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        columns = functional.unfold(m[0](x), kernel, **options)
        return functional.fold(columns * 2, x.shape[2:], kernel, **options)

    return run


def involution(m: Any, x: torch.Tensor) -> torch.Tensor:
    """A kernel of its own for each position (Li et al. 2021, arXiv:2103.06255)."""
    return (functional.unfold(x, 3, padding=1).view(1, 2, 9, 12, 12) * m[0](x)[:, None]).sum(2)


def outlook(m: Any, x: torch.Tensor) -> torch.Tensor:
    """Attention from a window's centre to its places, summed where windows overlap (Yuan et al. 2021, VOLO)."""
    weights = m[0](x).flatten(2).transpose(1, 2).view(1, 144, 9, 9).softmax(-1)
    values = functional.unfold(x, 3, padding=1).view(1, 2, 9, 144).permute(0, 3, 2, 1)
    columns = (weights @ values).permute(0, 3, 2, 1).reshape(1, 18, 144)
    return functional.fold(columns, (12, 12), 3, padding=1)


def halo(m: Any, x: torch.Tensor) -> torch.Tensor:
    """Attention from blocks of 4×4 to the 6×6 around them (Vaswani et al. 2021, arXiv:2103.12731)."""
    queries = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).reshape(9, 16, 2)
    keys = functional.pad(x, (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4).permute(0, 2, 3, 4, 5, 1).reshape(9, 36, 2)
    y = functional.scaled_dot_product_attention(queries, keys, keys)
    return y.view(1, 3, 3, 4, 4, 2).permute(0, 5, 1, 3, 2, 4).reshape(IMAGE)


def taps_among_themselves(m: Any, x: torch.Tensor) -> torch.Tensor:
    """Attention among equal places of all patches (Mehta and Rastegari 2022, MobileViT)."""
    patches = functional.unfold(m[0](x), 2, stride=2).view(1, 2, 4, 36).permute(0, 2, 3, 1).reshape(4, 36, 2)
    y = functional.scaled_dot_product_attention(patches, patches, patches)
    return functional.fold(y.reshape(1, 4, 36, 2).permute(0, 3, 1, 2).reshape(1, 8, 36), (12, 12), 2, stride=2)


def inside_windows(layer: Callable[[Any], nn.Module]) -> Callable[[Any, Any], Any]:
    """A layer on each window of 4×4 by itself, whose borders it pads."""

    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        y = m[0](x).view(1, 2, 3, 4, 3, 4).permute(0, 2, 4, 1, 3, 5).reshape(9, 2, 4, 4)
        y = layer(m)(y)
        side = y.shape[-1]
        return y.view(1, 3, 3, 2, side, side).permute(0, 3, 1, 4, 2, 5).reshape(1, 2, 3 * side, 3 * side)

    return run


def spectrum_of_rows(m: Any, x: torch.Tensor) -> torch.Tensor:
    spectrum = torch.fft.rfft(m[0](x), dim=-1) * torch.arange(1, 8)
    return torch.complex(spectrum.real, spectrum.imag * 2).conj().abs()


ORDER = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
FOLLOWED = {
    "product with columns": (Net(by_columns, conv(), conv()), IMAGE, (5, 5)),
    "patches": (Net(lambda m, x: functional.unfold(m[0](x), 4, stride=4), conv()), IMAGE, (3, 3)),
    "patches and back": (Net(there_and_back(3, stride=3), conv()), IMAGE, (3, 3)),
    "overlapping columns and back": (Net(there_and_back(3, padding=1), conv()), IMAGE, (3, 3)),
    "columns with strides and back": (Net(there_and_back(4, stride=2, padding=1), conv()), IMAGE, (3, 3)),
    "columns with holes and back": (Net(there_and_back(3, dilation=2, padding=2), conv()), IMAGE, (3, 3)),
    "sums of dilated columns": (
        Net(lambda m, x: functional.unfold(x, 3, dilation=2, stride=2).view(1, 2, 9, 16).sum(2)), IMAGE, (5, 5),
    ),
    "involution": (Net(involution, conv(2, 9)), IMAGE, (3, 3)),
    "outlook attention": (Net(outlook, nn.Conv2d(2, 81, 1)), IMAGE, (5, 5)),
    "halo attention": (Net(halo), IMAGE, (6, 6)),
    "taps among themselves": (Net(taps_among_themselves, conv()), IMAGE, (13, 13)),
    "mean of a window": (Net(lambda m, x: m[0](x).unfold(2, 3, 1).mean(-1), conv()), IMAGE, (5, 3)),
    "frames of a signal": (Net(lambda m, x: x.unfold(-1, 8, 4) @ m[0].weight.T, nn.Linear(8, 3)), (1, 2, 32), (8,)),
    "convolution inside windows": (Net(inside_windows(lambda m: m[1]), conv(), conv()), IMAGE, (5, 5)),
    "strides inside windows": (Net(inside_windows(lambda m: m[1]), conv(), conv(2, 2, 3, stride=2)), IMAGE, (5, 5)),
    "convolution of a flattened map": (Net(lambda m, x: m[0](x.flatten(2)), nn.Conv1d(2, 2, 3)), (1, 2, 6, 6), (2, 6)),
    "two convolutions of a flattened map": (
        Net(lambda m, x: m[1](m[0](x.flatten(2)).view(1, 2, 6, 6).flatten(2)), *(nn.Conv1d(2, 2, 3, padding=1),) * 2),
        (1, 2, 6, 6), (2, 6),
    ),
    "columns of a map that crosses its rows": (
        Net(lambda m, x: m[1](m[0](x.flatten(2)).view(1, 2, 6, 6)), nn.Conv1d(2, 2, 3, padding=1), conv()),
        (1, 2, 6, 6), (4, 6),
    ),
    "pieces of a flattened map": (Net(lambda m, x: m[0](x.flatten(2)), nn.AvgPool1d(4, 4)), (1, 2, 8, 8), (1, 4)),
    "complex numbers": (Net(spectrum_of_rows, conv()), IMAGE, (3, 12)),
    "pairs as complex numbers": (
        Net(lambda m, x: torch.view_as_complex(x.view(1, 2, 12, 6, 2)).abs()), IMAGE, (1, 2),
    ),
    "every second row": (Net(lambda m, x: m[0](x)[:, :, [0, 2, 4, 6]], conv()), IMAGE, (3, 3)),
    "rows by number": (Net(lambda m, x: m[0](x).index_select(2, torch.tensor(ORDER)), conv()), IMAGE, (3, 3)),
    "columns by number": (Net(lambda m, x: m[0](x)[..., torch.tensor(ORDER)], conv()), IMAGE, (3, 3)),
    "halves": (Net(lambda m, x: torch.cat(torch.tensor_split(m[0](x), 2, 3), 3), conv()), IMAGE, (3, 3)),
    "masked elements": (Net(lambda m, x: masked(m[0](x)), conv()), IMAGE, (3, 3)),
    "sums over rows": (
        Net(lambda m, x: torch.tensordot(m[0](x), m[1].weight, ([2], [1])), conv(), nn.Linear(12, 3)), IMAGE, (12, 3),
    ),
    "similarity of channels": (Net(lambda m, x: functional.cosine_similarity(m[0](x), x), conv()), IMAGE, (3, 3)),
    "running sums in place": (Net(lambda m, x: (x * 1).cumsum_(2)), IMAGE, (12, 1)),
    "causal attention": (
        Net(lambda m, x: functional.scaled_dot_product_attention(*(x.transpose(1, 2)[:, None],) * 3, is_causal=True)),
        (1, 2, 12), (12,),
    ),
}  # fmt: skip


def masked(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[x < 0.5] = 0.0
    return x + 0.001 * torch.sin(x)


@pytest.mark.parametrize("name", FOLLOWED)
def test_every_output_position_reads_what_the_field_says(name: str) -> None:
    model, shape, size = FOLLOWED[name]
    extent, found = compared_fields(model, shape)
    assert extent is Extent.LOCAL
    assert found.size == size


BACKWARDS = torch.arange(12).flip(0)
SPREAD = BACKWARDS.expand(IMAGE)
NOT_FOLLOWED = {
    "scatter": lambda x: torch.zeros(IMAGE).scatter_(3, SPREAD, x),
    "scatter_add": lambda x: torch.zeros(IMAGE).scatter_add_(3, SPREAD, x),
    "scatter over itself": lambda x: (x * 1).scatter_(2, SPREAD, x.clone()),
    "index_add": lambda x: torch.zeros(IMAGE).index_add_(2, BACKWARDS, x),
    "index_copy": lambda x: torch.zeros(IMAGE).index_copy_(2, BACKWARDS, x),
    "index_put": lambda x: torch.zeros(IMAGE).index_put_((torch.tensor([0]), torch.tensor([0]), BACKWARDS), x[0, 0]),
    "rows written by number": lambda x: written(torch.zeros(IMAGE), BACKWARDS, x),
    "masked_scatter": lambda x: torch.zeros(IMAGE).masked_scatter_(SPREAD > 2, x),
    "put": lambda x: torch.zeros(IMAGE).put_(torch.arange(288).flip(0), x),
    "addmm": lambda x: (x[0, 0] * 1).addmm_(x[0, 0], x[0, 1]),
    "renorm": lambda x: (x * 1).renorm_(2, 1, 1.0),
    "diagonal of a sum of products": lambda x: torch.einsum("bcii->bci", x),
}
"""Calls that put elements to other places than their own; each was once taken for one that works element by element."""


def written(x: torch.Tensor, places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    x[:, :, places] = values
    return x


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_elements_at_other_places_are_not_taken_for_their_own(name: str) -> None:
    analysis = cnnstat.analyze(Net(lambda m, x: NOT_FOLLOWED[name](x)), IMAGE)
    (edge,) = analysis.graph.outputs
    assert analysis.fields.extent(*edge) is Extent.NOT_FOLLOWED


def test_a_normalized_map_keeps_its_field_beside_its_statistics() -> None:
    model = Net(lambda m, x: functional.normalize(m[0](x), dim=(2, 3)), conv())
    extent, found = compared_fields(model, IMAGE, strict=False)
    assert (extent, found.size, found.global_context) == (Extent.LOCAL, (3, 3), True)
    assert compared_fields(model, IMAGE)[0] is Extent.WHOLE


def test_frames_of_a_spectrogram() -> None:
    model = Net(lambda m, x: torch.stft(x[:, 0], 8, 4, window=torch.hann_window(8), return_complex=True).abs())
    found = cnnstat.analyze(model, (1, 1, 64)).totals.receptive_field
    assert (found.size, found.stride, found.start) == ((8,), (4,), (-4,))

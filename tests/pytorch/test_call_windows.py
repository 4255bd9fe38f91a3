"""Calls that mix some axes only: behind a 3×3 convolution they leave its receptive field as it is."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.analysis.receptive_field.fields import Extent  # noqa: E402

CHANNELS = torch.tensor([3, 1, 2, 0])


class Behind(nn.Module):
    """A convolution, a function, and a convolution."""

    def __init__(self, function, channels):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function
        self.last = nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def field(function, channels=4):
    model = Behind(function, channels)
    return cnnstat.analyze(model, (1, 3, 12, 12)).layers[-1].receptive_field


LOCAL = {
    "padded channels": (lambda x: functional.pad(x, (0, 0, 0, 0, 0, 2)), 6),
    "standardized channels": (lambda x: x / x.var(1, keepdim=True), 4),
    "largest channel": (lambda x: x.max(1, keepdim=True)[0], 1),
    "channels of unit length": (functional.normalize, 4),
    "norm of the channels": (lambda x: x.norm(dim=1, keepdim=True), 1),
    "chosen channels": (lambda x: x.index_select(1, CHANNELS), 4),
    "sorted channels": (lambda x: x.sort(dim=1)[0], 4),
    "best channels": (lambda x: x.topk(2, dim=1)[0], 2),
    "sums along channels": (lambda x: x.cumsum(1), 4),
    "channels the other way": (lambda x: x.flip(1), 4),
    "channels moved round": (lambda x: x.roll(1, 1), 4),
    "channels one by one": (lambda x: torch.stack(x.unbind(1), 1), 4),
    "channels last and back": (lambda x: x.movedim(1, -1).relu().movedim((3,), (1,)), 4),
    "channels mixed": (lambda x: torch.einsum("bchw,dc->bdhw", x, torch.ones(5, 4)), 5),
    "channels mixed by an ellipsis": (lambda x: torch.einsum("bc...,dc->bd...", x, torch.ones(5, 4)), 5),
}


@pytest.mark.parametrize("name", LOCAL)
def test_calls_along_channels_keep_the_field(name):
    found = field(*LOCAL[name])
    assert (found.size, found.stride) == ((5, 5), (1, 1))


def test_padding_of_several_kinds_of_axes_moves_the_field():
    found = field(lambda x: functional.pad(x, (2, 0, 1, 0, 0, 2)), 6)
    assert (found.size, found.start) == ((5, 5), (-3, -4))


def test_repeated_rows_are_read_like_resized_ones():
    resized = field(lambda x: functional.interpolate(x, scale_factor=(2, 1)))
    assert field(lambda x: x.repeat_interleave(2, 2)) == resized


def test_resizing_below_python_is_resizing():
    def below(x):
        return torch.ops.aten.upsample_bilinear2d.vec(x, None, False, [1.5, 1.5])

    resized = field(lambda x: functional.interpolate(x, scale_factor=1.5, mode="bilinear"))
    assert field(below) == resized is not None


def test_unpooling_reads_back_into_its_window():
    def unpooled(x):
        pooled, places = functional.max_pool2d(x, 2, return_indices=True)
        return functional.max_unpool2d(pooled, places, 2)

    # A 2×2 pool sees 4 of the input; three outputs in a row lie in two windows.
    found = field(unpooled)
    assert (found.size, found.stride) == ((6, 6), (1, 1))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.var((2, 3), keepdim=True),
        lambda x: x / x.norm(),
        torch.fft.fft2,
    ],
)
def test_calls_along_space_see_the_whole_input(function):
    model = Behind(lambda x: function(x).real, 4)
    analysis = cnnstat.analyze(model, (1, 3, 12, 12), strict_receptive_field=True)
    assert analysis.layers[-1].receptive_field is None
    assert analysis.totals.receptive_field.size == (3, 3)


COLUMNS = torch.tensor([3, 1])


def test_columns_by_number_are_read_and_no_others():
    """Two columns of twelve are less than the whole width: it must not be claimed."""
    found = field(lambda x: x.index_select(3, COLUMNS))
    assert (found.size, found.stride, found.start, found.exact) == ((5, 7), (1, -2), (-2, 0), True)
    last = cnnstat.analyze(Behind(lambda x: x.gather(3, COLUMNS.expand(1, 4, 12, 2)), 4), (1, 3, 12, 12)).layers[-1]
    assert last.receptive_field is None and last.field_extent is Extent.NOT_FOLLOWED


@pytest.mark.parametrize(("times", "width"), [(1, 6), (2, 7)])
def test_differences_read_their_neighbours(times, width):
    found = field(lambda x: x.diff(n=times))
    assert (found.size, found.stride) == ((5, width), (1, 1))

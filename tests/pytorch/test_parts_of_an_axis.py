"""Receptive fields of single positions and parts of an axis, of rows beside columns, of tokens beside a class token."""

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


class Behind(nn.Module):
    """A 3×3 convolution, a function, and perhaps a layer behind it."""

    def __init__(self, function: Callable[[Any], Any], last: nn.Module | None = None, first: nn.Module | None = None):
        super().__init__()
        self.first = first or nn.Conv2d(2, 4, 3, padding=1)
        self.function = function
        self.last = last or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.function(self.first(x)))


FRAME = {
    "indexed": lambda x: x[:, :, 3],
    "indexed from the end": lambda x: x[:, :, -5],
    "selected": lambda x: x.select(2, 3),
    "unbound": lambda x: x.unbind(2)[3],
    "squeezed": lambda x: x[:, :, 3:4].squeeze(2),
    "chunked": lambda x: x.chunk(8, 2)[3].flatten(2, 3),
    "split": lambda x: x.split([3, 1, 4], 2)[1][:, :, 0],
    "meant": lambda x: x.narrow(2, 3, 1).mean(2),
}


@pytest.mark.parametrize("name", FRAME)
def test_one_frame_of_a_video_sees_the_frames_around_it(name: str) -> None:
    model = Behind(FRAME[name], nn.Conv2d(8, 4, 3, padding=1), nn.Conv3d(3, 8, 3, padding=1))
    analysis = cnnstat.analyze(model, (1, 3, 8, 8, 8))
    found = analysis.layers[-1].receptive_field
    assert (found.size, found.start, found.whole, found.exact) == ((3, 5, 5), (2, -2, -2), (), True)
    assert analysis.totals.receptive_field == found
    verified = cnnstat.verify(model, (1, 3, 8, 8, 8))
    assert verified.exit_code == 0
    assert any(field.ours[0][1] - field.ours[0][0] == 2 for field in verified.fields if field.layer == "last")


def test_frames_one_by_one_have_fields_of_their_own() -> None:
    analysis = cnnstat.analyze(Behind(lambda x: x.unbind(2), first=nn.Conv3d(2, 4, 3, padding=1)), (1, 2, 5, 8, 8))
    (value,) = {edge.value for edge in analysis.graph.outputs}
    assert [analysis.fields.of(value, output).start[0] for output in range(5)] == [-1, 0, 1, 2, 3]


FRAMES_AGAIN = {
    "stacked": (lambda each, x: torch.stack([each(f) for f in x.unbind(2)], 2), (3, 5, 5), True),
    "stacked as channels": (lambda each, x: torch.stack([each(f) for f in x.unbind(2)], 1), (3, 5, 5), True),
    "concatenated": (lambda each, x: torch.cat([each(f).unsqueeze(2) for f in x.unbind(2)], 2), (3, 5, 5), True),
    "the other way": (lambda each, x: torch.stack([each(f) for f in x.unbind(2)][::-1], 2), (3, 5, 5), True),
    "some of them": (lambda each, x: torch.stack([each(f) for f in x.unbind(2)[2:5]], 2), (3, 5, 5), True),
    "unevenly": (lambda each, x: torch.stack([each(x[:, :, n]) for n in (0, 1, 4, 2)], 2), (5, 5, 5), False),
    "summed up": (lambda each, x: sum(each(f) for f in x.unbind(2)[2:5]), (5, 5, 5), True),
}


class Frames(nn.Module):
    def __init__(self, again: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.first, self.each, self.again = nn.Conv3d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1), again

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.each, self.first(x))


@pytest.mark.parametrize("name", FRAMES_AGAIN)
def test_frames_that_were_taken_apart_are_a_video_again(name: str) -> None:
    again, size, is_exact = FRAMES_AGAIN[name]
    extent, found = compared_fields(Frames(again), (1, 2, 7, 8, 8))
    assert (extent, found.size, found.exact) == (Extent.LOCAL, size, is_exact)


LOCAL_PARTS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "one pixel": (lambda x: x[:, :, 3, 4], (3, 3)),
    "a band of rows, averaged": (lambda x: x[:, :, 2:4].mean(2), (4, 3)),
    "the first half, averaged": (lambda x: x.chunk(2, 2)[0].mean(2), (6, 3)),
    "a band, mixed": (lambda x: x[:, :, 3:5].transpose(2, 3).matmul(torch.ones(2, 3, dtype=x.dtype)), (4, 3)),
}


@pytest.mark.parametrize("name", LOCAL_PARTS)
@pytest.mark.parametrize("strict", [True, False])
def test_a_part_of_an_axis_is_not_the_whole(name: str, strict: bool) -> None:
    function, size = LOCAL_PARTS[name]
    extent, found = compared_fields(Behind(function), (1, 2, 8, 12), strict=strict)
    assert (extent, found.size, found.whole, found.exact) == (Extent.LOCAL, size, (), True)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + x[:, :, 2:3],
        lambda x: x + x[:, :, 2].unsqueeze(2),
        lambda x: x * x[:, :, :2].mean(2, keepdim=True),
    ],
)
def test_a_position_beside_a_map_belongs_to_the_field_of_every_position(function: Callable[[Any], Any]) -> None:
    extent, found = compared_fields(Behind(function), (1, 2, 8, 12))
    assert (extent, found.stride, found.aligned, found.exact) == (Extent.LOCAL, (None, 1), False, True)


@pytest.mark.parametrize(
    "function", [lambda x: x[:, :, :6].mean((2, 3)), lambda x: torch.cat(x.chunk(2, 2), 2).mean((2, 3))]
)
def test_parts_that_see_everything_see_the_whole_input(function: Callable[[Any], Any]) -> None:
    """Six of eight rows of a map that sees five rows each reach both ends of the input."""
    model = Behind(function, first=nn.Conv2d(2, 4, 5, padding=2))
    assert compared_fields(model, (1, 2, 8, 12))[0] is Extent.WHOLE


ROWS_AND_COLUMNS = {
    "product of matrices": lambda x: x.mean(3, keepdim=True) @ x.mean(2, keepdim=True),
    "product": lambda x: x.mean(3, keepdim=True) * x.mean(2, keepdim=True),
    "sum": lambda x: x.mean(3, keepdim=True) + x.mean(2, keepdim=True),
    "sum of expanded": lambda x: x.mean(3, keepdim=True).expand_as(x) + x.mean(2, keepdim=True).expand_as(x),
}


@pytest.mark.parametrize("name", ROWS_AND_COLUMNS)
def test_where_rows_meet_columns_everything_is_seen(name: str) -> None:
    """Neither is local along both axes: each axis is whole where one of them is whole along it."""
    for strict in (True, False):
        assert compared_fields(Behind(ROWS_AND_COLUMNS[name]), (1, 2, 8, 12), strict=strict)[0] is Extent.WHOLE


@pytest.mark.parametrize("name", ROWS_AND_COLUMNS)
def test_rows_and_columns_are_a_gate_beside_the_map(name: str) -> None:
    """After Hou et al. 2021 (coordinate attention, arXiv:2103.02907)."""
    model = Behind(lambda x: x * ROWS_AND_COLUMNS[name](x).sigmoid())
    extent, found = compared_fields(model, (1, 2, 8, 12), strict=False)
    assert (extent, found.size, found.global_context) == (Extent.LOCAL, (3, 3), True)


@pytest.mark.parametrize(
    ("function", "size"),
    [
        (lambda x: x.mean(3, keepdim=True), (3, 12)),
        (lambda x: x + x.mean(3, keepdim=True), (3, 12)),
        (lambda x: x.softmax(2), (8, 3)),
        (lambda x: functional.layer_norm(x, (12,)), (3, 12)),
    ],
)
def test_strictly_one_axis_may_be_whole_while_the_other_is_local(
    function: Callable[[Any], Any], size: tuple[int, ...]
) -> None:
    found = compared_fields(Behind(function), (1, 2, 8, 12))[1]
    assert (found.size, found.whole) == (size, tuple(length in (8, 12) for length in size))


def test_running_sums_read_what_is_before_them() -> None:
    for function in (lambda x: x.cumsum(3), lambda x: x.logcumsumexp(3), lambda x: x.flip(3).cumsum(3).flip(3)):
        extent, found = compared_fields(Behind(function), (1, 2, 8, 12))
        assert (extent, found.size, found.exact) == (Extent.LOCAL, (3, 14), True)
    model = Behind(lambda x: x.cumsum(2), first=nn.Conv1d(3, 4, 3, padding=1))
    assert cnnstat.verify(model, (1, 3, 32)).exit_code == 0
    assert cnnstat.verify(Behind(lambda x: x.cumsum(2), first=nn.Identity()), (1, 3, 32)).exit_code == 0


class Recurrent(nn.Module):
    """A recurrent layer along the rows of a map."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.layer = nn.GRU(4, 3, batch_first=True, bidirectional=both)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = (x := self.first(x)).shape
        y, _ = self.layer(x.permute(0, 2, 3, 1).reshape(n * h, w, c) * 1e-2)
        return y.view(n, h, w, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("both", "size", "whole"), [(True, (3, 12), (False, True)), (False, (3, 14), ())])
def test_recurrent_layers_read_the_steps_before_or_all(both: bool, size: tuple[int, ...], whole: tuple) -> None:
    found = compared_fields(Recurrent(both), (1, 2, 8, 12))[1]
    assert (found.size, found.whole, found.exact) == (size, whole, True)
    assert cnnstat.verify(Recurrent(both), (1, 2, 8, 12)).exit_code == 0


VIEWS = {
    "a quarter turn": lambda x: torch.rot90(x, 1, (2, 3)),
    "half a turn": lambda x: torch.rot90(x, 2, (2, 3)),
    "three quarters": lambda x: torch.rot90(x, -1, (2, 3)),
    "mirrored": lambda x: x.flip((2, 3)),
    "transposed": lambda x: x.mT,
    "every second row": lambda x: x[:, :, 1::2],
    "copies": lambda x: x.repeat(1, 1, 2, 1),
    "pieces together": lambda x: torch.cat(x.chunk(3, 3), 3),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("strict", [True, False])
def test_views_keep_the_field_of_every_position(name: str, strict: bool) -> None:
    extent, found = compared_fields(Behind(VIEWS[name]), (1, 2, 8, 12), strict=strict)
    assert (extent, found.size, found.exact) == (Extent.LOCAL, (3, 3), True)


class Patches(nn.Module):
    """A small vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929): `extra` tokens beside the patches."""

    def __init__(self, extra: int = 1, first: bool = True) -> None:
        super().__init__()
        self.patches, self.is_first = nn.Conv2d(2, 8, 4, 4), first
        self.extra = nn.Parameter(torch.zeros(1, extra, 8))
        self.places = nn.Parameter(torch.zeros(1, 24 + extra, 8))
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.each = nn.Linear(8, 8)

    def embedded(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        extra = self.extra.expand(x.shape[0], -1, -1)
        return torch.cat([extra, x] if self.is_first else [x, extra], 1) + self.places

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.each(self.embedded(x))


class Blocks(Patches):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x := self.embedded(x))
        return x + self.attention(y, y, y)[0]


@pytest.mark.parametrize(("extra", "first"), [(1, True), (2, True), (1, False)])
def test_tokens_read_their_patch_and_a_class_token_nothing(extra: int, first: bool) -> None:
    extent, found = compared_fields(Patches(extra, first), (1, 2, 16, 24))
    assert (extent, found.size, found.stride, found.exact) == (Extent.LOCAL, (4, 4), (4, 4), True)


def test_behind_attention_every_token_has_seen_the_whole_input() -> None:
    extent, found = compared_fields(Blocks(), (1, 2, 16, 24), strict=False)
    assert (found.size, found.global_context) == ((4, 4), True)
    assert compared_fields(Blocks(), (1, 2, 16, 24))[0] is Extent.WHOLE


class Head(Blocks):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, 0]


class Dense(Blocks):
    """The patches' tokens as a map again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, 1:].transpose(1, 2).reshape(-1, 8, 4, 6)


def test_the_class_token_has_seen_what_attention_brought_in() -> None:
    for strict in (True, False):
        assert compared_fields(Head(), (1, 2, 16, 24), strict=strict)[0] is Extent.WHOLE
    found = compared_fields(Dense(), (1, 2, 16, 24), strict=False)[1]
    assert (found.size, found.stride, found.global_context) == ((4, 4), (4, 4), True)
    for model in (Patches(), Blocks(), Head(), Dense()):
        assert cnnstat.verify(model, (1, 2, 16, 24)).exit_code == 0


def test_a_class_token_before_any_attention_sees_nothing() -> None:
    class Alone(Patches):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)[:, 0]

    assert compared_fields(Alone(), (1, 2, 16, 24))[0] is Extent.NONE

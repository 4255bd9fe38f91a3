"""Receptive fields of maps that lie side by side, by turns or in another order, beside what gradients reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from oracles.positions_read import compared_fields  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.analysis.receptive_field.fields import Extent  # noqa: E402

IMAGE = (1, 2, 12, 16)


class Two(nn.Module):
    """A convolution of 3×3, a function of a 1×1 and a 5×5 behind it, and perhaps a convolution of 3×3 behind these."""

    def __init__(self, function: Callable[..., Any], then: bool = False) -> None:
        super().__init__()
        self.first, self.one = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)
        self.five, self.function = nn.Conv2d(2, 2, 5, padding=2), function
        self.last = nn.Conv2d(2, 2, 3, padding=1) if then else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(self.function(self.one(x), self.five(x)))


def columns_by_turns(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.stack([a, b], -1).flatten(-2)


def rows_by_turns(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.stack([a, b], 3).flatten(2, 3)


def up_projection(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Four maps by turns, after Laina et al. 2016 (arXiv:1606.00373)."""
    return rows_by_turns(columns_by_turns(a, b), columns_by_turns(b, a))


def written(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    made = a.new_zeros(1, 2, 12, 32)
    made[..., 0::2], made[..., 1::2] = a, b
    return made


def taken_apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Rows in another order: the even ones before the odd ones."""
    return b.view(1, 2, 6, 2, 16).transpose(2, 3).reshape(1, 2, 12, 16)


def put_back(y: torch.Tensor) -> torch.Tensor:
    return y.view(1, 2, 2, 6, 16).transpose(2, 3).reshape(1, 2, 12, 16)


MAPS = {
    "columns by turns": (columns_by_turns, (7, 7), True),
    "rows by turns": (rows_by_turns, (7, 7), True),
    "four maps by turns": (up_projection, (7, 7), True),
    "one of two layers": (lambda a, b: torch.stack([a, b], 2)[:, :, 0], (3, 3), True),
    "sum of two layers": (lambda a, b: torch.stack([a, b]).sum(0), (7, 7), True),
    "two layers as channels": (lambda a, b: torch.stack([a, b], 1).flatten(1, 2), (7, 7), True),
    "a layer of zeros": (lambda a, b: torch.stack([b, torch.zeros_like(b)], -1).flatten(-2), (7, 7), True),
    "two layers": (lambda a, b: torch.stack([a, b], 2), (7, 7), True),
    "even rows before odd ones": (taken_apart, (7, 7), True),
    "and back": (lambda a, b: put_back(taken_apart(a, b)), (7, 7), True),
    "columns that are written by turns": (written, (7, 7), False),
    "one below the other": (lambda a, b: torch.cat([a[:, :, :6], b[:, :, 6:]], 2), (7, 7), False),
    "a tile over another": (lambda a, b: tile_over(a, b), (7, 7), False),
    "rows in another order": (lambda a, b: b[:, :, [3, 0, 2, 1, 11, 10, 9, 8, 7, 6, 5, 4]], (7, 7), True),
    "rows that a mask lets through": (lambda a, b: b[:, :, torch.tensor([1, 0, 0, 1] * 3).bool()], (7, 7), True),
    "nearest codes": (lambda a, b: b * coded(b).sigmoid(), (7, 7), True),
    "distances": (lambda a, b: torch.cdist(b.flatten(2).mT, torch.ones(3, 2).double()).mT, (7, 7), True),
}  # fmt: skip


def tile_over(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a[:, :, 2:8, 3:9] = b[:, :, 2:8, 3:9]
    return a


def coded(x: torch.Tensor) -> torch.Tensor:
    """The largest channel alone, as one number for each."""
    return functional.one_hot(x.argmax(1), 2).permute(0, 3, 1, 2).to(x.dtype)


@pytest.mark.parametrize("name", MAPS)
def test_every_position_reads_what_the_field_says(name: str) -> None:
    function, size, exact = MAPS[name]
    extent, found = compared_fields(Two(function), IMAGE)
    assert (extent, found.size, found.exact) == (Extent.LOCAL, size, exact)


@pytest.mark.parametrize(
    ("name", "size", "exact"),
    [
        ("columns by turns", (9, 8), True), ("rows by turns", (8, 9), True), ("four maps by turns", (8, 8), True),
        ("even rows before odd ones", (16, 9), True), ("columns that are written by turns", (9, 8), False),
    ],
)  # fmt: skip
def test_a_convolution_reads_neighbours_of_both_maps(name: str, size: tuple[int, ...], exact: bool) -> None:
    found = compared_fields(Two(MAPS[name][0], then=True), IMAGE)[1]
    assert (found.size, found.exact) == (size, exact)


@pytest.mark.parametrize("name", MAPS)
def test_gradients_agree(name: str) -> None:
    for then in (False, True):
        if not then or name not in ("two layers", "two layers as channels", "distances"):
            model = Two(MAPS[name][0], then).double()
            assert cnnstat.verify(model, torch.rand(IMAGE, dtype=torch.float64)).exit_code == 0


def test_neighbours_of_stacked_maps_are_a_stride_apart() -> None:
    found = cnnstat.analyze(Two(lambda a, b: torch.stack([a, b], 2)), IMAGE).totals.receptive_field
    assert (found.size, found.stride) == ((7, 7), (1, 1))
    found = cnnstat.analyze(Two(columns_by_turns), IMAGE).totals.receptive_field
    assert found.stride[1] * 2 == 1


def test_listed_rows_see_what_they_read() -> None:
    model = Two(lambda a, b: a[:, :, [1, 3, 4, 8]].mean(2, keepdim=True))
    extent, found = compared_fields(model, IMAGE)
    assert (found.size, found.exact) == ((10, 3), True)


def test_what_is_written_over_is_kept_for_the_check() -> None:
    def shifted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Channels moved on in place, after Yu et al. 2022 (S2-MLP, arXiv:2106.07477)."""
        y = b.clone()
        y[:, :1, 1:] = b[:, :1, :-1]
        y[:, 1:, :, 1:] = b[:, 1:, :, :-1]
        return y

    assert compared_fields(Two(shifted), IMAGE)[1].size == (8, 8)
    assert cnnstat.verify(Two(shifted), IMAGE).exit_code == 0


def test_comparisons_have_no_gradient_behind_them() -> None:
    """A mask that grows by pooling, as in Ghiasi et al. 2018 (DropBlock, arXiv:1810.12890)."""
    model = Two(lambda a, b: b * functional.max_pool2d((b > 2).to(b.dtype), 3, 1, 1), then=True)
    assert cnnstat.analyze(model, IMAGE).totals.receptive_field.size == (11, 11)
    assert cnnstat.verify(model, IMAGE).exit_code == 0


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "size",
    [{"size": (6, 8)}, {"size": (7, 9)}, {"size": (24, 20)}, {"scale_factor": 0.4}, {"scale_factor": (0.5, 0.3)}],
)
def test_resizing_with_antialiasing_reads_what_its_filter_covers(mode: str, size: dict[str, Any]) -> None:
    model = Two(lambda a, b: functional.interpolate(a, mode=mode, antialias=True, **size))
    extent, found = compared_fields(model, (1, 2, 12, 16))
    assert (extent, found.exact) == (Extent.LOCAL, True)
    if "size" in size and size["size"] == (6, 8):
        assert found.size == ((6, 6) if mode == "bilinear" else (10, 10))


class RowByRow(nn.Module):
    """Rows that are written one by one, by number."""

    def __init__(self, over_zeros: bool) -> None:
        super().__init__()
        self.first, self.over_zeros = nn.Conv2d(2, 2, 3, padding=1), over_zeros

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = torch.zeros_like(x) if self.over_zeros else x * 2
        for row in range(2, 6):
            made[:, :, row] = self.first(x)[:, :, row]
        return made


@pytest.mark.parametrize("over_zeros", [True, False])
def test_rows_written_by_number_are_a_bound_of_them_all(over_zeros: bool, tmp_path: Path) -> None:
    model = RowByRow(over_zeros)
    extent, found = compared_fields(model, IMAGE)
    assert (extent, found.exact) == (Extent.LOCAL, False)
    assert cnnstat.verify(RowByRow(over_zeros), IMAGE).exit_code == 0
    (spec := tmp_path / "rows.yaml").write_text(cnnstat.export(RowByRow(over_zeros), IMAGE))
    assert cnnstat.analyze(spec).totals.receptive_field == cnnstat.analyze(model, IMAGE).totals.receptive_field

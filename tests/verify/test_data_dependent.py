"""Layers that choose by value: the gradient of one run may reach less far than the field, and never further."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.ir.window import sliding  # noqa: E402
from cnnstat.ops import conv  # noqa: E402
from cnnstat.ops.spatial import spatial_reads  # noqa: E402


class Chooses(nn.Module):
    def __init__(self, function: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.second, self.first(x))


def unpooled(second: nn.Module, y: torch.Tensor) -> Any:
    pooled, places = functional.max_pool2d(y, 2, return_indices=True)
    return second(functional.max_unpool2d(pooled, places, 2))


CHOICES = {
    "where": lambda second, y: torch.where(y > 0, y, second(y)),
    "max_unpool2d": unpooled,
    "topk": lambda second, y: second(y.topk(3, 2)[0]),
    "max": lambda second, y: second(y.max(3, keepdim=True)[0]),
    "min": lambda second, y: y.min(3)[0],
    "median": lambda second, y: y.median(2)[0],
    "kthvalue": lambda second, y: y.kthvalue(2, 2)[0],
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_explains_what_a_run_does_not_reach(name: str) -> None:
    found = cnnstat.verify(Chooses(CHOICES[name]), (1, 3, 16, 16))
    explained = [field for field in found.fields if field.verdict.value == "explained"]
    assert found.exit_code == 0 and explained
    assert all(field.reason.startswith(f"data-dependent: {name} chooses by value") for field in explained)
    assert all(field.verdict.value == "agrees" for field in found.fields if field.layer == "first")


SHARED = {
    "sort": lambda second, y: second(y.sort(3)[0]),
    "amax": lambda second, y: y.amax(3),
    "pooled with places": lambda second, y: second(functional.max_pool2d(y, 2, return_indices=True)[0]),
    "running sum": lambda second, y: y.cumsum(3),
}


@pytest.mark.parametrize("name", SHARED)
def test_where_all_that_is_read_is_reached_fields_agree(name: str) -> None:
    found = cnnstat.verify(Chooses(SHARED[name]), (1, 3, 16, 16))
    assert found.exit_code == 0
    assert {field.verdict.value for field in found.fields} == {"agrees"}


@pytest.mark.parametrize("window", [sliding(1), sliding(3, 1, 0)], ids=str)
@pytest.mark.parametrize("name", ["where", "max", "max_unpool2d"])
def test_a_field_that_is_too_small_is_found_behind_a_choice(
    name: str, window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv.Conv2d, "window", lambda self, i, o, index=0: spatial_reads([window] * 2, channels=None))
    found = cnnstat.verify(Chooses(CHOICES[name]), (1, 3, 16, 16))
    assert found.exit_code == 3


def test_without_a_choice_a_field_that_is_too_large_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = spatial_reads([sliding(5, 1, 2)] * 2, channels=None)
    monkeypatch.setattr(conv.Conv2d, "window", lambda self, i, o, index=0: wrong)
    found = cnnstat.verify(Chooses(lambda second, y: second(y)), (1, 3, 16, 16))
    assert found.exit_code == 3


class TwoRanks(nn.Module):
    def __init__(self, join: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.image, self.signal, self.join = nn.Conv2d(3, 4, 3), nn.Conv1d(3, 4, 5), join

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> Any:
        return self.join(self.image(x), self.signal(z))


JOINS = {
    "pooled": (lambda x, z: x.mean((2, 3)) + z.mean(2), (5,)),
    "flattened": (lambda x, z: x.flatten(2)[:, :, :60] + z, (3, 3)),
    "side by side": (lambda x, z: (x, z), (5,)),
}


@pytest.mark.parametrize("name", JOINS)
def test_each_layer_is_held_against_the_input_that_its_field_is_of(name: str) -> None:
    join, size = JOINS[name]
    model = TwoRanks(join)
    inputs = ((1, 3, 16, 16), (1, 3, 64))
    assert cnnstat.analyze(model, inputs).totals.receptive_field.size == size
    found = cnnstat.verify(model, inputs)
    assert found.exit_code == 0
    assert {len(field.shape) for field in found.fields} == {1, 2}


def test_what_is_read_beside_a_cut_is_explained() -> None:
    """A convolution of half a map reads padding where the other half went on."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.each(half) for half in x.chunk(8, 2)], 2)

    found = cnnstat.verify(Halves(), (1, 3, 16, 16))
    assert found.exit_code == 0


def test_a_gate_of_a_part_belongs_to_the_field_along_that_part() -> None:
    """The first rows, averaged over the width too: along the height a position that all read, else a gate."""
    model = Chooses(lambda second, y: second(y) * y[:, :, :2].mean((2, 3), keepdim=True))
    assert cnnstat.verify(model, (1, 3, 16, 16)).exit_code == 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_parts_without_gradients_are_followed(mode: Callable[[], Any]) -> None:
    """A backbone that is not trained, as people freeze one."""

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with mode():
                y = self.backbone(x).relu()
            return self.head(y)

    found = cnnstat.verify(Frozen(), (1, 3, 16, 16))
    assert found.exit_code == 0
    assert {field.layer for field in found.fields} >= {"backbone", "head"}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ((x > 0) | (x < -1)).float(),
        lambda x: -x % 2 // 1,
        lambda x: torch.mul(x, 2, out=torch.zeros(1, 6, *x.shape[2:])[:, ::2]),
    ],
)
def test_small_maps_that_gradients_say_nothing_of_are_no_error(function: Callable[[torch.Tensor], Any]) -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return function(x)

    assert cnnstat.verify(Model(), (1, 3, 6, 6)).exit_code == 0

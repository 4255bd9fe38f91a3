"""A pass that has ended records nothing of later ones, though the steps of parameters' gradients live on."""

from __future__ import annotations

import time

import pytest

torch = pytest.importorskip("torch")

from cnnstat.profile.stopwatch import BackwardStopwatch  # noqa: E402


@pytest.mark.parametrize("is_released", [True, False])
def test_released_watches_stand_still(is_released: bool) -> None:
    layer, x = torch.nn.Linear(3, 3), torch.randn(1, 3)
    watch = BackwardStopwatch(time.perf_counter_ns)
    result = layer(x)
    watch.returned(0, result)
    result.sum().backward()
    laps = len(watch.backward_laps)
    assert laps >= 3  # the product, weight and bias
    if is_released:
        watch.release()
    layer(x).sum().backward()
    assert (len(watch.backward_laps) == laps) is is_released

"""The identity holds exactly, whatever was measured, and its limits are what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from handmade_profiles import US, cpu_profile, gpu_profile
from hypothesis import given
from hypothesis import strategies as st

from cnnstat.profile.profile_result import TOLERANCES, TimeBreakdown

seconds = st.floats(0, 1, allow_subnormal=False)


@given(whole=seconds, layers=seconds, idle=seconds, unattributed=seconds)
def test_the_parts_add_up_to_the_whole(whole: float, layers: float, idle: float, unattributed: float) -> None:
    found = TimeBreakdown(whole=whole, layers=layers, idle=idle, unattributed=unattributed)
    assert found.layers + found.idle + found.unattributed + found.residual == pytest.approx(whole, abs=1e-15)


def test_a_slower_instrumented_run_drifts_downwards() -> None:
    assert TimeBreakdown(whole=1.0, layers=1.1, idle=0.0, unattributed=0.0).residual == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("device", "layers", "unattributed", "holds"),
    [
        ("cuda", 0.975, 0.0, True),
        ("cuda", 0.965, 0.0, False),
        ("cuda", 1.035, 0.0, False),
        ("cuda", 0.98, 0.009, True),
        ("cuda", 0.98, 0.011, False),
        ("cpu", 0.86, 0.0, True),
        ("cpu", 0.84, 0.0, False),
        ("cpu", 1.16, 0.0, False),
        ("mps", 0.86, 0.0, True),
    ],
)
def test_the_stated_limits(device: str, layers: float, unattributed: float, holds: bool) -> None:
    found = TimeBreakdown(whole=1.0, layers=layers, idle=0.0, unattributed=unattributed)
    assert found.holds(*TOLERANCES[device]) is holds


def test_a_lost_kernel_never_adds_up() -> None:
    assert gpu_profile().adds_up and cpu_profile().adds_up
    assert not gpu_profile(lost_kernels=1).adds_up


def test_a_whole_of_no_time_has_no_shares() -> None:
    assert TimeBreakdown(whole=0.0, layers=0.0, idle=0.0, unattributed=0.0).share(0.0) == 0.0


def test_rates_and_floors_of_a_layer() -> None:
    conv = cpu_profile().layers[0]
    assert conv.flops_per_second == pytest.approx(141e6 / 4e-3)
    assert conv.bytes_per_second == pytest.approx(1.5e6 / 4e-3)
    assert conv.share_of_bound == pytest.approx(2.82e-3 / 4e-3) and conv.bound == "compute"
    nothing = replace(conv, forward=replace(conv.forward, median=0.0))
    assert (nothing.flops_per_second, nothing.bytes_per_second, nothing.share_of_bound) == (0.0, 0.0, 0.0)


def test_the_cpu_sets_the_pace_above_four_fifths() -> None:
    whole = gpu_profile().whole
    assert whole.cpu_bound and whole.enqueue is not None
    assert not replace(whole, enqueue=replace(whole.enqueue, median=79 * US)).cpu_bound


def test_the_names_of_the_json_contract_stay_readable_from_python_and_say_what_they_are_called_now() -> None:
    profile = gpu_profile()
    layer = profile.layers[0]
    for holder, names in (
        (profile, {"identity": "time_breakdown", "ceilings": "roofline"}),
        (profile.time_breakdown, {"drift": "residual", "gaps": "idle"}),
        (layer, {"floor": "bound_seconds", "share_of_floor": "share_of_bound"}),
    ):
        for old, new in names.items():
            with pytest.warns(DeprecationWarning, match=rf"\.{old} is called {new} now") as shown:
                assert getattr(holder, old) == getattr(holder, new)
            assert shown[0].filename == __file__
    assert profile.time_breakdown.idle == 2e-6

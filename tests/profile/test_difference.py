"""Two profiles side by side: what counts as a change, and what was not alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
from handmade_profiles import US, cpu_profile, samples

from cnnstat.errors import CnnstatError
from cnnstat.profile.difference import Change, Verdict, compare_profiles
from cnnstat.profile.profile_result import Profile, Samples


def change(before: Samples | None, after: Samples | None) -> Verdict:
    return Change("layer", "Conv2d", before, after).verdict


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (samples(100, 4), samples(120, 4), Verdict.SLOWER),
        (samples(120, 4), samples(100, 4), Verdict.FASTER),
        (samples(100, 4), samples(100, 4), Verdict.SAME),
        (samples(100, 30), samples(120, 30), Verdict.SAME),  # the quartile ranges meet
        (samples(100, 0.1), samples(102.9, 0.1), Verdict.SAME),  # under 3 %
        (samples(100, 0.1), samples(103.2, 0.1), Verdict.SLOWER),
        (samples(2, 0.01), samples(2.4, 0.01), Verdict.SAME),  # under 0.5 µs
        (samples(2, 0.01), samples(2.6, 0.01), Verdict.SLOWER),
        (samples(0), samples(0), Verdict.SAME),
        (None, samples(3), Verdict.NEW),
        (samples(3), None, Verdict.GONE),
    ],
)
def test_only_what_exceeds_noise_has_changed(before: Samples | None, after: Samples | None, verdict: Verdict) -> None:
    assert change(before, after) is verdict


def renamed(profile: Profile, number: int, name: str) -> Profile:
    layers = list(profile.layers)
    layers[number] = replace(layers[number], name=name)
    return replace(profile, layers=tuple(layers))


def test_layers_are_matched_by_name() -> None:
    found = compare_profiles(cpu_profile(), renamed(cpu_profile(), 4, "head"))
    verdicts = [(c.name, c.verdict.value) for c in found.layers]
    assert verdicts == [
        ("conv1", "same"),
        ("relu1", "same"),
        ("pool1", "same"),
        ("flatten", "same"),
        ("head", "new"),
        ("fc", "gone"),
    ]
    assert [c.seconds for c in found.layers[4:]] == pytest.approx([5400 * US, -5400 * US])
    assert found.whole.verdict is Verdict.SAME and not found.conditions


def test_backward_time_counts() -> None:
    before = cpu_profile()
    conv = replace(before.layers[0], backward=samples(8000, 200))
    found = compare_profiles(before, replace(before, layers=(conv, *before.layers[1:])))
    assert found.layers[0].verdict is Verdict.SLOWER
    assert found.layers[0].seconds == pytest.approx(8000 * US)


def test_what_was_not_alike_is_listed() -> None:
    before = cpu_profile()
    around = replace(
        before.environment, threads=8, dtype="bfloat16", versions={**before.environment.versions, "torch": "2.7.0"}
    )
    after = replace(before, environment=around, inputs={"input": (4, 3, 64, 64)})
    assert compare_profiles(before, after).conditions == (
        ("dtype", "float32", "bfloat16"),
        ("input", "input=1x3x64x64", "input=4x3x64x64"),
        ("threads", "2", "8"),
        ("torch", "2.6.0", "2.7.0"),
    )


def test_another_model_is_refused() -> None:
    other = cpu_profile(layers=tuple(replace(layer, name=f"other.{layer.name}") for layer in cpu_profile().layers))
    with pytest.raises(CnnstatError, match=r"old\.json is a profile of tiny, which has no layer in common"):
        compare_profiles(other, cpu_profile(), "old.json")


@pytest.mark.parametrize("counts", [(7, 30), (30, 3)])
def test_few_samples_tell_no_change(counts: tuple[int, int]) -> None:
    before, after = samples(100, 4, counts[0]), samples(51, 4, counts[1])
    assert change(before, after) is Verdict.UNKNOWN
    assert change(samples(100, 4, 8), samples(51, 4, 8)) is Verdict.FASTER


def test_profiles_that_do_not_add_up_tell_no_change() -> None:
    off = replace(cpu_profile().time_breakdown, layers=5_000 * US)
    before = replace(cpu_profile(), time_breakdown=off)
    quick = replace(cpu_profile().whole, plain=samples(5_000, 10), eager=samples(5_000, 10))
    found = compare_profiles(before, replace(cpu_profile(), whole=quick))
    assert found.whole.verdict is Verdict.UNKNOWN and found.doubts == ("the baseline does not add up",)

"""Fields along one axis: the algebra against explicit sets of indices."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnstat.analysis.receptive_field import intervals
from cnnstat.analysis.receptive_field.intervals import INPUT, Algebra, Component, Field
from cnnstat.ir.window import IDENTITY, NOTHING, Window, adaptive, interpolated, nearest, sliding, transposed


def field(advance, lo, hi):
    """The field of one component."""
    return Field((Component(advance, lo, hi),))


def through(*windows, start=INPUT):
    """The field after reading through windows, first the one nearest to the input."""
    algebra = Algebra()
    for window in windows:
        start = algebra.read(start, window)
    return start


def positions_read(windows, index):
    """The inputs that output `index` reads through a stack of windows, as a set."""
    wanted = {index}
    for window in reversed(windows):
        wanted = {tap + i // window.period * window.advance for i in wanted for tap in window.taps[i % window.period]}
    return wanted


SMALL = st.integers(1, 4)
WINDOWS = st.one_of(
    st.builds(sliding, SMALL, SMALL, st.integers(-3, 3), SMALL),
    st.builds(transposed, SMALL, SMALL, st.integers(0, 3), SMALL),
    st.builds(lambda a, b: nearest(Fraction(a, b)), SMALL, SMALL),
    st.builds(lambda a, b, w, c: interpolated(Fraction(a, b), w, c), SMALL, SMALL, st.integers(1, 2), st.booleans()),
    st.builds(adaptive, st.integers(2, 9), st.integers(2, 9)),
    st.builds(lambda taps: Window((range(-taps, 1),), -1), SMALL),
    st.just(IDENTITY),
    st.just(Window((range(1),), 0)),
)


@given(st.lists(WINDOWS, max_size=5), st.integers(-30, 30))
def test_reading_gives_the_hull_of_the_positions_read(windows, index):
    found = through(*windows)
    wanted = positions_read(windows, index)
    hull = (min(wanted), max(wanted)) if wanted else None
    assert found.at(index) == hull if found.components else hull is None
    assert found.is_exact


@given(st.lists(WINDOWS, max_size=3), st.lists(WINDOWS, max_size=3), st.integers(-30, 30))
def test_merging_gives_the_hull_of_the_union(windows, others, index):
    first, second = through(*windows), through(*others)
    if not first.components or not second.components:
        return
    merged = Algebra().merge(first, second, 10, "join")
    wanted = positions_read(windows, index) | positions_read(others, index)
    assert merged.at(index) == ((min(wanted), max(wanted)) if wanted else None)
    assert merged.is_exact
    strides = {component.stride for component in (*first.components, *second.components)}
    assert (merged.misaligned_at is None) == (len(strides) == 1)


@given(st.lists(WINDOWS, max_size=3), st.lists(WINDOWS, max_size=2), st.integers(1, 40), st.integers(1, 60))
def test_positions_inside_are_counted_without_looking_at_each(windows, others, extent, length):
    first, second = through(*windows), through(*others)
    if not first.components or not second.components:
        return
    merged = Algebra().merge(first, second, extent, "join")
    intervals = [merged.at(index) for index in range(extent)]
    inside = [interval is None or (interval[0] >= 0 and interval[1] < length) for interval in intervals]
    assert merged.count_inside(extent, length) == sum(inside)


@given(st.lists(WINDOWS, max_size=5))
def test_a_period_is_as_short_as_it_can_be(windows):
    for component in through(*windows).components:
        period = len(component.lo)
        for parts in range(2, period + 1):
            if period % parts == 0 and component.advance % parts == 0:
                step = period // parts
                moved = Component(component.advance // parts, component.lo[:step], component.hi[:step])
                assert any(moved.at(index) != component.at(index) for index in range(period))


def test_fields_of_the_lecture():
    conv = sliding(3, padding=1)
    assert through(conv) == field(1, (-1,), (1,))
    assert through(conv, conv, sliding(2, 2)) == field(2, (-2,), (3,))
    assert through(sliding(3, dilation=2)).size(9) == 5
    assert through(sliding(1, padding=-4)) == field(1, (4,), (4,))


def test_a_transposed_convolution_of_equal_kernel_and_stride_keeps_the_size():
    before = through(sliding(7, 4, 3))
    after = through(transposed(2, 2, 0, 1), start=before)
    assert after == field(4, (-3, -3), (3, 3))
    assert after.size(8) == before.size(8) == 7
    assert after.stride == 2


def test_upsampling_and_downsampling_again_has_period_one():
    assert through(nearest(Fraction(1, 2)), sliding(1, 2)) == INPUT
    assert through(transposed(4, 2, 1, 1), sliding(2, 2)).components[0].lo == (-1,)


def test_gaps_of_a_transposed_convolution_read_nothing():
    gaps = through(transposed(1, 3, 0, 1))
    assert [gaps.at(index) for index in range(4)] == [(0, 0), None, None, (1, 1)]
    assert gaps.at_or_after(1) == (1, 1)
    assert gaps.size(9) == 1


def test_reading_nothing_and_the_same():
    algebra = Algebra()
    assert not algebra.read(INPUT, NOTHING).components
    assert algebra.read(INPUT, IDENTITY) is INPUT


def test_equal_centres_of_an_encoder_and_its_decoder():
    skip = through(sliding(3, padding=1))
    up = through(sliding(2, 2), transposed(2, 2, 0, 1))
    merged = Algebra().merge(skip, up, 8, "join")
    assert merged.centred
    assert merged.size(8) == 3
    assert not Algebra().merge(through(sliding(3)), INPUT, 8, "join").centred


def test_the_first_misaligned_merge_gives_its_name():
    algebra = Algebra()
    halves, thirds = through(sliding(1, 2)), through(sliding(1, 3))
    first = algebra.merge(halves, INPUT, 9, "first")
    second = algebra.merge(first, thirds, 9, "second")
    assert second.misaligned_at == "first"
    assert second.stride is None
    assert len(second.components) == 3
    # Output 4 is the centre of 9; it reads inputs 4, 8 and 12.
    assert second.size(9) == 9


def check_bounds(found, windows, indices):
    """The field is only bounded, and the bounds hold."""
    assert not found.is_exact
    for index in indices:
        wanted = positions_read(windows, index)
        low, high = found.at(index)
        assert low <= min(wanted)
        assert high >= max(wanted)


def test_a_period_that_is_too_long_is_bounded_by_lines():
    windows = [sliding(5), transposed(70, 67, 3, 1), transposed(64, 64, 0, 1), sliding(9, 5, 2)]
    found = through(*windows)
    check_bounds(found, windows, range(-5000, 5000, 37))
    assert found.stride == Fraction(5, 67 * 64)
    exact = max(max(p) - min(p) + 1 for p in (positions_read(windows, index) for index in range(0, 4000, 7)))
    assert exact <= found.size(10) <= exact + 2
    assert found.count_inside(100, 1000) <= 100


def test_work_on_long_periods_is_bounded(monkeypatch):
    monkeypatch.setattr(intervals, "MAX_WORK", 50)
    windows = [transposed(3, 2, 1, 1)] * 5
    check_bounds(through(*windows), windows, range(-40, 40))


def test_many_strides_are_collapsed_into_bounds():
    algebra = Algebra()
    strides = range(1, 20)
    merged = INPUT
    for stride in strides:
        merged = algebra.merge(merged, through(sliding(1, stride)), 50, f"join{stride}")
    assert not merged.is_exact
    assert merged.misaligned_at == "join2"
    assert len(merged.components) <= intervals.MAX_COMPONENTS
    for index in range(50):
        low, high = merged.at(index)
        assert low <= index
        assert high >= 19 * index


def test_strides_beyond_any_axis_count_as_everything():
    wide = [sliding(1, 2**30)] * 3
    assert through(*wide[:2]) == field(2**60, (0,), (0,))
    assert through(*wide[:2], transposed(2, 2, 0, 1)).stride == 2**59
    assert Algebra().read(through(*wide[:2]), wide[0]) is None


def test_many_resizes_keep_their_fractions_short(monkeypatch):
    monkeypatch.setattr(intervals, "MAX_WORK", 0)
    algebra, up, down = Algebra(), nearest(Fraction(4095, 4096)), nearest(Fraction(4096, 4095))
    found = INPUT
    for _ in range(100):
        found = algebra.read(algebra.read(found, up), down)
    (component,) = found.components
    assert not found.is_exact
    assert component.lo[0].denominator <= 2**32
    assert found.stride == 1
    assert math.floor(component.lo[0]) >= -300


@pytest.mark.parametrize("kernel", [10**9])
def test_long_kernels_cost_no_more_than_short_ones(kernel):
    found = through(transposed(3, 2, 1, 1), sliding(kernel, 1))
    assert found.size(9) == kernel // 2 + 1

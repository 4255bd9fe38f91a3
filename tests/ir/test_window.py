"""Every window constructor against the definition of what it describes, index by index."""

import math
from fractions import Fraction

import pytest

from cnnstat.ir.window import (
    IDENTITY,
    MAX_PERIOD,
    NOTHING,
    UNFOLLOWED,
    WHOLE,
    Window,
    adaptive,
    interpolated,
    nearest,
    sliding,
    transposed,
)

pytest.importorskip("hypothesis")
from hypothesis import example, given, settings
from hypothesis import strategies as st

OUTPUTS = range(-25, 26)
unhurried = settings(deadline=None)

small = st.integers(1, 7)
scales = st.builds(Fraction, st.integers(0, 30), st.integers(1, 30))


def read(window, output):
    """The inputs that one output reads."""
    periods, residue = divmod(output, window.period)
    return {tap + periods * window.advance for tap in window.taps[residue]}


def assert_reads(window, definition, outputs=OUTPUTS):
    for output in outputs:
        assert read(window, output) == definition(output), output


@unhurried
@given(small, small, st.integers(-9, 9), small)
def test_sliding_reads_stride_times_output_plus_the_taps(kernel, stride, padding, dilation):
    assert_reads(
        sliding(kernel, stride, padding, dilation),
        lambda o: {o * stride - padding + dilation * j for j in range(kernel)},
    )


@unhurried
@given(small, small, st.integers(0, 9), small)
@example(2, 4, 0, 6)
@example(1, 5, 3, 1)
def test_transposed_reads_the_inputs_whose_copy_of_the_filter_covers_the_output(kernel, stride, padding, dilation):
    def covering(o):
        return {i for i in range(-150, 150) if o in {i * stride - padding + dilation * j for j in range(kernel)}}

    assert_reads(transposed(kernel, stride, padding, dilation), covering)


@unhurried
@given(scales, st.sampled_from([Fraction(0), Fraction(1, 2)]))
def test_nearest_reads_the_pixel_below_the_scaled_position(scale, offset):
    assert_reads(nearest(scale, offset), lambda o: {math.floor((o + offset) * scale)})


@unhurried
@given(scales, st.booleans())
def test_linear_reads_the_pixels_less_than_one_away(scale, align_corners):
    def near(o):
        position = o * scale if align_corners else (o + Fraction(1, 2)) * scale - Fraction(1, 2)
        low = math.floor(position)
        return {i for i in range(low - 3, low + 4) if abs(position - i) < 1}

    assert_reads(interpolated(scale, 1, align_corners), near)


@unhurried
@given(scales, st.booleans())
def test_cubic_reads_the_pixels_with_a_weight(scale, align_corners):
    def weighty(o):
        position = o * scale if align_corners else (o + Fraction(1, 2)) * scale - Fraction(1, 2)
        low = math.floor(position)
        return {i for i in range(low - 3, low + 4) if keys_weight(abs(position - i)) != 0}

    assert_reads(interpolated(scale, 2, align_corners), weighty)


def keys_weight(x):
    """The cubic convolution kernel with a = −3/4 (Keys 1981)."""
    a = Fraction(-3, 4)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0


@unhurried
@given(st.integers(1, 60), st.integers(2, 60))
def test_adaptive_reads_its_bin(input_size, output_size):
    def bin_of(o):
        return set(range(o * input_size // output_size, -(-(o + 1) * input_size // output_size)))

    assert_reads(adaptive(input_size, output_size), bin_of, range(output_size))


def test_adaptive_to_one_bin_reads_everything():
    assert adaptive(7, 1) is WHOLE
    assert read(adaptive(1, 1), 0) == {0}


def test_identity_reads_itself_and_nothing_reads_nothing():
    assert_reads(IDENTITY, lambda o: {o})
    assert_reads(NOTHING, lambda o: set())


@pytest.mark.parametrize(
    "rule",
    [
        transposed(3, MAX_PERIOD + 1, 0, 1),
        nearest(Fraction(4099, 4097)),
        interpolated(Fraction(4099, 4097), 1, False),
        adaptive(4099, 4097),
    ],
)
def test_a_period_too_long_to_keep_is_not_followed(rule):
    assert rule is UNFOLLOWED


def test_doubling_repeats_every_pixel_twice():
    assert nearest(Fraction(1, 2)) == Window((range(1), range(1)), 1)


def test_halving_by_area_reads_pairs():
    assert adaptive(8, 4) == sliding(2, 2)

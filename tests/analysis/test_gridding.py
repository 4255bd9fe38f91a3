"""Gridding: the share of a field that is really read."""

from fractions import Fraction

from graph_builder import Builder, fields_of, gated

from cnnstat.analysis.receptive_field.gridding import covered_fraction
from cnnstat.ops.adaptive_pool import AdaptiveAvgPool2d
from cnnstat.ops.conv import Conv1d


def test_dilated_stacks_leave_holes():
    builder = Builder((1, 1, 64))
    builder.add(Conv1d(1, 3, padding=2, dilation=2))
    builder.add(Conv1d(1, 3, padding=2, dilation=2))
    fields = fields_of(builder)
    assert fields.of(2).size == (9,)
    assert covered_fraction(fields, 1) == (Fraction(3, 5),)
    assert covered_fraction(fields, 2) == (Fraction(5, 9),)
    smooth = Builder((1, 1, 64))
    smooth.chain(*(Conv1d(1, 3, padding=d, dilation=d) for d in (1, 2, 5)))
    assert covered_fraction(fields_of(smooth), 3) == (1,)


def test_coverage_leaves_out_what_only_a_gate_sees():
    fields = fields_of(gated(AdaptiveAvgPool2d(1)))
    assert covered_fraction(fields, 5) == (1, 1)
    assert covered_fraction(fields, 2) is None


def test_coverage_of_fields_too_long_to_look_at_is_not_given():
    builder = Builder((1, 1, 2**23))
    builder.add(Conv1d(1, 3, dilation=2**21))
    assert covered_fraction(fields_of(builder), 1) is None

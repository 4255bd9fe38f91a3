"""Rows: folding, sorting and cutting never change what the columns add up to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import branches, zoo

from cnnstat.errors import CnnstatError
from cnnstat.report.columns import COLUMNS
from cnnstat.report.sheet import View, sheet

KEYS = [column.key for column in COLUMNS]


def rows(name, **view):
    return sheet(zoo(name), View(**view)).rows


@given(
    name=st.sampled_from(["resnet18", "vgg16", "unet"]),
    depth=st.none() | st.integers(1, 4),
    sort=st.none() | st.sampled_from(KEYS),
    top=st.none() | st.integers(1, 50),
)
def test_columns_add_up_to_the_totals(name, depth, sort, top):
    totals = zoo(name).totals
    shown = sheet(zoo(name), View(depth=depth, sort=sort, top=top)).all_rows
    for key in ("params", "trainable_params", "buffers", "macs", "flops"):
        assert sum(getattr(row, key) for row in shown) == getattr(totals, key)
    assert sum(row.output_bytes for row in shown) == totals.memory.activation_bytes
    assert sum(row.layers for row in shown) == totals.layers
    assert sum(row.macs_share for row in shown) == pytest.approx(1)


def test_additive_columns_are_those_that_add_up():
    assert [c.key for c in COLUMNS if c.additive] == [
        "params", "params_share", "trainable_params", "buffers", "macs", "macs_share", "flops", "output_bytes",
    ]  # fmt: skip


def test_a_block_is_one_row():
    block = next(row for row in rows("resnet50", depth=2) if row.name == "layer1.0")
    assert block.kind == "bottleneck"
    assert block.op == f"bottleneck ({block.layers} layers)"
    assert block.input_shapes == ((1, 64, 56, 56),) and block.output_shape == (1, 256, 56, 56)
    assert block.params == 64 * 64 + 64 * 64 * 9 + 2 * 64 * 256 + 4 * 64 + 4 * 256
    assert block.receptive_field.size == (19, 19)


def test_folded_rows_read_folded_rows():
    (block,) = (row for row in rows("resnet50", depth=1) if row.name == "layer2")
    assert block.inputs == ("layer1",)


def test_deep_enough_nothing_is_folded():
    assert rows("resnet18", depth=9) == rows("resnet18")


def test_numbers_descend_and_text_ascends():
    assert [row.name for row in rows("vgg16", sort="params", top=3)] == ["fc6", "fc7", "fc8"]
    names = [row.name for row in rows("vgg16", sort="name")]
    assert names == sorted(names)


def test_equal_values_keep_their_order():
    in_order = [row.name for row in rows("vgg16") if not row.params]
    assert [row.name for row in rows("vgg16", sort="params") if not row.params] == in_order


def test_whole_input_is_larger_than_any_field_and_nothing_is_last():
    fields = [row.receptive_field for row in sheet(branches(), View(sort="receptive_field")).rows]
    sizes = [field.size[0] * field.size[1] for field in fields if field is not None]
    assert sizes == sorted(sizes, reverse=True)
    assert fields[0] is None


def test_the_rest_is_one_row():
    found = sheet(zoo("vgg16"), View(sort="params", top=3))
    assert found.rest.name == f"… {len(zoo('vgg16').layers) - 3} more"
    assert found.rest.params == 138_357_544 - 102_764_544 - 16_781_312 - 4_097_000
    assert sheet(zoo("vgg16"), View(top=1000)).rest is None


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"sort": "parms"}, "no column parms; did you mean params"),
        ({"columns": ("name", "mac")}, "no column mac; did you mean macs"),
        ({"columns": ("zzz",)}, "known: name, op, kind"),
        ({"columns": ()}, "columns is empty"),
        ({"depth": 0}, "--depth 0 must"),
        ({"top": -1}, "--top -1 must"),
    ],
)
def test_mistakes_are_named(view, message):
    with pytest.raises(CnnstatError, match=message):
        View(**view)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.key)
def test_every_column_shows_every_row(column):
    for row in (*sheet(branches(), View()).rows, *sheet(zoo("resnet18"), View(depth=1, top=2)).all_rows):
        assert isinstance(column.shown(row), str) and isinstance(column.short(row), str)
    assert column.doc

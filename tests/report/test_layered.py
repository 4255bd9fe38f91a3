"""Rows: folding, sorting and cutting never change what the columns add up to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import branches, zoo

from cnnstat.analysis.figures import LAYER_FIGURES
from cnnstat.errors import CnnstatError
from cnnstat.report.subjects.analysis import FLOOR, layer_table
from cnnstat.report.subjects.analysis import AnalysisView as View

KEYS = tuple(key for key in View.keys if key != FLOOR)  # which only a device sheet adds


def table(name, **view):
    return layer_table(zoo(name), View(**view))


def column(found, key):
    return next(column for column in found.columns if column.key == key)


def values(found, key, rows=None):
    """The raw values of a column."""
    return [column(found, key).value(row) for row in (found.rows if rows is None else rows)]


def rows(name, **view):
    """The rows as dictionaries of raw values."""
    return table(name, **view).objects()


@given(
    name=st.sampled_from(["resnet18", "vgg16", "unet"]),
    depth=st.none() | st.integers(1, 4),
    sort=st.none() | st.sampled_from(KEYS),
    top=st.none() | st.integers(1, 50),
)
def test_columns_add_up_to_the_totals(name, depth, sort, top):
    totals = zoo(name).totals
    found = table(name, depth=depth, sort=sort, top=top)

    def total(key):
        return sum(values(found, key, found.all_rows))

    for figure in LAYER_FIGURES:
        shown = values(found, figure.layer, found.all_rows)
        if not figure.ratio_of:
            assert (max if figure.is_peak else sum)(shown) == figure.of(totals)
        assert figure.of(totals) == column(found, figure.layer).value(found.total)
    assert sum(len(row.items) for row in found.all_rows) == totals.layers
    assert total("macs_share") == pytest.approx(1) and total("params_share") == pytest.approx(1)


def test_a_block_is_one_row():
    block = next(row for row in rows("resnet50", depth=2) if row["name"] == "layer1.0")
    assert block["kind"] == "bottleneck"
    inside = [row for row in rows("resnet50") if row["name"].startswith("layer1.0.")]
    assert block["op"] == f"bottleneck ({len(inside)} layers)"
    assert block["input_shape"] == ((1, 64, 56, 56),) and block["output_shape"] == (1, 256, 56, 56)
    assert block["params"] == 64 * 64 + 64 * 64 * 9 + 2 * 64 * 256 + 4 * 64 + 4 * 256
    assert block["receptive_field"] == (19, 19)


def test_folded_rows_read_folded_rows():
    (block,) = (row for row in rows("resnet50", depth=1) if row["name"] == "layer2")
    assert block["inputs"] == "layer1"


def test_deep_enough_nothing_is_folded():
    assert rows("resnet18", depth=9) == rows("resnet18")


def test_numbers_descend_and_text_ascends():
    assert [row["name"] for row in rows("vgg16", sort="params", top=3)] == ["fc6", "fc7", "fc8"]
    names = [row["name"] for row in rows("vgg16", sort="name")]
    assert names == sorted(names)


def test_equal_values_keep_their_order():
    in_order = [row["name"] for row in rows("vgg16") if not row["params"]]
    assert [row["name"] for row in rows("vgg16", sort="params") if not row["params"]] == in_order


def test_whole_input_is_larger_than_any_field_and_nothing_is_last():
    fields = values(layer_table(branches(), View(sort="receptive_field")), "receptive_field")
    sizes = [field[0] * field[1] for field in fields if field != "whole input"]
    assert sizes == sorted(sizes, reverse=True)
    assert fields[0] == "whole input"


def test_the_rest_is_one_row():
    found = table("vgg16", sort="params", top=3)
    assert found.rest.name == f"… {len(zoo('vgg16').layers) - 3} more"
    assert column(found, "params").value(found.rest) == 138_357_544 - 102_764_544 - 16_781_312 - 4_097_000
    assert table("vgg16", top=1000).rest is None


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


@pytest.mark.parametrize("key", KEYS)
def test_every_column_shows_every_row(key):
    for found in (layer_table(branches(), View()), table("resnet18", depth=1, top=2)):
        texts = (*column(found, key).cells(found.all_rows), *column(found, key).brief_cells(found.all_rows))
        assert all(isinstance(text, str) for text in texts)
        assert column(found, key).doc

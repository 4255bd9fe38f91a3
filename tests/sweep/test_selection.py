"""Conditions, sorting and Pareto fronts, against Python itself and brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnstat.errors import CnnstatError
from cnnstat.sweep.conditions import parse_condition
from cnnstat.sweep.selection import Selection, pareto_front, sorted_by

NAMES = ("params", "macs", "peak_inference_bytes", "latency", "width", "source")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params < 5M", True),
        ("params < 4 M", False),
        ("params<=4.2M and macs >= 600e6", True),
        ("params <= 4,200,000", None),
        ("peak_inference_bytes <= 16MiB", True),
        ("peak_inference_bytes <= 16 MB", False),
        ("latency < 3ms", True),
        ("latency < 2 ms or not (width == 16)", False),
        ("1M < params < 5M", True),
        ("macs / params > 142", True),
        ("macs - 2 * params == 591600000", True),
        ("width == 16 and source == 'net.yaml'", True),
        ("source != 'net.yaml'", False),
        ("-params < 0", True),
        ("width < 'a'", False),
    ],
)
def test_conditions_compare_figures_with_numbers_and_units(text, holds):
    record = {
        "params": 4_200_000, "macs": 600_000_000, "peak_inference_bytes": 16 << 20, "latency": 0.0025, "width": "16",
        "source": "net.yaml",
    }  # fmt: skip
    if holds is None:
        with pytest.raises(CnnstatError, match="--where"):
            parse_condition(text, NAMES)
    else:
        assert parse_condition(text, NAMES)(record) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parms < 5M", "nothing is called parms; did you mean params"),
        ("zzz < 1", "known: params, macs"),
        ("params", "compares nothing"),
        ("params <", "write it as in"),
        ("params < __import__('os').getpid()", "only names, numbers"),
        ("params in [1]", "a comparison is one of"),
        ("params < macs.real", "only names, numbers"),
        ("[params] < [1]", "only names, numbers"),
        ("params < 1 and macs", "join comparisons"),
        ("(" * 300 + "params < 1" + ")" * 300, "--where"),
        ("params < 2 ** 9", "only names, numbers"),
        ("params < 1 && macs < 1", "write and between conditions"),
        ("params < 1 OR macs < 1", "write or between conditions"),
        ("params = 1", "equal is written =="),
        ("params => 1", "write <= or >="),
        ("x" * 2000, "longer than"),
    ],
)
def test_anything_else_is_refused(text, message):
    with pytest.raises(CnnstatError, match=message):
        parse_condition(text, NAMES)


def test_a_record_without_a_value_fulfils_no_comparison_with_it():
    assert not parse_condition("latency < 1 or latency >= 1", NAMES)({"params": 1})
    assert parse_condition("not latency < 1", NAMES)({"params": 1})


@given(st.integers(-9, 9), st.integers(-9, 9), st.data())
def test_comparisons_mean_what_python_means(params, macs, data):
    operators = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    terms = st.sampled_from(["params", "macs", "3", "-2", "params + macs", "2 * macs - 1"])
    one = f"{data.draw(terms)} {data.draw(operators)} {data.draw(terms)}"
    other = f"not {data.draw(terms)} {data.draw(operators)} {data.draw(terms)}"
    text = f"{one} {data.draw(st.sampled_from(['and', 'or']))} {other}"
    values = {"params": params, "macs": macs}
    assert parse_condition(text, NAMES)(values) is eval(text, {}, values)


def _record(number, **figures):
    return {"point": number, "source": "a", "settings": {}, "error": None, **figures}


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=30), st.sampled_from([2, 3]), st.booleans())
def test_a_front_is_what_nothing_else_is_better_than(values, figures, wants_field):
    keys = ["macs", "receptive_field" if wants_field else "params", "latency"][:figures]
    records = [_record(i, **dict(zip(keys, row))) for i, row in enumerate(values)]

    def cost(record):
        return [-record[key] if key == "receptive_field" else record[key] for key in keys]

    def is_beaten(record):
        return any(
            cost(other) != cost(record) and all(a <= b for a, b in zip(cost(other), cost(record))) for other in records
        )

    assert pareto_front(records, keys) == [record for record in records if not is_beaten(record)]


def test_a_sign_says_whether_more_or_less_is_better():
    records = [_record(0, macs=1, params=1), _record(1, macs=2, params=3), _record(2, macs=3, params=2)]
    for keys, front in ((("macs", "+params"), [0, 1]), (("macs", "-params"), [0]), (("+macs", "+params"), [1, 2])):
        assert [r["point"] for r in pareto_front(records, keys)] == front
    fields = [_record(0, macs=1, receptive_field=9), _record(1, macs=2, receptive_field=5)]
    assert [r["point"] for r in pareto_front(fields, ("macs", "receptive_field"))] == [0]
    assert [r["point"] for r in pareto_front(fields, ("macs", "-receptive_field"))] == [0, 1]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(where="accuracy > 1"), "accuracy is measured; add --accuracy FILE"),
        (Selection(sort="-latency"), "latency is measured; add --profile"),
        (Selection(pareto=("macs", "latency")), "latency is measured; add --profile"),
    ],
)
def test_what_is_not_measured_is_asked_for_in_vain(selection, message):
    with pytest.raises(CnnstatError, match=message):
        selection.check((), ("latency", "accuracy"))
    selection.check(())


def test_a_record_that_lacks_a_figure_is_on_no_front():
    records = [_record(0, macs=1, latency=None), _record(1, macs=2, latency=1.0), _record(2, macs=3, latency=0.5)]
    assert [r["point"] for r in pareto_front(records, ("macs", "latency"))] == [1, 2]


def test_sorting_is_largest_first_as_in_analyze_or_smallest_first():
    records = [_record(0, macs=1), _record(1, macs=3), _record(2), _record(3, macs=2)]
    assert [r["point"] for r in sorted_by(records, "macs")] == [1, 3, 0, 2]
    assert [r["point"] for r in sorted_by(records, "-macs")] == [0, 3, 1, 2]
    settings = [{**_record(i), "settings": {"width": width}} for i, width in enumerate(["8", "16", "128"])]
    assert [r["point"] for r in sorted_by(settings, "width")] == [2, 1, 0]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(pareto=("macs", "paramz")), "--pareto: nothing is called paramz; did you mean params"),
        (Selection(pareto=("macs",)), "needs two figures"),
        (Selection(pareto=("macs", "+macs")), "needs two figures"),
        (Selection(pareto=("macs", "*params")), r"nothing is called \*params; did you mean params"),
        (Selection(sort="-mac"), "--sort: nothing is called mac; did you mean macs"),
        (Selection(top=0), "--top 0 must be at least 1"),
    ],
)
def test_unknown_names_are_said_before_anything_is_computed(selection, message):
    with pytest.raises(CnnstatError, match=message):
        selection.check(("width",))


def test_errors_are_shown_only_where_nothing_is_selected():
    records = [_record(0, macs=5), {**_record(1), "error": "no"}, _record(2, macs=3)]
    assert Selection().selected(records, ()) == records
    assert [r["point"] for r in Selection(where="macs < 4").selected(records, ())] == [2]
    assert [r["point"] for r in Selection(sort="-macs", top=1).selected(records, ())] == [2]

"""Reports of measured times: the identity as printed, what is said of it, and every format."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from handmade_profiles import US, cpu_profile, gpu_profile, samples
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cnnstat import numbers
from cnnstat.errors import CnnstatError
from cnnstat.profile.difference import compare_profiles
from cnnstat.profile.profile_details import RowCheck
from cnnstat.profile.profile_json import parse_profile, to_json
from cnnstat.profile.profile_result import Profile, TimeBreakdown
from cnnstat.report import write
from cnnstat.report.formats import terminal
from cnnstat.report.formats.markdown import render as markdown
from cnnstat.report.notebook import fragment
from cnnstat.report.profile_changes import Against
from cnnstat.report.profile_text import summary, time_parts
from cnnstat.report.subjects.profile import ProfileView, document, layer_columns, layer_table
from cnnstat.report.terminal_text import width_of


def printed(profile: Profile, format: str, view: ProfileView | None = None, against: Against | None = None) -> str:
    out = io.StringIO()
    write(document(profile, view, against), format, Console(file=out, width=100))
    return out.getvalue()


def text(profile: Profile, width: int) -> str:
    return terminal.text(document(profile), width)


def value(row: Any, key: str) -> Any:
    return next(column for column in layer_columns() if column.key == key).value(row)


def facts(profile: Profile) -> dict[str, str]:
    return {fact.label: fact.text.replace("\N{NO-BREAK SPACE}", " ") for fact in summary(profile)}


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize(("name", "profile"), [("cpu", cpu_profile()), ("gpu", gpu_profile())], ids=["cpu", "gpu"])
def test_tables(name: str, profile: Profile, width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"profile_{name}_{width}.out", text(profile, width) + "\n")


def test_markdown(golden: Callable[[str, str], None]) -> None:
    golden("profile_gpu.md", markdown(document(gpu_profile())))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("profile", [cpu_profile(), gpu_profile()], ids=["cpu", "gpu"])
def test_no_line_is_wider_than_the_terminal(profile: Profile, width: int) -> None:
    assert terminal.page(document(profile), width).width <= max(width, 60)


seconds = st.floats(0, 10)


@given(whole=st.floats(1e-9, 100), layers=seconds, idle=seconds, unattributed=seconds)
def test_the_printed_parts_add_up_to_the_last_digit(
    whole: float, layers: float, idle: float, unattributed: float
) -> None:
    time_breakdown = TimeBreakdown(whole=whole, layers=layers, idle=idle, unattributed=unattributed)
    lines = time_parts(cpu_profile(time_breakdown=time_breakdown))
    assert [line.name for line in lines] == ["layers", "gaps", "unattributed", "drift", "whole model"]
    units = {line.time.split()[1] for line in lines}
    assert len(units) == 1
    *numbers, total = (round(1000 * float(re.sub("[,]", "", line.time.split()[0]).replace("−", "-"))) for line in lines)
    assert sum(numbers) == total


class TestWords:
    def test_parts_that_do_not_add_up_are_said(self) -> None:
        wrong = cpu_profile(time_breakdown=TimeBreakdown(whole=10e-3, layers=8e-3, idle=0.0, unattributed=0.0))
        assert facts(wrong)["does not add up"].startswith(
            "drift is 20.0 % of the whole (limit ±15 %); measure again on an idle machine"
        )
        assert "adds up" not in facts(wrong) and facts(cpu_profile())["adds up"]

    def test_unattributed_time_and_lost_kernels_too(self) -> None:
        time_breakdown = TimeBreakdown(whole=100 * US, layers=96 * US, idle=0.0, unattributed=2 * US)
        said = facts(gpu_profile(time_breakdown=time_breakdown, lost_kernels=3))["does not add up"]
        assert "unattributed time is 2.0 % of the whole (limit 1 %)" in said
        assert "the tracer lost 3 kernels" in said

    def test_layers_longer_than_their_run(self) -> None:
        wrong = cpu_profile(time_breakdown=TimeBreakdown(whole=10e-3, layers=30e-3, idle=-20e-3, unattributed=0.0))
        assert "gaps are −200.0 %" in facts(wrong)["does not add up"] and not wrong.adds_up

    def test_layers_above_the_ceilings(self) -> None:
        assert facts(cpu_profile())["above 100 %"].startswith("relu1, fc: served from cache")
        assert "above 100 %" not in facts(gpu_profile())

    def test_a_gpu_that_waits_for_its_cpu(self) -> None:
        found = facts(gpu_profile())
        assert found["CPU-bound"].startswith("yes")
        assert found["eager"] == "260 ± 20 µs as an ordinary call: 160 µs more than its replay, CPU overhead"
        whole = replace(gpu_profile().whole, enqueue=samples(20, 1))
        assert facts(gpu_profile(whole=whole))["CPU-bound"].startswith("no")

    def test_a_model_that_cannot_be_captured(self) -> None:
        whole = replace(gpu_profile().whole, replayed=False)
        assert "cannot be captured" in facts(gpu_profile(whole=whole))["eager"]

    def test_memory_energy_and_clocks(self) -> None:
        found = facts(gpu_profile())
        assert found["peak memory"] == "38.15 MiB measured, 36.24 MiB predicted (1.05×), parameters and inputs aside"
        assert found["energy"] == "0.05 J a pass, 500 W on average"
        assert found["clocks"] == "sm 1,980, memory 2,619"
        assert not {"peak memory", "energy", "clocks"} & set(facts(cpu_profile()))

    def test_what_could_not_be_counted(self) -> None:
        layers = cpu_profile().layers
        profile = cpu_profile(layers=(replace(layers[0], counted=False), *layers[1:]))
        assert facts(profile)["not counted"].startswith("conv1;")

    def test_partial_and_noisy_profiles(self) -> None:
        assert "stopped" in facts(cpu_profile(complete=False))["partial"]
        whole = replace(cpu_profile().whole, plain=samples(10_000, 4_000))
        assert "40 % of their median apart" in facts(cpu_profile(whole=whole))["noisy"]
        assert not {"partial", "noisy"} & set(facts(cpu_profile()))

    def test_the_backward_pass_and_layers_alone(self) -> None:
        layers = cpu_profile().layers
        more = replace(layers[0], backward=samples(8000, 90), warm=samples(3900, 1), cold=samples(4100, 1))
        profile = cpu_profile(layers=(more, *layers[1:]))
        assert {"backward", "alone"} <= set(facts(profile))
        wide = text(profile, 250)
        assert re.search(r"conv1 .* 12\.0 ms .* 4\.00 ± 0\.20 ms .* 8\.00 ± 0\.09 ms .* 3\.90 ms +4\.10 ms", wide)

    def test_hostile_names_stay_on_their_line(self) -> None:
        layers = cpu_profile().layers
        profile = cpu_profile(model="a\x1b[2Jb\n", layers=(replace(layers[0], name="x\ny|`z`"), *layers[1:]))
        for shown in (text(profile, 100), markdown(document(profile)), fragment(document(profile))):
            assert "\x1b" not in shown and "x\ny" not in shown
        assert "<b>" not in fragment(document(cpu_profile(model="<b>evil"))).replace("<b>&lt;b&gt;evil", "")


def test_the_second_gpu_is_a_gpu() -> None:
    profile = gpu_profile(environment=replace(gpu_profile().environment, device="cuda:1"))
    assert text(profile, 100) == text(gpu_profile(), 100).replace("on cuda,", "on cuda:1,")
    assert parse_profile(printed(profile, "json"), "x") == profile and profile.adds_up
    assert not compare_profiles(gpu_profile(), profile).conditions


def test_a_terminal_without_unicode() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    write(document(cpu_profile()), "table", Console(file=out, width=100))
    out.flush()
    shown = raw.getvalue().decode("ascii")
    assert "60.0 ~ 4.0 us" in shown and "drift ~15 %" in shown and "?" not in shown


class TestViews:
    def test_sorted_and_cut(self) -> None:
        found = layer_table(cpu_profile(), ProfileView(sort="time", top=2))
        assert [row.name for row in found.rows] == ["fc", "conv1"]
        assert found.rest is not None and len(found.rest.items) == 3
        assert value(found.rest, "time") == pytest.approx(400 * US)

    def test_missing_figures_come_last(self) -> None:
        found = layer_table(cpu_profile(), ProfileView(sort="share_of_floor"))
        assert [row.name for row in found.rows] == ["fc", "relu1", "conv1", "pool1", "flatten"]

    def test_folding_keeps_the_sums(self) -> None:
        names = ("stage1.conv", "stage1.relu", "stage2.pool", "flatten", "fc")
        layers = tuple(replace(layer, name=name) for layer, name in zip(cpu_profile().layers, names))
        profile = cpu_profile(layers=layers)
        found = layer_table(profile, ProfileView(depth=1)).rows
        assert [row.name for row in found] == ["stage1", "stage2", "flatten", "fc"]
        assert value(found[0], "time") == pytest.approx(4060 * US) and value(found[0], "kind") == "(2 layers)"
        assert sum(value(row, "time") for row in found) / profile.whole.plain.median == pytest.approx(0.98)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"columns": ("tiem",)}, "did you mean time?"),
            ({"sort": "shar"}, "did you mean share?"),
            ({"columns": ()}, "--columns is empty"),
            ({"top": 0}, "--top 0 must be at least 1"),
            ({"depth": -1}, "--depth -1 must be at least 1"),
        ],
    )
    def test_slips(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(CnnstatError, match=re.escape(said)):
            ProfileView(**options)


class TestFormats:
    def test_json_is_read_back(self) -> None:
        assert parse_profile(printed(gpu_profile(), "json"), "x") == gpu_profile()

    def test_csv_has_raw_figures(self) -> None:
        rows = list(csv.DictReader(io.StringIO(printed(cpu_profile(), "csv"))))
        assert [row["name"] for row in rows] == ["conv1", "relu1", "pool1", "flatten", "fc"]
        assert float(rows[0]["time"]) == pytest.approx(0.004) and float(rows[0]["spread"]) == pytest.approx(200e-6)
        assert rows[1]["calls"] == "2" and rows[0]["kernels"] == "" and rows[3]["share_of_floor"] == ""

    def test_chosen_columns(self) -> None:
        view = ProfileView(columns=("name", "kernel_names"))
        assert printed(gpu_profile(), "csv", view).splitlines()[1] == "conv1,implicit_gemm"
        assert "implicit_gemm" in printed(gpu_profile(), "table", view)
        assert "| `conv1` | `implicit_gemm` |" in printed(gpu_profile(), "markdown", view)

    @pytest.mark.parametrize("width", [60, 80, 120, 200])
    def test_columns_that_options_ask_for_are_shown_at_any_width(self, width: int) -> None:
        plain = cpu_profile()
        first, *others = plain.layers
        alone = replace(plain, layers=(replace(first, warm=samples(3900, 1), cold=samples(4100, 1)), *others))
        both = replace(plain, layers=(replace(first, backward=samples(8000, 90)), *others))
        assert {"warm", "cold"} <= set(titles(alone, width)) and "backward" not in titles(alone, width)
        assert {"forward", "backward"} <= set(titles(both, width)) and "warm" not in titles(both, width)
        assert not {"forward", "backward", "warm", "cold"} & set(titles(plain, width))

    @pytest.mark.parametrize("format", ["table", "markdown", "csv", "json"])
    def test_changes_since_an_earlier_profile(self, format: str) -> None:
        before = cpu_profile()
        slower = replace(before.layers[0], forward=samples(4500, 100))
        after = replace(before, layers=(slower, *before.layers[1:]))
        shown = printed(after, format, against=Against(compare_profiles(before, after), "old.json"))
        assert "conv1" in shown and "slower" in shown
        if format == "json":
            changes = json.loads(shown)["difference"]
            assert changes["baseline"] == "old.json" and changes["layers"][0]["verdict"] == "slower"
            assert parse_profile(shown, "x") == after

    def test_an_unknown_format_is_named(self) -> None:
        with pytest.raises(CnnstatError, match="there is no format jsn here; did you mean json"):
            printed(cpu_profile(), "jsn")

    def test_a_profile_prints_itself(self) -> None:
        assert repr(cpu_profile()) == text(cpu_profile(), 100)
        assert "<table>" in cpu_profile()._repr_html_() and cpu_profile().to_dict()["layers"][0]["name"] == "conv1"


def titles(profile: Profile, width: int) -> list[str]:
    """Return the words of the line above the first rule."""
    lines = text(profile, width).splitlines()
    return lines[next(number for number, line in enumerate(lines) if line.startswith("──")) - 1].split()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0"),
        (1e-9, "0"),
        (8e-9, "0.01 µs"),
        (1.234e-6, "1.23 µs"),
        (99.96e-6, "100 µs"),
        (999.6e-6, "1.00 ms"),
        (0.01234, "12.3 ms"),
        (0.9994, "999 ms"),
        (1.5, "1.50 s"),
        (4000.0, "4,000 s"),
        (-2.5e-3, "−2.50 ms"),
    ],
)
def test_times_have_three_digits(seconds: float, shown: str) -> None:
    assert numbers.seconds_text(seconds) == shown


@pytest.mark.parametrize(
    ("median", "spread", "shown"),
    [
        (12.34e-3, 0.4e-3, "12.3 ± 0.4 ms"),
        (12.34e-3, 1e-6, "12.3 ± <0.1 ms"),
        (5e-3, 0.0, "5.00 ± 0.00 ms"),
        (0, 0, "0"),
    ],
)
def test_scatter_is_in_the_unit_of_the_median(median: float, spread: float, shown: str) -> None:
    assert numbers.spread_text(median, spread) == shown


@given(st.floats(-100, 100), st.floats(0, 100))
def test_any_time_is_short(seconds: float, spread: float) -> None:
    assert width_of(numbers.seconds_text(seconds)) <= 9
    assert "-" not in numbers.seconds_text(seconds)
    assert numbers.spread_text(seconds, spread)


@pytest.mark.parametrize(("median", "title"), [(0.012, "rows checked"), (0.2, "rows differ")])
def test_a_check_of_rows_is_told_and_kept(median: float, title: str) -> None:
    check = RowCheck(rows=31, median=median, worst="conv4", worst_apart=-0.25)
    profile = gpu_profile(row_check=check)
    facts = {fact.label: fact.text for fact in summary(profile)}
    assert facts[title].startswith("31 layers of 10 µs and more against events inside the graph")
    assert "conv4 -25.0 %" in facts[title]
    assert parse_profile(json.dumps(to_json(profile)), "it").row_check == check

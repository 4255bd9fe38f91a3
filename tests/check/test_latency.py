"""Limits on time: rounds of known length judged exactly, and real runs by their proportions alone."""

from __future__ import annotations

from typing import Any

import pytest
from git_history import Command, History, spec

from cnnstat.check import latency
from cnnstat.check.check_result import LayerShare, Status
from cnnstat.check.configuration import ModelSettings
from cnnstat.check.latency import Rounds, judge, latency_verdict
from cnnstat.check.limits import METRICS, Limit, flag_limit, parse_amount
from cnnstat.check.model_figures import Missing, ModelFigures
from cnnstat.check.verdicts import Comparison
from cnnstat.numbers import Unit

MS = 1_000_000


def limit(bound: str, amount: str, *, blocking: bool = True) -> Limit:
    found = parse_amount(amount, Unit.TIME, may_be_share=True)
    return Limit(metric=METRICS["latency"], bound=bound, amount=found, is_blocking=blocking, key=f"latency.{bound}")


def rounds(after: tuple[float, ...], before: tuple[float, ...] | None = None) -> Rounds:
    """Return rounds given in milliseconds."""
    whole = [None if times is None else tuple(round(MS * time) for time in times) for times in (after, before)]
    return Rounds(after=whole[0] or (), before=whole[1], device="Some CPU")


@pytest.mark.parametrize(
    ("after", "status"),
    [
        ((4.0,) * 8, Status.PASS),
        ((5.0,) * 8, Status.PASS),
        ((6.0,) * 8, Status.FAIL),
        ((4.0,) * 3 + (6.0,) * 5, Status.PASS),
        ((4.0,) * 2 + (6.0,) * 6, Status.FAIL),
        ((4.0,) * 7 + (500.0,), Status.PASS),
    ],
)
def test_three_of_four_rounds_break_a_limit(after: tuple[float, ...], status: Status) -> None:
    assert judge(limit("max", "5 ms"), rounds(after)).status is status


def test_a_median_over_the_limit_within_noise_is_told() -> None:
    found = judge(limit("max", "5 ms"), rounds((4.9, 4.9, 4.9, 5.1, 5.1, 5.1, 5.1, 5.1)))
    assert found.status is Status.PASS
    assert "≈ 5 ms, over it in 5 of 8 rounds, which is noise" in found.message


def test_growth_is_judged_round_by_round() -> None:
    slow_machine = tuple(1.0 + 0.3 * number for number in range(8))
    grown = rounds(tuple(1.2 * time for time in slow_machine), slow_machine)
    assert judge(limit("max_increase", "10%"), grown).status is Status.FAIL
    assert judge(limit("max_increase", "25%"), grown).status is Status.PASS


def test_messages() -> None:
    layers = (LayerShare(name="stem", value=4 * MS), LayerShare(name="head", value=MS))
    over = judge(limit("max", "5 ms"), rounds((6.0,) * 8), layers)
    assert over.message == (
        "latency 6.00 ± 0.00 ms > 5 ms by 1.00 ms; slowest layers stem 4.00 ms, head 1.00 ms. Speed it up or raise "
        "latency.max; measured on Some CPU"
    )
    assert (over.value, over.limit, over.baseline) == (6 * MS, 5 * MS, None)
    grown = (LayerShare(name="stem", value=4 * MS, baseline=3 * MS),)
    more = judge(limit("max_increase", "10%", blocking=False), rounds((6.0,) * 8, (5.0,) * 8), grown)
    assert more.status is Status.WARN and (more.value, more.limit, more.baseline) == (6 * MS, 5_500_000, 5 * MS)
    assert more.message == (
        "latency 6.00 ± 0.00 ms, +20.0 % against the baseline's 5.00 ± 0.00 ms in turns with it, +10% allowed; "
        "largest growth stem +1.00 ms. Speed it up or raise latency.max_increase (a warning: --fail-on-latency makes "
        "it fail); measured on Some CPU"
    )
    same = judge(limit("max_increase", "10%"), rounds((5.0,) * 8, (5.0,) * 8))
    assert same.message == "latency 5.00 ± 0.00 ms: 0 % against the baseline, +10% allowed; measured on Some CPU"


def test_a_flag_warns_unless_told_otherwise() -> None:
    assert not flag_limit("latency", "max", "5ms").is_blocking
    assert flag_limit("params", "max", "5M").is_blocking


@pytest.mark.parametrize(("required", "status"), [(False, Status.SKIPPED), (True, Status.UNVERIFIED)])
def test_growth_without_a_baseline(required: bool, status: Status) -> None:
    figures = ModelFigures(dtype="float32", optimizer="sgd", inputs=(), totals={}, layers=())
    model = ModelSettings(source="tiny.yaml", name="tiny.yaml")
    relative = limit("max_increase", "10%")
    missing = Comparison(figures=figures, baseline=Missing(reason="no baseline"), is_required=required)
    verdict = latency_verdict(relative, "tiny.yaml", model, missing)
    assert verdict.status is status and verdict.message == "latency: no baseline"
    same = Comparison(figures=figures, baseline=figures, is_required=required)
    no_graph = latency_verdict(relative, "tiny.yaml", model, same)
    assert no_graph.status is Status.UNVERIFIED and "--baseline-ref" in no_graph.message


class TestOnTheCpu:
    """Real runs: limits that no machine breaks, and some that every machine does."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch")
        monkeypatch.setattr(latency, "ROUNDS", 8)
        monkeypatch.setattr(latency, "PROFILED", 2)

    def test_an_hour_is_enough_and_a_nanosecond_is_not(self, check: Command, history: History) -> None:
        history.write("tiny.yaml", spec(8))
        kept = check("tiny.yaml", "--max-latency", "3600 s", "--fail-on-latency", "--device", "cpu", "--threads", "1")
        assert kept.code == 0 and "1 limit" not in kept.err, kept
        broken = check("tiny.yaml", "--max-latency", "1 ns", "--fail-on-latency", "--device", "cpu", "--threads", "1")
        assert broken.code == 1 and "slowest layers stem" in broken.out, broken
        warned = check("tiny.yaml", "--max-latency", "1 ns", "--device", "cpu")
        assert warned.code == 0 and "--fail-on-latency makes it fail" in warned.out

    def test_base_and_head_run_in_turns(self, check: Command, history: History) -> None:
        history.commit(tiny__yaml=spec(8))
        history.write("tiny.yaml", spec(8, more=12).replace("16, 16", "64, 64"))
        arguments = ("tiny.yaml", "--max-increase", "latency=20%", "--baseline-ref", "HEAD", "--fail-on-latency")
        grown = check(*arguments, "--device", "cpu", "--threads", "1", "--input", "3x64x64")
        assert grown.code == 1 and "largest growth" in grown.out, grown

    def test_a_missing_device_is_not_verified(self, check: Command, history: History) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        history.write("tiny.yaml", spec(8))
        result = check("tiny.yaml", "--max-latency", "1 s", "--device", "cuda", "--fail-on-latency")
        assert result.code == 3 and "no CUDA GPU is available" in result.out, result


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            'budgets.latency = {max = "5 ms", device = "cudaa"}',
            "device cudaa: there is no such device; did you mean cuda?",
        ),
        ('budgets.latency = {max = "5 mss"}', "there is no unit mss here; did you mean ms?"),
        ('budgets.latency = {max = "5 ms", threads = 0}', "threads must be an integer of at least 1"),
        ("budgets.params = {max = 5, threads = 1}", "unknown key threads"),
        ('budgets.latency = {maxx = "5 ms"}', "did you mean max?"),
    ],
)
def test_slips_in_the_configuration(check: Command, folder: Any, written: str, said: str) -> None:
    (folder / "tiny.yaml").write_text(spec(8))
    (folder / "cnnstat.toml").write_text(f'[[check.models]]\nsource = "tiny.yaml"\n{written}\n')
    result = check()
    assert result.code == 2 and said in result.err, result


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max-latency", "5"), "'5' is not an amount; write it as in 12 ms or 800 us"),
        (("--max-latency", "5 mss"), "there is no unit mss here; did you mean ms?"),
        (("--max-latency", "10%"), "'10%' is relative"),
        (("--max-latency", "5 ms", "--device", "cpuu"), "did you mean cpu?"),
        (("--max-latency", "5 ms", "--threads", "0"), "--threads 0: must be from 1"),
        (("--max-increase", "latncy=5%"), "did you mean latency?"),
    ],
)
def test_slips_on_the_command_line(check: Command, folder: Any, arguments: tuple[str, ...], said: str) -> None:
    (folder / "tiny.yaml").write_text(spec(8))
    result = check("tiny.yaml", *arguments)
    assert result.code == 2 and said in result.err and result.err.count("\n") == 1, result

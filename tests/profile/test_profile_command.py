"""`cnnstat profile` and `compare --profile` as a user meets them; measuring is real only where it says so."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from handmade_profiles import US, cpu_profile, gpu_profile, samples

import cnnstat
from cnnstat import cli
from cnnstat.commands import profile as profile_command
from cnnstat.profile import profile_options
from cnnstat.profile.profile_json import read_profile
from cnnstat.profile.profile_result import Profile, TimeBreakdown

profiler = import_module("cnnstat.profile")

TINY = "input: [3, 16, 16]\nlayers:\n  - conv1: Conv2d(8, 3)\n  - relu1: ReLU\n  - Flatten\n  - fc: Linear(10)\n"


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder for the ceilings, which are measured once for all tests of this file."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    monkeypatch.setenv("CNNSTAT_CACHE", cache)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        return Result(int(stop.value.code or 0), out, err)

    return call


class Measured:
    """Stands for the measuring: keeps what was asked for, and answers with hand-made profiles."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, Any, bool]] = []
        self.answer: Callable[[str], Profile] = lambda name: cpu_profile(model=name)

    def profile(self, model: Any, options: Any, progress: Any, *, refresh: bool = False) -> Profile:
        self.asked.append((model.source, model.request, options, refresh))
        name = model.load().name
        progress.stage("measuring", 1)
        progress.step()
        return self.answer(name)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    found = Measured()
    monkeypatch.setattr(profiler, "profile", found.profile)
    monkeypatch.setattr(profile_command, "need_torch", lambda: None)
    return found


WRONG = TimeBreakdown(whole=10_000 * US, layers=7_000 * US, idle=0.0, unattributed=0.0)


class TestOneModel:
    def test_the_table(self, run: Run, measured: Measured) -> None:
        result = run("profile", "tiny.yaml")
        assert result.code == 0 and not result.err
        assert "conv1" in result.out and "whole model   10.00 ms   100" in result.out

    def test_options_reach_the_measuring(self, run: Run, measured: Measured) -> None:
        flags = "--device cuda:1 --dtype bfloat16 --batch 8 --samples 7 --threads 3 --channels-last --backward --tf32"
        more = "--isolate --energy --mode train --trace t.json --input 3x32x32 --refresh-ceilings"
        assert run("profile", "tiny.yaml", *flags.split(), *more.split()).code == 0
        ((source, request, options, refresh),) = measured.asked
        assert (source, request.batch, request.dtype, request.mode, refresh) == (
            "tiny.yaml",
            8,
            "bfloat16",
            "train",
            True,
        )
        assert request.inputs[""].sizes == (3, 32, 32)
        assert options == profile_options.make_options(
            device="cuda:1", dtype="bfloat16", samples=7, threads=3, channels_last=True, backward=True, tf32=True,
            isolate=True, energy=True, trace=Path("t.json"),
        )  # fmt: skip

    def test_defaults(self, run: Run, measured: Measured) -> None:
        run("profile", "tiny.yaml")
        ((_, _, options, refresh),) = measured.asked
        assert (options.device, options.samples, options.threads, options.tf32, refresh) == (
            None,
            30,
            None,
            False,
            False,
        )

    @pytest.mark.parametrize("format", ["table", "json", "csv", "markdown"])
    def test_every_format_to_a_file(self, run: Run, measured: Measured, tmp_path: Path, format: str) -> None:
        printed = run("profile", "tiny.yaml", "--format", format)
        written = run("profile", "tiny.yaml", "--format", format, "--output", "out")
        assert written.out == "" and written.code == printed.code == 0
        text = (tmp_path / "out").read_text()
        assert "conv1" in text and (format == "table" or text == printed.out.replace("\r\n", "\n"))

    def test_views(self, run: Run, measured: Measured) -> None:
        result = run("profile", "tiny.yaml", "--sort", "time", "--top", "1", "--columns", "name, time", "-f", "csv")
        assert list(csv.reader(io.StringIO(result.out))) == [
            ["name", "time"],
            ["fc", str(cpu_profile().layers[4].seconds)],
        ]

    def test_parts_that_do_not_add_up(self, run: Run, measured: Measured) -> None:
        measured.answer = lambda name: cpu_profile(time_breakdown=WRONG)
        lenient, strict = run("profile", "tiny.yaml"), run("profile", "tiny.yaml", "--strict")
        assert (lenient.code, strict.code) == (0, 3)
        assert "drift is 30.0 % of the whole" in lenient.out and lenient.out == strict.out
        measured.answer = lambda name: gpu_profile()
        assert run("profile", "tiny.yaml", "--strict").code == 0

    def test_a_stopped_measurement_prints_what_there_is(self, run: Run, measured: Measured) -> None:
        measured.answer = lambda name: cpu_profile(complete=False)
        result = run("profile", "tiny.yaml", "--strict")
        assert result.code == 130 and "conv1" in result.out and "stopped before everything was measured" in result.out

    def test_stopped_before_anything_was_measured(self, run: Run, measured: Measured) -> None:
        def stop(name: str) -> Profile:
            raise KeyboardInterrupt

        measured.answer = stop
        assert run("profile", "tiny.yaml") == (130, "", "cnnstat: stopped before tiny.yaml was measured\n")


class TestBaseline:
    @pytest.fixture
    def old(self, tmp_path: Path) -> str:
        before = cpu_profile(model="tiny")
        faster = replace(before.layers[0], forward=samples(3000, 100))
        (tmp_path / "old.json").write_text(json.dumps(replace(before, layers=(faster, *before.layers[1:])).to_dict()))
        return "old.json"

    def test_changes_are_printed_below(self, run: Run, measured: Measured, old: str) -> None:
        result = run("profile", "tiny.yaml", "--baseline", old, "--strict")
        assert result.code == 0
        assert "against old.json" in result.out and "slower 1 layer: conv1" in " ".join(result.out.split())

    def test_what_was_not_alike_is_told_and_strict_refuses_it(self, run: Run, measured: Measured, old: str) -> None:
        around = replace(cpu_profile().environment, dtype="bfloat16", threads=8)
        measured.answer = lambda name: cpu_profile(model=name, environment=around)
        lenient, strict = (
            run("profile", "tiny.yaml", "--baseline", old),
            run("profile", "tiny.yaml", "--baseline", old, "--strict"),
        )
        assert (lenient.code, strict.code) == (0, 3)
        assert "dtype float32 → bfloat16; threads 2 → 8" in " ".join(lenient.out.split())

    def test_a_profile_is_its_own_baseline(self, run: Run, measured: Measured, tmp_path: Path) -> None:
        run("profile", "tiny.yaml", "--format", "json", "--output", "self.json")
        assert read_profile(tmp_path / "self.json") == cpu_profile(model="tiny")
        result = run("profile", "tiny.yaml", "--baseline", "self.json", "--format", "csv")
        assert {line.rsplit(",", 1)[1] for line in result.out.split()[1:] if "," in line} == {"same"}

    def test_a_wrong_file_is_refused_before_measuring(self, run: Run, measured: Measured) -> None:
        result = run("profile", "tiny.yaml", "--baseline", "tiny.yaml")
        assert result.code == 2 and "tiny.yaml:1: not valid JSON" in result.err and not measured.asked


class TestTheZoo:
    def test_one_line_for_each_main_network(self, run: Run, measured: Measured) -> None:
        result = run("profile")
        assert result.code == 0
        names = [line.split()[0] for line in result.out.splitlines() if "10.0 ± 0.1 ms" in line]
        assert {"lenet5", "alexnet", "vgg16", "resnet50"} <= set(names)
        assert [source for source, *_ in measured.asked] == names
        assert [refresh for *_, refresh in measured.asked] == [True] + [False] * (len(names) - 1)
        assert {options.samples for _, _, options, _ in measured.asked} == {profile_command.BRIEF}
        assert "kept in" in result.out and max(map(len, result.out.splitlines())) <= 80

    def test_other_formats(self, run: Run, measured: Measured) -> None:
        found = json.loads(run("profile", "--format", "json").out)
        assert found["schema"] == "cnnstat-profiles/1" and found["profiles"][0]["model"]["name"] == "lenet5"
        rows = list(csv.DictReader(io.StringIO(run("profile", "--format", "csv").out)))
        assert rows[0]["name"] == "lenet5" and float(rows[0]["time"]) == pytest.approx(0.01)
        assert "| `alexnet` | 10.0 ± 0.1 ms |" in run("profile", "--format", "markdown").out

    def test_what_does_not_add_up_is_marked(self, run: Run, measured: Measured) -> None:
        measured.answer = lambda name: cpu_profile(
            model=name, **({"time_breakdown": WRONG} if name == "alexnet" else {})
        )
        result = run("profile", "--strict")
        assert result.code == 3 and "30.0!" in result.out and "does not add up  alexnet (!)" in result.out

    def test_what_was_measured_before_ctrl_c_stays(self, run: Run, measured: Measured) -> None:
        def answer(name: str) -> Profile:
            if name == "vgg16":
                raise KeyboardInterrupt
            return cpu_profile(model=name)

        measured.answer = answer
        result = run("profile")
        assert result.code == 130 and "alexnet " in result.out and "vgg16" not in result.out

    def test_options_of_one_model_need_one(self, run: Run, measured: Measured) -> None:
        result = run("profile", "--sort", "time")
        assert result.code == 2 and "--sort needs a SOURCE" in result.err and not measured.asked


class TestCompare:
    @pytest.fixture
    def timed(self, measured: Measured) -> None:
        fast = TimeBreakdown(whole=5_000 * US, layers=5_000 * US, idle=0.0, unattributed=0.0)
        whole = replace(cpu_profile().whole, plain=samples(5_000, 100))
        answers = {"lenet5": cpu_profile(model="lenet5"), "lenet5_1998": cpu_profile(time_breakdown=fast, whole=whole)}
        measured.answer = lambda name: answers[name]

    def test_times_stand_beside_counts(self, run: Run, timed: None) -> None:
        result = run("compare", "lenet5", "lenet5_1998", "--profile")
        assert result.code == 0
        lines = [" ".join(line.split()) for line in result.out.splitlines()]
        assert "time of a pass 10.0 ± 0.1 ms 5.00 ± 0.10 ms 0.5×" in lines
        assert "parameters 61.71 K 60.00 K 0.972×" in lines
        assert any(line.startswith("times on cpu, Some CPU 9000, 2 threads") for line in lines)
        assert any(line.startswith("time of convolutions and linear layers") for line in lines)

    def test_other_formats(self, run: Run, timed: None) -> None:
        found = json.loads(run("compare", "lenet5", "lenet5_1998", "--profile", "--format", "json").out)
        assert found["time_ratios"][1]["seconds"] == pytest.approx(0.5)
        assert found["profiles"][0]["schema"] == "cnnstat-profile/1" and found["models"][0]["totals"]["params"] == 61706
        rows = list(csv.DictReader(io.StringIO(run("compare", "lenet5", "lenet5_1998", "--profile", "-f", "csv").out)))
        assert [float(row["seconds"]) for row in rows] == pytest.approx([0.01, 0.005])
        assert "| time of a pass | 10.0 ± 0.1 ms |" in run("compare", "lenet5", "--profile", "-f", "markdown").out

    def test_options_of_times_need_profile(self, run: Run, timed: None) -> None:
        result = run("compare", "lenet5", "lenet5_1998", "--samples", "5")
        assert result.code == 2 and "--samples is of measured times; add --profile" in result.err


SLIPS = [
    (("lenet55",), "did you mean lenet5?"),
    (("tiny.yaml", "--device", "cdua"), "--device cdua: there is no such device; did you mean cuda?"),
    (("tiny.yaml", "--device", "cuda:"), "--device cuda:: there is no such device"),
    (("tiny.yaml", "--device", "gpu"), "did you mean cuda?"),
    (("tiny.yaml", "--device", "xla"), "use cuda, cpu, mps"),
    (("tiny.yaml", "--device", "tpu"), "did you mean cpu?"),
    (("tiny.yaml", "--dtype", "bfloat61"), "did you mean bfloat16?"),
    (("tiny.yaml", "--dtype", "int8"), "measured in floating point"),
    (("tiny.yaml", "--samples", "0"), "--samples 0: must be from 1 to 100,000"),
    (("tiny.yaml", "--samples", "many"), "Invalid value for '--samples'"),
    (("tiny.yaml", "--threads", "-1"), "--threads -1: must be from 1 to 4,096"),
    (("tiny.yaml", "--batch", "0"), "--batch must be at least 1"),
    (("tiny.yaml", "--input", "3y16"), "--input 3y16: write sizes"),
    (("tiny.yaml", "--variable", "width"), "--variable width: write name=value"),
    (("tiny.yaml", "--argument", "a=1"), "--argument is for PyTorch models"),
    (("tiny.yaml", "--mode", "evla"), "'evla' is not one of 'eval', 'train'"),
    (("tiny.yaml", "--columns", "tiem"), "did you mean time?"),
    (("tiny.yaml", "--sort", "shaer"), "did you mean share?"),
    (("tiny.yaml", "--top", "0"), "--top 0 must be at least 1"),
    (("tiny.yaml", "--depth", "0"), "--depth 0 must be at least 1"),
    (("tiny.yaml", "--format", "jsn"), "'jsn' is not one of"),
    (("tiny.yaml", "--output", "tiny.yaml/file"), "tiny.yaml is no folder; name another file"),
    (("tiny.yaml", "--output", "."), "--output .: is a folder; name a file in it"),
    (("tiny.yaml", "--trace", "tiny.yaml/trace.json"), "tiny.yaml is no folder; name another file"),
    (("tiny.yaml", "--baseline", "nope.json"), "nope.json: cannot be read: No such file or directory"),
    (("tiny.yaml", "--chanels-last"), "--channels-last"),
]


@pytest.mark.parametrize(("arguments", "said"), SLIPS, ids=[" ".join(a) for a, _ in SLIPS])
def test_slips_are_one_clear_line(run: Run, measured: Measured, arguments: tuple[str, ...], said: str) -> None:
    result = run("profile", *arguments)
    assert result.code == 2 and said in result.err and not result.out
    assert result.err.count("\n") == 1 and "internal error" not in result.err


def test_without_pytorch_the_remedy_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for arguments in (("profile", "tiny.yaml"), ("profile",), ("compare", "tiny.yaml", "--profile")):
        result = run(*arguments)
        assert result.code == 2 and not result.out
        assert result.err == "cnnstat: measuring needs PyTorch, which is not installed; pip install 'cnnstat[torch]'\n"


class TestFromPython:
    def test_options_reach_the_measuring(self, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(profiler, "need_torch", lambda: None)
        found = cnnstat.profile("lenet5", batch=4, device="cpu", samples=3)
        assert found == cpu_profile(model="lenet5")
        ((source, request, options, _),) = measured.asked
        assert (source, request.batch, options.device, options.samples) == ("lenet5", 4, "cpu", 3)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"device": "gpu"}, "there is no such device"),
            ({"mode": "evla"}, "write eval or train"),
            ({"samples": 0}, "1 to"),
        ],
    )
    def test_slips(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(cnnstat.CnnstatError, match=said):
            cnnstat.profile("lenet5", **options)


class TestRealRuns:
    """The whole way on this machine's CPU, without a look at how long anything takes."""

    @pytest.fixture(autouse=True)
    def torch(self) -> None:
        pytest.importorskip("torch")

    def test_a_spec(self, run: Run, tmp_path: Path) -> None:
        options = ("--device", "cpu", "--threads", "1", "--samples", "5")
        result = run("profile", "tiny.yaml", *options, "--format", "json", "--output", "out.json")
        assert result.code == 0, result
        found = read_profile(tmp_path / "out.json")
        assert [layer.name for layer in found.layers] == [layer.name for layer in cnnstat.analyze("tiny.yaml").layers]
        assert found.time_breakdown.layers == pytest.approx(sum(layer.seconds for layer in found.layers))
        assert found.environment.threads == 1 and found.layers[0].seconds > 0 and found.complete
        again = run("profile", "tiny.yaml", *options, "--baseline", "out.json")
        assert again.code == 0 and "against out.json" in again.out and "not alike" not in again.out

    def test_a_module(self) -> None:
        import torch

        module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        found = cnnstat.profile(module, (1, 3, 16, 16), device="cpu", samples=3, threads=1)
        assert [layer.kind for layer in found.layers] == ["Conv2d", "ReLU"] and "whole model" in repr(found)
        assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())

    def test_a_missing_gpu(self, run: Run) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        result = run("profile", "tiny.yaml", "--device", "cuda")
        assert result.code == 2 and result.err.startswith("cnnstat: no CUDA GPU is available here")
        assert result.err.count("\n") == 1

    def test_ctrl_c_leaves_the_partial_table(self, tmp_path: Path) -> None:
        (tmp_path / "tiny.yaml").write_text(TINY)
        environment = {**os.environ, "CNNSTAT_CACHE": str(tmp_path), "COLUMNS": "80"}
        command = [sys.executable, "-m", "cnnstat", "profile", "tiny.yaml", "--device", "cpu", "--samples", "100000"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("*.json")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)  # until the ceilings are kept, after which the measuring begins
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, (out, err)
        assert ("conv1" in out and "stopped before everything was measured" in out) or "stopped before" in err
        assert "Traceback" not in err


def test_ctrl_c_waits_until_pytorch_is_imported() -> None:
    before = signal.getsignal(signal.SIGINT)
    reached = []
    with pytest.raises(KeyboardInterrupt), profiler._patient():
        signal.raise_signal(signal.SIGINT)
        reached.append("the end of the import")
    assert reached and signal.getsignal(signal.SIGINT) is before

"""`cnnstat sweep`: what it writes, and that it goes on where it was stopped, however that was."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import cnnstat
from cnnstat import cli
from cnnstat.sweep import executors

NET = """
input: [3, 32, 32]
let: {width: 8, depth: 1}
layers:
  - Conv2d(width, 3, padding=1)
  - {repeat: depth, layers: [Conv2d(width, 3, padding=1), ReLU]}
  - AdaptiveAvgPool2d(1)
  - Flatten
  - Linear(10)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.yaml").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def run(monkeypatch, capfd):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnnstat", "sweep", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capfd.readouterr())

    return call


def records(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


WIDTHS = ("--set", "width=8:48:8", "--set", "depth=1,2")


def test_processes_run_no_module_of_the_current_folder(run, folder, monkeypatch):
    (folder / "multiprocessing.py").write_text("open('ran', 'w').close()\nraise SystemExit(9)\n")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = dict(os.environ)
    code, output, _ = run("net.yaml", *WIDTHS, "--jobs", "2", "--format", "csv")
    assert (code, len(output.splitlines())) == (0, 11)
    assert not (folder / "ran").exists()
    assert dict(os.environ) == before  # nothing stays for what runs in this process afterwards


def test_each_point_is_what_analyze_says_of_it(folder, run):
    code, _, err = run("net.yaml", *WIDTHS, "--input", "3x{16,32}x=", "-o", "points.jsonl")
    points = records("points.jsonl")
    assert code == 0 and len(points) == 20 == len({p["point"] for p in points}) and "20 points" in err
    assert [p["point"] for p in points] == list(range(20))
    for point in points:
        settings = point["settings"]
        analysis = cnnstat.analyze(
            "net.yaml", settings["input"], variables={"width": int(settings["width"]), "depth": int(settings["depth"])}
        )
        totals = analysis.totals
        assert (point["params"], point["macs"], point["flops"]) == (totals.params, totals.macs, totals.flops)
        assert point["peak_inference_bytes"] == totals.memory.peak_inference_bytes
        assert point["file_size"] == totals.memory.file_size
        assert point["receptive_field"] == min(totals.receptive_field.size) and point["error"] is None


def test_a_finished_sweep_is_not_computed_again_and_a_changed_one_is(folder, run, monkeypatch):
    run("net.yaml", *WIDTHS, "-o", "points.jsonl")
    whole = Path("points.jsonl").read_bytes()
    computed = []
    from cnnstat.sweep import evaluate, sweep

    def counting(points, **options):
        computed.extend(p.number for p in points)
        return evaluate.evaluate_all(points, **options)

    monkeypatch.setattr(sweep, "evaluate_all", counting)
    run("net.yaml", *WIDTHS, "-o", "points.jsonl")
    assert computed == [] and Path("points.jsonl").read_bytes() == whole
    run("net.yaml", *WIDTHS, "--batch", "1", "-o", "points.jsonl")
    assert len(computed) == 10 and records("points.jsonl")[0]["settings"]["batch"] == "1"
    Path("points.jsonl").write_bytes(whole)
    Path("net.yaml").write_text(NET.replace("Linear(10)", "Linear(20)"))
    computed.clear()
    run("net.yaml", *WIDTHS, "-o", "points.jsonl")
    assert (
        computed == list(range(10))
        and records("points.jsonl")[0]["params"] > json.loads(whole.splitlines()[0])["params"]
    )


def test_a_file_cut_anywhere_is_completed_to_the_same_bytes(folder, run):
    run("net.yaml", *WIDTHS, "-o", "points.jsonl")
    whole = Path("points.jsonl").read_bytes()
    for length in (0, 1, 13, len(whole) // 2, len(whole) - 1):
        Path("points.jsonl").write_bytes(whole[:length])
        assert run("net.yaml", *WIDTHS, "-o", "points.jsonl")[0] == 0
        assert Path("points.jsonl").read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    Path("points.jsonl").write_bytes(b"".join(lines[::-1][:7]))
    run("net.yaml", *WIDTHS, "-o", "points.jsonl")
    assert Path("points.jsonl").read_bytes() == whole


@pytest.mark.parametrize("content", ["hello\n", '{"a": 1}\n', "input: [3]\n", '{"schema": "cnnstat-sweep/1"}\n', "\n"])
def test_a_file_of_something_else_is_left_alone(folder, run, content):
    Path("other.jsonl").write_text(content)
    code, _, err = run("net.yaml", *WIDTHS, "-o", "other.jsonl")
    assert code == 2 and "is no point of a sweep" in err and "other.jsonl:1" in err
    assert Path("other.jsonl").read_text() == content


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL and process groups are POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT] if os.name != "nt" else [])
def test_a_stopped_sweep_goes_on(folder, number):
    command = [
        sys.executable,
        "-m",
        "cnnstat",
        "sweep",
        "resnet50",
        "--set",
        "classes=10:110",
        "--jobs",
        "2",
        "-o",
        "p.jsonl",
    ]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while time.monotonic() < end and not (Path("p.jsonl").exists() and Path("p.jsonl").read_bytes().count(b"\n") > 5):
        time.sleep(0.02)
    # Ctrl-C reaches every process of the terminal's group, a kill only the one it is meant for.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    before = Path("p.jsonl").read_bytes().count(b"\n")
    assert 5 < before < 100
    if number == signal.SIGINT:
        assert process.returncode == 130 and f"stopped after {before:,} of 100 points" in err and "Traceback" not in err
    kept = {
        json.loads(line)["point"]
        for line in Path("p.jsonl").read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    }
    assert subprocess.run(command, capture_output=True).returncode == 0
    points = records("p.jsonl")
    assert [p["point"] for p in points] == list(range(100)) and kept <= {p["point"] for p in points}
    sizes = {p["params"] - 2049 * int(p["settings"]["classes"]) for p in points}
    assert sizes == {cnnstat.analyze("resnet50").totals.params - 2049 * 1000}


@pytest.mark.skipif(os.name == "nt", reason="files are locked by fcntl")
def test_two_sweeps_do_not_write_one_file(folder, run):
    from cnnstat.sweep.point_file import PointFile

    other = PointFile(Path("points.jsonl"))
    other.open(lambda record: True)
    code, _, err = run("net.yaml", *WIDTHS, "-o", "points.jsonl")
    assert code == 2 and "another sweep is writing it" in err and Path("points.jsonl").read_bytes() == b""
    other.close()
    assert run("net.yaml", *WIDTHS, "-o", "points.jsonl")[0] == 0


def test_a_script_that_cannot_start_processes_is_told_why(folder):
    Path("script.py").write_text("import cnnstat\ncnnstat.sweep('net.yaml', variables={'width': [8, 16]}, jobs=2)\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(cnnstat.__file__).parent.parent)}
    ran = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=60, env=environment)
    assert ran.returncode == 1 and "no process can be started; a script needs `if __name__" in ran.stderr


def test_one_point_at_a_time_until_it_is_known_how_long_they_take(monkeypatch):
    from cnnstat.sweep import sweep

    now = 100.0
    monkeypatch.setattr(sweep.time, "monotonic", lambda: now)
    pace = sweep._Pace(2, most=16)
    assert pace.size() == 1
    pace.note(1)  # the first brings the start of the processes with it
    assert pace.size() == 1
    now += 0.05
    pace.note(10)  # ten in 0.05 s by two processes: 0.01 s each
    assert pace.size() == 10
    now += 10
    assert pace.size() == 1
    pace.note(100_000)
    assert pace.size() == 16


def test_an_error_is_a_line_and_everything_failing_is_exit_code_2(folder, run):
    code, _, err = run("net.yaml", "--set", "width=8,nothing", "-o", "points.jsonl")
    good, bad = records("points.jsonl")
    assert (
        code == 0 and good["error"] is None and "width" in bad["error"] + str(bad["settings"]) and "params" not in bad
    )
    assert "1 of 2 points have no figures" in err
    code, out, _ = run("net.yaml", "vgg99", "--set", "width=8")
    assert code == 0 and "did you mean vgg19" in out.replace("\n            ", " ")
    assert run("net.yaml", "--set", "width=none")[0] == 2
    code, _, err = run("vgg99")
    assert code == 2 and "did you mean vgg19?" in err, "tables cut the lines of errors"


def test_what_is_selected_is_what_is_written(folder, run):
    run("net.yaml", *WIDTHS, "-o", "all.jsonl")
    every = records("all.jsonl")
    run("net.yaml", *WIDTHS, "--where", "params < 4K", "--sort", "-macs", "--top", "3", "-o", "some.jsonl")
    wanted = sorted((p for p in every if p["params"] < 4000), key=lambda p: p["macs"])[:3]
    assert [p["point"] for p in records("some.jsonl")] == [p["point"] for p in wanted]
    run("net.yaml", *WIDTHS, "--pareto", "macs,receptive_field", "-o", "front.jsonl")
    front = {p["point"] for p in records("front.jsonl")}
    beaten = {p["point"] for p in every if any(
        o["macs"] <= p["macs"] and o["receptive_field"] >= p["receptive_field"]
        and (o["macs"], o["receptive_field"]) != (p["macs"], p["receptive_field"]) for o in every)}  # fmt: skip
    assert front == {p["point"] for p in every} - beaten
    code, out, _ = run("net.yaml", *WIDTHS, "--pareto", "macs,receptive_field", "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [int(row["params"]) for row in rows] == [p["params"] for p in every if p["point"] in front]
    assert rows[0]["width"] == "8" and rows[0]["error"] == ""


@pytest.mark.parametrize("format", ["json", "jsonl", "markdown", "html", "latex", "table"])
def test_every_format_has_every_point(folder, run, format):
    code, out, _ = run("net.yaml", *WIDTHS, "--batch", "1,2", "-f", format)
    assert code == 0
    if format == "json":
        assert len(json.loads(out)["points"]) == 20
    elif format == "jsonl":
        assert len([json.loads(line) for line in out.splitlines()]) == 20
    else:
        assert out.count("40") >= 4
    code, _, _ = run("net.yaml", *WIDTHS, "-f", format, "-o", "file.out")
    assert code == 0 and sorted(path.name for path in folder.iterdir()) == ["file.out", "net.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.yaml", "--set", "wdith=1,2"), "did you mean width"),
        (("net.yaml", "--where", "parms < 1"), "did you mean params"),
        (("net.yaml", "--sort", "mcs"), "did you mean macs"),
        (("net.yaml", "--columns", "mcs"), "did you mean macs"),
        (("net.yaml", "--plot", "macs"), "write two figures"),
        (("net.yaml", "--plot", "macs,parms"), "did you mean params"),
        (("net.yaml", "--pareto", "macs"), "two figures"),
        (("net.yaml", "--plot", "macs,accuracy"), "add --accuracy FILE"),
        (("net.yaml", "--set", "width=0.1:0.5:0.1"), "no range of whole numbers"),
        (("net.yaml", "--samples", "3"), "--samples is of measured times; add --profile"),
        (("net.yaml", "--slurm", "partition=a"), "is for --executor slurm"),
        (("net.yaml", "--accuracy", "no.csv"), "--accuracy no.csv: cannot be read"),
        (("no*.yaml",), "matches no file"),
        (("net.yaml", "--batch", "1:90000", "--set", "width=1:90000"), "points, 10,000,000 at most"),
        (("net.yaml", *(f"--input={x}={{1:90000}}" for x in "abcd")), "7e+19 points, 10,000,000 at most"),
        (("net.yaml", "--sample", "3", *(f"--input={x}={{1:90000}}" for x in "abcd")), "7e+19 points are more than"),
        (("-",), "can be read only once"),
        (("net.yaml", "-o", "net.yaml"), "would overwrite"),
        (("net.yaml", "-f", "jsn"), "jsn"),
    ],
)
def test_wrong_arguments_are_one_line(folder, run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2 and message in " ".join((out + err).split())


def test_accuracies_are_joined_by_name_and_make_a_front(folder, run):
    Path("results.csv").write_text("model,top1,note\nresnet18,69.8,x\nresnet34,73.3,\nvgg16,71.6,\nother,1,\n")
    code, out, err = run("resnet18", "resnet34", "vgg16", "vgg19", "--accuracy", "results.csv", "--pareto",
                         "accuracy,params", "-f", "csv")  # fmt: skip
    rows = {row["source"]: row["accuracy"] for row in csv.DictReader(io.StringIO(out))}
    assert code == 0 and rows == {"resnet18": "69.8", "resnet34": "73.3"} and "no point is called other" in err
    run("net.yaml", "--set", "width=8,16", "--accuracy", "results.csv", "-o", "p.jsonl")
    assert [p["accuracy"] for p in records("p.jsonl")] == [None, None]
    Path("widths.csv").write_text("width,accuracy\n8,50\n16,60%\n")
    run("net.yaml", "--set", "width=8,16", "--accuracy", "widths.csv", "-o", "p.jsonl")
    assert [p["accuracy"] for p in records("p.jsonl")] == [50.0, 60.0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a\n1\n",
        "model,top1\nx,high\n",
        "model,top1\nx,1\nx,2\n",
        "model,top1\nx,nan\n",
        f"model,top1\n{200_000 * 'x'},1\n",
    ],
)
def test_accuracies_that_cannot_be_read_name_the_line(folder, run, content):
    Path("results.csv").write_text(content)
    code, _, err = run("net.yaml", "--accuracy", "results.csv")
    assert code == 2 and "--accuracy results.csv" in err


def test_resolutions_are_rows_and_a_refused_size_is_one_too(folder, monkeypatch, capfd):
    def analyze(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnnstat", "analyze", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capfd.readouterr())

    code, out, _ = analyze("resnet18", "--resolutions", "160:320:32", "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [row["size"] for row in rows] == ["160", "192", "224", "256", "288"]
    for row in rows:
        totals = cnnstat.analyze("resnet18", (3, int(row["size"]), int(row["size"]))).totals
        assert (int(row["macs"]), int(row["peak_inference_bytes"])) == (totals.macs, totals.memory.peak_inference_bytes)
    code, out, _ = analyze("unet", "--resolutions", "160,256", "-f", "csv")
    refused, good = csv.DictReader(io.StringIO(out))
    assert code == 0 and refused["error"] and not refused["macs"] and good["macs"] and not good["error"]
    code, out, _ = analyze("resnet18", "--resolutions", "160,224")
    assert code == 0 and "160" in out and "MACs" in out
    code, out, _ = analyze("vgg16", "--resolutions", "1,2")
    assert code == 2 and "2 points" in out and "MACs\n" not in out  # no figures, no chart
    Path("m.yaml").write_text("input: [10]\nlayers: [Linear(3)]\n")
    for arguments, message in (
        (("resnet18", "--resolutions", "0"), "write sizes"),
        (("m.yaml", "--resolutions", "3"), "no axis of height or width"),
        (("resnet18", "--resolutions", "224", "--depth", "1"), "--depth is of the table of layers"),
    ):
        code, _, err = analyze(*arguments)
        assert code == 2 and message in err


def test_any_executor_gives_the_same_records(folder):
    options = {"variables": {"width": [8, 16, 24]}, "batch": [1, 2]}
    alone = cnnstat.sweep("net.yaml", jobs=1, **options)
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert cnnstat.sweep("net.yaml", executor=threads, **options) == alone
        assert cnnstat.sweep("net.yaml", executor=processes, **options) == alone
    assert cnnstat.sweep("net.yaml", jobs=2, **options) == alone
    assert len(alone) == 6 and alone.where("batch == 2").pareto("params", "macs")[0]["settings"]["width"] == "8"
    with pytest.raises(cnnstat.CnnstatError, match="has no submit"):
        cnnstat.sweep("net.yaml", executor=3, **options)
    with pytest.raises(cnnstat.CnnstatError, match="by name"):
        cnnstat.sweep(cnnstat.load("lenet5"))


def test_submitits_local_executor_works(folder):
    submitit = pytest.importorskip("submitit", reason="submitit is not installed")
    executor = submitit.AutoExecutor(folder / "jobs", cluster="local")
    result = cnnstat.sweep(str(folder / "net.yaml"), variables={"width": [8, 16]}, executor=executor, jobs=1)
    assert [r["error"] for r in result] == [None, None] and result[0]["params"] < result[1]["params"]


@pytest.mark.parametrize("module", ["dask.distributed"])
def test_clients_of_clusters_work(folder, module):
    distributed = pytest.importorskip(module, reason="dask is not installed")
    with distributed.Client(processes=False, dashboard_address=None) as client:
        assert len(cnnstat.sweep(str(folder / "net.yaml"), batch=[1, 2], executor=client)) == 2


def _die_or_double(items):
    return [os._exit(3) if item == 5 else 2 * item for item in items]


def test_a_point_that_kills_its_process_is_the_only_one_lost():
    batches = executors.batches(range(12), 2)
    results = executors.in_processes(_die_or_double, batches, 2, lambda item, why: why)
    values = [value for batch in results for value in batch]
    assert sorted(v for v in values if isinstance(v, int)) == [2 * i for i in range(12) if i != 5]
    assert [v for v in values if isinstance(v, str)] == [
        "its process died, for want of memory or by a fault of native code"
    ]

"""Time and peak memory of `cnnstat analyze torchvision:NAME` against other tools, as ratios in one run.

Whole processes run by turns, each tool in its fastest way: on the meta device where it can count there, and with
--documented also as its own pages call it, on the CPU. They are compared with the bare process, which imports torch
and torchvision and builds the model on the meta device.
Limits are held against CPU time (user + system), which other work on the machine disturbs least; wall time is shown.
A tool that is not installed is left out, and a line says so. Exits with 1 where a limit is broken.
    python benchmarks/peers.py [--rounds 7] [--models vgg16,resnet50] [--documented] [--inside-only]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from contenders import CONTENDERS, SIZES, Figures, is_installed  # beside this file, not installed

MAX_OVER_BARE = 1.3
MAX_EXTRA_MIB = 60.0
NOISE = 1.1
"""What the same comparison within one process gives at most from one run to the next."""
OURS, BARE, IMPORT = "cnnstat", "bare", "import"
VERSIONS = ("torch", "torchvision", "torchinfo", "fvcore", "ptflops", "thop", "calflops", "typer", "rich")


@dataclass(frozen=True)
class Run:
    """One process: CPU and wall seconds, peak resident memory in MiB, and the figures it printed."""

    cpu: float
    wall: float
    peak: float
    figures: Figures


def environment() -> dict[str, str]:
    """Return an environment in which Python keeps its compiled files, as it does for users."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"COLUMNS": "120"}


def parse_figures(text: str) -> Figures:
    """Return the figures in the last line of what a process printed; none if that is no JSON object of them."""
    last = text.strip().rpartition("\n")[2]
    try:
        found = json.loads(last)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def command(name: str, model: str) -> list[str]:
    """Return the command line of one contender."""
    if name == OURS:
        size = SIZES[model]
        return [sys.executable, "-m", "cnnstat", "analyze", f"torchvision:{model}", "--input", f"3x{size}x{size}"]
    return [sys.executable, str(Path(__file__).with_name("contenders.py")), "process", name, model]


def run(line: list[str]) -> Run | None:
    """Run a command to its end; None where it fails."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        child = subprocess.Popen(line, stdout=output, stderr=errors, env=environment())
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            print(f"failed: {' '.join(line[1:])}: {errors.read().strip().rpartition(chr(10))[2][:200]}")
            return None
        output.seek(0)
        peak = usage.ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
        return Run(usage.ru_utime + usage.ru_stime, wall, peak, parse_figures(output.read()))


def our_figures(model: str) -> Figures:
    """Return what cnnstat counts, from its JSON."""
    line = [*command(OURS, model), "--format", "json"]
    totals = json.loads(subprocess.run(line, check=True, capture_output=True, env=environment()).stdout)["totals"]
    return {"params": totals["params"], "macs": totals["macs"]}


def median_run(runs: Iterable[Run]) -> Run:
    """Return the median of each figure of several runs."""
    kept = list(runs)
    cpu, wall, peak = (statistics.median(getattr(each, name) for each in kept) for name in ("cpu", "wall", "peak"))
    return Run(cpu, wall, peak, kept[-1].figures)


def measure(model: str, names: Iterable[str], rounds: int) -> dict[str, Run]:
    """Return the medians of all contenders' processes, run by turns; one that fails is left out."""
    # The first process of each is not measured: it fills the caches of the disk and of compiled files.
    first = {name: run(command(name, model)) for name in names}
    measured: dict[str, list[Run]] = {name: [] for name, found in first.items() if found is not None}
    for _ in range(rounds):
        for name, runs in measured.items():
            found = run(command(name, model))
            if found is not None:
                runs.append(found)
    return {name: median_run(runs) for name, runs in measured.items() if runs}


def broken_limits(model: str, found: Mapping[str, Run]) -> list[str]:
    """Return one line for every limit that cnnstat's process breaks; by CPU time."""
    ours, bare = found[OURS], found[BARE]
    lines = []
    if ours.cpu > MAX_OVER_BARE * bare.cpu:
        lines.append(f"{model}: {ours.cpu / bare.cpu:.2f} × the bare process, more than {MAX_OVER_BARE} ×")
    others = {name: each for name, each in found.items() if name not in (OURS, BARE, IMPORT)}
    lines += [
        f"{model}: {ours.cpu:.2f} s of CPU time, {name} {each.cpu:.2f} s"
        for name, each in others.items()
        if each.cpu <= ours.cpu
    ]
    if IMPORT in found and ours.peak - found[IMPORT].peak > MAX_EXTRA_MIB:
        lines.append(f"{model}: {ours.peak - found[IMPORT].peak:.0f} MiB above the imports, limit {MAX_EXTRA_MIB:.0f}")
    return lines


def broken_inside(model: str, seconds: Mapping[str, float]) -> list[str]:
    """Return a line where cnnstat is not faster than torchinfo in one process, or slower than on the meta device."""
    ours = seconds[OURS]
    limits = {"torchinfo": 1.0, "torchinfo, meta": NOISE}
    theirs = {name: seconds[name] for name, most in limits.items() if name in seconds and ours >= most * seconds[name]}
    return [f"{model}: {ours * 1e3:.1f} ms, {name} {each * 1e3:.1f} ms" for name, each in theirs.items()]


def process_rows(found: Mapping[str, Run]) -> list[str]:
    """Return the rows of the table of whole processes."""
    bare, ours = found[BARE], found[OURS]
    return [
        f"| {name} | {each.cpu:.2f} s | {each.cpu / bare.cpu:.2f} × | {each.cpu / ours.cpu:.2f} × "
        f"| {each.wall / bare.wall:.2f} × | {each.peak:.0f} MiB | {_figure(each, 'macs')} | {_figure(each, 'params')} |"
        for name, each in sorted(found.items(), key=lambda item: item[1].cpu)
    ]


def _figure(each: Run, name: str) -> str:
    """Return a figure with thousands separated, or a dash."""
    return f"{each.figures[name]:,}" if name in each.figures else "–"


def compare_processes(models: list[str], names: list[str], rounds: int) -> list[str]:
    """Print a table of whole processes for each model; returns the limits broken."""
    broken = []
    for model in models:
        found = measure(model, names if model == "vgg16" else [name for name in names if name != IMPORT], rounds)
        found[OURS] = Run(found[OURS].cpu, found[OURS].wall, found[OURS].peak, our_figures(model))
        print(f"\n| {model} | CPU time | to bare | to cnnstat | wall to bare | peak memory | MACs | parameters |")
        print("|---|---|---|---|---|---|---|---|", *process_rows(found), sep="\n", flush=True)
        broken += broken_limits(model, found)
    return broken


def compare_inside(models: list[str], rounds: int) -> list[str]:
    """Print a table of CPU time within one process, after warm-up; returns the limits broken."""
    broken, rows, names = [], [], []
    for model in models:
        line = [sys.executable, str(Path(__file__).with_name("contenders.py")), "inside", model]
        done = subprocess.run([*line, "--rounds", str(rounds)], check=True, capture_output=True, env=environment())
        seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        names = list(seconds)
        cells = (f"{each * 1e3:.1f} ms ({each / seconds[OURS]:.2f} ×)" for each in seconds.values())
        rows.append(f"| {model} | {' | '.join(cells)} |")
        broken += broken_inside(model, seconds)
    print(f"\n| in one process, after warm-up | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    print(*rows, sep="\n", flush=True)
    return broken


def versions() -> str:
    """Return the versions of all that is compared, as far as it is installed."""
    found = []
    for name in VERSIONS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", default=",".join(SIZES))
    parser.add_argument("--documented", action="store_true", help="run each tool as it is documented, too")
    parser.add_argument("--inside-only", action="store_true", help="leave the whole processes out")
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    unknown = [name for name in models if name not in SIZES]
    if unknown:
        parser.error(f"--models {unknown[0]}: the models are {', '.join(SIZES)}")
    if not (is_installed("torch") and is_installed("torchvision")):
        print("skipped: torch and torchvision are not installed")
        return 0
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}")
    print(f"{versions()}; median of {arguments.rounds}")
    names = [IMPORT, BARE, OURS]
    for name, contender in CONTENDERS.items():
        if f"{name}, meta" in CONTENDERS and not arguments.documented:
            continue
        if is_installed(contender.package):
            names.append(name)
        else:
            print(f"skipped: {name}: {contender.package} is not installed")
    broken = [] if arguments.inside_only else compare_processes(models, names, arguments.rounds)
    broken += compare_inside(models, max(arguments.rounds, 9))
    print("", *(f"broken: {line}" for line in broken), sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

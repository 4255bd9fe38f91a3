"""Sweeps and kept traces: variants a second and memory, all models of torchvision, a second command on one model.

    python benchmarks/design_sweep.py [--points 10000] [--models 80]

Rates are of this machine; the ratios are within one run. Each command is a whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUILD = """
import sys, time
import torch, torchvision
start = time.process_time()
for name in sys.argv[1:]:
    torchvision.models.get_model(name, weights=None)
print(time.process_time() - start)
"""
"""Builds models, as every tool that counts them must first; the imports are not counted."""

CLASSIFICATION = """
import torchvision.models as m
print(*[name for name in m.list_models(module=m) if "quantized" not in name])
"""


def timed(*arguments: str, cache: str = "") -> tuple[float, float, int]:
    """Run cnnstat; return wall seconds, CPU seconds of all processes, and the largest KiB of one until now."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    environment = {**os.environ, "CNNSTAT_CACHE": cache}
    process = subprocess.Popen([sys.executable, "-m", "cnnstat", *arguments], env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    _, status = os.waitpid(process.pid, 0)
    assert status == 0, arguments
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu, after.ru_maxrss


def output(code: str, *arguments: str) -> str:
    """Return what a program of Python prints."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout


def variants(points: int, folder: Path) -> None:
    """Print the rate of a sweep over a network like ResNet-50, and memory of a tenth of it and of all."""
    rows = []
    for count in (points // 10, points):
        file = folder / f"{count}.jsonl"
        wall, cpu, peak = timed(
            "sweep", "resnet50", "--set", f"classes=10:{10 + count}", "--jobs", "2", "-o", str(file)
        )
        assert sum(1 for line in file.open() if json.loads(line)["error"] is None) == count
        rows.append((count, wall, cpu, peak))
        print(f"| {count:,} | {count / wall:,.0f} | {1e3 * cpu / count:.1f} | {peak / 1024:,.0f} |", flush=True)


def library(limit: int, folder: Path) -> None:
    """Print a sweep over the classification models of torchvision against building them."""
    names = output(CLASSIFICATION).split()[:limit]
    build = float(output(BUILD, *names))
    sources = [f"torchvision:{name}" for name in names]
    wall, cpu, _ = timed("sweep", *sources, "--jobs", "2", "-o", str(folder / "models.jsonl"))
    print(f"| {len(names)} | {wall:.1f} s | {cpu:.1f} s | {build:.1f} s | {cpu / build:.2f} × |")


def kept(folder: Path) -> None:
    """Print CPU times of a command whose trace is kept."""
    command = ("analyze", "torchvision:resnet50", "--format", "json")
    cache = str(folder / "cache")
    timed(*command, cache=cache)
    times = {"traced": [], "kept": [], "zoo": []}
    for _ in range(5):
        times["traced"].append(timed(*command, "--no-cache", cache=cache)[1])
        times["kept"].append(timed(*command, cache=cache)[1])
        times["zoo"].append(timed("analyze", "resnet50", "--format", "json", cache=cache)[1])
    least = {name: min(each) for name, each in times.items()}
    print(f"| {least['traced']:.2f} s | {least['kept']:.2f} s | {least['zoo']:.2f} s "
          f"| {least['kept'] / least['traced']:.3f} × | {least['kept'] / least['zoo']:.2f} × |")  # fmt: skip


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=80)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| variants of ResNet-50 | a second | ms of CPU each | peak MiB of a process |\n|---|---|---|---|")
        variants(options.points, folder)
        print("\n| models of torchvision | sweep | its CPU time | CPU time of builds | ratio |\n|---|---|---|---|---|")
        library(options.models, folder)
        head = "torchvision:resnet50, CPU | trace kept | resnet50 of the zoo | kept to traced | kept to zoo"
        print(f"\n| {head} |\n|---|---|---|---|---|")
        kept(folder)


if __name__ == "__main__":
    main()

"""What profiling costs: a pass with instrumentation against a plain one, by cnnstat, torch.profiler and DeepSpeed.

Every way takes its turn in every round, on one thread, and each is divided by the plain pass of the same round. The
cost is in CPU time, so that other work on the machine matters little; the layers' sum is what each tool itself reports.
    python benchmarks/profiling_cost.py [--network resnet18] [--size 128] [--rounds 31]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cnnstat
from cnnstat.profile.calibration import calibrate
from cnnstat.profile.profile_model import prepare_model
from cnnstat.profile.profile_options import Options
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.profile.stopwatch import Stopwatch, break_down
from cnnstat.pytorch import modules as torch_model
from cnnstat.sources.load import model_reference

LIMIT = 1.5
"""A pass that cnnstat looks at takes at most so many times as long as a plain one."""

Run = Callable[[], float]
"""Runs one pass, and returns the seconds that all its layers took, by the tool's own account."""


def cnnstats(model: RunnableModel) -> Run:
    """Return a pass with cnnstat's marks."""
    costs = calibrate(model, time.perf_counter_ns)

    def run() -> float:
        watch = Stopwatch(time.perf_counter_ns)
        with model.observing(watch):
            begin = time.perf_counter_ns()
            model.run()
            span = time.perf_counter_ns() - begin
        found = break_down(watch.laps, (), span=span, costs=costs)
        return sum(found.forward.values()) + found.unattributed

    return run


def torch_profilers(model: nn.Module, x: torch.Tensor) -> Run:
    """Return a pass with PyTorch's profiler; its table sums up all ops."""
    from torch.profiler import ProfilerActivity, profile

    def run() -> float:
        with profile(activities=[ProfilerActivity.CPU]) as session, torch.no_grad():
            model(x)
        return sum(event.self_cpu_time_total for event in session.key_averages()) / 1e6

    return run


def deepspeeds(model: nn.Module, x: torch.Tensor) -> Run:
    """Return a pass with DeepSpeed's flops profiler; raises ImportError where it is not installed."""
    with contextlib.redirect_stdout(io.StringIO()):
        from deepspeed.profiling.flops_profiler import FlopsProfiler
    logging.disable(logging.WARNING)
    leaves = [module for module in model.modules() if not list(module.children())]

    def run() -> float:
        profiler = FlopsProfiler(model)
        profiler.start_profile()
        with torch.no_grad():
            model(x)
        profiler.stop_profile()
        total = sum(module.__duration__ for module in leaves)
        profiler.end_profile()
        return float(total)

    return run


def ways(network: str, size: int) -> tuple[Callable[[], Any], dict[str, Run]]:
    """Return a plain pass, and all ways to look at one."""
    graph = cnnstat.load(network, (3, size, size))
    spec = prepare_model(model_reference(graph), Options(), torch.device("cpu"))
    (x,) = spec.arguments
    module = prepare_model(model_reference(torch_model.build(graph), (x,)), Options(), torch.device("cpu"))
    found = {"cnnstat, a spec": cnnstats(spec), "cnnstat, a PyTorch model": cnnstats(module)}
    found["torch.profiler"] = torch_profilers(spec.module, x)
    try:
        found["DeepSpeed flops profiler"] = deepspeeds(module.module, x)
    except ImportError as error:
        print(f"DeepSpeed is left out: {error}", file=sys.stderr)
    return spec.run, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain, found = ways(options.network, options.size)
    cost: dict[str, list[float]] = {name: [] for name in found}
    layers: dict[str, list[float]] = {name: [] for name in found}
    for number in range(options.rounds + 2):
        begin, wall = time.process_time(), time.perf_counter()
        plain()
        base, base_wall = time.process_time() - begin, time.perf_counter() - wall
        for name, run in found.items():
            begin = time.process_time()
            total = run()
            if number >= 2:
                cost[name].append((time.process_time() - begin) / base)
                layers[name].append(total / base_wall)
    print(f"{options.network} at 3×{options.size}×{options.size}, one thread, {platform.machine()}, ", end="")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {options.rounds} rounds\n")
    print("| way | a pass against a plain one | layers' sum against a plain pass |\n|---|---|---|")
    for name in found:
        print(f"| {name} | {median(cost[name]):.2f} × | {median(layers[name]):.2f} × |")
    return int(max(median(cost[name]) for name in found if name.startswith("cnnstat")) > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())

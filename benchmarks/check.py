"""Whole-process time of `cnnstat check` over 20 spec models, against the limit that a CI step should stay under.

Prints the median, its share of the limit, and its ratio to a bare `python -c "import yaml, typer"`; only the ratio
means anything on a shared machine.
    python benchmarks/check.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cnnstat.sources import zoo

LIMIT = 5.0
MODELS = 20
BUDGETS = "[check.budgets]\nparams.max = '1 G'\nmacs.max = '1 T'\npeak_inference_bytes.max = '1 GiB'\n"


def seconds(command: list[str], folder: Path) -> float:
    """Return the wall time of one run of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    return time.perf_counter() - start


def write_models(folder: Path) -> None:
    """Write a configuration with 20 specs: the zoo's networks, as files, over and over."""
    names = zoo.names()
    for number in range(MODELS):
        name = names[number * len(names) // MODELS]
        (folder / f"model{number:02}.yaml").write_text(f"extends: {name}\n")
    (folder / "cnnstat.toml").write_text(f'{BUDGETS}[[check.models]]\nsource = "model*.yaml"\n')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    check = [sys.executable, "-m", "cnnstat", "check"]
    bare = [sys.executable, "-c", "import yaml, typer"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder)
        commands = ([*check, "--baseline", "baseline.json", "--max-increase", "params=0%"], bare)
        for command in ([*check, "--baseline", "baseline.json", "--update-baseline"], *commands):
            seconds(command, folder)
        times = [[seconds(command, folder) for command in commands] for _ in range(rounds)]
    ours, floor = (statistics.median(column) for column in zip(*times))
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, median of {rounds}\n")
    print("| models | cnnstat check | limit | share | bare imports | ratio |\n|---|---|---|---|---|---|")
    print(f"| {MODELS} | {ours:.2f} s | {LIMIT} s | {ours / LIMIT:.0%} | {floor:.2f} s | {ours / floor:.1f} × |")
    return 0 if ours <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

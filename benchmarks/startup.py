"""Whole-process time of `cnnstat analyze` against a hello-world of typer + rich + pyyaml that prints the same cells.

Runs both by turns and prints the ratio of the medians; only the ratio means anything on a shared machine.
    python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS = {"vgg16": 1.0, "resnet152": 1.0}

HELLO = '''
import sys
import typer
import yaml
from rich.console import Console
from rich.table import Table

app = typer.Typer()


@app.command()
def main(path: str) -> None:
    """Print a table."""
    with open(path) as file:
        rows = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    table = Table(*rows[0])
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)


app()
'''


def environment() -> dict[str, str]:
    """Return an environment in which Python keeps its compiled files, as it does for users."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"COLUMNS": "120"}


def seconds(command: list[str]) -> float:
    """Return the wall time of one run of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - start


def shown_cells(name: str) -> list[list[str]]:
    """Return the cells of a network's table: seven columns, as many rows as it has layers."""
    command = [sys.executable, "-m", "cnnstat", "analyze", name, "--format", "csv"]
    columns = ["--columns", "name,op,output_shape,params,macs,output_bytes,receptive_field"]
    text = subprocess.run([*command, *columns], check=True, capture_output=True, text=True).stdout
    return list(csv.reader(io.StringIO(text)))


def compare(name: str, rounds: int, folder: Path) -> tuple[float, float, int]:
    """Return the medians of cnnstat and of the hello-world, and the number of rows both print."""
    cells = shown_cells(name)
    hello, data = folder / "hello.py", folder / f"{name}.yaml"
    hello.write_text(HELLO)
    data.write_text(json.dumps(cells[:1]) + "\n" if len(cells) < 2 else json.dumps(cells))
    commands = ([sys.executable, "-m", "cnnstat", "analyze", name], [sys.executable, str(hello), str(data)])
    for command in commands:
        seconds(command)
    times = [[seconds(command) for command in commands] for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*times))
    return ours, theirs, len(cells) - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, median of {rounds}\n")
    print("| network | rows | cnnstat analyze | hello-world | ratio | limit |\n|---|---|---|---|---|---|")
    is_within = True
    with tempfile.TemporaryDirectory() as folder:
        for name, limit in LIMITS.items():
            ours, theirs, rows = compare(name, rounds, Path(folder))
            print(f"| {name} | {rows} | {ours:.3f} s | {theirs:.3f} s | {ours / theirs:.2f} × | {limit} × |")
            is_within &= ours / theirs <= limit
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())

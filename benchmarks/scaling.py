"""Time per layer and peak memory of parsing and all passes, for generated specs from 1,000 to 100,000 layers.

Each size runs in a process of its own; the ratio of the CPU times per layer tells whether the work is linear.
    python benchmarks/scaling.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

SIZES = (1_000, 10_000, 100_000)
LIMIT = 1.5
LAYERS = ("Conv2d(8, 3, padding=1)", "BatchNorm2d", "ReLU", "Conv2d: {out_channels: 8, kernel_size: 3, padding: 1}")


def spec(layers: int, number: int = 0) -> str:
    """Return a spec with that many layers, each on a line of its own; number: another one for the same layers."""
    lines = [f"  - {LAYERS[index % len(LAYERS)]}" for index in range(layers)]
    return "\n".join([f"name: generated_{number}", "input: [8, 32, 32]", "layers:", *lines, ""])


def measure(layers: int, rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of parsing and all passes, and this process's peak memory in MiB."""
    from cnnstat.analysis.analysis import analyze_graph
    from cnnstat.spec.spec_graph import parse_spec

    times = []
    for number in range(rounds):
        # Small files are read once in a process, so that each round has a file of its own.
        text = spec(layers, number)
        start = time.process_time()
        analysis = analyze_graph(parse_spec(text))
        assert analysis.totals.layers == layers
        times.append(time.process_time() - start)
        del analysis
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
    return {"seconds": statistics.median(times), "peak_mib": peak}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, help="measure one size in this process and print JSON")
    arguments = parser.parse_args()
    if arguments.layers:
        print(json.dumps(measure(arguments.layers, rounds=max(3, min(25, 50_000 // arguments.layers)))))
        return 0
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores\n")
    print("| layers | CPU time | µs per layer | against 1,000 | peak memory |\n|---|---|---|---|---|")
    first = ratio = 0.0
    for size in SIZES:
        output = subprocess.check_output([sys.executable, __file__, "--layers", str(size)])
        found = json.loads(output)
        per_layer = found["seconds"] / size * 1e6
        first = first or per_layer
        ratio = per_layer / first
        cells = f"{found['seconds']:.3f} s | {per_layer:.1f} | {ratio:.2f} × | {found['peak_mib']:.0f} MiB"
        print(f"| {size:,} | {cells} |")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

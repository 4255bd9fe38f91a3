"""Reading a spec takes time and memory in proportion to its layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

LAYERS = ("Conv2d(8, 3, padding=1)", "BatchNorm2d", "ReLU")
SMALL, LARGE = 999, 99_999
RATIO = 1.5
"""Most that the time for one layer may grow from the small to the large network on a machine that is not busy."""
LIMIT = 2.0
"""Most that is let pass: beside other work the large network, which fits no cache, is slowed down more."""


def line_by_line(count: int) -> str:
    return "input: [8, 16, 16]\nlayers:\n" + "".join(f"  - {LAYERS[i % 3]}\n" for i in range(count))


def repeated(count: int) -> str:
    return f"input: [8, 16, 16]\nlayers:\n  - repeat: {count // 3}\n    layers: [{', '.join(LAYERS)}]\n"


def by_blocks(count: int) -> str:
    unit = "blocks:\n  unit(c, k=3):\n    - Conv2d(c, k, padding=k // 2)\n    - BatchNorm2d\n    - ReLU\n"
    calls = f"  - repeat: {count // 3}\n    as: i\n    layers:\n      - unit(8 + i % 4)\n"
    return f"input: [8, 16, 16]\n{unit}layers:\n{calls}"


WAYS: dict[str, Callable[[int], str]] = {f.__name__: f for f in (line_by_line, repeated, by_blocks)}


def seconds_per_layer(text: str, count: int, rounds: int) -> float:
    """Return the least computing time that one layer takes to be parsed, expanded and given its shape."""
    from cnnstat.analysis.shapes import infer_shapes
    from cnnstat.spec.spec_graph import parse_spec

    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        graph = parse_spec(text)
        infer_shapes(graph)
        best = min(best, time.process_time() - start)
        assert len(graph.nodes) == count
    return best / count


def main(way: str) -> None:
    """Print the ratio of the times per layer and the most memory in use."""
    from peak_memory import peak_mebibytes

    # By turns, so that both meet the machine when it is busy and when it is not.
    small = large = float("inf")
    for _ in range(4):
        small = min(small, seconds_per_layer(WAYS[way](SMALL), SMALL, 8))
        large = min(large, seconds_per_layer(WAYS[way](LARGE), LARGE, 1))
        if large <= RATIO * small:
            break
    json.dump({"ratio": large / small, "mebibytes": peak_mebibytes()}, sys.stdout)


@pytest.mark.skipif(os.name != "posix", reason="measures memory as Unix counts it")
@pytest.mark.parametrize("way", WAYS)
def test_time_is_linear_and_memory_small(way: str) -> None:
    done = subprocess.run([sys.executable, __file__, way], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio"] <= LIMIT
    assert found["mebibytes"] < 400


if __name__ == "__main__":
    main(sys.argv[1])

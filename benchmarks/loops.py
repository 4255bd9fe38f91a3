"""Loops in a forward pass against a pass on the meta device, and whether long loops and networks take linear time.

Every time is CPU time, the least of some runs in one process. Exits with 1 where the trace of a loop costs more than 5
passes on the meta device, that of a loop that computes nothing more than 1.5 passes on PyTorch's own fake tensors, or a
step of the longest loop more than 1.5 times a step of the shortest.
    python benchmarks/loops.py [--steps 50000]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import cnnstat

MOST_PASSES = 5.0
MOST_GROWTH = 1.5
MOST_FAKE = 1.5
"""The same for loops of views and copies, which the meta device does in 2 µs: against what fake tensors take."""


class Tiles(nn.Module):
    """A convolution of every tile of an image, written into a buffer in place."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.side = round(count**0.5)
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tiles side by side."""
        result, size = torch.zeros_like(x), x.shape[-1] // self.side
        for top in range(0, x.shape[-1], size):
            for left in range(0, x.shape[-1], size):
                place = (..., slice(top, top + size), slice(left, left + size))
                result[place] = self.block(x[place])
        return result


class BareTiles(Tiles):
    """The same without norm and activation: three calls a tile."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.block = self.block[:1]


class Rows(nn.Module):
    """Rows of a map, copied one by one: two calls a row that make views and compute nothing."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.linear = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a copy."""
        x = self.linear(x)
        result = torch.zeros_like(x)
        for step in range(self.count):
            result[:, step] = x[:, step]
        return result


class Scan(Rows):
    """A running average over the steps of a sequence, each written into a buffer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the average up to each step."""
        x = self.linear(x)
        result, state = torch.zeros_like(x), x[:, 0]
        for step in range(self.count):
            state = 0.9 * state + x[:, step]
            result[:, step] = state
        return result


class Calls(Rows):
    """One function, called again and again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the result of the last call."""
        x = self.linear(x)
        for _ in range(self.count):
            x = torch.sin(x)
        return x


def seconds(run: Callable[[], object], rounds: int = 3) -> float:
    """Return the least CPU time of a few runs."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


@torch.no_grad()
def meta_seconds(model: nn.Module, shape: tuple[int, ...]) -> float:
    """Return the time of a pass on the meta device."""
    x = torch.empty(shape, device="meta")
    return seconds(lambda: model.to("meta").eval()(x))


@torch.no_grad()
def fake_seconds(kind: type[nn.Module], count: int, shape: tuple[int, ...]) -> float:
    """Return the time of a pass on PyTorch's own fake tensors, which nothing records."""
    with FakeTensorMode():
        model, x = kind(count).eval(), torch.empty(shape)
        return seconds(lambda: model(x))


def against_passes() -> bool:
    """Print a line for each loop; returns whether all are within their limit."""
    are_fast = True
    print("| loop | pass on the meta device | on fake tensors | trace | and all totals | µs a call | trace / passes |")
    print("|---|---|---|---|---|---|---|")
    for name, kind, count, shape, calls in (
        ("400 tiles written in place", Tiles, 400, (1, 3, 320, 320), 2000),
        ("scan of 800 steps into a buffer", Scan, 800, (2, 800, 16), 3200),
        ("1,000 sines", Calls, 1000, (2, 16), 1000),
        ("400 tiles, convolutions alone", BareTiles, 400, (1, 3, 320, 320), 1200),
        ("400 rows copied", Rows, 400, (2, 400, 16), 800),
    ):
        model = kind(count)
        ours = seconds(lambda model=model, shape=shape: cnnstat.analyze(model, shape))  # type: ignore[misc]
        totals = seconds(lambda model=model, shape=shape: str(cnnstat.analyze(model, shape).totals))  # type: ignore[misc]
        plain, fake = meta_seconds(model, shape), fake_seconds(kind, count, shape)
        are_fast &= ours <= (MOST_FAKE * fake if kind is Rows else MOST_PASSES * plain)
        print(
            f"| {name} | {1e3 * plain:.1f} ms | {1e3 * fake:.0f} ms | {1e3 * ours:.0f} ms | {1e3 * totals:.0f} ms ",
            end="",
        )
        print(f"| {1e6 * ours / calls:.0f} | {ours / plain:.1f} ×, {ours / fake:.1f} × |", flush=True)
    return are_fast


def growth(steps: int) -> list[float]:
    """Print the time of a step in loops of several lengths; returns the ratios to the shortest."""
    print("\n| loop | steps | µs per step | against 1,000 |\n|---|---|---|---|")
    ratios = []
    for name, kind in (("one function", Calls), ("scan", Scan)):
        first = 0.0
        for count in (1000, 10_000, steps):
            shape = (2, 16) if kind is Calls else (2, count, 16)
            each = seconds(lambda kind=kind, count=count, shape=shape: cnnstat.analyze(kind(count), shape), 2) / count  # type: ignore[misc]
            first = first or each
            ratios.append(each / first)
            print(f"| {name} | {count:,} | {1e6 * each:.0f} | {each / first:.2f} × |", flush=True)
    return ratios


def explained(layers: int) -> float:
    """Print what `explain` of a late layer takes in networks of several lengths; returns the ratio by layer."""
    print("\n| layers | explain of the last but one | µs a layer | against 1,000 |\n|---|---|---|---|")
    first = ratio = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for count in (1000, 10_000, layers):
            times = []
            for number in range(3):  # a file of its own each time: small files that were read are kept
                path = Path(folder) / f"deep{count}-{number}.yaml"
                text = f"# {number}\ninput: [3, 16, 16]\nlayers:\n" + "  - Conv2d(3, 3, padding=1)\n" * count
                path.write_text(text, encoding="utf-8")
                named = f"Conv2d#{count - 1}"
                times.append(seconds(lambda path=path, named=named: str(cnnstat.explain(str(path), named)), 1))  # type: ignore[misc]
            each = min(times) / count
            first = first or each
            ratio = each / first
            print(f"| {count:,} | {min(times):.2f} s | {1e6 * each:.0f} | {ratio:.2f} × |", flush=True)
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50_000, help="of the longest loops, and layers of the network")
    steps = parser.parse_args().steps
    is_fast = against_passes()
    is_linear = max(growth(steps)) <= MOST_GROWTH
    return 0 if is_fast and is_linear and explained(steps) <= MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())

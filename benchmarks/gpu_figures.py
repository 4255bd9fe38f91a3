"""The figures of a GPU run, read off profiles' JSON; what `gpu.py` puts into its table."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

FLOORS = {"ResNet-50, batch 1": 42.5e-6, "ResNet-50, batch 256": 8.66e-3}
"""Least seconds at 790 TFLOP/s and 4.3 TB/s, an H200; a result below them is a fault of the measurement."""

PER_KERNEL = 1e-6
"""Seconds that each kernel may add to drift, as in `cnnstat profile`."""

DRIFT, UNATTRIBUTED, PEAK, NCU = 0.03, 0.01, 0.10, 0.05
"""Goals: shares of the whole, of the measured peak, and of a kernel's time."""


@dataclass(frozen=True)
class Figure:
    """One row of the table; kept: whether the goal is, None where there is none."""

    name: str
    goal: str
    measured: str
    kept: bool | None = None


def of_case(case: str, found: dict[str, Any]) -> Iterator[Figure]:
    """Yield the figures of one profile."""
    identity, whole = found["identity"], found["whole"]
    seconds = identity["whole"]
    unattributed, drift = identity["unattributed"] / seconds, identity["drift"] / seconds
    parts = ", ".join(f"{name} {micro(identity[name])}" for name in ("layers", "gaps", "unattributed", "drift"))
    yield Figure(f"{case}: replay", "", f"{micro(seconds)} = {parts}" + ("" if whole["replayed"] else " (no graph)"))
    eager, enqueue = whole["eager"]["median"], (whole["enqueue"] or {}).get("median", 0.0)
    yield Figure(f"{case}: eager, enqueue", "", f"{micro(eager)}, {micro(enqueue)}")
    kernels, tracing = identity.get("kernels", 0), identity.get("tracing", 0.0)
    if kernels and tracing:
        each = f"{micro(-tracing / kernels)} a kernel, {kernels} kernels"
        yield Figure(f"{case}: cost of tracing", "", each)
    most = max(DRIFT, kernels * PER_KERNEL / seconds)
    yield Figure(f"{case}: drift", f"≤ {DRIFT:.0%} or 1 µs a kernel", f"{drift:+.2%}", abs(drift) <= most)
    yield Figure(f"{case}: unattributed", f"≤ {UNATTRIBUTED:.0%}", f"{unattributed:.2%}", unattributed <= UNATTRIBUTED)
    lost = [note for note in found["notes"] if "lost" in note]
    yield Figure(f"{case}: lost kernels", "none", "; ".join(lost) or "none", found["lost_kernels"] == 0)
    peak, predicted = found["peak_bytes"], found["predicted_peak_bytes"]
    if peak and predicted:
        share = predicted / peak - 1
        text = f"{peak / 2**20:,.1f} MiB, {predicted / 2**20:,.1f} MiB ({share:+.1%})"
        # What training keeps depends on the kernels; the goal is that of inference.
        kept = None if found["environment"]["settings"].get("backward") == "true" else abs(share) <= PEAK
        yield Figure(f"{case}: peak memory measured, predicted", f"± {PEAK:.0%}", text, kept)
    if found["joules"] is not None:
        yield Figure(f"{case}: energy", "", f"{found['joules']:.3g} J, {found['joules'] / seconds:.0f} W")
    yield from of_floors(case, found)
    yield from of_layers_alone(case, found)
    others = [note for note in found["notes"] if "lost" not in note]
    if others:
        yield Figure(f"{case}: notes", "", "; ".join(others))


def of_floors(case: str, found: dict[str, Any]) -> Iterator[Figure]:
    """Yield how the model stands to its floor: that of the measured ceilings, and the one on paper."""
    ceilings = found["ceilings"]
    floors = {
        layer["name"]: max(layer["flops"] / ceilings["flops_per_second"], layer["bytes"] / ceilings["bytes_per_second"])
        for layer in found["layers"]
    }
    seconds, floor = found["identity"]["whole"], sum(floors.values())
    if found["environment"]["settings"].get("backward") == "true":
        return
    kinds: dict[str, float] = {}
    for layer in found["layers"]:
        kinds[layer["op"]] = kinds.get(layer["op"], 0.0) + floors[layer["name"]]
    largest = sorted(kinds.items(), key=lambda kind: -kind[1])[:3]
    parts = ", ".join(f"{name} {micro(part)}" for name, part in largest)
    yield Figure(f"{case}: floor", "", f"{micro(floor)} ({parts}); the replay takes {seconds / floor:.2f} ×")
    if case in FLOORS and "H200" in found["environment"]["device_name"]:
        yield Figure(
            f"{case}: against the floor on paper", f"≥ {micro(FLOORS[case])}", micro(seconds), seconds >= FLOORS[case]
        )


def of_layers_alone(case: str, found: dict[str, Any]) -> Iterator[Figure]:
    """Yield how the layers' times in the model stand to those alone, warm and cold."""
    alone = [layer for layer in found["layers"] if layer["warm"] and layer["cold"] and layer["forward"]["median"] > 0]
    if not alone:
        return
    between = sum(
        0.9 * layer["warm"]["median"] <= layer["forward"]["median"] <= 1.1 * layer["cold"]["median"] for layer in alone
    )
    ratio = [
        statistics.median(layer[kind]["median"] / layer["forward"]["median"] for layer in alone)
        for kind in ("warm", "cold")
    ]
    text = (
        f"{between} of {len(alone)} layers; median warm {ratio[0]:.2f} ×, cold {ratio[1]:.2f} × the time in the model"
    )
    yield Figure(f"{case}: in the model between warm and cold (± 10 %)", "", text)


def of_two_runs(case: str, first: dict[str, Any], second: dict[str, Any]) -> Iterator[Figure]:
    """Yield whether two runs agree within 0.5 µs or 3 % on every layer."""
    pairs = [
        (one["name"], one["forward"]["median"], other["forward"]["median"])
        for one, other in zip(first["layers"], second["layers"])
    ]
    apart = [(abs(a - b) - max(0.5e-6, 0.03 * max(a, b)), name, a, b) for name, a, b in pairs]
    if not apart:
        yield Figure(f"{case}: two runs agree", "0.5 µs or 3 %", "no layer has a time")
        return
    worst = max(apart)
    agree = sum(excess <= 0 for excess, *_ in apart)
    text = f"{agree} of {len(apart)} layers; worst {worst[1]}: {micro(worst[2])}, {micro(worst[3])}"
    yield Figure(f"{case}: two runs agree", "0.5 µs or 3 %", text, agree == len(apart))


def of_ceilings(found: dict[str, Any]) -> Iterator[Figure]:
    """Yield what the GPU was measured to do at best."""
    best = found["ceilings"]
    flops, bandwidth = best["flops_per_second"] / 1e12, best["bytes_per_second"] / 1e12
    text = f"{flops:,.1f} TFLOP/s, {bandwidth:.2f} TB/s, {micro(best['launch'])}"
    yield Figure(f"ceilings in {found['environment']['dtype']}: products, copy, smallest kernel", "", text)


def durations(text: str) -> list[float]:
    """Return the nanoseconds of every kernel in ncu's table; its own lines begin with ==."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = csv.DictReader(io.StringIO("\n".join(lines)))
    scale = {"nsecond": 1.0, "ns": 1.0, "usecond": 1e3, "us": 1e3, "msecond": 1e6, "ms": 1e6, "second": 1e9, "s": 1e9}
    return [
        float(row["Metric Value"].replace(",", "")) * scale[row["Metric Unit"]]
        for row in rows
        if row.get("Metric Name") == "gpu__time_duration.sum"
    ]


def compared(name: str, ours: list[list[Any]], theirs: list[float]) -> Figure:
    """Return the median error of kernels that are long enough for it to mean something."""
    if len(ours) != len(theirs):
        return Figure(name, f"≤ {NCU:.0%}", f"{len(ours)} kernels here, {len(theirs)} there: not comparable")
    errors = [abs(own - other) / other for (_, own), other in zip(ours, theirs) if other >= 10_000]
    if not errors:
        return Figure(name, f"≤ {NCU:.0%}", "no kernel is that long")
    error = statistics.median(errors)
    worst = max(errors)
    return Figure(name, f"≤ {NCU:.0%}", f"{error:.1%} over {len(errors)} kernels, worst {worst:.0%}", error <= NCU)


def micro(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds * 1e3:,.3f} ms" if abs(seconds) >= 1e-3 else f"{seconds * 1e6:,.2f} µs"


def table(figures: Sequence[Figure], machine: str) -> str:
    """Return the table as docs/gpu.md has it."""
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [f"| {f.name} | {f.goal} | {f.measured} | {marks[f.kept]} |" for f in figures]
    return "\n".join([machine, "", "| figure | goal | measured | kept |", "|---|---|---|---|", *rows, ""])

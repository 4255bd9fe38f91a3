"""Hand-made profiles, exact to the microsecond: what a measurement might say of a small network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnnstat.profile.profile_result import Environment, LayerTime, Profile, Samples, TimeBreakdown, Whole
from cnnstat.profile.roofline import Roofline

US = 1e-6
CPU = Roofline(flops_per_second=50e9, bandwidth=10e9, launch=2 * US, measured="2026-01-02T03:04:05")
GPU = Roofline(flops_per_second=790e12, bandwidth=4.3e12, launch=2 * US, measured="2026-01-02T03:04:05")
LAYERS = (
    # name, kind, calls, µs, IQR, MACs, FLOPs, bytes
    ("conv1", "Conv2d", 1, 4000.0, 200.0, 70_000_000, 141_000_000, 1_500_000),
    ("relu1", "ReLU", 2, 60.0, 4.0, 0, 200_000, 1_600_000),
    ("pool1", "MaxPool2d", 1, 340.0, 30.0, 0, 1_000_000, 1_000_000),
    ("flatten", "Flatten", 1, 0.0, 0.0, 0, 0, 0),
    ("fc", "Linear", 1, 5400.0, 100.0, 38_000_000, 76_004_096, 151_000_000),
)


def samples(microseconds: float, spread: float = 0.0, count: int = 30) -> Samples:
    """Return samples whose quartiles lie evenly around a median."""
    return Samples(microseconds * US, (microseconds - spread / 2) * US, (microseconds + spread / 2) * US, count)


def layer(name: str, kind: str, calls: int, time: float, spread: float, macs: int, flops: int, moved: int) -> LayerTime:
    bound_seconds, bound = CPU.bound(flops, moved) if moved else (0.0, None)
    return LayerTime(
        name=name, kind=kind, calls=calls, forward=samples(time, spread), macs=macs, flops=flops, moved=moved,
        bound_seconds=bound_seconds, bound=bound,
    )  # fmt: skip


def cpu_profile(**changes: Any) -> Profile:
    """Return a profile of 10 ms: 9.8 ms of layers, 100 µs of gaps, none unattributed, 100 µs of drift."""
    layers = tuple(layer(*row) for row in LAYERS)
    profile = Profile(
        model="tiny",
        source="tiny.yaml",
        inputs={"input": (1, 3, 64, 64)},
        environment=Environment(
            device="cpu",
            device_name="Some CPU 9000",
            dtype="float32",
            versions={"cnnstat": "0.1.0", "python": "3.11.4", "torch": "2.6.0"},
            settings={"batch": "1", "channels_last": "false", "backward": "false", "mode": "eval"},
            threads=2,
        ),
        roofline=CPU,
        layers=layers,
        whole=Whole(plain=samples(10_000, 150), eager=samples(10_000, 150)),
        time_breakdown=TimeBreakdown(whole=10_000 * US, layers=9_800 * US, idle=100 * US, unattributed=0.0),
        peak_bytes=None,
        predicted_peak_bytes=2_000_000,
    )
    return replace(profile, **changes)


def gpu_profile(**changes: Any) -> Profile:
    """Return a profile of 100 µs on a GPU: 96 µs of layers, 2 µs of gaps, 0.5 µs unattributed, 1.5 µs of drift."""
    rows = (
        ("conv1", "Conv2d", 60.0, 3, 20_000_000_000, 40_000_000_000, 90_000_000, "implicit_gemm"),
        ("relu1", "ReLU", 36.0, 1, 0, 13_000_000, 77_000_000, "vectorized_elementwise"),
        ("flatten", "Flatten", 0.0, 0, 0, 0, 0, ""),
    )
    layers = []
    for name, kind, time, kernels, macs, flops, moved, kernel in rows:
        bound_seconds, bound = GPU.bound(flops, moved) if moved else (0.0, None)
        layers.append(
            LayerTime(
                name=name,
                kind=kind,
                calls=1,
                forward=samples(time, 0.4),
                macs=macs,
                flops=flops,
                moved=moved,
                bound_seconds=bound_seconds,
                bound=bound,
                kernels=kernels,
                kernel_names=(kernel,) * bool(kernel),
            )  # fmt: skip
        )
    profile = Profile(
        model="tiny",
        source="tiny",
        inputs={"input": (8, 3, 64, 64)},
        environment=Environment(
            device="cuda",
            device_name="Some GPU",
            dtype="bfloat16",
            versions={"cnnstat": "0.1.0", "torch": "2.6.0", "cuda": "12.4", "driver": "550.1"},
            settings={"batch": "8", "tf32": "false", "channels_last": "true", "backward": "false", "mode": "eval"},
            clocks={"sm": 1980.0, "memory": 2619.0},
        ),
        roofline=GPU,
        layers=tuple(layers),
        whole=Whole(plain=samples(100, 0.6), eager=samples(260, 20), enqueue=samples(240, 18), replayed=True),
        time_breakdown=TimeBreakdown(whole=100 * US, layers=96 * US, idle=2 * US, unattributed=0.5 * US),
        peak_bytes=40_000_000,
        predicted_peak_bytes=38_000_000,
        joules=0.05,
    )
    return replace(profile, **changes)

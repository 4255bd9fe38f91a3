"""Record: a profile as the `cnnstat-profile/1` JSON contract, and back, so that a later one can be held against it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cnnstat.errors import CnnstatError
from cnnstat.profile.result import TOLERANCES, Environment, LayerTime, Profile, TimeBreakdown, Whole
from cnnstat.profile.roofline import Bound, Roofline
from cnnstat.profile.samples import Samples

SCHEMA = "cnnstat-profile/1"
"""Name and version of the contract."""

MAX_BYTES = 64 * 2**20
"""Largest file that is taken for a profile."""

BOUNDS: Mapping[str, Bound] = {"compute": "compute", "memory": "memory", "latency": "latency"}

Value = TypeVar("Value")


def to_json(profile: Profile) -> dict[str, Any]:
    """Return everything a profile says as JSON-ready values: times in seconds, sizes in bytes, rates per second."""
    environment, roofline, breakdown, whole = (
        profile.environment,
        profile.roofline,
        profile.time_breakdown,
        profile.whole,
    )
    return {
        "schema": SCHEMA,
        "model": {
            "name": profile.model,
            "source": profile.source,
            "inputs": {name: list(shape) for name, shape in profile.inputs.items()},
            "dtype": environment.dtype,
        },
        "environment": {
            "device": environment.device,
            "device_name": environment.device_name,
            "dtype": environment.dtype,
            "threads": environment.threads,
            "versions": dict(environment.versions),
            "settings": dict(environment.settings),
            "clocks": dict(environment.clocks),
        },
        "ceilings": {
            "flops_per_second": roofline.flops,
            "bytes_per_second": roofline.bandwidth,
            "launch": roofline.launch,
            "measured": roofline.measured,
        },
        "whole": {
            "plain": _samples(whole.plain),
            "eager": _samples(whole.eager),
            "enqueue": _samples(whole.enqueue),
            "replayed": whole.replayed,
            "cpu_bound": whole.cpu_bound,
        },
        "identity": {
            "whole": breakdown.whole,
            "layers": breakdown.layers,
            "gaps": breakdown.idle,
            "unattributed": breakdown.unattributed,
            "drift": breakdown.residual,
            "adds_up": profile.adds_up,
        },
        "peak_bytes": profile.peak_bytes,
        "predicted_peak_bytes": profile.predicted_peak_bytes,
        "joules": profile.joules,
        "lost_kernels": profile.lost_kernels,
        "complete": profile.complete,
        "notes": list(profile.notes),
        "layers": [_layer(layer) for layer in profile.layers],
    }


def _samples(samples: Samples | None) -> dict[str, Any] | None:
    if samples is None:
        return None
    return {"median": samples.median, "lower": samples.lower, "upper": samples.upper, "count": samples.count}


def _layer(layer: LayerTime) -> dict[str, Any]:
    """Return one layer."""
    return {
        "name": layer.name,
        "op": layer.kind,
        "calls": layer.calls,
        "kernels": layer.kernels,
        "kernel_names": list(layer.kernel_names),
        "forward": _samples(layer.forward),
        "backward": _samples(layer.backward),
        "warm": _samples(layer.warm),
        "cold": _samples(layer.cold),
        "macs": layer.macs,
        "flops": layer.flops,
        "bytes": layer.moved,
        "counted": layer.counted,
        "flops_per_second": layer.flops_per_second,
        "bytes_per_second": layer.bytes_per_second,
        "floor": layer.bound_seconds,
        "share_of_floor": layer.share_of_bound,
        "bound": layer.bound,
    }


def read_profile(path: Path) -> Profile:
    """Return the profile in a file; raises CnnstatError if there is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CnnstatError(f"{path}: larger than {MAX_BYTES >> 20} MiB; this is no profile")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CnnstatError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CnnstatError(f"{path}: this is no text; write a profile with {REMEDY}") from None
    return parse_profile(text, str(path))


REMEDY = "`cnnstat profile SOURCE --format json --output FILE`"


def parse_profile(text: str, label: str) -> Profile:
    """Return the profile in a JSON text, which messages call `shown`; raises CnnstatError if it holds none."""
    try:
        saved = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CnnstatError(f"{label}{place}: not valid JSON; write a profile with {REMEDY}") from None
    schema = saved.get("schema") if isinstance(saved, dict) else None
    if schema != SCHEMA:
        problem = f"its schema is {str(schema)[:40]}" if schema else "it has no schema"
        raise CnnstatError(f"{label}: {problem}, this version reads {SCHEMA}; write a profile with {REMEDY}")
    try:
        return _profile(saved)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        problem = f"{type(error).__name__}: {error}"[:100]
        raise CnnstatError(f"{label}: damaged ({problem}); write it again with {REMEDY}") from None


def _profile(saved: Mapping[str, Any]) -> Profile:
    """Return the profile in JSON values; raises what fits the fault where they are not one."""
    model, around, best, breakdown = (saved[key] for key in ("model", "environment", "ceilings", "identity"))
    environment = Environment(
        device=_device(around["device"]),
        device_name=_text(around["device_name"]),
        dtype=_text(around["dtype"]),
        versions=_texts(around["versions"]),
        settings=_texts(around["settings"]),
        threads=_optional(_whole, around["threads"]),
        clocks={_text(name): _number(value) for name, value in around["clocks"].items()},
    )
    return Profile(
        model=_text(model["name"]),
        source=_text(model["source"]),
        inputs={_text(name): tuple(map(_whole, shape)) for name, shape in model["inputs"].items()},
        environment=environment,
        roofline=Roofline(
            flops=_positive(best["flops_per_second"]),
            bandwidth=_positive(best["bytes_per_second"]),
            launch=_number(best["launch"]),
            measured=_text(best["measured"]),
        ),
        layers=tuple(map(_read_layer, saved["layers"])),
        whole=_read_whole(saved["whole"]),
        time_breakdown=TimeBreakdown(
            whole=_number(breakdown["whole"]),
            layers=_number(breakdown["layers"]),
            idle=_number(breakdown["gaps"]),
            unattributed=_number(breakdown["unattributed"]),
        ),
        peak_bytes=_optional(_whole, saved["peak_bytes"]),
        predicted_peak_bytes=_optional(_whole, saved["predicted_peak_bytes"]),
        joules=_optional(_number, saved["joules"]),
        lost_kernels=_whole(saved["lost_kernels"]),
        complete=_flag(saved["complete"]),
        notes=tuple(map(_text, saved["notes"])),
    )


def _read_whole(entry: Mapping[str, Any]) -> Whole:
    """Return the times of the whole model."""
    return Whole(
        plain=_read_samples(entry["plain"]),
        eager=_read_samples(entry["eager"]),
        enqueue=_optional(_read_samples, entry["enqueue"]),
        replayed=_flag(entry["replayed"]),
    )


def _read_layer(entry: Mapping[str, Any]) -> LayerTime:
    """Return one layer; rates follow from the rest."""
    return LayerTime(
        name=_text(entry["name"]),
        kind=_text(entry["op"]),
        calls=_whole(entry["calls"]),
        forward=_read_samples(entry["forward"]),
        macs=_whole(entry["macs"]),
        flops=_whole(entry["flops"]),
        moved=_whole(entry["bytes"]),
        bound_seconds=_number(entry["floor"]),
        bound=_optional(_bound, entry["bound"]),
        kernels=_optional(_whole, entry["kernels"]),
        kernel_names=tuple(map(_text, entry["kernel_names"])),
        backward=_optional(_read_samples, entry["backward"]),
        warm=_optional(_read_samples, entry["warm"]),
        cold=_optional(_read_samples, entry["cold"]),
        counted=_flag(entry["counted"]),
    )


def _read_samples(entry: Mapping[str, Any]) -> Samples:
    return Samples(_number(entry["median"]), _number(entry["lower"]), _number(entry["upper"]), _whole(entry["count"]))


def _optional(read: Callable[[Any], Value], value: Any) -> Value | None:
    """Return None for null, else what `read` makes of a value."""
    return None if value is None else read(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]} is no number")
    return float(value)


def _positive(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError(f"{value} is not above 0")
    return float(value)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{str(value)[:40]} is no integer")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{str(value)[:40]} is neither true nor false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]} is no text")
    return value


def _texts(values: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in values.items()}


def _device(value: Any) -> str:
    _one_of(_text(value).partition(":")[0], TOLERANCES)
    return str(value)


def _bound(value: Any) -> Bound:
    return BOUNDS[_one_of(value, BOUNDS)]


def _one_of(value: Any, known: Mapping[str, Any]) -> str:
    if value not in known:
        raise ValueError(f"{str(value)[:40]} is none of {', '.join(known)}")
    return str(value)

"""Profile JSON: a profile under the `cnnstat-profile/1` contract, and back, to compare it with a later one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cnnstat.errors import CnnstatError
from cnnstat.files import read_bytes
from cnnstat.profile.profile_result import (
    TOLERANCES,
    Environment,
    KernelTime,
    LayerMemory,
    LayerTime,
    OpTime,
    Profile,
    Roofline,
    RowCheck,
    Samples,
    TimeBreakdown,
    TimelineSlice,
    Whole,
)

SCHEMA = "cnnstat-profile/1"
"""Name and version of the contract."""

MAX_BYTES = 64 * 2**20
"""Largest file that is taken for a profile."""

BOUNDS = ("compute", "memory", "latency")
REMEDY = "`cnnstat profile SOURCE --format json --output FILE`"

Reader = Callable[[Any], Any]
"""Checks a value from a file and returns it as Python has it; raises ValueError, TypeError or KeyError."""


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


def _device(value: Any) -> str:
    _one_of(TOLERANCES)(_text(value).partition(":")[0])
    return str(value)


def _one_of(known: Any) -> Reader:
    def read(value: Any) -> str:
        if value not in known:
            raise ValueError(f"{str(value)[:40]} is none of {', '.join(known)}")
        return str(value)

    return read


def _optional(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _tuple_of(read: Reader) -> Reader:
    return lambda values: tuple(map(read, values))


def _mapping_of(read: Reader) -> Reader:
    return lambda values: {_text(name): read(value) for name, value in values.items()}


class Key(NamedTuple):
    """One key of the contract: how it is read, None where its value follows from others, and the attribute it is.

    came_later: whether files of earlier versions may lack it; the attribute then has its default.
    """

    key: str
    read: Reader | None
    attribute: str = ""
    came_later: bool = False


@dataclass(frozen=True)
class Form:
    """The keys under which one class stands in the contract, in their order."""

    make: Callable[..., Any]
    keys: tuple[Key, ...]

    def write(self, value: Any) -> dict[str, Any]:
        """Return the JSON-ready values of an object."""
        return {key: _written(getattr(value, attribute or key)) for key, _, attribute, _ in self.keys}

    def arguments(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an object from JSON values."""
        return {
            attribute or key: read(entry[key])
            for key, read, attribute, came_later in self.keys
            if read is not None and not (came_later and key not in entry)
        }

    def read(self, entry: Mapping[str, Any]) -> Any:
        """Return an object from JSON values; raises what fits the fault where they are not one."""
        return self.make(**self.arguments(entry))


SAMPLES = Form(Samples, (Key("median", _number), Key("lower", _number), Key("upper", _number), Key("count", _whole)))
ENVIRONMENT = Form(
    Environment,
    (
        Key("device", _device),
        Key("device_name", _text),
        Key("dtype", _text),
        Key("threads", _optional(_whole)),
        Key("versions", _mapping_of(_text)),
        Key("settings", _mapping_of(_text)),
        Key("clocks", _mapping_of(_number)),
    ),
)
ROOFLINE = Form(
    Roofline,
    (
        Key("flops_per_second", _positive),
        Key("bytes_per_second", _positive, "bandwidth"),
        Key("launch", _number),
        Key("measured", _text),
        Key("source", _text, came_later=True),
    ),
)
WHOLE = Form(
    Whole,
    (
        Key("plain", SAMPLES.read),
        Key("eager", SAMPLES.read),
        Key("enqueue", _optional(SAMPLES.read)),
        Key("replayed", _flag),
        Key("cpu_bound", None),
    ),
)
BREAKDOWN = Form(
    TimeBreakdown,
    (
        Key("whole", _number),
        Key("layers", _number),
        Key("gaps", _number, "idle"),
        Key("unattributed", _number),
        Key("drift", None, "residual"),
        Key("tracing", _number, came_later=True),
        Key("kernels", _whole, came_later=True),
    ),
)
LAYER = Form(
    LayerTime,
    (
        Key("name", _text),
        Key("op", _text, "kind"),
        Key("calls", _whole),
        Key("kernels", _optional(_whole)),
        Key("kernel_names", _tuple_of(_text)),
        Key("forward", SAMPLES.read),
        Key("backward", _optional(SAMPLES.read)),
        Key("warm", _optional(SAMPLES.read)),
        Key("cold", _optional(SAMPLES.read)),
        Key("macs", _whole),
        Key("flops", _whole),
        Key("bytes", _whole, "moved"),
        Key("counted", _flag),
        Key("flops_per_second", None),
        Key("bytes_per_second", None),
        Key("floor", _number, "bound_seconds"),
        Key("share_of_floor", None, "share_of_bound"),
        Key("bound", _optional(_one_of(BOUNDS))),
    ),
)
MODEL = Form(
    Profile, (Key("name", _text, "model"), Key("source", _text), Key("inputs", _mapping_of(_tuple_of(_whole))))
)
KERNEL = Form(
    KernelTime,
    (
        Key("name", _text),
        Key("count", _whole),
        Key("seconds", _number),
        Key("grid", _tuple_of(_whole)),
        Key("block", _tuple_of(_whole)),
        Key("tensor_cores", _flag),
        Key("layers", _tuple_of(_text)),
    ),
)
OP = Form(
    OpTime,
    (Key("layer", _text), Key("backward", _flag), Key("op", _text), Key("calls", _whole), Key("seconds", _number)),
)
LAYER_MEMORY = Form(LayerMemory, (Key("layer", _text), Key("measured", _whole), Key("predicted", _whole)))
SLICE = Form(
    TimelineSlice,
    (Key("layer", _text), Key("backward", _flag), Key("track", _text), Key("start", _number), Key("seconds", _number)),
)
ROW_CHECK = Form(
    RowCheck, (Key("rows", _whole), Key("median", _number), Key("worst", _text), Key("worst_apart", _number))
)
REST = Form(
    Profile,
    (
        Key("peak_bytes", _optional(_whole)),
        Key("predicted_peak_bytes", _optional(_whole)),
        Key("joules", _optional(_number)),
        Key("lost_kernels", _whole),
        Key("complete", _flag),
        Key("notes", _tuple_of(_text)),
        Key("layers", _tuple_of(LAYER.read)),
        Key("kernels", _tuple_of(KERNEL.read), came_later=True),
        Key("gap_causes", _mapping_of(_number), came_later=True),
        Key("row_check", _optional(ROW_CHECK.read), came_later=True),
        Key("ops", _tuple_of(OP.read), came_later=True),
        Key("timeline", _tuple_of(SLICE.read), came_later=True),
        Key("memory", _tuple_of(LAYER_MEMORY.read), came_later=True),
    ),
)
FORMS: Mapping[type, Form] = {
    form.make: form  # type: ignore[misc]  # what makes an object is its class
    for form in (SAMPLES, LAYER, KERNEL, ROW_CHECK, OP, SLICE, LAYER_MEMORY)
}
"""The forms of what stands inside others."""


def _written(value: Any) -> Any:
    if type(value) in FORMS:
        return FORMS[type(value)].write(value)
    if isinstance(value, Mapping):
        return {name: _written(inner) for name, inner in value.items()}
    return [_written(inner) for inner in value] if isinstance(value, tuple) else value


def to_json(profile: Profile) -> dict[str, Any]:
    """Return everything a profile says as JSON-ready values: times in seconds, sizes in bytes, rates per second."""
    return {
        "schema": SCHEMA,
        "model": {**MODEL.write(profile), "dtype": profile.environment.dtype},
        "environment": ENVIRONMENT.write(profile.environment),
        "ceilings": ROOFLINE.write(profile.roofline),
        "whole": WHOLE.write(profile.whole),
        "identity": {**BREAKDOWN.write(profile.time_breakdown), "adds_up": profile.adds_up},
        **REST.write(profile),
    }


def read_profile(path: Path) -> Profile:
    """Return the profile in a file; raises CnnstatError if there is none."""
    try:
        content = read_bytes(path, MAX_BYTES)
        if len(content) > MAX_BYTES:
            raise CnnstatError(f"{path}: larger than {MAX_BYTES >> 20} MiB; this is no profile")
        text = content.decode("utf-8")
    except OSError as error:
        raise CnnstatError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CnnstatError(f"{path}: this is no text; write a profile with {REMEDY}") from None
    return parse_profile(text, str(path))


def parse_profile(text: str, label: str) -> Profile:
    """Return the profile in a JSON text, which messages call `label`; raises CnnstatError if it holds none."""
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
    return Profile(
        **MODEL.arguments(saved["model"]),
        environment=ENVIRONMENT.read(saved["environment"]),
        roofline=ROOFLINE.read(saved["ceilings"]),
        whole=WHOLE.read(saved["whole"]),
        time_breakdown=BREAKDOWN.read(saved["identity"]),
        **REST.arguments(saved),
    )

"""Profile JSON: a profile under the `cnnstat-profile/1` contract, and back, to compare it with a later one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cnnstat.errors import CnnstatError
from cnnstat.files import parse_json, read_whole
from cnnstat.profile.profile_details import KernelTime, LayerMemory, OpTime, RowCheck, TimelineSlice
from cnnstat.profile.profile_result import TOLERANCES, Environment, LayerTime, Profile, Samples, TimeBreakdown, Whole
from cnnstat.profile.roofline import Roofline

SCHEMA = "cnnstat-profile/1"
"""Name and version of the contract."""

MAX_BYTES = 64 * 2**20
"""Largest file that is taken for a profile."""

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


def _reader(kind: Any) -> Reader:
    simple = {float: _number, int: _whole, str: _text, bool: _flag}
    if kind in simple:
        return simple[kind]
    if kind in FORMS:
        return FORMS[kind].read
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _one_of(arguments)
    if origin is tuple:
        return _tuple_of(_reader(arguments[0]))
    if origin is Mapping:
        return _mapping_of(_reader(arguments[1]))
    (inner,) = (each for each in arguments if each is not type(None))
    return _optional(_reader(inner))


@dataclass(frozen=True)
class Form:
    """One class in the contract: its JSON keys in their order; by default its fields in theirs.

    A key is read as the type of its field says. One that is no field's follows from others, and is only written.
    fields: those that are called otherwise than their keys, by key. readers: of fields that take less than their type.
    came_later: keys that files of earlier versions may lack; their fields have defaults.
    """

    make: type[Any]
    keys: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    readers: Mapping[str, Reader] = field(default_factory=dict)
    came_later: tuple[str, ...] = ()

    def write(self, value: Any) -> dict[str, Any]:
        """Return the JSON-ready values of an object."""
        return {key: _written(getattr(value, name)) for key, name in self._names.items()}

    def arguments(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an object from JSON values."""
        return {
            self._names[key]: read(entry[key])
            for key, read in self._readers.items()
            if key not in self.came_later or key in entry
        }

    def read(self, entry: Mapping[str, Any]) -> Any:
        """Return an object from JSON values; raises what fits the fault where they are not one."""
        return self.make(**self.arguments(entry))

    @cached_property
    def _names(self) -> dict[str, str]:
        keys = self.keys or tuple(self.make.__dataclass_fields__)
        return {key: self.fields.get(key, key) for key in keys}

    @cached_property
    def _readers(self) -> dict[str, Reader]:
        types = get_type_hints(self.make, localns={"Analysis": Any})
        kinds = {key: types[name] for key, name in self._names.items() if name in types}
        return {key: self.readers.get(key) or _reader(kind) for key, kind in kinds.items()}


_LATER = ("kernels", "gap_causes", "row_check", "ops", "timeline", "memory")
MODEL = Form(Profile, ("name", "source", "inputs"), fields={"name": "model"})
REST = Form(
    Profile,
    ("peak_bytes", "predicted_peak_bytes", "joules", "lost_kernels", "complete", "notes", "layers", *_LATER),
    came_later=_LATER,
)
_FORMS = (
    Form(Samples),
    Form(Environment, readers={"device": _device}),
    Form(
        Roofline,
        ("flops_per_second", "bytes_per_second", "launch", "measured", "source"),
        fields={"bytes_per_second": "bandwidth"},
        readers={"flops_per_second": _positive, "bytes_per_second": _positive},
        came_later=("source",),
    ),
    Form(Whole, ("plain", "eager", "enqueue", "replayed", "cpu_bound")),
    Form(
        TimeBreakdown,
        ("whole", "layers", "gaps", "unattributed", "drift", "tracing", "kernels"),
        fields={"gaps": "idle", "drift": "residual"},
        came_later=("tracing", "kernels"),
    ),
    Form(
        LayerTime,
        (
            "name", "op", "calls", "kernels", "kernel_names", "forward", "backward", "warm", "cold", "macs", "flops",
            "bytes", "counted", "flops_per_second", "bytes_per_second", "floor", "share_of_floor", "bound",
        ),
        fields={"op": "kind", "bytes": "moved", "floor": "bound_seconds", "share_of_floor": "share_of_bound"},
    ),
    *map(Form, (KernelTime, OpTime, LayerMemory, TimelineSlice, RowCheck)),
)  # fmt: skip
FORMS = {form.make: form for form in _FORMS}
"""The forms of what stands inside a profile, by class."""


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
        "environment": _written(profile.environment),
        "ceilings": _written(profile.roofline),
        "whole": _written(profile.whole),
        "identity": {**_written(profile.time_breakdown), "adds_up": profile.adds_up},
        **REST.write(profile),
    }


def read_profile(path: Path) -> Profile:
    """Return the profile in a file; raises CnnstatError if there is none."""
    content = read_whole(path, MAX_BYTES, str(path), "this is no profile")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise CnnstatError(f"{path}: this is no text; write a profile with {REMEDY}") from None
    return parse_profile(text, str(path))


def parse_profile(text: str, label: str) -> Profile:
    """Return the profile in a JSON text, which messages call `label`; raises CnnstatError if it holds none."""
    saved = parse_json(text, label, f"write a profile with {REMEDY}")
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
        environment=FORMS[Environment].read(saved["environment"]),
        roofline=FORMS[Roofline].read(saved["ceilings"]),
        whole=FORMS[Whole].read(saved["whole"]),
        time_breakdown=FORMS[TimeBreakdown].read(saved["identity"]),
        **REST.arguments(saved),
    )

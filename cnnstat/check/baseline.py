"""Baselines: figures that growth is measured against, as a committed JSON file keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnstat.check.measurement import Measurement, from_json, to_json
from cnnstat.check.metrics import CONVENTION, METRICS
from cnnstat.errors import CnnstatError

SCHEMA = "cnnstat-baseline/1"
"""Name and version of the file's form."""
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Why a model has no baseline; `is_fault` if there should be one that could not be read."""

    reason: str
    is_fault: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What figures are compared with.

    shown: what reports call it. models: measurements by the name of the model. otherwise: why any other has none.
    notes: what a reader should know.
    """

    shown: str | None
    models: Mapping[str, Measurement | Missing]
    otherwise: Missing
    notes: tuple[str, ...] = ()

    def of(self, name: str) -> Measurement | Missing:
        """Return the measurement of a model, or why there is none."""
        return self.models.get(name, self.otherwise)


NO_BASELINE = Baseline(
    shown=None, models={}, otherwise=Missing(reason="no baseline: name one with --baseline or --baseline-ref")
)


def read_baseline(path: Path, shown: str) -> Baseline:
    """Return the baseline in a file, an empty one if there is no such file; raises CnnstatError if it is damaged."""
    if not path.exists():
        reason = f"no baseline: there is no {shown}; `cnnstat check --update-baseline` writes it"
        return Baseline(shown=None, models={}, otherwise=Missing(reason=reason))
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CnnstatError(f"{shown}: larger than {MAX_BYTES >> 20} MiB; this is no baseline")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CnnstatError(f"{shown}: cannot be read: {error}") from None
    return parse_baseline(text, shown)


def parse_baseline(text: str, shown: str) -> Baseline:
    """Return the baseline in a text; raises CnnstatError if it is none, or was counted otherwise."""
    remedy = "write it again with `cnnstat check --update-baseline`"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CnnstatError(f"{shown}{place}: not valid JSON; resolve the conflict, or {remedy}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise CnnstatError(f"{shown}: its schema is {str(schema)[:40]}, this version reads {SCHEMA}; {remedy}")
    if document.get("convention") != CONVENTION:
        raise CnnstatError(f"{shown}: its figures were counted by another convention; {remedy}")
    try:
        models = {str(name): from_json(entry) for name, entry in document["models"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CnnstatError(f"{shown}: damaged ({type(error).__name__}: {error}); {remedy}") from None
    missing = Missing(reason=f"no baseline: {shown} does not list it; `cnnstat check --update-baseline` adds it")
    return Baseline(shown=shown, models=models, otherwise=missing)


def check_conditions(name: str, found: Measurement, baseline: Measurement, shown: str) -> None:
    """Raise CnnstatError if two measurements of a model cannot be compared."""
    if found.conditions == baseline.conditions:
        return
    pairs = (
        ("dtype", baseline.dtype, found.dtype),
        ("input", " ".join(baseline.inputs), " ".join(found.inputs)),
        ("optimizer", baseline.optimizer, found.optimizer),
    )
    said = "; ".join(f"{what} was {before}, is {now}" for what, before, now in pairs if before != now)
    raise CnnstatError(
        f"{shown}: {name} was measured under other conditions ({said}); measure alike, or write it again with "
        "`cnnstat check --update-baseline`"
    )


def baseline_text(models: Mapping[str, Measurement]) -> str:
    """Return the text of a baseline file: sorted, a line for each layer, the same for the same figures."""
    entries = ",\n".join(f"    {_line(name)}: {_entry(to_json(models[name]))}" for name in sorted(models))
    body = f"{{\n{entries}\n  }}" if entries else "{}"
    return f'{{\n  "schema": {_line(SCHEMA)},\n  "convention": {_line(CONVENTION)},\n  "models": {body}\n}}\n'


def _entry(entry: dict[str, Any]) -> str:
    """Return one model, a line for each key and each layer."""
    lines = [f"      {_line(key)}: {_line(value)}" for key, value in entry.items() if key != "layers"]
    layers = ",\n".join(f"        {_line(row)}" for row in entry["layers"])
    lines.append(f'      "layers": [\n{layers}\n      ]' if layers else '      "layers": []')
    return "{\n" + ",\n".join(lines) + "\n    }"


def _line(value: Any) -> str:
    """Return JSON on one line, ASCII so that any checkout reads it."""
    return json.dumps(value, allow_nan=False)


def difference_lines(before: Mapping[str, Measurement | Missing], after: Mapping[str, Measurement]) -> list[str]:
    """Return what an update changes, a line for each figure that does."""
    lines = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if new is None:
            lines.append(f"{name}: no longer checked, removed")
        elif not isinstance(old, Measurement):
            lines.append(f"{name}: new")
        else:
            lines += _changes(name, old, new)
    return lines


def _changes(name: str, old: Measurement, new: Measurement) -> list[str]:
    """Return the totals of one model that differ, or that only layers or conditions do."""
    lines = []
    for key, metric in METRICS.items():
        before, after = old.totals.get(key), new.totals.get(key)
        if before != after:
            texts = ["none" if n is None else metric.show_exactly(n) for n in (before, after)]
            growth = f" ({after - before:+,})" if before is not None and after is not None else ""
            lines.append(f"{name}: {key} {texts[0]} -> {texts[1]}{growth}")
    if not lines and to_json(old) != to_json(new):
        lines.append(f"{name}: same totals; layers or conditions differ")
    return lines

"""Baselines: the file of figures that growth is measured against, and the layers that differ from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from cnnstat.check.check_result import LayerChange
from cnnstat.check.limits import CONVENTION, METRICS, exact_text
from cnnstat.check.model_figures import Baseline, LayerFigures, Missing, ModelFigures, from_json, to_json
from cnnstat.errors import CnnstatError
from cnnstat.files import exists, parse_json, read_whole

SCHEMA = "cnnstat-baseline/1"
"""Name and version of the file's form."""
MAX_BYTES = 64 * 2**20
LEAST_LIKENESS = 0.75
"""Share of layers with the same name and op from which on a new model counts as a renamed one."""
LayerPair = tuple[LayerFigures | None, LayerFigures | None]
"""A layer before and after; None on the side where it does not exist."""
MAX_ALIGNED = 1000
"""Most differing layers that are aligned by what they are; longer stretches are matched by name alone."""


def read_baseline(path: Path, label: str) -> Baseline:
    """Return the baseline in a file, an empty one if there is no such file; raises CnnstatError if it is damaged."""
    if not exists(path):
        if path.is_symlink():  # a change that breaks a link must not skip the limits on growth
            raise CnnstatError(f"{label}: is a link that leads nowhere; put the baseline file in its place")
        reason = f"no baseline: there is no {label}; `cnnstat check --update-baseline` writes it"
        return Baseline(label=None, models={}, otherwise=Missing(reason=reason))
    try:
        text = read_whole(path, MAX_BYTES, label, "this is no baseline").decode("utf-8")
    except UnicodeDecodeError as error:
        raise CnnstatError(f"{label}: cannot be read: {error}") from None
    return parse_baseline(text, label)


def parse_baseline(text: str, label: str) -> Baseline:
    """Return the baseline in a text; raises CnnstatError if it is none, or was counted otherwise."""
    remedy = "write it again with `cnnstat check --update-baseline`"
    document = parse_json(text, label, f"resolve the conflict, or {remedy}")
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise CnnstatError(f"{label}: its schema is {str(schema)[:40]}, this version reads {SCHEMA}; {remedy}")
    if document.get("convention") != CONVENTION:
        raise CnnstatError(f"{label}: its figures were counted by another convention; {remedy}")
    try:
        models = {str(name): from_json(entry) for name, entry in document["models"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CnnstatError(f"{label}: damaged ({type(error).__name__}: {error}); {remedy}") from None
    missing = Missing(reason=f"no baseline: {label} does not list it; `cnnstat check --update-baseline` adds it")
    return Baseline(label=label, models=models, otherwise=missing)


def check_conditions(name: str, figures: ModelFigures, baseline: ModelFigures, label: str) -> None:
    """Raise CnnstatError if the figures of a model and of its baseline cannot be compared."""
    if figures.conditions == baseline.conditions:
        return
    conditions = (
        ("dtype", baseline.dtype, figures.dtype),
        ("input", " ".join(baseline.inputs), " ".join(figures.inputs)),
        ("optimizer", baseline.optimizer, figures.optimizer),
        ("deploy", baseline.deploy or "none", figures.deploy or "none"),
    )
    changes = "; ".join(f"{what} was {before}, is {now}" for what, before, now in conditions if before != now)
    raise CnnstatError(
        f"{label}: {name} was measured under other conditions ({changes}); measure alike, or write it again with "
        "`cnnstat check --update-baseline`"
    )


def baseline_text(models: Mapping[str, ModelFigures]) -> str:
    """Return the text of a baseline file: sorted, a line for each layer, the same for the same figures."""
    entries = ",\n".join(f"    {_line(name)}: {_entry(to_json(models[name]))}" for name in sorted(models))
    body = f"{{\n{entries}\n  }}" if entries else "{}"
    return f'{{\n  "schema": {_line(SCHEMA)},\n  "convention": {_line(CONVENTION)},\n  "models": {body}\n}}\n'


def _entry(entry: dict[str, Any]) -> str:
    lines = [f"      {_line(key)}: {_line(value)}" for key, value in entry.items() if key != "layers"]
    layers = ",\n".join(f"        {_line(row)}" for row in entry["layers"])
    lines.append(f'      "layers": [\n{layers}\n      ]' if layers else '      "layers": []')
    return "{\n" + ",\n".join(lines) + "\n    }"


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False)  # ASCII, so that any checkout reads it


def difference_lines(before: Mapping[str, ModelFigures | Missing], after: Mapping[str, ModelFigures]) -> list[str]:
    """Return what an update changes, a line for each figure that does."""
    lines = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if new is None:
            lines.append(f"{name}: no longer checked, removed")
        elif not isinstance(old, ModelFigures):
            lines.append(f"{name}: new")
        else:
            lines += _total_changes(name, old, new)
    return lines


def _total_changes(name: str, old: ModelFigures, new: ModelFigures) -> list[str]:
    """Return the totals of one model that differ, or that only layers or conditions do."""
    lines = []
    for key, metric in METRICS.items():
        before, after = old.totals.get(key), new.totals.get(key)
        if before != after:
            texts = ["none" if n is None else exact_text(metric.unit, n) for n in (before, after)]
            growth = f" ({after - before:+,})" if before is not None and after is not None else ""
            lines.append(f"{name}: {key} {texts[0]} -> {texts[1]}{growth}")
    if not lines and to_json(old) != to_json(new):
        lines.append(f"{name}: same totals; layers or conditions differ")
    return lines


def with_renames(then: Baseline, now: Baseline) -> Baseline:
    """Return the earlier baseline, in which what has gone stands for the new models that are most like it too."""
    gone = {name: m for name, m in then.models.items() if name not in now.models and isinstance(m, ModelFigures)}
    new = {name: m for name, m in now.models.items() if name not in then.models and isinstance(m, ModelFigures)}
    renamed: dict[str, ModelFigures] = {}
    notes = []
    pairs = sorted(((likeness_of(a, b), old, name) for old, a in gone.items() for name, b in new.items()), reverse=True)
    for likeness, old, name in pairs:
        if likeness >= LEAST_LIKENESS and old in gone and name not in renamed:
            renamed[name] = gone.pop(old)
            notes.append(f"{name} is held against {old} of the earlier baseline, whose layers it has")
    return replace(then, models={**then.models, **renamed}, notes=(*then.notes, *notes))


def likeness_of(one: ModelFigures, other: ModelFigures) -> float:
    """Return the share of layers that two models have in common by name and op, 0 to 1."""
    first, second = ({row[:2] for row in figures.layers} for figures in (one, other))
    return len(first & second) / max(1, len(first | second))


def layer_pairs(before: Sequence[LayerFigures], after: Sequence[LayerFigures]) -> list[LayerPair]:
    """Return the layers that differ, in execution order, removed ones where they stood.

    Layers without a name of their own are numbered, so that one more shifts the names of all behind it. What is equal
    but for its name is therefore aligned first, and only the rest is matched by name.
    """
    if before == after:
        return []
    return [pair for old, new in _stretches(before, after) for pair in _matched(old, new)]


def layer_changes(before: Sequence[LayerFigures], after: Sequence[LayerFigures]) -> tuple[LayerChange, ...]:
    """Return the layers that differ, as reports show them."""
    return tuple(_layer_change(*pair) for pair in layer_pairs(before, after))


def _stretches(
    before: Sequence[LayerFigures], after: Sequence[LayerFigures]
) -> Iterator[tuple[list[LayerFigures], list[LayerFigures]]]:
    """Yield stretches of layers that differ, between stretches whose ops and figures are equal."""
    start = 0
    # most changes touch few layers: an equal head needs no alignment, whose time grows with the square of the length
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    old, new = list(before[start:]), list(after[start:])
    if max(len(old), len(new)) > MAX_ALIGNED:
        yield old, new
        return
    matcher = SequenceMatcher(None, [row[1:] for row in old], [row[1:] for row in new], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            yield old[a:b], new[c:d]


def _matched(old: list[LayerFigures], new: list[LayerFigures]) -> Iterator[LayerPair]:
    """Yield the layers of one stretch: by name, then by position among those of the same op, else alone."""
    partners = {row.name: row for row in old}
    matches: dict[int, LayerFigures] = {}
    for number, row in enumerate(new):
        if row.name in partners:
            matches[number] = partners.pop(row.name)
    rest = list(partners.values())  # layers that were renamed, or removed
    for number, row in enumerate(new):
        same = next((r for r in rest if r.op == row.op), None) if number not in matches else None
        if same is not None:
            rest.remove(same)
            matches[number] = same
    yield from ((row, None) for row in rest)
    yield from ((matches.get(number), row) for number, row in enumerate(new))


def _layer_change(before: LayerFigures | None, after: LayerFigures | None) -> LayerChange:
    row = after or before
    assert row is not None
    return LayerChange(
        name=row.name,
        op=row.op,
        before=None if before is None else before.figures,
        after=None if after is None else after.figures,
    )

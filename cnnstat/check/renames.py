"""Renames: which model of an earlier baseline a model of a later one was, when its name has changed."""

from __future__ import annotations

from dataclasses import replace

from cnnstat.check.baseline import Baseline
from cnnstat.check.measurement import Measurement

LEAST_LIKE = 0.75
"""Share of layers with the same name and op from which on a new model counts as a renamed one."""


def with_renames(then: Baseline, now: Baseline) -> Baseline:
    """Return the earlier baseline, in which what has gone stands for the new models that are most like it too."""
    gone = {name: m for name, m in then.models.items() if name not in now.models and isinstance(m, Measurement)}
    new = {name: m for name, m in now.models.items() if name not in then.models and isinstance(m, Measurement)}
    found: dict[str, Measurement] = {}
    notes = []
    pairs = sorted(((_likeness(a, b), old, name) for old, a in gone.items() for name, b in new.items()), reverse=True)
    for likeness, old, name in pairs:
        if likeness >= LEAST_LIKE and old in gone and name not in found:
            found[name] = gone.pop(old)
            notes.append(f"{name} is held against {old} of the earlier baseline, whose layers it has")
    return replace(then, models={**then.models, **found}, notes=(*then.notes, *notes))


def _likeness(one: Measurement, other: Measurement) -> float:
    """Return the share of layers that two models have in common by name and op, 0 to 1."""
    first, second = ({row[:2] for row in found.layers} for found in (one, other))
    return len(first & second) / max(1, len(first | second))

"""The result of a check, which is all that formats see: one verdict for each limit of each model; and its JSON form.

The order of fields is that of the JSON contract.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

SCHEMA = "cnnstat-check/1"
"""Name and version of the JSON contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a file, as a path that an annotation can use; line and column count from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Status(str, Enum):
    """Outcome of one limit.

    SKIPPED: it is relative, and there is no baseline. UNVERIFIED: the figure or the baseline it needs is not known.
    """

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    SKIPPED = "skipped"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShare:
    """One layer's part of a figure, and what it was in the baseline; None where there is none."""

    name: str
    value: int
    baseline: int | None = None

    @property
    def growth(self) -> int:
        """Increase against the baseline; a layer that the baseline does not have grew from 0."""
        return self.value - (self.baseline or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """A layer that differs from the baseline; a side is None where the layer does not exist.

    op: the op's kind, as `Conv2d`. before, after: the figures of a baseline file by metric.
    """

    name: str
    op: str
    before: Mapping[str, int] | None
    after: Mapping[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One limit of one model.

    metric: the key of a limited figure.
    bound: `max`, `min`, `max_increase`, or `baseline_growth`: the baseline file itself must not grow.
    limit: in base units; for `max_increase` the baseline with the growth that is allowed; None without a baseline.
    limit_text: as the user wrote it.
    value: the figure of the model; None where there is none. baseline: the figure of the baseline.
    message: one line without the location in front.
    layers: the layers that weigh or grew most, heaviest first; empty where the limit holds.
    setting: where the limit is written; None on the command line.
    blocking: whether it can decide the exit code, which `level = "warn"` forbids.
    """

    metric: str
    bound: str
    status: Status
    blocking: bool = True
    limit: int | None
    limit_text: str
    value: int | None
    baseline: int | None
    message: str
    layers: tuple[LayerShare, ...] = ()
    setting: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """The verdicts on one model.

    source: what the user named. place: its file and the line of the layer that matters most; None if it has no file.
    totals, baseline: figures by metric, None where a figure is not known; baseline is None without one, and lacks the
        metrics that its file was written without.
    changed_layers: layers that differ from the baseline, in execution order.
    inputs: dtype and shape of each input as text, the batch included (`input=1x3x32x32:float32`); not in JSON.
    notes: what a reader should know, one line each.
    """

    name: str
    source: str
    place: Place | None
    notes: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...]
    totals: Mapping[str, int | None]
    baseline: Mapping[str, int | None] | None = None
    changed_layers: tuple[LayerChange, ...] = ()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of one run of `cnnstat check`.

    configuration: the file with the limits, or `command line`. baseline: what the figures were compared with.
    convention: how the figures are counted.
    """

    models: tuple[ModelResult, ...]
    configuration: str
    baseline: str | None
    convention: str
    notes: tuple[str, ...] = field(default=())

    @property
    def pairs(self) -> tuple[tuple[ModelResult, Verdict], ...]:
        """The verdicts on all models, each behind its model."""
        return tuple((model, verdict) for model in self.models for verdict in model.verdicts)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts on all models."""
        return tuple(verdict for _, verdict in self.pairs)

    @property
    def exit_code(self) -> int:
        """1 if a limit is broken, else 3 if one could not be verified, else 0; warnings and skipped limits are 0."""
        statuses = {verdict.status for verdict in self.verdicts if verdict.blocking}
        return 1 if Status.FAIL in statuses else 3 if Status.UNVERIFIED in statuses else 0


def json_text(result: CheckResult) -> str:
    """Return the document as text, in ASCII throughout and the same from run to run."""
    return json.dumps(to_json(result), indent=2, allow_nan=False) + "\n"


def to_json(result: CheckResult) -> dict[str, Any]:
    """Return the result as JSON-ready values under the contract: integers raw, sizes in bytes."""
    numbers = Counter(verdict.status for verdict in result.verdicts)
    return {
        "schema": SCHEMA,
        "exit_code": result.exit_code,
        "verdicts": {status.value: numbers[status] for status in Status},
        "configuration": result.configuration,
        "baseline": result.baseline,
        "convention": result.convention,
        "notes": list(result.notes),
        "models": [{k: v for k, v in asdict(model).items() if k != "inputs"} for model in result.models],
    }

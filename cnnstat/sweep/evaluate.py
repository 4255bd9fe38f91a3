"""One point of a sweep: its figures as a flat record, or the error that says why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.analysis.figures import FIGURES
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph
from cnnstat.sources.load import named_model
from cnnstat.sources.model import ModelReference
from cnnstat.sources.request import Request
from cnnstat.sweep.grid import Point

SCHEMA = "cnnstat-sweep/1"
"""Name and version of the JSON contract of a record."""

TOTALS = tuple(figure for figure in FIGURES if figure.total)
"""The figures of a record that are read off the totals."""

Record = dict[str, Any]
"""A point as JSON lines have it: schema, point, source, settings, error or figures, notes."""


def evaluate(
    point: Point, base: Request, optimizer: str = "sgd", strict: bool = False, notes_files: bool = False
) -> Record:
    """Return the record of a point; an error, of whatever kind, is a part of it.

    notes_files: note what a Python model was made from, so that a later run sees whether that has changed.
    """
    record = header(point)
    try:
        model = named_model(point.source, point.request(base))
        if notes_files and getattr(model, "runs_code", False):
            graph, record["depends"] = _noted(model)
        else:
            graph = model.load()
        analysis = analyze_graph(graph, optimizer=optimizer, strict=strict)
        return {**record, "error": None, **figures(analysis)}
    except CnnstatError as error:
        return {**record, "error": " ".join(str(error).split())[:1000]}
    except Exception as error:  # one faulty point must not end the others
        return {**record, "error": f"internal error, please report it ({type(error).__name__}: {error})"[:1000]}


def _noted(model: ModelReference) -> tuple[Graph, Record]:
    from cnnstat.sources.dependencies import recording

    with suppress(ImportError):
        import torch  # noqa: F401  # what PyTorch asks when it is imported is not the model's doing
    with recording() as dependencies:
        graph = model.load()
        return graph, dependencies().of_user().to_json()


def header(point: Point) -> Record:
    """Return what a record says of the point itself."""
    return {"schema": SCHEMA, "point": point.number, "source": point.source, "settings": dict(point.labels)}


def figures(analysis: Analysis) -> Record:
    """Return the totals of a network, and what restricts them.

    receptive_field: the smaller side of the last map's field, as limits have it; null where there is none, or a bound.
    """
    totals = analysis.totals
    field = totals.receptive_field
    values: Record = {figure.key: figure.of(totals) for figure in TOTALS}
    values["receptive_field"] = min(field.local_sizes) if field is not None and field.exact else None
    notes = list(analysis.notes)
    if analysis.uncounted:
        notes.append(f"MACs and FLOPs are lower bounds: {len(analysis.uncounted)} layers could not be counted")
    return {"inputs": [list(each.shape) for each in analysis.graph.inputs], **values, "notes": notes}


def evaluate_all(
    points: Sequence[Point], base: Request, optimizer: str, strict: bool, notes_files: bool = False
) -> list[Record]:
    """Return the records of points, in order: the work that an executor gets at a time."""
    return [evaluate(point, base, optimizer, strict, notes_files) for point in points]

"""Figures of a model: its totals and layers as limits need them, and what they are compared with, a baseline."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.analysis.figures import LAYER_FIGURES
from cnnstat.check.configuration import ModelSettings
from cnnstat.check.limits import METRICS
from cnnstat.errors import CnnstatError, Location
from cnnstat.ir.graph import Graph
from cnnstat.numbers import Unit
from cnnstat.sources.load import load_source
from cnnstat.sources.request import InputShape, Request

MAX_FIGURE = 10**30
"""Largest figure that is read from a file."""
COLUMNS = tuple(figure.layer for figure in LAYER_FIGURES if figure.in_baseline)
"""The figures of a layer in a baseline file, whose form is fixed."""
COMPUTED = tuple(key for key, metric in METRICS.items() if metric.unit is not Unit.TIME)
"""The metrics that do not depend on a machine."""
TIMEOUT = 600
"""Seconds that one analysis in a process of its own may take."""
_PACKAGE = Path(__file__).resolve().parents[2]


class LayerFigures(NamedTuple):
    """One layer: its name, the op's kind and its figures, in the order of COLUMNS."""

    name: str
    op: str
    numbers: tuple[int, ...]

    @property
    def figures(self) -> dict[str, int]:
        """The figures by name."""
        return dict(zip(COLUMNS, self.numbers, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """The figures of one model.

    inputs: dtype and shape of each input as text, the batch included. totals: by metric, None where there is no figure.
    uncounted: layers whose work could not be counted. peak_at: the layer at which memory peaks.
    deploy: the precision that it is deployed in, empty for the network as it is written.
    ranges: least and most of each total that random numbers decide; None for one that some draws have not.
    analysis: everything else that is known of the model; None, as in the JSON form, for a baseline from a file.
    """

    dtype: str
    optimizer: str
    inputs: tuple[str, ...]
    totals: Mapping[str, int | None]
    layers: tuple[LayerFigures, ...]
    uncounted: tuple[str, ...] = ()
    peak_at: str | None = None
    deploy: str = ""
    ranges: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    analysis: Analysis | None = field(default=None, compare=False, repr=False)

    @property
    def conditions(self) -> tuple[Any, ...]:
        """What must be equal for the figures of two models to be comparable."""
        return self.dtype, self.inputs, self.optimizer, self.deploy

    @property
    def counted_otherwise(self) -> tuple[str, ...]:
        """Totals in the file of an older version, which counted them otherwise."""
        # Before there were bytes of flash, the size of a file was that of its tensors alone.
        return ("file_size",) if "file_size" in self.totals and "flash_bytes" not in self.totals else ()

    def comparable(self, key: str) -> int | None:
        """Return a total that others can be compared with; None where there is none."""
        return None if key in self.counted_otherwise else self.totals.get(key)

    @property
    def graph(self) -> Graph | None:
        """The graph of the model, if it is at hand."""
        return None if self.analysis is None else self.analysis.graph

    def column(self, key: str) -> tuple[int, ...]:
        """Return a figure of every layer; empty if it is not known."""
        if key in COLUMNS:
            return tuple(row.figures[key] for row in self.layers)
        return () if self.analysis is None else tuple(getattr(layer, key) for layer in self.analysis.layers)

    def location(self, layer: str) -> Location | None:
        """Return where a spec writes a layer."""
        nodes = () if self.graph is None else self.graph.nodes
        return next((node.location for node in nodes if node.name == layer), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Why a model has no baseline.

    is_fault: there should be one that could not be read. is_new: its file did not exist in the earlier commit.
    """

    reason: str
    is_fault: bool = False
    is_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What figures are compared with.

    label: what reports call it. models: figures by the name of the model. otherwise: why any other has none.
    notes: what a reader should know, one line each.
    """

    label: str | None
    models: Mapping[str, ModelFigures | Missing]
    otherwise: Missing
    notes: tuple[str, ...] = ()

    def of(self, name: str) -> ModelFigures | Missing:
        """Return the figures of a model, or why there are none."""
        return self.models.get(name, self.otherwise)


NO_BASELINE = Baseline(
    label=None, models={}, otherwise=Missing(reason="no baseline: name one with --baseline or --baseline-ref")
)


def analyze_model(source: str, settings: ModelSettings) -> ModelFigures:
    """Return the figures of a source under the settings of a model; raises CnnstatError."""
    graph, strict = load_source(source, settings.request), settings.strict_receptive_field
    return figures_of(analyze_graph(graph, optimizer=settings.optimizer, strict=strict), settings)


def figures_of(analysis: Analysis, settings: ModelSettings) -> ModelFigures:
    """Return the figures of an analysis."""
    graph, peak_at = analysis.graph, analysis.memory.peak_at
    columns = attrgetter(*COLUMNS)
    return ModelFigures(
        dtype=graph.dtype,
        optimizer=settings.optimizer,
        inputs=tuple(f"{i.name}={'x'.join(map(str, i.shape))}:{i.dtype}" for i in graph.inputs),
        totals=_totals(analysis),
        layers=tuple(LayerFigures(layer.name, layer.op.kind, columns(layer)) for layer in analysis.layers),
        uncounted=analysis.uncounted,
        peak_at=None if peak_at is None else graph.nodes[peak_at].name,
        deploy="" if graph.deployment is None else graph.deployment.precision,
        ranges=_ranges(analysis) if analysis.other_paths else {},
        analysis=analysis,
    )


def _totals(analysis: Analysis) -> dict[str, int | None]:
    """Return the totals by metric; that of a receptive field is the smallest size along an axis that is local."""
    totals = analysis.totals
    values: dict[str, int | None] = {key: METRICS[key].of(totals) for key in COMPUTED if METRICS[key].total}
    field = totals.receptive_field
    # A field that is only bounded keeps no limit; along an axis that is read as a whole, none could be larger.
    values["receptive_field"] = min(field.local_sizes) if field is not None and field.exact else None
    return {key: values[key] for key in COMPUTED}


def _ranges(analysis: Analysis) -> dict[str, tuple[int | None, int | None]]:
    """Return the least and the most of the totals that are not the same on all random paths."""
    rows = [_totals(path) for path in (analysis, *analysis.other_paths)]
    ranges: dict[str, tuple[int | None, int | None]] = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        numbers = [value for value in values if value is not None]
        if len(set(values)) > 1:
            ranges[key] = (min(numbers), max(numbers)) if len(numbers) == len(values) else (None, None)
    return ranges


def to_json(figures: ModelFigures) -> dict[str, Any]:
    """Return the figures as JSON-ready values."""
    return {
        "dtype": figures.dtype,
        "optimizer": figures.optimizer,
        "inputs": list(figures.inputs),
        **({"deploy": figures.deploy} if figures.deploy else {}),
        "totals": dict(figures.totals),
        "uncounted": list(figures.uncounted),
        "peak_at": figures.peak_at,
        "layers": [[row.name, row.op, *row.numbers] for row in figures.layers],
    }


def from_json(entry: Any) -> ModelFigures:
    """Return the figures in JSON values; raises ValueError, TypeError or KeyError where they are not some."""
    layers = tuple(LayerFigures(name, op, tuple(numbers)) for name, op, *numbers in entry["layers"])
    if any(len(row.numbers) != len(COLUMNS) for row in layers):
        raise ValueError("a layer has too few or too many figures")
    totals = {key: entry["totals"][key] for key in COMPUTED if key in entry["totals"]}
    ratios = [n for key, n in totals.items() if n is not None and METRICS[key].unit is Unit.RATIO]
    numbers = [number for row in layers for number in row.numbers]
    numbers += [n for key, n in totals.items() if n is not None and METRICS[key].unit is not Unit.RATIO]
    texts = [text for row in layers for text in row[:2]] + [*entry["inputs"], entry["dtype"], entry["optimizer"]]
    texts += [entry.get("deploy", ""), *entry["uncounted"], "" if entry["peak_at"] is None else entry["peak_at"]]
    are_numbers = all(type(n) is int for n in numbers) and all(type(n) in (int, float) for n in ratios)
    if not are_numbers or any(type(text) is not str for text in texts):
        raise TypeError("a figure is no integer or a name no text")
    if any(not 0 <= number <= MAX_FIGURE for number in (*numbers, *ratios)):
        raise ValueError("a figure is negative or has too many digits")
    "".join(texts).encode()  # raises UnicodeEncodeError, a ValueError, for halves of characters
    return ModelFigures(
        dtype=entry["dtype"],
        optimizer=entry["optimizer"],
        inputs=tuple(entry["inputs"]),
        totals=totals,
        layers=layers,
        uncounted=tuple(entry["uncounted"]),
        peak_at=entry["peak_at"],
        deploy=entry.get("deploy", ""),
    )


def analyze_in_subprocess(source: str, settings: ModelSettings, folder: Path, instead_of: Path) -> ModelFigures:
    """Return the figures of a source, analyzed by a new process in another folder; raises CnnstatError.

    So another commit's Python code does not meet the modules that this process has imported.
    instead_of: the folder whose code must not be what is imported, because `folder` holds another commit of it.
    """
    from cnnstat.child_process import python_command  # specs need none

    paths = [str(_PACKAGE), *(path for path in sys.path if path and not _is_below(Path(path), Path.cwd()))]
    command = python_command(__name__, "main", str(folder), str(instead_of), path=tuple(dict.fromkeys(paths)))
    message = json.dumps({"source": source, **_settings_to_json(settings)}, default=str)
    try:
        result = subprocess.run(
            command, input=message, capture_output=True, encoding="utf-8", cwd=folder, timeout=TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CnnstatError(f"{source}: could not be analyzed apart ({type(error).__name__})") from None
    if result.returncode:
        last_line = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise CnnstatError(last_line[:300])
    return from_json(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    """Read source and settings from stdin, write the figures to stdout; an error goes to stderr with exit code 2."""
    message = json.load(sys.stdin)
    folder, instead_of = map(Path, sys.argv[1:3])
    sys.path[:0] = [str(folder), str(folder / "src")]
    source = message.pop("source")
    try:
        figures = analyze_model(source, _settings_from_json(message))
        _check_module(source.partition(":")[0], folder, instead_of)
    except CnnstatError as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        sys.exit(2)
    print(json.dumps(to_json(figures)))


def _check_module(name: str, folder: Path, instead_of: Path) -> None:
    """Raise CnnstatError if a module came from the working tree, so that it would be compared with itself."""
    file = Path(getattr(sys.modules.get(name), "__file__", None) or folder).resolve()
    if _is_below(file, instead_of) and not _is_below(file, folder.resolve()) and "site-packages" not in file.parts:
        raise CnnstatError(f"{name} is imported from the working tree, not from the base commit; name the file instead")


def _settings_to_json(settings: ModelSettings) -> dict[str, Any]:
    how = {"optimizer": settings.optimizer, "strict_receptive_field": settings.strict_receptive_field}
    return {"request": asdict(settings.request), **how}


def _settings_from_json(message: dict[str, Any]) -> ModelSettings:
    changes = message.pop("request")
    shapes = {name: InputShape(tuple(each["sizes"]), each["dtype"]) for name, each in changes.pop("inputs").items()}
    return ModelSettings(source="", name="", request=Request(inputs=shapes, **changes), **message)


def _is_below(path: Path, folder: Path) -> bool:
    return folder == path or folder in path.parents

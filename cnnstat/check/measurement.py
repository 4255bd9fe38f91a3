"""Measurements: the figures of one model that budgets limit, layer by layer, and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.check.metrics import METRICS
from cnnstat.check.settings import ModelSettings
from cnnstat.errors import Location
from cnnstat.ir.graph import Graph
from cnnstat.sources.load import load_source

MAX_FIGURE = 10**30
"""Largest figure that is read from a file."""
COLUMNS = ("params", "macs", "flops", "output_bytes")
"""The figures of a layer."""


class LayerRow(NamedTuple):
    """One layer: its name, the op's kind and its figures."""

    name: str
    op: str
    params: int
    macs: int
    flops: int
    output_bytes: int

    @property
    def figures(self) -> dict[str, int]:
        """The figures by name."""
        return dict(zip(COLUMNS, self[2:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of one model.

    inputs: dtype and shape of each input as text, the batch included. totals: by metric, None where there is no figure.
    uncounted: layers whose work could not be counted. peak_at: the layer at which memory peaks.
    locations: where a spec writes each layer; graph: what was measured. Neither is part of the JSON form.
    """

    dtype: str
    optimizer: str
    inputs: tuple[str, ...]
    totals: Mapping[str, int | None]
    layers: tuple[LayerRow, ...]
    uncounted: tuple[str, ...] = ()
    peak_at: str | None = None
    locations: Mapping[str, Location] = field(default_factory=dict)
    graph: Graph | None = field(default=None, compare=False, repr=False)

    @property
    def conditions(self) -> tuple[Any, ...]:
        """What must be equal for two measurements to be comparable."""
        return self.dtype, self.inputs, self.optimizer


def measure(source: str, settings: ModelSettings) -> Measurement:
    """Return the figures of a source under the settings of a model; raises CnnstatError."""
    return measurement(analyze_graph(load_source(source, settings.request), optimizer=settings.optimizer), settings)


def measurement(analysis: Analysis, settings: ModelSettings) -> Measurement:
    """Return the figures of an analysis."""
    graph, memory = analysis.graph, analysis.memory
    return Measurement(
        dtype=graph.dtype,
        optimizer=settings.optimizer,
        inputs=tuple(f"{i.name}={'x'.join(map(str, i.shape))}:{i.dtype}" for i in graph.inputs),
        totals=_totals(analysis),
        layers=tuple(_rows(analysis)),
        uncounted=analysis.uncounted,
        peak_at=None if memory.peak_at is None else graph.nodes[memory.peak_at].name,
        locations={node.name: node.location for node in graph.nodes if node.location is not None},
        graph=graph,
    )


def _rows(analysis: Analysis) -> list[LayerRow]:
    """Return the rows of all layers."""
    parameters, work, memory = analysis.parameters, analysis.work, analysis.memory
    figures = zip(analysis.graph.nodes, parameters.params, work.macs, work.flops, memory.output_bytes)
    return [LayerRow(node.name, node.op.kind, *numbers) for node, *numbers in figures]


def _totals(analysis: Analysis) -> dict[str, int | None]:
    """Return the totals by metric.

    file_size is what a state_dict stores: parameters and buffers, without names and container. receptive_field is
    that of the smaller side, None where it is only bounded or there is none.
    """
    memory, receptive_field = analysis.memory, analysis.fields.total
    is_known = receptive_field is not None and receptive_field.exact
    found = {
        "params": sum(analysis.parameters.params),
        "macs": sum(analysis.work.macs),
        "flops": sum(analysis.work.flops),
        "peak_inference_bytes": memory.peak_inference_bytes,
        "training_bytes": memory.training_bytes,
        "activation_bytes": memory.activation_bytes,
        "file_size": memory.params_bytes + memory.buffers_bytes,
        "receptive_field": min(receptive_field.size) if receptive_field is not None and is_known else None,
    }
    return {name: found.get(name) for name in METRICS if name != "latency"}


def to_json(found: Measurement) -> dict[str, Any]:
    """Return a measurement as JSON-ready values."""
    return {
        "dtype": found.dtype,
        "optimizer": found.optimizer,
        "inputs": list(found.inputs),
        "totals": dict(found.totals),
        "uncounted": list(found.uncounted),
        "peak_at": found.peak_at,
        "layers": [list(row) for row in found.layers],
    }


def from_json(entry: Any) -> Measurement:
    """Return the measurement in JSON values; raises ValueError, TypeError or KeyError where they are not one."""
    layers = tuple(LayerRow(*row) for row in entry["layers"])
    totals = {name: entry["totals"].get(name) for name in METRICS if name != "latency"}
    numbers = [number for row in layers for number in row[2:]] + [n for n in totals.values() if n is not None]
    texts = [text for row in layers for text in row[:2]] + [*entry["inputs"], entry["dtype"], entry["optimizer"]]
    texts += [*entry["uncounted"], "" if entry["peak_at"] is None else entry["peak_at"]]
    if any(type(number) is not int for number in numbers) or any(type(text) is not str for text in texts):
        raise TypeError("a figure is no integer or a name no text")
    if any(not 0 <= number <= MAX_FIGURE for number in numbers):
        raise ValueError("a figure is negative or has too many digits")
    "".join(texts).encode()  # raises UnicodeEncodeError, a ValueError, for halves of characters
    return Measurement(
        dtype=entry["dtype"],
        optimizer=entry["optimizer"],
        inputs=tuple(entry["inputs"]),
        totals=totals,
        layers=layers,
        uncounted=tuple(entry["uncounted"]),
        peak_at=entry["peak_at"],
    )

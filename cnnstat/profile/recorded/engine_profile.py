"""Profiles of engines: TensorRT's and ONNX Runtime's times of their own layers, put onto the layers of a network.

An engine fuses layers. The time of a fused region is shared among its layers in proportion to their floors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError
from cnnstat.numbers import listed
from cnnstat.profile.measurement import Measurement, RowTimes
from cnnstat.profile.profile_result import Whole, summarize
from cnnstat.profile.recorded.op_rows import NEAR, RecordedOp, Row, first_weighted, fits_first, match_ops


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayer:
    """What an engine timed: the nodes that it fused into one, and its seconds in every run."""

    name: str
    nodes: tuple[RecordedOp, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """Layers in the order in which they ran; whole: seconds of each run, empty where only layers were timed."""

    engine: str
    device: str
    layers: tuple[EngineLayer, ...]
    whole: tuple[float, ...]
    notes: tuple[str, ...] = ()


_TIMES = {"medianMs", "averageMs", "timeMs"}


def read_engine_profile(document: Any, layer_info: Any = None) -> EngineProfile | None:
    """Return what an engine wrote; None where the document is of none."""
    if not isinstance(document, list) or not document:
        return None
    entries = [entry for entry in document if isinstance(entry, dict)]
    if any(_TIMES & entry.keys() for entry in entries):
        return _tensorrt(entries, layer_info)
    if any(entry.get("cat") in ("Node", "Session") for entry in entries):
        return _onnxruntime(entries)
    return None


# TensorRT: trtexec --exportProfile and --exportLayerInfo --------------------------------------------------------------

_FOREIGN = re.compile(r"\{ForeignNode\[(.+?)\.\.\.(.+?)\]\}")
_SEPARATOR = re.compile(r"\s*(?:\+|\|\||,)\s*")
_METADATA = re.compile(r"\[ONNX Layer: ([^\]\x1e\x1f]+)\]")
_BESIDE = re.compile(r"^(?:copied_)?(?:reshape|squeeze|unsqueeze_node|unsqueeze|shuffle)_(?:before|after)_|^\[\w+\]\s+")
"""What names begin with of layers that prepare a node's input or result, and of groups of element-wise nodes."""

_NO_NODE = re.compile(r"^(?:Reformatting CopyNode|ShuffleNode|copied_squeeze$|\(Unnamed Layer\*|\[)|\[Shuffle\]$")
"""Names of layers that no node of the network is: copies between memory formats and the like."""


def _tensorrt(entries: Sequence[Mapping[str, Any]], layer_info: Any) -> EngineProfile:
    metadata = _metadata(layer_info)
    count = next((int(entry["count"]) for entry in entries if type(entry.get("count")) is int), 0)
    timed = [(str(entry["name"]), _milliseconds(entry, count)) for entry in entries if entry.get("name") is not None]
    layers = []
    for name, milliseconds in timed:
        if milliseconds is not None:
            names = _METADATA.findall(metadata.get(name, "")) or _fused_names(name)
            layers.append(EngineLayer(name=name, nodes=tuple(map(_node, names)), seconds=(milliseconds / 1e3,)))
    runs = f"in {count:,} runs" if count else "alone"
    notes = [f"TensorRT timed each of its layers {runs} and no run as a whole: the whole is their sum"]
    if untimed := len(timed) - len(layers):
        notes.append(f"{untimed} layers of the engine have no time in this file, and are left out")
    return EngineProfile(engine="TensorRT", device="cuda", layers=tuple(layers), whole=(), notes=tuple(notes))


def _milliseconds(entry: Mapping[str, Any], count: int) -> float | None:
    """Return the time of one run: the median, else the average, else the total of all runs by their number."""
    for key, runs in (("medianMs", 1), ("averageMs", 1), ("timeMs", count)):
        value = entry.get(key)
        if isinstance(value, (int, float, Decimal)) and math.isfinite(value) and value >= 0 and runs:
            return float(value) / runs
    return None


def _metadata(layer_info: Any) -> dict[str, str]:
    """Return the metadata of layers by name; nothing where the engine was built without it."""
    layers = layer_info.get("Layers") if isinstance(layer_info, dict) else layer_info
    return {
        str(layer["Name"]): str(layer.get("Metadata", ""))
        for layer in (layers if isinstance(layers, list) else ())
        if isinstance(layer, dict) and "Name" in layer
    }


def _fused_names(name: str) -> list[str]:
    """Return the nodes that a name of TensorRT's says it has; none for copies between memory formats."""
    name = _BESIDE.sub("", name)
    if _NO_NODE.search(name):
        return []
    if match := _FOREIGN.search(name):
        return [*_SEPARATOR.split(match[1]), _UNTIL + _SEPARATOR.split(match[2])[-1]]
    # PWN( … ) stands around element-wise nodes that became one.
    text = re.sub(r"PWN\(|\)", "", name) if "PWN(" in name else name
    parts = _SEPARATOR.split(re.sub(r"^__myl_\w+_|^\{|\}$", "", text))
    return [part.strip() for part in parts if part.strip()]


_UNTIL = "…"
"""Before the last node of a region of which only the first and the last are named."""


# ONNX Runtime: SessionOptions.enable_profiling ------------------------------------------------------------------------

_SUFFIX = "_kernel_time"


def _onnxruntime(entries: Sequence[Mapping[str, Any]]) -> EngineProfile:
    runs = sorted(
        (int(entry["ts"]), int(entry["ts"]) + int(entry["dur"]))
        for entry in entries
        if entry.get("cat") == "Session" and entry.get("name") == "model_run"
    )
    times: dict[str, list[float]] = {}
    nodes: dict[str, RecordedOp] = {}
    providers: dict[str, int] = {}
    # The first run allocates memory, and is no usual one.
    counted = runs[1:] or runs
    for entry in sorted(entries, key=lambda entry: int(entry.get("ts", 0))):
        name = str(entry.get("name", ""))
        if entry.get("cat") != "Node" or not name.endswith(_SUFFIX):
            continue
        start = int(entry["ts"])
        run = next((place for place, (begin, end) in enumerate(counted) if begin <= start <= end), None)
        if run is None:
            continue
        name = name.removesuffix(_SUFFIX)
        arguments: Mapping[str, Any] = entry["args"] if isinstance(entry.get("args"), dict) else {}
        nodes.setdefault(name, _node(name, str(arguments.get("op_name", "")), _input_shape(arguments)))
        provider = str(arguments.get("provider", ""))
        providers[provider] = providers.get(provider, 0) + 1
        seconds = times.setdefault(name, [0.0] * len(counted))
        seconds[run] += int(entry["dur"]) / 1e6
    # What disturbs a run can only make it slower.
    calm = [place for place, (begin, end) in enumerate(counted) if end - begin <= NEAR * min(e - b for b, e in counted)]
    layers = [
        EngineLayer(name=name, nodes=(nodes[name],), seconds=tuple(each[place] for place in calm))
        for name, each in times.items()
    ]
    device = "cpu" if "CPU" in max(providers, key=lambda name: providers[name], default="CPU") else "cuda"
    return EngineProfile(
        engine=f"ONNX Runtime, {', '.join(sorted(filter(None, providers))) or 'unknown provider'}",
        device=device, layers=tuple(layers),
        whole=tuple((counted[place][1] - counted[place][0]) / 1e6 for place in calm),
        notes=() if len(runs) == 1 else (f"times are of the {len(calm)} least disturbed of {len(runs)} runs",),
    )  # fmt: skip


# Nodes by name --------------------------------------------------------------------------------------------------------

_OPS = {
    "gemm": "linear",
    "matmul": "linear",
    "batchnormalization": "batch_norm",
    "globalaveragepool": "adaptive_avg_pool",
    "averagepool": "avg_pool",
    "maxpool": "max_pool",
    "clip": "relu6",
    "concat": "cat",
    "convtranspose": "conv_transpose",
    "layernormalization": "layer_norm",
    "leakyrelu": "leaky_relu",
    "hardswish": "hardswish",
    "convolution": "conv",
    "reducemean": "mean",
}
"""Ops of ONNX under the names that layers go by."""


def _input_shape(arguments: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the sizes of a node's first input, where the profile has them."""
    inputs = arguments.get("input_type_shape")
    first = inputs[0] if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict) else {}
    sizes = next(iter(first.values()), None)
    return tuple(map(int, sizes)) if isinstance(sizes, list) and sizes else None


def _node(text: str, op: str = "", shape: tuple[int, ...] | None = None) -> RecordedOp:
    """Return a node by its name, as exporters write it: `/layer1/layer1.0/conv1/Conv`, `Conv_12`, `node_conv2d_3`."""
    until = _UNTIL if text.startswith(_UNTIL) else ""
    name = re.sub(r"_nchwc$|^fused |_token_\d+$", "", text.removeprefix(_UNTIL)).strip()
    number = re.fullmatch(r"[A-Za-z]+_(\d+)", name)
    *scopes, last = [part for part in name.split("/") if part] or [name]
    kind = re.sub(r"^(?:node_|Fused)|_\d+$", "", op or last).lower()
    name, path = re.sub(r"_output_\d+$", "", name), ""
    for scope in scopes:
        # A block of a list is written with the list's name in front of its number.
        path = scope if scope.startswith(f"{path.rpartition('.')[2]}.") and "." not in path else _joined(path, scope)
    module = path or (name if "." in name or not scopes else None)
    return RecordedOp(until + _OPS.get(kind, kind), shape, module, number=int(number[1]) if number else None)


def _joined(path: str, scope: str) -> str:
    parent, _, own = path.rpartition(".")
    if own and scope.startswith(f"{own}."):
        return f"{parent}.{scope}" if parent else scope
    return f"{path}.{scope}" if path else scope


def first_layer_shape(profile: EngineProfile, analysis: Analysis) -> tuple[int, ...] | None:
    """Return the recorded input of the first layer with weights, whatever its batch and size; None if unknown."""
    row = first_weighted(analysis)
    for node in (node for layer in profile.layers for node in layer.nodes):
        if node.shape and row is not None and fits_first(node, row):
            return node.shape
    return None


# Onto the network -----------------------------------------------------------------------------------------------------


def onto_rows(profile: EngineProfile, rows: Sequence[Row], floors: Sequence[float]) -> Measurement:
    """Return the times of a network's layers; raises CnnstatError where no layer of the engine is one of them.

    floors: the least seconds of each row. A row that has no layer of its own is part of the region whose result it
    reads, for that is what engines fuse; regions share their time by the rows' floors.
    """
    groups = _groups(profile, rows)
    count = max((len(layer.seconds) for layer in profile.layers), default=0)
    times: dict[int, list[float]] = {}
    rest = [0.0] * count
    shared = 0
    for layer, members in zip(profile.layers, groups):
        if not members:
            rest = [before + more for before, more in zip(rest, layer.seconds)]
            continue
        weights = [floors[row] for row in members]
        total = sum(weights)
        shared += len(members) > 1
        for row, weight in zip(members, weights):
            share = weight / total if total else 1 / len(members)
            own = times.setdefault(row, [0.0] * count)
            times[row] = [before + share * more for before, more in zip(own, layer.seconds)]
    if not times:
        raise CnnstatError(
            f"no layer of {profile.engine} fits this network; give the SOURCE that the engine was built of"
        )
    busy = [sum(layer.seconds[run] for layer in profile.layers) for run in range(count)]
    whole = profile.whole or tuple(busy)
    notes = list(profile.notes)
    if shared:
        notes.append(f"{shared} regions of several layers share their time in proportion to the layers' floors")
    if lost := [row.name for number, row in enumerate(rows) if number not in times]:
        notes.append(f"without a time of their own: {listed(lost)}")
    others = [layer for layer, members in zip(profile.layers, groups) if not members]
    if others:
        heaviest = max(others, key=lambda layer: sum(layer.seconds))
        notes.append(f"{len(others)} layers of the engine are of no layer of this network, the longest {heaviest.name}")
    samples = summarize(whole)
    return Measurement(
        rows={row: RowTimes(forward=tuple(each)) for row, each in times.items()},
        whole=Whole(plain=samples, eager=samples),
        idle=median(all_ - each for all_, each in zip(whole, busy)),
        unattributed=median(rest),
        notes=tuple(notes),
    )


def _groups(profile: EngineProfile, rows: Sequence[Row]) -> list[list[int]]:
    """Return the rows of each layer of an engine, those that it swallowed included."""
    by_name = {row.name: number for number, row in enumerate(rows)}
    nodes = [node for layer in profile.layers for node in layer.nodes]
    named = [None if node.module is None else by_name.get(node.module) for node in nodes]
    plain = [node._replace(name=node.name.removeprefix(_UNTIL)) for node in nodes]
    # A fused node may have the name of its last layer and the op of its first: then it is both.
    others = [
        row if row is not None and plain[place].name not in rows[row].ops else None for place, row in enumerate(named)
    ]
    plain = [node if other is None else node._replace(module=None) for node, other in zip(plain, others)]
    # Older exporters number the nodes of the network (Conv_16); an engine may run them in another order.
    order = sorted(range(len(plain)), key=lambda place: (plain[place].number or 0) if _are_numbered(plain) else place)
    matched = dict(zip(order, match_ops([plain[place] for place in order], rows).rows))
    matches = iter(zip(nodes, (matched[place] for place in range(len(nodes))), others))
    groups: list[list[int]] = []
    for layer in profile.layers:
        own: list[int] = []
        for node, row, other in (next(matches) for _ in layer.nodes):
            last = other if row is None else row
            if last is not None:
                first = own[-1] + 1 if own and node.name.startswith(_UNTIL) else last
                own += [each for each in range(min(first, last), last + 1) if each not in own]
            if other is not None and other not in own:
                own.append(other)
        groups.append(own)
    home = {row: place for place, own in enumerate(groups) for row in own}
    _swallow(rows, home, groups)
    return groups


def _are_numbered(nodes: Sequence[RecordedOp]) -> bool:
    return sum(node.number is not None for node in nodes) > 0.8 * len(nodes)


def _swallow(rows: Sequence[Row], home: dict[int, int], groups: list[list[int]]) -> None:
    """Put layers without a region into that whose result they read, else into that which reads theirs.

    Convolutions and products are never left out of a region's name, so that one without a region is of none, and what
    follows it is of nothing that comes later.
    """
    behind_unknown: set[int] = set()
    for number, row in enumerate(rows):
        if number not in home and (row.weight is not None or behind_unknown.intersection(row.inputs)):
            behind_unknown.add(number)
    for number, row in enumerate(rows):
        places = [home[read] for read in row.inputs if read in home]
        if number not in home and places and row.weight is None:
            home[number] = places[0]
            groups[places[0]].append(number)
    for number in range(len(rows) - 1, -1, -1):
        for producer in rows[number].inputs:
            if producer not in home and number in home and producer not in behind_unknown:
                home[producer] = home[number]
                groups[home[number]].insert(0, producer)

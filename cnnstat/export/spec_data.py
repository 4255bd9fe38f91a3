"""Documents: a graph as the nested mappings and lists of a spec, which YAML and JSON then only write down."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import MISSING, dataclass
from typing import Any

from cnnstat import ops
from cnnstat.analysis.shapes import Values, infer_shapes
from cnnstat.analysis.transforms.folding import folded
from cnnstat.export.blocks import Blocks
from cnnstat.export.entries import Call, Entry, Expression
from cnnstat.export.outline import JOINS
from cnnstat.export.spec_names import Layout, lay_out, with_sound_names
from cnnstat.ir.graph import Graph, Input
from cnnstat.spec.item_reader import ITEM_KEYS
from cnnstat.spec.spec_document import MAX_PROSE

Data = dict[str, Any]


@dataclass(frozen=True)
class Document:
    """A spec as data, and remarks about what it rests on and what could not be carried over."""

    data: Data
    remarks: tuple[str, ...]


def document_of(graph: Graph, *, with_blocks: bool = True) -> Document:
    """Return the spec of a graph; without blocks every layer is written where it stands.

    Raises SpecError where an op refuses its inputs.
    """
    precision = None
    if graph.deployment is not None and graph.deployment.written is not None:
        # What a precision and writing in place change follows from one word.
        precision, written = graph.deployment.precision, graph.deployment.written
        graph, _ = folded(written, infer_shapes(written), precision)
    sound, remarks = with_sound_names(graph)
    values = infer_shapes(sound)
    layout = lay_out(sound, values)
    lift_frozen(layout.entries)
    blocks = Blocks(graph.blocks)
    if with_blocks:
        blocks.extract(layout.entries)
    writer = _Writer({*ITEM_KEYS, *ops.names(), *blocks.names})
    data: Data = {**_head(sound), **({"deploy": precision} if precision else {})}
    if blocks.bodies:
        data["blocks"] = {head: writer.items(body) for head, body in blocks.bodies.items()}
    data["layers"] = writer.items(layout.entries)
    data.update(_outputs(layout))
    if graph.saved_bytes is not None:
        data["saved_bytes"] = graph.saved_bytes
    if further := graph.about.get("further_file_bytes"):
        data["further_file_bytes"] = further
    if graph.about.get("published"):
        data["published"] = [_figure(figure) for figure in graph.about["published"]]
    return Document(data, (*_notes(graph, values), *remarks))


def _notes(graph: Graph, values: Values) -> list[str]:
    """Return what the figures rest on, where it is not said by the spec itself."""
    notes = list(graph.about.get("notes_torch", ()))
    if any(getattr(node.op, "function", None) and shapes for node, shapes in zip(graph.nodes, values.inputs)):
        notes.append("opaque: calls hold for these input sizes only; export the model again for others")
    return notes


# The head ------------------------------------------------------------------------------------------------------------


def _head(graph: Graph) -> Data:
    data: Data = {"name": graph.name} if graph.name else {}
    for key in ("title", "cite", "notes"):
        if text := graph.about.get(key):
            data[key] = str(text)[:MAX_PROSE]
    if len(graph.inputs) == 1 and graph.inputs[0].name == "input":
        data["input"] = _input(graph.inputs[0], graph)
    else:
        data["inputs"] = {each.name: _input(each, graph) for each in graph.inputs}
    if graph.dtype != "float32":
        data["dtype"] = graph.dtype
    return data


def _input(declared: Input, graph: Graph) -> Any:
    """Return sizes, dtype and batch of an input; what has no batch in common with the others is written whole."""
    batches = {each.shape[:1] for each in graph.inputs}
    is_common = len(batches) == 1 and declared.shape != ()
    batch = declared.shape[0] if declared.shape else None
    dtype = {"dtype": declared.dtype} if declared.dtype != graph.dtype else {}
    if len(declared.shape) > 1 and batch == 1:
        sizes = list(declared.shape[1:])
        return {"shape": sizes, **dtype} if dtype else sizes
    if is_common and len(declared.shape) > 1 and batch:
        return {"shape": list(declared.shape[1:]), **dtype, "batch": batch}
    return {"shape": list(declared.shape), **dtype, "batch": None}


def _outputs(layout: Layout) -> Data:
    if layout.outputs is None:
        return {}
    return {"output": layout.outputs[0]} if len(layout.outputs) == 1 else {"outputs": layout.outputs}


def _figure(figure: dict[str, Any]) -> Data:
    """Return a published figure without the place where it was read."""
    return {key: str(value) for key, value in figure.items() if key != "location"}


def lift_frozen(entries: list[Entry]) -> None:
    """Write frozen: beside groups all of whose weights are frozen, and else beside the layers."""
    for entry in entries:
        learnt = {each.learns for each in entry.walk()} - {None}
        if learnt == {False}:
            entry.keys["frozen"] = True
        elif False in learnt:
            for inner in entry.lists or ():
                lift_frozen(inner)


# Items ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    """Turns entries into items; `words` are those that cannot stand in front of an item as its name."""

    words: Container[str]

    def items(self, entries: list[Entry]) -> list[Any]:
        """Return a list of items."""
        return [self.item(entry) for entry in entries]

    def item(self, entry: Entry) -> Any:
        """Return one item."""
        if entry.repeat is not None:
            return {"repeat": entry.repeat, "as": entry.variable, "layers": self._inner(entry)}
        beside = {**_reads(entry), **{key: plain(value) for key, value in entry.keys.items()}}
        if entry.call is not None and entry.lists is not None:
            return self._join(entry, entry.call, beside)
        if entry.is_group:
            return self._named(entry.label, "layers", self._inner(entry), beside, is_mapping_allowed=False)
        if entry.call is None:
            return {"opaque": beside.pop("opaque"), "name": entry.label, **beside}
        if entry.label is None and not beside:
            return str(entry.call)
        return self._named(entry.label, "layer", str(entry.call), beside)

    def _inner(self, entry: Entry) -> list[Any]:
        assert entry.lists is not None
        return self.items(entry.lists[0])

    def _named(self, label: str | None, key: str, value: Any, beside: Data, is_mapping_allowed: bool = True) -> Data:
        """Return an item with its name in front, or under `name:` where it would be taken for something else."""
        if label is not None and label not in self.words and (is_mapping_allowed or not beside):
            return {label: value, **beside}
        name = {} if label is None else {"name": label}
        if key == "layers":
            return {**name, **beside, key: value}
        return {key: value, **name, **beside}

    def _join(self, entry: Entry, call: Call, beside: Data) -> Data:
        assert entry.lists is not None
        branches = [self._branch(branch) for branch in entry.lists]
        arguments = {a.name: plain(a.value) for a in call.arguments if a.default is MISSING or a.value != a.default}
        name = {} if entry.label is None else {"name": entry.label}
        return {**name, **beside, JOINS[call.callee]: branches, **arguments}

    def _branch(self, entries: list[Entry]) -> Any:
        items = self.items(entries)
        return items[0] if len(items) == 1 else items


def _reads(entry: Entry) -> Data:
    if entry.reads is None:
        return {}
    return {"from": entry.reads[0] if len(entry.reads) == 1 else list(entry.reads)}


def plain(value: Any) -> Any:
    """Return a value with expressions as their texts and tuples as lists."""
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(plain, value))
    return value

"""Explanation: everything there is to say about one layer, as formulas that go from its output to its field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property

from cnnstat.analysis.analysis import Analysis, Layer
from cnnstat.analysis.receptive_field.gridding import covered_fraction
from cnnstat.ir.formula import Formula
from cnnstat.ir.graph import Node
from cnnstat.ir.op import Shape, Storage, numel
from cnnstat.numbers import binary_bytes
from cnnstat.report import network_text
from cnnstat.report.find import find_layer
from cnnstat.report.recurrence import AxisSteps, recurrence
from cnnstat.report.terminal_text import printable
from cnnstat.units import dtype_bytes

STORAGE_WORDS = {
    Storage.FRESH: "",
    Storage.VIEW: "a view of its input, which takes no memory of its own",
    Storage.IN_PLACE: "written over its input, which takes no memory of its own",
}


class Explanation:
    """Everything there is to say about one layer; `name` is what `find_layer` understands."""

    def __init__(self, analysis: Analysis, name: str) -> None:
        self.analysis = analysis
        self.index = find_layer(analysis.graph, name)
        self.value = analysis.graph.arity + self.index

    @cached_property
    def node(self) -> Node:
        """The op call."""
        return self.analysis.graph.nodes[self.index]

    @cached_property
    def layer(self) -> Layer:
        """What the passes found about it."""
        return self.analysis.layers[self.index]

    @cached_property
    def formulas(self) -> tuple[Formula, ...]:
        """The op's own arithmetic."""
        return self.node.op.formulas(self.layer.input_shapes, self.layer.output_shapes)

    @cached_property
    def weights(self) -> Mapping[str, Shape]:
        """The learnable tensors that the op uses."""
        return self.node.op.weights(self.layer.input_shapes)

    @cached_property
    def buffers(self) -> Mapping[str, Shape]:
        """The tensors that it stores and does not learn."""
        return self.node.op.buffers(self.layer.input_shapes)

    @cached_property
    def flop_parts(self) -> dict[str, int]:
        """What its FLOPs consist of."""
        others = self.node.op.other_flops(self.layer.input_shapes, self.layer.output_shapes)
        return {**({"2 × MACs": 2 * self.layer.macs} if self.layer.macs else {}), **others}

    @cached_property
    def steps(self) -> tuple[AxisSteps, ...]:
        """How its receptive field comes about; empty if it has none."""
        return recurrence(self.analysis, self.index)

    @cached_property
    def inside_share(self) -> Fraction | None:
        """Share of its positions whose field lies wholly inside the input."""
        return self.analysis.fields.inside_share(self.value)

    @cached_property
    def covered(self) -> tuple[Fraction, ...] | None:
        """Share of its field that it really reads, along each axis."""
        return covered_fraction(self.analysis.fields, self.value)

    @cached_property
    def shared_with(self) -> str | None:
        """The layer that owns its weights, if it is another one."""
        return None if self.node.shares is None else self.analysis.graph.nodes[self.node.shares].name

    def sections(self) -> Iterator[tuple[str, tuple[Formula, ...]]]:
        """Yield a title and the formulas below it, those that are not empty."""
        found = [
            ("arithmetic", self.formulas),
            ("stored", tuple(_stored(self))),
            ("memory", tuple(_outputs(self))),
            ("work", (_flops(self),)),
            *((f"receptive field, {' and '.join(step.axes)}", step.formulas) for step in self.steps),
        ]
        return ((title, formulas) for title, formulas in found if formulas)


def _stored(about: Explanation) -> Iterator[Formula]:
    """Yield the tensors that the layer stores, and their bytes."""
    for tensors, note in ((about.weights, ""), (about.buffers, "a buffer: stored, not learnt")):
        for name, shape in tensors.items():
            yield Formula(name, network_text.shape_text(shape), _product(shape), numel(shape), note)
    if about.shared_with is not None:
        note = f"these belong to {printable(about.shared_with)}, where they are counted once"
        yield Formula("parameters", "shared", "", 0, note)
    elif about.weights:
        yield _bytes("bytes", f"{about.layer.params:,}", about.layer.params, about.analysis.graph.dtype)


def _bytes(quantity: str, numbers: str, elements: int, dtype: str, note: str = "") -> Formula:
    """Return the line of a number of bytes."""
    each = dtype_bytes(dtype)
    size = elements * each
    notes = ", ".join(filter(None, (binary_bytes(size) if size >= 1024 else "", note)))
    return Formula(quantity, f"elements · bytes of {dtype}", f"{numbers} · {each}", size, notes)


def _product(shape: Shape) -> str:
    """Return the sizes of a tensor as a product."""
    return "·".join(map(str, shape)) or "1"


def _outputs(about: Explanation) -> Iterator[Formula]:
    """Yield the bytes of the outputs."""
    dtypes = about.analysis.values.dtypes[about.value]
    for number, (shape, dtype) in enumerate(zip(about.layer.output_shapes, dtypes), start=1):
        quantity = "output bytes" if len(dtypes) == 1 else f"output {number} bytes"
        yield _bytes(quantity, _product(shape), numel(shape), dtype, STORAGE_WORDS[about.node.op.storage])


def _flops(about: Explanation) -> Formula:
    """Return the line of the floating-point operations."""
    parts = {name: part for name, part in about.flop_parts.items() if part}
    if not parts:
        return Formula("FLOPs", "nothing is computed", "", 0)
    return Formula("FLOPs", " + ".join(parts), " + ".join(f"{part:,}" for part in parts.values()), about.layer.flops)

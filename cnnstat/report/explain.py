"""Explain: the arithmetic of one layer written out, from its formulas to its receptive field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cnnstat.ir.graph import Node
from cnnstat.ir.op import Formula, Shape, numel
from cnnstat.passes.analysis import Analysis, Layer
from cnnstat.passes.gridding import covered_fraction
from cnnstat.report.find import find_layer
from cnnstat.report.json import SCHEMA, json_text, layer_document, model
from cnnstat.report.page import Verbatim, show
from cnnstat.report.recurrence import AxisSteps, recurrence

if TYPE_CHECKING:
    from rich.console import Console


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


def document(analysis: Analysis, name: str) -> dict[str, Any]:
    """Return the explanation of a layer as JSON-ready values; raises CnnstatError if there is no such layer."""
    about = Explanation(analysis, name)
    share, covered = about.inside_share, about.covered
    return {
        "schema": SCHEMA,
        "model": model(analysis),
        "layer": layer_document(analysis, about.index),
        "formulas": [formula._asdict() for formula in about.formulas],
        "tensors": [
            {"name": tensor, "shape": list(shape), "numel": numel(shape), "buffer": is_buffer}
            for tensors, is_buffer in ((about.weights, False), (about.buffers, True))
            for tensor, shape in tensors.items()
        ],
        "shares_weights_of": about.shared_with,
        "flop_parts": about.flop_parts,
        "receptive_field_steps": [
            {"axes": list(step.axes), "formulas": [formula._asdict() for formula in step.formulas]}
            for step in about.steps
        ],
        "inside_share": None if share is None else float(share),
        "covered_share": None if covered is None else list(map(float, covered)),
    }


def print_explanation(analysis: Analysis, name: str, console: Console) -> None:
    """Print the explanation of a layer."""
    from cnnstat.report.explain_page import explanation

    show(explanation(analysis, name, console.width), console)


def print_explanation_json(analysis: Analysis, name: str, console: Console) -> None:
    """Print the same as JSON."""
    listed = ("formulas", "tensors", "receptive_field_steps")
    show(Verbatim(json_text(document(analysis, name), *listed)), console)


FORMATS: dict[str, Callable[[Analysis, str, Console], None]] = {
    "table": print_explanation,
    "json": print_explanation_json,
}
"""The functions that print an explanation, by the name of the format."""

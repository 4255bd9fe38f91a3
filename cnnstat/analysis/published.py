"""Published figures: what papers and slides print about a network, beside what is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.figures import TOTAL_FIGURES, Figure
from cnnstat.errors import CnnstatError, Problem, SpecError, did_you_mean
from cnnstat.ir.op import Family, Shapes, numel
from cnnstat.numbers import Unit, parse_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A published figure beside the exact one.

    figure, layer: what was counted; the layer is empty for the whole network.
    printed: the figure as its source prints it; means: the same without ambiguity, where that is needed.
    exact: the exact value in the printed unit; value: the same as a number, bytes for memory.
    agrees: whether the exact value, rounded to as many digits as are printed, is what is printed.
    difference: (printed − exact) / exact in percent; None where the exact value is 0.
    cause: why they differ, where that is known.
    """

    figure: str
    layer: str
    printed: str
    means: str
    source: str
    exact: str
    value: float
    agrees: bool
    difference: float | None
    cause: str

    @property
    def verdict(self) -> str:
        """`agrees`, or the difference in percent (`−6.0 %`)."""
        if self.agrees or self.difference is None:
            return "agrees" if self.agrees else "differs"
        size = abs(self.difference)
        decimals = next((d for d in (1, 2, 3) if round(size, d)), 4)
        return f"{'−' if self.difference < 0 else '+'}{size:,.{decimals}f} %"


class _Part(NamedTuple):
    """What a figure is about: an analysis and some of its nodes; `is_whole` if those are the whole network."""

    analysis: Analysis
    nodes: Sequence[int]
    is_whole: bool

    @property
    def batch(self) -> int:
        """Images (clips, sentences) that the network gets at once; published figures are for one."""
        return self.analysis.graph.inputs[0].shape[0]

    def each(self, count: Callable[[int], int]) -> int:
        """Return the sum of something over the nodes."""
        return sum(map(count, self.nodes))

    def inputs(self, index: int) -> Shapes:
        """Return the shapes that a node reads."""
        return self.analysis.values.inputs[index]

    def outputs(self, index: int) -> Shapes:
        """Return the shapes that a node makes."""
        return self.analysis.values.outputs[self.analysis.graph.arity + index]


def _receptive_field(part: _Part) -> int:
    """Return the receptive field along its longest axis; raises CnnstatError where everything is seen."""
    analysis = part.analysis
    last = analysis.graph.arity + part.nodes[-1]
    field = analysis.totals.receptive_field if part.is_whole else analysis.fields.of(last)
    if field is None:
        raise CnnstatError("there is no receptive field: the whole input is seen here; name an earlier layer:")
    return max(field.size)


def _outputs(part: _Part) -> int:
    """Return the elements that come out: of the network, or of the last node of a part."""
    graph, values = part.analysis.graph, part.analysis.values
    if part.is_whole:
        return sum(numel(values.outputs[value][output]) for value, output in graph.outputs)
    return sum(map(numel, part.outputs(part.nodes[-1])))


def _inputs(part: _Part) -> int:
    """Return the elements that go in: of the network, or of the first node of a part."""
    if part.is_whole:
        return sum(numel(i.shape) for i in part.analysis.graph.inputs)
    return sum(map(numel, part.inputs(part.nodes[0])))


def _neurons(part: _Part) -> int:
    nodes = part.analysis.graph.nodes
    return part.each(lambda i: sum(map(numel, part.outputs(i))) if nodes[i].op.counted_as_weighted else 0)


def _connections(part: _Part) -> int:
    nodes = part.analysis.graph.nodes
    return part.each(lambda i: nodes[i].op.connections(part.inputs(i), part.outputs(i)))


def _weights(part: _Part) -> int:
    """Return the parameters without the biases."""
    nodes = part.analysis.graph.nodes

    def count(index: int) -> int:
        node = nodes[index]
        tensors = node.op.weights(part.inputs(index)).items() if node.shares is None else ()
        return sum(numel(shape) for name, shape in tensors if name.rpartition(".")[2] != "bias")

    return part.each(count)


def _weighted_bytes(part: _Part) -> int:
    nodes, sizes = part.analysis.graph.nodes, part.analysis.memory.output_bytes
    return part.each(lambda i: sizes[i] if nodes[i].op.counted_as_weighted else 0)


def _convolutions(part: _Part) -> int:
    nodes = part.analysis.graph.nodes
    return part.each(lambda i: nodes[i].op.family is Family.CONVOLUTION)


class Published(NamedTuple):
    """A figure that can be published: how it is counted, whether in bytes, as a ratio, and whether with the batch."""

    count: Callable[[_Part], Any]
    is_bytes: bool = False
    is_per_image: bool = True
    is_ratio: bool = False


def _published(figure: Figure) -> Published:
    """Return one of cnnstat's own figures as one that can be published."""

    def count(part: _Part) -> Any:
        if part.is_whole:
            return figure.of(part.analysis.totals)
        if not figure.layer or not figure.adds_up:
            raise CnnstatError(f"{figure.key} is a figure of the whole network; leave layer: out")
        return part.each(lambda index: figure.of_layer(part.analysis.layers[index]))

    return Published(count, figure.unit is Unit.BYTES, figure.scales_with_batch, figure.unit is Unit.RATIO)


PUBLISHED: Mapping[str, Published] = {
    **{figure.key: _published(figure) for figure in TOTAL_FIGURES},
    "weights": Published(_weights, is_per_image=False),
    "connections": Published(_connections),
    "neurons": Published(_neurons),
    "inputs": Published(_inputs),
    "outputs": Published(_outputs),
    "weighted_activation_bytes": Published(_weighted_bytes, is_bytes=True),
    "receptive_field": Published(_receptive_field, is_per_image=False),
    "convolutions": Published(_convolutions, is_per_image=False),
}
"""What `figure:` may say: every figure of a network, and what only papers count."""


def published_rows(analysis: Analysis) -> tuple[PublishedRow, ...]:
    """Return the published figures of a network beside the exact ones, in the order of the spec.

    Figures that grow with the batch are compared for a batch of 1.
    Raises SpecError that names every entry with an unknown figure or layer or a value that is no number.
    """
    rows, problems = [], []
    for entry in analysis.graph.about.get("published", ()):
        try:
            rows.append(_row(analysis, entry))
        except CnnstatError as error:
            problems.append(Problem(entry.get("location"), f"published: {error}"))
    if problems:
        raise SpecError(problems)
    return tuple(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioRow:
    """A published ratio of two networks beside the exact one.

    printed: the ratio as its source prints it; of_printed: the ratio of the two figures that it prints, None where it
    does not print both; exact: the ratio of the exact figures.
    cause: why the figures differ, and whether the ratio is one of rounded figures.
    """

    figure: str
    network: str
    base: str
    printed: str
    of_printed: float | None
    exact: float
    source: str
    cause: str


ROUNDED = "the ratio is of rounded figures"


def published_ratios(analyses: Sequence[Analysis]) -> tuple[RatioRow, ...]:
    """Return the published ratios between networks, beside the exact ones, in the order of networks and specs."""
    by_name = {analysis.graph.name: analysis for analysis in analyses}
    rows = []
    for analysis in analyses:
        entries = zip(analysis.graph.about.get("published", ()), published_rows(analysis))
        for entry, row in entries:
            base = by_name.get(entry.get("ratio_to", ""))
            if base is not None and "ratio" in entry:
                rows.append(_ratio(row, entry, analysis, base))
    return tuple(rows)


def _ratio(row: PublishedRow, entry: Mapping[str, Any], analysis: Analysis, base: Analysis) -> RatioRow:
    is_bytes = PUBLISHED[row.figure].is_bytes
    theirs = next((r for r in published_rows(base) if (r.figure, r.source) == (row.figure, row.source)), None)
    of_printed, exact = None, None
    if theirs is not None:
        values = [parse_quantity(r.means or r.printed, is_bytes=is_bytes).value for r in (row, theirs)]
        of_printed = float(values[0] / values[1])
        exact = Fraction(row.value) / Fraction(theirs.value)
    if exact is None:
        count = PUBLISHED[row.figure].count
        exact = Fraction(row.value) / Fraction(count(_part(base, row.layer)))
    is_rounded = of_printed is not None and abs(of_printed / float(exact) - 1) > 0.001
    causes = [*([row.cause] if row.cause else []), *([ROUNDED] if is_rounded else [])]
    return RatioRow(
        figure=row.figure, network=analysis.graph.name, base=base.graph.name, printed=" ".join(entry["ratio"].split()),
        of_printed=of_printed, exact=float(exact), source=row.source, cause="; ".join(causes),
    )  # fmt: skip


def _row(analysis: Analysis, entry: Mapping[str, Any]) -> PublishedRow:
    """Return one entry beside the exact figure; raises CnnstatError."""
    name, layer, means = entry["figure"], entry.get("layer", ""), entry.get("means", "")
    if name not in PUBLISHED:
        hint = did_you_mean(name, PUBLISHED) or f"; known: {', '.join(PUBLISHED)}"
        raise CnnstatError(f"there is no figure called {name[:60]}{hint}")
    figure = PUBLISHED[name]
    printed = parse_quantity(means or entry["value"], is_bytes=figure.is_bytes)
    part = _part(analysis, layer)
    value = Fraction(figure.count(part)) / (part.batch if figure.is_per_image else 1)
    return PublishedRow(
        figure=name,
        layer=layer,
        printed=" ".join(entry["value"].split()),
        means=" ".join(means.split()),
        source=" ".join(entry["source"].split()),
        exact=printed.text_of(value),
        value=float(value) if figure.is_ratio else round(value),
        agrees=printed.is_rounded(value),
        difference=float(100 * (printed.value - value) / value) if value else None,
        cause=" ".join(entry.get("cause", "").split()),
    )


def _part(analysis: Analysis, layer: str) -> _Part:
    """Return the nodes that `layer:` names: one, all of a block, or without a name the whole network."""
    nodes = analysis.graph.nodes
    if not layer:
        return _Part(analysis, range(len(nodes)), True)
    named = [i for i, node in enumerate(nodes) if node.name == layer or node.name.startswith(f"{layer}.")]
    if not named:
        hint = did_you_mean(layer, (node.name for node in nodes))
        raise CnnstatError(f"there is no layer called {layer[:60]}{hint}")
    return _Part(analysis, named, False)

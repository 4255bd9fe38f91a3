"""Analysis: parameters, MACs and FLOPs of a graph, and the findings of all passes, layer by layer and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnstat.analysis.figures import FIGURES
from cnnstat.analysis.memory import Memory, check_optimizer, memory, moved_bytes
from cnnstat.analysis.shapes import Values, infer_shapes
from cnnstat.display import Displayed, drawn
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph, collector_paused, dtype_bytes
from cnnstat.ir.op import Op, Shape, Shapes

if TYPE_CHECKING:
    from cnnstat.analysis.receptive_field.fields import Extent, ReceptiveField, ReceptiveFields


@dataclass(frozen=True, slots=True)
class Parameters:
    """Element counts for each node; a layer that shares another's weights has none of its own."""

    params: tuple[int, ...]
    trainable: tuple[int, ...]
    buffers: tuple[int, ...]


def count_parameters(graph: Graph, values: Values) -> Parameters:
    """Return the parameters (learnt tensors, frozen ones included) and buffers of each node."""
    params, trainable, buffers = [], [], []
    for node, facets in zip(graph.nodes, values.facets):
        owns = node.shares is None
        params.append(facets.params if owns else 0)
        trainable.append(facets.params - facets.frozen_params if owns and node.trainable else 0)
        buffers.append(facets.buffer_elements if owns else 0)
    return Parameters(tuple(params), tuple(trainable), tuple(buffers))


@dataclass(frozen=True, slots=True)
class Work:
    """Counts for each node, and what the sum of FLOPs consists of.

    flops: 2 × MACs and everything else an op computes.
    parts: FLOPs of the whole graph by kind; `2 × MACs` is one of them and they add up to the total.
    """

    macs: tuple[int, ...]
    flops: tuple[int, ...]
    parts: Mapping[str, int]


def count_work(graph: Graph, values: Values) -> Work:
    """Return MACs and FLOPs of each node; a layer that is called twice contributes its work twice."""
    macs, flops = [], []
    parts: Counter[str] = Counter()
    has_complex = any(_is_complex(dtype) for dtypes in set(values.dtypes) for dtype in dtypes)
    for index, facets in enumerate(values.facets):
        products = facets.macs
        others = flops_beside_products(graph, values, index, products) if has_complex else facets.other_flops
        macs.append(products)
        flops.append(2 * products + sum(others.values()))
        parts["2 × MACs"] += 2 * products
        for part, operations in others.items():
            parts[part] += operations
    return Work(tuple(macs), tuple(flops), dict(parts))


def flops_beside_products(graph: Graph, values: Values, index: int, macs: int) -> Mapping[str, int]:
    """Return a node's FLOPs beyond 2 × MACs, by kind; those of complex numbers are real operations.

    A complex multiply-accumulate is four real multiplications and four real additions. Fourier transforms are counted
    in real operations to begin with.
    """
    node, value = graph.nodes[index], graph.arity + index
    others = values.facets[index].other_flops
    dtypes = (*values.dtypes[value], *(values.dtypes[v][o] for v, o in node.inputs))
    if not any(map(_is_complex, dtypes)):
        return others
    further = (node.op.complex_cost - 1) * sum(count for part, count in others.items() if part != "transform")
    return {**others, "complex arithmetic": 6 * macs + further}


def _is_complex(dtype: str) -> bool:
    return dtype.startswith("complex")


class Precision(NamedTuple):
    """The dtypes of what a layer multiplies."""

    weight: str
    activation: str

    @property
    def bit_product(self) -> int:
        """Bits of a weight × bits of an activation: the bit operations of one MAC."""
        return 64 * dtype_bytes(self.weight) * dtype_bytes(self.activation)

    def __str__(self) -> str:
        return f"{self.weight}×{self.activation}"


def precision(graph: Graph, values: Values, index: int) -> Precision:
    """Return what a node multiplies: its largest weight, or else its second input, with its first input.

    A layer without an int8 kernel computes in float32, and so does one of whose factors only one is a whole number.
    """
    node = graph.nodes[index]
    dtypes = [values.dtypes[value][output] for value, output in node.inputs] or [graph.dtype]
    largest = values.facets[index].largest_weight
    # Shared weights have the dtypes of the layer that owns them.
    owner = node if node.shares is None else graph.nodes[node.shares]
    weight = dtypes[-1] if largest is None else owner.dtype_of(largest, graph.dtype)
    activation = dtypes[0]
    if graph.dtype == "int8" and node.dtypes.get("") == "float32":
        return Precision("float32", "float32")
    floats = [dtype for dtype in (weight, activation) if dtype.startswith(("float", "bfloat", "complex"))]
    return Precision(weight, activation) if len(floats) != 1 else Precision(floats[0], floats[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The figures of one op call; shapes include the batch, sizes are in bytes.

    field_extent: how much of the input each element depends on; there is a receptive field if that is local.
    weight_bytes, alive_bytes, saved_bytes: bytes of its own weights, of all tensors alive while it runs, and of those
        that the backward pass needs of it and that no layer before it keeps already.
    bops: its MACs × bits of the weight × bits of the activation.
    folded: names of the layers whose work its weights do too.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    input_shapes: Shapes
    output_shapes: Shapes
    params: int
    trainable_params: int
    buffers: int
    macs: int
    flops: int
    moved_bytes: int
    output_bytes: int
    weight_bytes: int
    alive_bytes: int
    saved_bytes: int
    bops: int
    receptive_field: ReceptiveField | None
    field_extent: Extent
    folded: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Name of the op: `Conv2d`."""
        return self.op.kind

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved; 0 where nothing is."""
        return self.flops / self.moved_bytes if self.moved_bytes else 0.0

    @property
    def output_shape(self) -> Shape:
        """Shape of the first output."""
        return self.output_shapes[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The figures of a whole network."""

    params: int
    trainable_params: int
    buffers: int
    macs: int
    flops: int
    flop_parts: Mapping[str, int]
    moved_bytes: int
    layers: int
    memory: Memory
    receptive_field: ReceptiveField | None
    bops: int = 0
    macs_by_precision: Mapping[str, int]

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved."""
        return self.flops / self.moved_bytes if self.moved_bytes else 0.0


class Subtotal(NamedTuple):
    """The sums over some layers of a network; sizes in bytes."""

    layers: int
    params: int
    trainable_params: int
    buffers: int
    macs: int
    flops: int
    moved_bytes: int
    output_bytes: int

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> Subtotal:
        """Return the sums over layers."""
        return cls(len(layers), *(sum(getattr(each, name) for each in layers) for name in cls._fields[1:]))


@dataclass(frozen=True, repr=False)
class Analysis(Displayed):
    """The figures of one network, layer by layer and in total; `analysis["features.0"]` is a layer.

    layers: one entry for each op call, in execution order.
    totals: the figures of the whole network.
    memory, fields, moved_bytes: computed when they are first asked for; optimizer and strict decide the first two.
    uncounted: names of layers whose work could not be counted; where there are any, totals are "at least".
    warnings: structures that are legal but seldom meant, one line each.
    """

    graph: Graph
    values: Values
    parameters: Parameters
    work: Work
    optimizer: str = "sgd"
    strict: bool = False

    @cached_property
    def memory(self) -> Memory:
        """Bytes of parameters, of activations, and of training."""
        return memory(self.graph, self.values, optimizer=self.optimizer)

    @cached_property
    def fields(self) -> ReceptiveFields:
        """The receptive field of every tensor."""
        from cnnstat.analysis.receptive_field.propagation import receptive_fields  # a profile does without

        return receptive_fields(self.graph, self.values, strict=self.strict)

    @cached_property
    def moved_bytes(self) -> tuple[int, ...]:
        """The bytes that each op call reads and writes."""
        return moved_bytes(self.graph, self.values)

    @cached_property
    @collector_paused()
    def layers(self) -> tuple[Layer, ...]:
        """One entry for each op call."""
        return tuple(self._layer(index) for index in range(len(self.graph.nodes)))

    def __getitem__(self, name: str) -> Layer:
        """Return a layer by its name, a part of it, or `Conv2d#3`; raises CnnstatError with the nearest names."""
        __tracebackhide__ = True  # of pytest, here and in what is called
        if not isinstance(name, str):
            raise TypeError(f"a layer is found by its name, as in analysis['conv1']; {name!r} is no text")
        from cnnstat.analysis.layer_lookup import find_layer  # here, as no command but explain needs it

        return self.layer_at(find_layer(self.graph, name))

    @collector_paused()
    def layer_at(self, index: int) -> Layer:
        """Return the layer of this number; the others are made only when all are asked for."""
        return self.layers[index] if "layers" in vars(self) else self._layer(index)

    def __contains__(self, name: object) -> bool:
        """Return whether a layer has just this name."""
        return any(node.name == name for node in self.graph.nodes)

    # Python would count from 0 with __getitem__, which takes names: loops go over `analysis.layers`.
    __iter__ = None

    def __hash__(self) -> int:
        """Return a hash of name and size: graphs hold mappings, which have none."""
        return hash((self.graph.name, self.graph.source, len(self.graph.nodes), self.optimizer))

    def _layer(self, index: int) -> Layer:
        """Return the findings about node `index`."""
        from cnnstat.analysis.receptive_field.fields import Extent

        node = self.graph.nodes[index]
        value = self.graph.arity + index
        field = self.fields.of(value)
        return Layer(
            name=node.name,
            op=node.op,
            inputs=tuple(self.graph.value_name(edge.value) for edge in node.inputs),
            input_shapes=self.values.inputs[index],
            output_shapes=self.values.outputs[value],
            params=self.parameters.params[index],
            trainable_params=self.parameters.trainable[index],
            buffers=self.parameters.buffers[index],
            macs=self.work.macs[index],
            flops=self.work.flops[index],
            moved_bytes=self.moved_bytes[index],
            output_bytes=self.memory.output_bytes[index],
            weight_bytes=self.memory.weight_bytes[index],
            alive_bytes=self.memory.alive_bytes[index],
            saved_bytes=self.memory.layer_saved_bytes[index],
            bops=self.precisions[index].bit_product * self.work.macs[index],
            receptive_field=field,
            field_extent=Extent.LOCAL if field is not None else self.fields.extent(value),
            folded=node.folded,
        )

    @cached_property
    @collector_paused()
    def totals(self) -> Totals:
        """The figures of the whole network."""
        return Totals(
            params=sum(self.parameters.params),
            trainable_params=sum(self.parameters.trainable),
            buffers=sum(self.parameters.buffers),
            macs=sum(self.work.macs),
            flops=sum(self.work.flops),
            flop_parts=self.work.parts,
            moved_bytes=sum(self.moved_bytes),
            layers=len(self.graph.nodes),
            memory=self.memory,
            receptive_field=self.fields.total,
            bops=sum(each.bit_product * macs for each, macs in self._macs_by_precision.items()),
            macs_by_precision={str(each): macs for each, macs in self._macs_by_precision.most_common()},
        )

    @cached_property
    def precisions(self) -> tuple[Precision, ...]:
        """What each op call multiplies."""
        return tuple(precision(self.graph, self.values, index) for index in range(len(self.graph.nodes)))

    @cached_property
    def _macs_by_precision(self) -> Counter[Precision]:
        macs: Counter[Precision] = Counter()
        for index, count in enumerate(self.work.macs):
            if count:
                macs[precision(self.graph, self.values, index)] += count
        return macs

    def draw(self, **options: Any) -> Any:
        """Return the network as a picture: `analysis.draw(by="macs")`; the options are those of `cnnstat.draw`."""
        return drawn(self, **options)

    def by_module(self, depth: int = 1) -> dict[str, Subtotal]:
        """Return the sums by module: by the first `depth` components of the layers' names, in execution order."""
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise CnnstatError(f"depth={depth!r:.60}: write a whole number of at least 1")
        return self._grouped(lambda layer: ".".join(layer.name.split(".", depth)[:depth]))

    def by_op(self) -> dict[str, Subtotal]:
        """Return the sums by kind of op (`Conv2d`, `ReLU`), the kind with most MACs first."""
        sums = self._grouped(lambda layer: layer.op.kind)
        return dict(sorted(sums.items(), key=lambda item: (-item[1].macs, -item[1].params)))

    def _grouped(self, key: Callable[[Layer], str]) -> dict[str, Subtotal]:
        groups: dict[str, list[Layer]] = {}
        for layer in self.layers:
            groups.setdefault(key(layer), []).append(layer)
        return {name: Subtotal.of(layers) for name, layers in groups.items()}

    @cached_property
    def uncounted(self) -> tuple[str, ...]:
        """Names of the layers whose work could not be counted."""
        return tuple(node.name for node in self.graph.nodes if not node.op.modelled)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the trace of a PyTorch model rests on, if it is not exact for every input."""
        return (*self._path_notes, *self.graph.about.get("notes_torch", ()))

    @cached_property
    def other_paths(self) -> tuple[Analysis, ...]:
        """The same model where its forward pass draws other random numbers, if these decide what it calls."""
        graphs = self.graph.about.get("other_paths", ())
        return tuple(analyze_graph(graph, optimizer=self.optimizer, strict=self.strict) for graph in graphs)

    @cached_property
    def _path_notes(self) -> tuple[str, ...]:
        if not self.other_paths:
            return ()
        paths = (self, *self.other_paths)
        ranges = []
        for figure in FIGURES:
            values = [figure.of(path.totals) for path in paths] if figure.total and not figure.is_part else [0]
            if min(values) != max(values):
                ranges.append(f"{figure.name} {min(values):,} to {max(values):,}")
        found = ", ".join(ranges) or "all figures are equal"
        return (
            f"the path is random: numbers that the model draws decide what it calls; in {len(paths)} draws: {found}",
        )

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What the result rests on, if it is not exact for every input, and structures that are seldom meant."""
        from cnnstat.analysis.lint import lint

        return (*self.notes, *lint(self.graph, self.values))


@collector_paused()
def analyze_graph(graph: Graph, *, optimizer: str = "sgd", strict: bool = False) -> Analysis:
    """Return the findings about a graph; its shapes, parameters and work are found out at once.

    optimizer: `sgd`, `momentum` or `adam`; decides the optimizer state in training memory.
    strict: count a squeeze-excite gate as seeing the whole input instead of reporting the local receptive field.
    Raises SpecError where an op refuses its inputs, CnnstatError if there is no such optimizer.
    """
    check_optimizer(optimizer)
    values = infer_shapes(graph)
    return Analysis(
        graph=graph,
        values=values,
        parameters=count_parameters(graph, values),
        work=count_work(graph, values),
        optimizer=optimizer,
        strict=strict,
    )

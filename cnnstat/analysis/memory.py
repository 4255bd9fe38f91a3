"""Memory: bytes of parameters and activations, the peak of inference, what training adds, and bytes moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from cnnstat.analysis.shapes import OpFacets, Values
from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.ir.graph import Edge, Graph, Node, dtype_bytes
from cnnstat.ir.op import Family, Shape, Storage, numel

if TYPE_CHECKING:
    from cnnstat.analysis.arena import Arena

OPTIMIZER_STATES = {"sgd": 0, "momentum": 1, "adam": 2}
"""Numbers that an optimizer keeps for each trainable parameter, in the parameters' dtype.

SGD none, with momentum its velocity, Adam the two moments (arXiv:1412.6980).
"""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The memory of one network at one batch size, in bytes.

    output_bytes: for each node, all its outputs, whether or not they are views or in place.
    activation_bytes: their sum; weighted_activation_bytes: the sum over convolutions and linear layers only.
    peak_inference_bytes: the most that is alive at once while running layer by layer: a tensor lives until its last
        reader has run, inputs from the start, results to the end; views and in-place ops cost nothing. Weights that
        are computed in the pass are alive while their layer runs. Parameters, buffers and what a kernel allocates
        inside are not part of it. peak_at: the node where it occurs.
    weight_bytes: for each node, those of its own weights. layer_saved_bytes: for each node, what the backward pass
        needs of it, by the rules of the ops, if no node before it keeps the same already.
    alive_bytes: for each node, what is alive while it runs; their largest is the peak.
    arena: an address for every tensor, so that those alive together do not overlap; computed when it is asked for.
    flash_bytes: what is stored: parameters and buffers, and where there are any, their scales and the zero points.
    saved_bytes: tensors that the backward pass needs; a storage counts once, and whole.
    training_bytes: parameters + gradients + optimizer state + saved tensors.
    file_size: what torch.save writes of the state dict: parameters and buffers, and around each its name and its entry.
    """

    params_bytes: int
    buffers_bytes: int
    output_bytes: tuple[int, ...] = field(repr=False)
    activation_bytes: int
    weighted_activation_bytes: int
    peak_inference_bytes: int
    peak_at: int | None
    gradient_bytes: int
    optimizer_bytes: int
    saved_bytes: int
    file_size: int
    flash_bytes: int
    alive_bytes: tuple[int, ...] = field(repr=False)
    weight_bytes: tuple[int, ...] = field(repr=False)
    layer_saved_bytes: tuple[int, ...] = field(repr=False, compare=False)
    lifetimes: Lifetimes = field(repr=False, compare=False)

    @cached_property
    def arena(self) -> Arena:
        """The plan; its offsets are those of `lifetimes.storages`."""
        from cnnstat.analysis.arena import Life, plan  # seldom asked for

        lives = self.lifetimes
        return plan(list(map(Life, lives.storages.bytes, lives.first, lives.last)), self.peak_inference_bytes)

    @property
    def arena_bytes(self) -> int:
        """The size of the arena, at least the peak."""
        return self.arena.bytes

    @property
    def ram_bytes(self) -> int:
        """What has to be written while a pass runs, weights staying where they are stored: the arena."""
        return self.arena.bytes

    @property
    def training_bytes(self) -> int:
        """Parameters + gradients + optimizer state + saved tensors."""
        return self.params_bytes + self.gradient_bytes + self.optimizer_bytes + self.saved_bytes


def memory(graph: Graph, values: Values, *, optimizer: str = "sgd") -> Memory:
    """Return the memory of a network; optimizer: `sgd`, `momentum` or `adam`.

    Raises CnnstatError if there is no such optimizer or dtype. Takes time linear in the graph.
    """
    check_optimizer(optimizer)
    outputs = values.bytes
    sizes = tuple(map(sum, outputs[graph.arity :]))
    stored = [
        _NOTHING if n.shares is not None else stored_bytes(n, f, graph.dtype)
        for n, f in zip(graph.nodes, values.facets)
    ]
    params, buffers = [each.params for each in stored], sum([each.buffers for each in stored])
    trainable = sum([each.params - each.frozen for each, node in zip(stored, graph.nodes) if node.trainable])
    lives = lifetimes(graph, outputs)
    saved = _saved(graph, values, outputs)
    alive = _alive(graph, lives)
    peak = max(alive) if alive else sum(lives.storages.bytes)
    return Memory(
        params_bytes=sum(params),
        buffers_bytes=buffers,
        output_bytes=sizes,
        activation_bytes=sum(sizes),
        weighted_activation_bytes=sum(s for s, node in zip(sizes, graph.nodes) if node.op.counted_as_weighted),
        peak_inference_bytes=peak,
        peak_at=alive.index(peak) if alive else None,
        gradient_bytes=trainable,
        optimizer_bytes=trainable * OPTIMIZER_STATES[optimizer],
        file_size=_file_size(graph, stored) + graph.about.get("further_file_bytes", 0),
        alive_bytes=alive,
        weight_bytes=tuple(params),
        layer_saved_bytes=saved,
        lifetimes=lives,
        flash_bytes=sum(params) + buffers + graph.quantization_bytes,
        saved_bytes=sum(saved) if graph.saved_bytes is None else graph.saved_bytes,
    )


def check_optimizer(name: str) -> None:
    """Raise CnnstatError if there is no such optimizer."""
    if name not in OPTIMIZER_STATES:
        hint = did_you_mean(name, OPTIMIZER_STATES) or f"; use one of {', '.join(OPTIMIZER_STATES)}"
        raise CnnstatError(f"there is no optimizer called {name[:60]}{hint}")


FILE_START, FIRST_TENSOR = 1325, 60
"""Bytes of an empty state dict as PyTorch 2.14 writes it, older releases 400 fewer, and what its first tensor adds."""
TENSOR_ENTRY, AXIS_ENTRY = 114, 4
"""Bytes a tensor's entry takes in the pickle and in the directory of the zip archive, beside its name."""
MODULE_ENTRY = 15
"""Bytes that a module's version takes in the pickle, beside the module's path."""
SHORT_ENTRIES, LONGER_TENSOR, LONGER_MODULE = 30, 24, 9
"""How many tensors have short numbers in the pickle, 256 in all, and how much longer entries are behind them."""
RECORD_HEAD, ALIGNMENT = 66, 64
"""Bytes before and behind a tensor's data in the archive, where each record begins at a multiple of 64."""
SHORT_NAMES = 10
"""How many records have heads of 64 bytes, as their names end in one digit."""


def record_bytes(data: int) -> int:
    """Return what so many bytes of one tensor take in the archive."""
    return -(-(data + RECORD_HEAD) // ALIGNMENT) * ALIGNMENT


def entry_bytes(shape: Shape) -> int:
    """Return what a tensor's entry takes beside its name."""
    return TENSOR_ENTRY + AXIS_ENTRY * len(shape)


def _file_size(graph: Graph, stored: Iterable[StoredBytes]) -> int:
    """Return what torch.save writes of the state dict: records of tensors, their entries, and those of modules."""
    size = tensors = 0
    modules: set[str] = set()
    for each, node in zip(stored, graph.nodes):
        if not each.names:
            continue
        tensors += len(each.names)
        size += each.records - (each.whole * ALIGNMENT if tensors <= SHORT_NAMES else 0)
        block = node.name.rpartition(".")[0] + "."
        for name in each.names:  # those of traced layers may hold the path already, of the layer or of its block
            is_inside = name.startswith(node.name) or (block != "." and name.startswith(block))
            path = name if is_inside or name in each.full_names else f"{node.name}.{name}"
            size += len(path)
            module = path.rpartition(".")[0]
            while module and module not in modules:
                modules.add(module)
                module = module.rpartition(".")[0]
    longer = max(0, tensors - SHORT_ENTRIES)
    module_entry = MODULE_ENTRY + (LONGER_MODULE if longer else 0)
    start = FILE_START + (FIRST_TENSOR if tensors else 0)
    return start + size + longer * LONGER_TENSOR + sum([module_entry + len(path) for path in modules])


class StoredBytes(NamedTuple):
    """Bytes of what a layer stores.

    params, frozen, buffers: of its weights, of those among them that are never learnt, and of its buffers.
    records: what torch.save writes of them, names aside. whole: how many of them end at a multiple of 64 bytes.
    names: those of a state dict, behind the layer's path but for the full ones.
    """

    params: int
    frozen: int
    buffers: int
    records: int
    whole: int
    names: tuple[str, ...]
    full_names: frozenset[str] = frozenset()


def stored_bytes(node: Node, facets: OpFacets, model: str) -> StoredBytes:
    """Return the bytes of the weights and buffers of an op, in the dtypes of a node; model: the dtype of the model."""
    if node.dtypes or node.transient:
        return _stored_bytes(node, facets, model)
    if model not in facets.by_dtype:  # all but counters have the model's dtype, as in nearly all layers
        facets.by_dtype[model] = _stored_bytes(node, facets, model)
    known: StoredBytes = facets.by_dtype[model]
    return known


def _stored_bytes(node: Node, facets: OpFacets, model: str) -> StoredBytes:
    stored = {**facets.weights, **facets.buffers}
    names = tuple([name for name in stored if name not in node.transient])
    records = whole = 0
    for name in names:
        data = numel(stored[name]) * dtype_bytes(node.dtype_of(name, model))
        records += record_bytes(data) + entry_bytes(stored[name])
        whole += data % ALIGNMENT == 0
    params, frozen, buffers = (
        node.bytes_of(tensors, model) for tensors in (facets.weights, facets.frozen, facets.buffers)
    )
    return StoredBytes(params, frozen, buffers, records, whole, names, facets.op.full_names(facets.inputs))


_NOTHING = StoredBytes(0, 0, 0, 0, 0, ())


class Storages:
    """Which storage every tensor lives in, and the bytes of each."""

    def __init__(self, outputs: tuple[tuple[int, ...], ...], bases: Iterable[Edge | None]) -> None:
        """Number the storages; bases: for each value, the tensor in whose storage its outputs are."""
        self.bytes: list[int] = []
        self._of: list[tuple[int, ...]] = []
        for sizes, base in zip(outputs, bases):
            if base is None:
                first = len(self.bytes)
                self.bytes += sizes
                self._of.append(tuple(range(first, len(self.bytes))))
            else:
                self._of.append((self.of(base),) * len(sizes))

    def of(self, edge: Edge) -> int:
        """Return the number of a tensor's storage."""
        return self._of[edge.value][edge.output]

    def made_by(self, value: int) -> tuple[int, ...]:
        """Return the storages of all outputs of a value."""
        return self._of[value]


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """When each storage is in use during inference: from the node `first` to the node `last`, both included.

    Inputs are there before the first node; results have the number of nodes for `last`.
    """

    storages: Storages
    first: tuple[int, ...]
    last: tuple[int, ...]


def lifetimes(graph: Graph, outputs: tuple[tuple[int, ...], ...]) -> Lifetimes:
    """Return the lifetimes of all storages; outputs: the bytes of the tensors of each value."""
    arity, bases = graph.arity, [node.base for node in graph.nodes]
    storages = Storages(outputs, (*(None,) * arity, *bases))
    first, last = [0] * len(storages.bytes), [0] * len(storages.bytes)
    for index, node in enumerate(graph.nodes):
        for storage in map(storages.of, node.inputs):
            last[storage] = index
        outputs_of_node = storages.made_by(arity + index)
        for storage in outputs_of_node:
            last[storage] = index
        if bases[index] is None:
            for storage in outputs_of_node:
                first[storage] = index
    for edge in graph.outputs:  # results outlive the last layer
        last[storages.of(edge)] = len(graph.nodes)
    computed = [(index, node.computed_bytes) for index, node in enumerate(graph.nodes) if node.computed_bytes]
    for index, size in computed:  # weights that are computed for a layer are alive while it runs
        storages.bytes.append(size)
        first.append(index)
        last.append(index)
    return Lifetimes(storages, tuple(first), tuple(last))


def _alive(graph: Graph, lives: Lifetimes) -> tuple[int, ...]:
    """Return for each node the bytes alive while it runs."""
    # One sweep instead of asking every tensor at every node: a storage adds its bytes when its node runs, and gives
    # them back after its last reader, which is its own node where nothing reads it.
    change = [0] * (len(graph.nodes) + 2)
    for size, first, last in zip(lives.storages.bytes, lives.first, lives.last):
        change[first] += size
        change[last + 1] -= size
    return tuple(accumulate(change))[: len(graph.nodes)]


def peak_beside_inputs(graph: Graph, values: Values) -> int:
    """Return the most bytes alive at once during inference if the caller holds the inputs, which are not counted."""
    by_node, stored = _beside_inputs(graph, values)
    return max(by_node, default=stored)


def alive_by_node(graph: Graph, values: Values) -> tuple[int, ...]:
    """Return the bytes alive while each node runs in inference, inputs and parameters aside."""
    return _beside_inputs(graph, values)[0]


def _beside_inputs(graph: Graph, values: Values) -> tuple[tuple[int, ...], int]:
    """Return the bytes alive while each node runs, and those of all storages."""
    lives = lifetimes(graph, _sizes(graph, values))
    return _alive(graph, lives), sum(lives.storages.bytes)


def _sizes(graph: Graph, values: Values) -> tuple[tuple[int, ...], ...]:
    """Return the bytes of every output; of inputs none, which the caller holds."""
    return tuple(
        tuple(0 if value < graph.arity else numel(shape) * dtype_bytes(dtype) for shape, dtype in zip(shapes, dtypes))
        for value, (shapes, dtypes) in enumerate(zip(values.outputs, values.dtypes))
    )


def _saved(graph: Graph, values: Values, outputs: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Return the bytes that training keeps of each node for the backward pass; every storage once, at the first."""
    arity = graph.arity
    is_written = graph.deployment is None  # deployed layers write over inputs in inference, which no training does
    bases = [_training_base(node, is_written) for node in graph.nodes]
    storages = Storages(outputs, (*(None,) * arity, *bases))
    # For each value, whether its gradient is needed, and which of its outputs can have one.
    needs_gradient = [False] * arity
    is_float = [tuple(map(_is_float, dtypes)) for dtypes in values.dtypes]
    is_learnt: list[bool] = []
    saved_before: set[int] = set()
    sizes = []
    for value, (node, facets) in enumerate(zip(graph.nodes, values.facets), arity):
        # Weights that are shared are learnt where the layer that owns them is.
        owns = node.trainable and bool(facets.weights) if node.shares is None else is_learnt[node.shares]
        is_learnt.append(owns)
        needs = tuple([needs_gradient[v] and is_float[v][o] for v, o in node.inputs])
        needs_gradient.append((owns or True in needs) and True in is_float[value])
        if not needs_gradient[value]:
            sizes.append(0)
            continue  # autograd records no step where nothing before it is learnt, and keeps nothing for it
        saved = facets.saved_for(needs, owns)
        # What PyTorch copies before it works on it is kept as the copy.
        copies = dict(node.copies) if node.copies else {}
        extra = 0
        held: set[int] = set()
        for i in saved.inputs:
            if i in copies:
                extra += copies[i]
            else:
                held.add(storages.of(node.inputs[i]))
        if saved.outputs:
            made = storages.made_by(value)
            held.update([made[o] for o in saved.outputs])
        for elements, dtype in saved.extra:
            extra += elements * dtype_bytes(dtype or _own_dtype(node, facets, graph, values.dtypes[value][0]))
        held -= saved_before
        saved_before |= held
        sizes.append(extra + sum([storages.bytes[storage] for storage in held]))
    return tuple(sizes)


def _training_base(node: Node, is_written: bool) -> Edge | None:
    """Return the tensor in whose storage training puts a node's outputs; a view of what had to be copied has none."""
    storage = node.op.training_storage
    if node.overwrites is not None and is_written:
        return node.inputs[node.overwrites]
    if storage is Storage.FRESH or not node.inputs or (storage is Storage.VIEW and node.copies):
        return None
    return node.inputs[0]


def _own_dtype(node: Node, facets: OpFacets, graph: Graph, made: str) -> str:
    """Return the dtype of what a node keeps beside its inputs and outputs: its weights', or that of what it made."""
    if node.dtypes and facets.weights:
        made = node.dtype_of(next(iter(facets.weights)), graph.dtype)
    elif facets.weights:
        return graph.dtype
    return made if _is_float(made) else graph.dtype


def _is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat", "complex"))


def moved_bytes(graph: Graph, values: Values, *, training: bool = False) -> tuple[int, ...]:
    """Return for each node the bytes of its inputs, weights, buffers and outputs, each once; 0 for a view.

    training: count what is no view in training mode, such as dropout. What caches save or spill is not part of it.
    """
    sizes = values.bytes
    return tuple([_moved_bytes(graph, values, index, sizes, training) for index in range(len(graph.nodes))])


def _moved_bytes(graph: Graph, values: Values, index: int, sizes: tuple[tuple[int, ...], ...], training: bool) -> int:
    """Return the bytes that one node moves; sizes: those of the outputs of each value."""
    node = graph.nodes[index]
    if (node.op.training_storage if training else node.op.storage) is Storage.VIEW:
        return 0
    inputs = node.inputs if len(node.inputs) == 1 else set(node.inputs)
    read = sum([sizes[value][output] for value, output in inputs])
    written = sum(sizes[graph.arity + index])
    # A layer that shares weights reads its owner's, in the owner's dtypes.
    owner = node if node.shares is None else graph.nodes[node.shares]
    stored = stored_bytes(owner, values.facets[index], graph.dtype)
    weights = stored.params + stored.buffers
    if node.op.family is Family.EMBEDDING:
        # A look-up reads the rows that it puts out, not the whole table.
        weights = min(weights, written)
    return read + weights + written

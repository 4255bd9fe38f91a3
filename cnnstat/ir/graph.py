"""Graph: nodes in execution order with the tensors that connect them, frozen and validated once."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnstat.errors import CnnstatError, GraphError, Location, did_you_mean
from cnnstat.ir.op import Op, Shape, Storage, numel

if TYPE_CHECKING:
    from cnnstat.ir.recorded_call import NotRecorded, RecordedCalls


class Edge(NamedTuple):
    """One tensor: output number `output` of value `value`; values are the inputs first, then the nodes."""

    value: int
    output: int = 0


@dataclass(frozen=True, slots=True)
class Input:
    """One input tensor of the network; the shape includes the batch."""

    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True)
class Node:
    """One op call.

    name: unique path, components joined by dots (`layer1.0.conv1`).
    inputs: the tensors it reads.
    shares: index (among the nodes) of the earlier node whose weights it uses; None if it owns its weights.
    trainable: whether its weights are learnt.
    location: where the spec writes it.
    recorded: how a traced call is made again, or why it cannot be, where its op alone does not say what it computes.
    home: the path of the module that has its weights, where that is not its name: the op as a module of that path is
        the same as the recorded.
    computed_bytes: weights that are computed for this call, which are alive while it runs.
    dtypes: the dtypes of its weights and buffers by name, as far as they are not the model's; an empty name stands for
        all that are not named.
    transient: names of its buffers that a state dict leaves out.
    overwrites: number of the input whose place its output takes, where its op alone does not say so.
    folded: names of the layers whose work its weights do too.
    copies: of inputs that PyTorch copies before it works on them, their numbers and the bytes of the copies.
    """

    name: str
    op: Op
    inputs: tuple[Edge, ...]
    shares: int | None = None
    trainable: bool = True
    location: Location | None = None
    recorded: RecordedCalls | NotRecorded | None = field(default=None, compare=False)
    home: str = field(default="", compare=False)
    computed_bytes: int = 0
    dtypes: Mapping[str, str] = field(default_factory=lambda: _NO_DTYPES, hash=False)
    transient: frozenset[str] = frozenset()
    overwrites: int | None = None
    folded: tuple[str, ...] = ()
    copies: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    def changed(self, changes: Mapping[str, Any]) -> Node:
        """Return it with other values of some fields; as `dataclasses.replace`, in two thirds of the time."""
        values = list(_values_of(self))
        for name, value in changes.items():
            values[_PLACES[name]] = value
        return Node(*values)

    @property
    def storage(self) -> Storage:
        """Where inference puts its first output: fresh, a view, or in place of the tensor `base`."""
        return self.op.storage if self.overwrites is None else Storage.IN_PLACE

    @property
    def base(self) -> Edge | None:
        """The tensor in whose storage inference puts its outputs; None for a storage of their own."""
        if self.overwrites is not None:
            return self.inputs[self.overwrites]
        # An op that reads nothing has no storage to work in.
        return self.inputs[0] if self.inputs and self.op.storage is not Storage.FRESH else None

    def dtype_of(self, tensor: str, model: str) -> str:
        """Return the dtype of one of its weights and buffers; `model` is the model's."""
        return self.dtypes.get(tensor) or usual_dtype(tensor, self.dtypes.get("", model))

    def bytes_of(self, tensors: Mapping[str, Shape], model: str) -> int:
        """Return the bytes of some of its weights and buffers, each in its own dtype; `model` is the model's."""
        total = 0
        for name, shape in tensors.items():
            # Nearly all tensors have the model's dtype: only counters are looked at by name.
            is_usual = not self.dtypes and not name.endswith("num_batches_tracked")
            dtype = model if is_usual else self.dtype_of(name, model)
            total += numel(shape) * dtype_bytes(dtype)
        return total


_PLACES = {each.name: place for place, each in enumerate(fields(Node))}
_values_of = attrgetter(*_PLACES)

_NO_DTYPES: Mapping[str, str] = {}
"""Shared by all nodes whose tensors have the model's dtype, which are nearly all."""


def usual_dtype(tensor: str, model: str) -> str:
    """Return the dtype that a weight or buffer has unless one is stated: the model's, but a counter's is int64."""
    return "int64" if tensor.rpartition(".")[2] == "num_batches_tracked" else model


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """How a network was made ready to be shipped.

    precision: the dtype of its weights and activations. removed: layers that inference passes through.
    unread: layers that no result depends on, such as heads for training alone.
    folded: for each layer that is gone, the one whose weights do its work. kept: for each layer that could have been
    folded, why it was not. in_float: layers without a kernel in that precision, which run in float32.
    written: the graph as it is written.
    """

    precision: str
    removed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    in_float: tuple[str, ...] = ()
    written: Graph | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A network. Raises GraphError if an edge points forward or nowhere, or a name occurs twice.

    outputs: the tensors the network returns.
    dtype: the dtype of weights and activations.
    source: what the user named (a zoo name, a file, a module).
    blocks: for a path that is a block call or a named group, what it was called (`layer1.0`: `bottleneck`).
    aliases: further names of modules and stored tensors of a traced model, with their first names.
    about: title, citation, notes and published figures, as the spec gives them.
    saved_bytes: what training keeps for the backward pass, where it was measured; None where the ops tell it.
    quantization_bytes: scales and zero points, which are stored beside the weights.
    deployment: how it was made ready to be shipped; None for a network as it is written.
    """

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Edge, ...]
    dtype: str = "float32"
    source: str = ""
    blocks: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    saved_bytes: int | None = None
    aliases: Mapping[str, str] = field(default_factory=dict, compare=False)
    quantization_bytes: int = 0
    deployment: Deployment | None = None

    def __post_init__(self) -> None:
        """Validate names and edges."""
        names: set[str] = set()
        arity = len(self.inputs)
        for index, node in enumerate(self.nodes):
            if node.name in names:
                raise GraphError(f"two layers are called {node.name}")
            names.add(node.name)
            for value, _ in node.inputs:
                if not 0 <= value < arity + index:
                    raise GraphError(f"{node.name} reads a tensor that is not computed before it")
            if node.shares is not None and not 0 <= node.shares < index:
                raise GraphError(f"{node.name} shares the weights of a layer that does not come before it")
        if any(not 0 <= edge.value < self.arity + len(self.nodes) for edge in self.outputs):
            raise GraphError("an output names a tensor that does not exist")

    @property
    def arity(self) -> int:
        """Number of inputs; value v ≥ arity is node v − arity."""
        return len(self.inputs)

    def value_name(self, value: int) -> str:
        """Return the name of the input or node that makes value `value`."""
        return self.inputs[value].name if value < self.arity else self.nodes[value - self.arity].name

    def __repr__(self) -> str:
        """Name and size, in one line."""
        return f"<Graph {self.name}: {len(self.nodes)} layers, {len(self.inputs)} inputs, {len(self.outputs)} outputs>"


_LOCK = Lock()
_pauses = 0
_was_enabled = True


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the collector within a `with` block, or during each call of a decorated function.

    Reading and measuring a network makes many small objects and next to no cycles. The collector would walk over all of
    them again and again, which takes longer for each layer the more layers there are.
    """
    global _pauses, _was_enabled
    with _LOCK:
        if not _pauses:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _LOCK:
            _pauses -= 1
            if not _pauses and _was_enabled:
                gc.enable()


DTYPE_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes of one element of each dtype, under PyTorch's names."""

OTHER_NAMES = {
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "float": "float32",
    "fp32": "float32",
    "single": "float32",
    "double": "float64",
    "fp64": "float64",
    "fp8": "float8_e4m3fn",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "byte": "uint8",
    "cfloat": "complex64",
    "cdouble": "complex128",
}
"""What PyTorch and people also call a dtype."""


def dtype_name(dtype: str) -> str:
    """Return PyTorch's main name of a dtype (`fp16`, `torch.half` and `Float16` are float16); another text as it is."""
    name = dtype.lower().removeprefix("torch.")
    return OTHER_NAMES.get(name, name if name in DTYPE_BYTES else dtype.removeprefix("torch."))


def check_dtype(dtype: str) -> str:
    """Return the main name of a dtype; raises CnnstatError with the nearest right name if there is none."""
    dtype = dtype_name(dtype)
    if dtype not in DTYPE_BYTES:
        kinds = [name for name in DTYPE_BYTES if dtype and name.startswith(dtype.lower())]  # of float8, say
        hint = f"; did you mean {', '.join(kinds)}?" if kinds else did_you_mean(dtype, DTYPE_BYTES)
        hint = hint or f"; use one of {', '.join(DTYPE_BYTES)}"
        raise CnnstatError(f"there is no dtype called {dtype[:60]}{hint}")
    return dtype


def dtype_bytes(dtype: str) -> int:
    """Return the bytes of one element; raises CnnstatError if there is no such dtype."""
    # Asked for every tensor; the main names, which are nearly all, need no look at the others.
    return DTYPE_BYTES.get(dtype) or DTYPE_BYTES[check_dtype(dtype)]

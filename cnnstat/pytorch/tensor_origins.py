"""Tensor origins: which input, node output or stored tensor each tensor of a trace is, or is a view of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Family, Op, Shape, Storage
from cnnstat.ir.recorded_call import InputNumber, NotRecorded, RecordedCalls
from cnnstat.ir.window import Reads, aligned_reads
from cnnstat.ops.traced import Recorded
from cnnstat.pytorch.calls import Call
from cnnstat.pytorch.module_stack import ModuleCall
from cnnstat.pytorch.parameter_ownership import NOTHING, OwnedTensors, ParameterOwnership, StoredTensor
from cnnstat.pytorch.recorded_calls import SEVERAL_WRITES, ConstantCalls
from cnnstat.pytorch.tensor_parts import is_made_of_others, parts_of
from cnnstat.pytorch.tensors import dtype_of, shape_of, storage_key, view_of
from cnnstat.pytorch.written_regions import region_of, write_reads

NO_KEYS: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Origin:
    """What is known of one tensor at one time.

    edge: the node output or input it is; None for what depends on stored tensors only.
    keys: numbers of the stored tensors it is computed from and that no node has taken yet.
    works: numbers of the calls that computed it from them.
    time: when it was made; storage: which memory it lies in.
    view: of a write, what was written; the tensor itself may become another view of its memory later.
    """

    tensor: torch.Tensor
    edge: Edge | None
    keys: frozenset[int] = NO_KEYS
    works: frozenset[int] = NO_KEYS
    time: int = 0
    storage: int = 0
    view: tuple[Any, ...] = ()


_UNKNOWN = -1
"""In the place of a memory that was not asked for yet."""


class OriginTable:
    """The origins of all tensors of a trace; tensors are kept alive, so that an id means one tensor only."""

    def __init__(self) -> None:
        self._of: dict[int, Origin] = {}
        self._latest: dict[int, Origin] = {}
        self._written: dict[int, Origin] = {}
        self._time = 0
        # Of stored tensors, the memory is asked for when it matters, which it seldom does.
        self._unplaced: list[Origin] = []

    def note_stored(self, origin: Origin) -> None:
        """Remember a parameter or buffer; all of them before anything else."""
        origin.storage = _UNKNOWN
        self._of[id(origin.tensor)] = origin
        self._unplaced.append(origin)

    def _place(self) -> None:
        """Note in which memory stored tensors lie."""
        for origin in self._unplaced:
            origin.storage = storage_key(origin.tensor)
            if origin.storage and (origin.storage not in self._latest or not self._latest[origin.storage].time):
                self._latest[origin.storage] = origin
        self._unplaced.clear()

    def note(self, origin: Origin, *, overwrites: bool = False) -> None:
        """Remember where a tensor comes from; `overwrites` if its memory held something else before."""
        self._time += 1
        origin.time = self._time
        origin.storage = storage_key(origin.tensor)
        self._of[id(origin.tensor)] = origin
        if origin.storage:
            self._latest[origin.storage] = origin
            if overwrites:
                origin.view = view_of(origin.tensor)
                self._written[origin.storage] = origin

    def known(self, tensor: torch.Tensor) -> Origin | None:
        """Return what was noted of this very tensor object."""
        return self._of.get(id(tensor))

    def current(self, tensor: torch.Tensor) -> Origin | None:
        """Return what was noted of this very tensor object, unless its memory was written into since."""
        origin = self._of.get(id(tensor))
        if origin is None or (self._written and self.written_since(origin) is not None):
            return None
        return origin

    def neighbour(self, tensor: torch.Tensor) -> Origin | None:
        """Return the latest origin in the memory of a tensor that was never noted itself."""
        self._place()
        return self._latest.get(storage_key(tensor))

    def written_since(self, origin: Origin) -> Origin | None:
        """Return the last write into the memory of a tensor that came after it was made; None if there is none."""
        if not self._written:
            return None
        if origin.storage == _UNKNOWN:
            origin.storage = storage_key(origin.tensor)
        writer = self._written.get(origin.storage)
        return writer if writer is not None and writer.time > origin.time else None

    def __contains__(self, tensor: torch.Tensor) -> bool:
        """Whether this very tensor object was noted."""
        return id(tensor) in self._of


@dataclass(slots=True)
class Operands:
    """What a call reads, and what its stored operands are computed from.

    entries: for each operand of its op the number of its edge, or the shape of one that is stored or constant.
    is_exact: whether the weights of its op are stored tensors themselves.
    has_own_weights: whether they are, or are computed from stored ones: no results of other calls, no constants.
    constants: numbers of the operands that are constant tensors of more than one element.
    learnt: numbers of the operands that are learnt parameters, or computed from them.
    """

    edges: list[Edge] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    tensors: list[torch.Tensor] = field(default_factory=list)
    entries: list[int | Shape] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    keys: frozenset[int] = NO_KEYS
    works: frozenset[int] = NO_KEYS
    is_exact: bool = True
    has_own_weights: bool = True
    constants: list[int] = field(default_factory=list)
    learnt: list[int] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether the operands are the node's inputs, in order, and nothing else."""
        return self.entries == list(range(len(self.edges)))

    def add_edge(self, edge: Edge, tensor: torch.Tensor) -> None:
        """Add an input of the node."""
        self.edges.append(edge)
        self.dtypes.append(dtype_of(tensor))
        self.shapes.append(shape_of(tensor))
        self.tensors.append(tensor)

    def add_other(self, origin: Origin | None, tensor: torch.Tensor) -> None:
        """Add a tensor that is no operand of the op."""
        if origin is not None and origin.edge is not None:
            self.add_edge(origin.edge, tensor)
        else:
            self.add_stored(origin)

    def add_stored(self, origin: Origin | None) -> None:
        """Add what an operand is computed from."""
        if origin is not None:
            self.keys |= origin.keys
            self.works |= origin.works


@dataclass(slots=True, eq=False)
class NodeDraft:
    """A node before it has its final name.

    recorded: how its call is made again, where the op does not say what it computes.
    own: its op's weights and buffers with their names in the model.
    computed_bytes: of the weights that are computed for it; copies, overwrites: see `Node`.
    call: for a node that is called otherwise: its call, inputs, how many calls on stored tensors came before, and its
        weights and buffers.
    """

    op: Op
    inputs: tuple[Edge, ...]
    where: ModuleCall
    function: str
    shares: int | None
    owned: OwnedTensors
    recorded: RecordedCalls | NotRecorded | None = None
    own: tuple[tuple[str, str], ...] = ()
    call: tuple[Call, list[torch.Tensor], int, list[StoredTensor]] | None = None
    computed_bytes: int = 0
    copies: tuple[tuple[int, int], ...] = ()
    overwrites: int | None = None


class TensorOrigins:
    """Follows tensors through views and changes in place, and adds the nodes that this takes.

    is_training: the mode that the model was set to; a module that has its own passes it on in its calls.
    """

    is_training = False

    def __init__(self, arity: int, dtype: str) -> None:
        self.origins = OriginTable()
        self.nodes: list[NodeDraft] = []
        self.ownership = ParameterOwnership()
        self.log = ConstantCalls()
        self.uncounted: set[str] = set()
        # Nodes of which no rule tells what autograd keeps, and whether something changes what it keeps of others.
        self.without_rule: set[int] = set()
        self.changes_autograd = False
        # Bytes of the storages that hold weights computed in the pass; autograd keeps something of some computations.
        self.computed: dict[int, int] = {}
        self.computed_with_rest: set[int] = set()
        self.dtype = dtype
        self.arity = arity

    def store(
        self, name: str, tensor: torch.Tensor, substitute: torch.Tensor, is_parameter: bool, is_persistent: bool = True
    ) -> StoredTensor:
        """Make a parameter or buffer known, together with its substitute in the trace, and return it."""
        key = len(self.ownership.tensors)
        stored = StoredTensor(name, tensor, is_parameter, is_persistent, dtype=dtype_of(substitute))
        if is_made_of_others(tensor):
            stored.inner = tuple((part, shape_of(each), dtype_of(each)) for part, each in parts_of(tensor))
        self.ownership.tensors.append(stored)
        self.log.store(stored, tensor, substitute)
        keys = frozenset((key,))
        # A module hands out the substitute, but a closure or a list may still hold the tensor itself.
        for each in (tensor, substitute):
            self.origins.note_stored(Origin(each, None, keys))
        return stored

    def resolve(self, tensor: torch.Tensor, where: ModuleCall) -> Origin | None:
        """Return where a tensor comes from; None for a constant.

        A tensor whose memory was changed through another one is read after the change.
        """
        origin = self.origins.known(tensor)
        if origin is None:
            # Made where the trace does not see; memory it shares with a known tensor says where it comes from.
            origin = self.origins.neighbour(tensor)
            if origin is None:
                return None
            if view_of(origin.tensor) != view_of(tensor):
                return self._viewed(tensor, origin, where)
            origin = replace(origin, tensor=tensor)
            self.origins.note(origin)
        # The last writer into a storage wins, through whichever view it wrote.
        writer = self.origins.written_since(origin)
        return origin if writer is None else self._rewritten(tensor, origin, writer, where)

    def _viewed(self, tensor: torch.Tensor, base: Origin, where: ModuleCall) -> Origin:
        """Return the origin of a view that was made where the trace does not see."""
        result, edge = shape_of(tensor), base.edge
        if edge is not None:
            op = Recorded(
                function="view",
                outputs=(result,),
                result_dtypes=(dtype_of(tensor),),
                family=Family.LAYOUT,
                place=Storage.VIEW,
                reads=_viewed_reads(tensor, base.tensor),
            )
            edge = self._append(op, (edge,), where, "view")
            self.nodes[-1].recorded = self.log.filled(tensor, base.tensor)
        origin = replace(base, tensor=tensor, edge=edge)
        self.origins.note(origin)
        return origin

    def _rewritten(self, tensor: torch.Tensor, before: Origin, writer: Origin, where: ModuleCall) -> Origin:
        """Return the origin of a tensor that was changed through another view of its memory."""
        result, is_all = shape_of(tensor), view_of(tensor) == writer.view
        if writer.edge is None or is_all:
            origin = replace(writer, tensor=tensor, edge=writer.edge or before.edge)
        else:
            # A part was overwritten: a node of its own reads what remains and what was written.
            edges = (writer.edge,) if before.edge is None else (before.edge, writer.edge)
            op = Recorded(
                function="write",
                outputs=(result,),
                result_dtypes=(dtype_of(tensor),),
                family=Family.LAYOUT,
                place=Storage.IN_PLACE if before.edge is not None else Storage.FRESH,
                reads=_written(tensor, writer.tensor, is_new=before.edge is None),
            )
            origin = replace(before, tensor=tensor, edge=self._append(op, edges, where, "write"))
            # The tensor has changed by then, since what was written to is a view of it.
            is_there = before.edge is not None
            same: RecordedCalls | NotRecorded = RecordedCalls((), (InputNumber(0),))
            if storage_key(tensor) in self.log.split:
                same = NotRecorded(SEVERAL_WRITES)
            self.nodes[-1].recorded = same if is_there else self.log.filled(tensor, writer.tensor)
        self.origins.note(origin)
        return origin

    def pass_on(self, call: Call, source: torch.Tensor) -> None:
        """Note that the results of a call are the tensor it was given."""
        origin = self.resolve(source, call.where)
        if origin is not None:
            self.changes_autograd |= "detach" in call.name
            for tensor in call.results:
                self.origins.note(replace(origin, tensor=tensor))
        if origin is None or origin.edge is None:
            self.log.note(call)

    def _append(
        self, op: Op, inputs: tuple[Edge, ...], where: ModuleCall, function: str, owned: OwnedTensors | None = None
    ) -> Edge:
        """Add a node; returns its first output."""
        owned = owned or NOTHING
        self.ownership.assign(owned, len(self.nodes))
        self.nodes.append(NodeDraft(op, inputs, where, function, owned.shares, owned))
        where.inner += 1
        return Edge(self.arity + len(self.nodes) - 1)


def _viewed_reads(tensor: torch.Tensor, base: torch.Tensor) -> tuple[Reads, ...] | None:
    """Return how a tensor reads another in the same memory, of which only this much is known; None if it is not."""
    result, before = shape_of(tensor), shape_of(base)
    if result[-len(before) :] == before:
        return (aligned_reads(before, result),)
    # A constant, a part of which was written over.
    return _written(tensor, base, is_new=True) if region_of(base, tensor) is not None else None


def _written(tensor: torch.Tensor, part: torch.Tensor, *, is_new: bool) -> tuple[Reads, ...]:
    """Return how a tensor reads what it was before a part of it changed, unless it `is_new`, and that part."""
    result, region = shape_of(tensor), region_of(part, tensor)
    known = (
        write_reads(result, region, list(range(len(result))), shape_of(part), is_new) if region is not None else None
    )
    reads = known or (aligned_reads(result, result), aligned_reads(shape_of(part), result))
    return reads[1:] if is_new else reads

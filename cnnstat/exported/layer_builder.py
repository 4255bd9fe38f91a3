"""Layers of an exported model: from matched operations to nodes with edges, own weights and dtypes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Protocol

from cnnstat.analysis.shapes import check_input_count, op_outputs
from cnnstat.errors import OpError
from cnnstat.exported.layer_names import Label, LayerNames
from cnnstat.exported.pytorch_calls import UNKNOWN, OperandCall, WeightedCall
from cnnstat.exported.stored_tensors import Owned, StoredTensor, Use, take
from cnnstat.ir.einstein_sum import einsum_macs, einsum_reads
from cnnstat.ir.graph import Edge, Node, usual_dtype
from cnnstat.ir.op import Family, Op, Shape, Shapes, Storage, numel
from cnnstat.ir.recorded_call import NotRecorded, RecordedCalls
from cnnstat.ir.work import Work
from cnnstat.ops.traced import Applied, Recorded, unused

NO_WORK = Work()


class Operand(Protocol):
    """What a layer reads: a tensor of the model, or a constant of the file.

    edge: where a tensor comes from, None for a constant; number: the value of a constant of one element.
    stored: the stored tensor that a constant is, perhaps in another layout; None for all else.
    """

    @property
    def shape(self) -> Shape | None: ...

    @property
    def dtype(self) -> str: ...

    @property
    def edge(self) -> Edge | None: ...

    @property
    def number(self) -> float | None: ...

    @property
    def stored(self) -> StoredTensor | None: ...


@dataclass(frozen=True, slots=True)
class Match:
    """The op that an operation of a file is.

    reads: what it reads. weights: the op's own tensors, by its names for them.
    calls: how PyTorch computes a call that is no op of the library.
    """

    op: Op
    reads: tuple[Operand, ...]
    weights: Mapping[str, Operand] = field(default_factory=dict)
    calls: RecordedCalls | None = None

    @property
    def shapes(self) -> Shapes:
        """The shapes of what it reads."""
        return tuple(read.shape or () for read in self.reads)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Where its inputs come from; weights that are computed are read too, though the op has no input for them."""
        return tuple(each.edge for each in (*self.reads, *self.weights.values()) if each.edge is not None)

    @property
    def entries(self) -> tuple[int | Shape, ...]:
        """What it reads, as operands of an op: the number of an input, or the shape of a constant."""
        numbers = count()
        return tuple(next(numbers) if read.edge is not None else read.shape or () for read in self.reads)

    @property
    def own(self) -> dict[str, StoredTensor]:
        """The stored tensors that are the op's own, by its names for them."""
        return {name: weight.stored for name, weight in self.weights.items() if weight.stored is not None}

    @property
    def own_names(self) -> dict[int, str]:
        """The op's names for its own tensors, by their identity."""
        return {id(stored): name for name, stored in self.own.items()}


def einsum_of(function: str, equation: str, operands: tuple[Operand, ...], output: Shape) -> Match:
    """Return an einsum of some operands; raises LookupError where the shape of one is not known."""
    shapes = [each.shape for each in operands if each.shape is not None]
    if len(shapes) < len(operands):
        raise LookupError(function)
    macs = einsum_macs(equation, shapes)
    reads = einsum_reads(equation, shapes, len(output)) or ()
    op = Recorded(
        function=function,
        outputs=(output,),
        work=Work(macs) if macs else Work.other("element-wise", numel(output)),
        family=Family.LINEAR,
        modelled=len(shapes) <= 2,
        reads=tuple(read for read, each in zip(reads, operands) if each.edge is not None) or None,
    )
    return Match(op, operands)


@dataclass(slots=True)
class LayerBuilder:
    """Collects the nodes of one exported model; `arity` is the number of its inputs.

    repeats: how often the part of the model runs that is read now; a loop that is not unrolled has more than one.
    """

    arity: int
    dtype: str = "float32"
    repeats: int = 1
    nodes: list[Node] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    _weights: dict[int, Mapping[str, Shape]] = field(default_factory=dict)
    _waiting: dict[int, WeightedCall | OperandCall] = field(default_factory=dict)
    _own: dict[int, frozenset[str]] = field(default_factory=dict)
    _owned: list[tuple[int, StoredTensor]] = field(default_factory=list)

    def emit(
        self,
        label: Label,
        match: Match,
        uses: Iterable[Use],
        outputs: Shapes,
        dtypes: tuple[str, ...],
        weight_work: Work = NO_WORK,
    ) -> int:
        """Add the node of an operation and return its value; raises OpError where the op does not make the outputs.

        uses: the stored tensors that it reads, in whatever form. weight_work: what was done on weights alone.
        """
        op = match.op
        if not isinstance(op, Recorded):
            check_input_count(op, len(match.reads))
            made = op_outputs(op, match.shapes)
            if made[: len(outputs)] != outputs:
                raise OpError(f"makes {made}, not {outputs}")
            dtypes = (*dtypes, *dtypes[:1] * (len(made) - len(dtypes)))
            return self._library_op(label, match, tuple(uses), dtypes, weight_work)
        owned = take(uses, match.own_names)
        work = op.work + weight_work
        op = replace(op, tensors=owned.tensors, stored=owned.stored, result_dtypes=dtypes, work=work * self.repeats)
        if not match.edges and op.place is not Storage.FRESH:
            op = replace(op, place=Storage.FRESH)
        return self._append(label, op, match.edges, owned, match.calls or UNKNOWN)

    def _library_op(
        self, label: Label, match: Match, uses: tuple[Use, ...], dtypes: tuple[str, ...], weight_work: Work
    ) -> int:
        """Add a node of an op of the library: the op alone where it says all, else applied to its operands."""
        op, shapes, own, edges, entries = match.op, match.shapes, match.own, match.edges, match.entries
        weights, buffers = dict(op.weights(shapes)), dict(op.buffers(shapes))
        owners = {stored.owner for stored in own.values()}
        # Files of other frameworks do not count the batches that a norm was trained on.
        fits = {*own, "num_batches_tracked"} >= {*weights, *buffers} >= {*own} and all(
            numel(stored.shape) == numel((weights | buffers)[name]) for name, stored in own.items()
        )
        others = [
            stored for stored, role in uses if stored not in own.values() and stored.kind_as(role) == "parameters"
        ]
        input_dtypes = tuple(read.dtype for read in match.reads)
        is_repeated = len(owners) == 1 and None not in owners and not others and len(edges) == len(entries)
        if fits and is_repeated and self.repeats == 1:
            (owner,) = owners
            if owner is not None and self._weights.get(owner) == weights:
                return self._append(label, op, edges, Owned(), None, shares=owner)
        owned = take(uses, match.own_names)
        is_plain = (
            fits
            and self.repeats == 1
            and not weight_work
            and all(isinstance(entry, int) for entry in entries)
            and {*dict(owned.tensors), *dict(owned.stored)} == {*own}
            and len(edges) == len(entries)
            and {*own} == {*weights, *buffers}
            and op.dtypes(input_dtypes, self.dtype, len(dtypes)) == dtypes
        )
        if is_plain:
            return self._append(label, op, edges, owned, None, weights)
        self._own[len(self.nodes)] = frozenset(own)
        applied = Applied(
            op=op,
            operands=entries,
            values=tuple(read.number if read.edge is None else None for read in match.reads),
            extra=weight_work,
            tensors=owned.tensors,
            stored=owned.stored,
            result_dtypes=dtypes,
        )
        # A loop works in each turn; what is more than the op works is stated beside it.
        further = Work.of(op, shapes, op_outputs(op, shapes)) * (self.repeats - 1)
        whole = replace(applied, extra=weight_work * self.repeats + further.on_weights)
        is_whole = {*weights} <= {*dict(owned.tensors)} and {*dict(owned.stored)} <= {*buffers}
        recorded = None if is_whole and self.repeats == 1 and not weight_work else UNKNOWN
        operands = [read.stored if read.number is None else read.number for read in match.reads]
        is_join = op.takes_list or (op.input_count[0] == 2 and len(operands) == 2)
        if recorded is None and is_join and any(isinstance(each, StoredTensor) for each in operands):
            # Its operand may be that of other layers too.
            recorded = UNKNOWN
            arguments = [entry if isinstance(entry, int) else each for entry, each in zip(entries, operands)]
            self._waiting[len(self.nodes)] = OperandCall(op, tuple(arguments))
        elif recorded is None:
            with suppress(OpError):
                applied.operand_names(len(edges))
                return self._append(label, whole, edges, owned, None)
            recorded = UNKNOWN
        elif fits and len(edges) == len(entries) and self.repeats == 1 and not others:
            self._waiting[len(self.nodes)] = WeightedCall(op, weights, own)
        return self._append(label, whole, edges, owned, recorded)

    def _append(
        self,
        label: Label,
        op: Op,
        edges: tuple[Edge, ...],
        owned: Owned,
        recorded: RecordedCalls | NotRecorded | None,
        weights: Mapping[str, Shape] | None = None,
        shares: int | None = None,
    ) -> int:
        index = len(self.nodes)
        for stored in owned.taken:
            stored.owner = index
            self._owned.append((index, stored))
        self._weights[index] = dict(owned.tensors) if weights is None else weights
        dtypes = {each: dtype for each, dtype in owned.dtypes.items() if dtype != usual_dtype(each, self.dtype)}
        node = Node("", op, edges, shares, recorded=recorded)
        self.labels.append(label)
        self.nodes.append(replace(node, dtypes=dtypes) if dtypes else node)
        return self.arity + index

    def idle(self, label: Label, uses: Sequence[Use]) -> None:
        """Add a row that only stores tensors; none where there are none to store."""
        owned = take(uses)
        if owned.taken:
            self._append(label, unused(tensors=owned.tensors, stored=owned.stored), (), owned, None)

    def forget(self, first: int) -> None:
        """Drop the nodes from a number on."""
        del self.nodes[first:], self.labels[first:]
        self._waiting = {index: call for index, call in self._waiting.items() if index < first}

    def named(self) -> tuple[Node, ...]:
        """Return the nodes with their names."""
        names = LayerNames(self.labels).all()
        nodes = [_named(node, names[index], self._own.get(index, ())) for index, node in enumerate(self.nodes)]
        if self._waiting:
            full = {
                id(stored): f"{names[index]}.{stored.own_name}"
                for index, stored in self._owned
                if stored.owner == index
            }
            for index, call in self._waiting.items():
                nodes[index] = replace(nodes[index], recorded=call.recorded(full))
        return tuple(nodes)


def _named(node: Node, name: str, own: Container[str]) -> Node:
    """Return a node with its name, which stands before those of its tensors that are not its op's own."""
    op = node.op
    if not isinstance(op, (Applied, Recorded)) or not (op.tensors or op.stored):
        return replace(node, name=name)
    full = {each: each if each in own else f"{name}.{each}" for each, _ in (*op.tensors, *op.stored)}
    tensors = tuple((full[each], shape) for each, shape in op.tensors)
    stored = tuple((full[each], shape) for each, shape in op.stored)
    dtypes = {full.get(each, each): dtype for each, dtype in node.dtypes.items()}
    node = replace(node, name=name, op=replace(op, tensors=tensors, stored=stored))
    return replace(node, dtypes=dtypes) if dtypes else node

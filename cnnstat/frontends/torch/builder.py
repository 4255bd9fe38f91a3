"""From recorded calls to nodes: edges, stored tensors and who owns them, and the op that is true to the trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from cnnstat.errors import OpError
from cnnstat.frontends.torch.calls import Call, Match
from cnnstat.frontends.torch.handlers import handler_of
from cnnstat.frontends.torch.measured import PRODUCTS, Work, family_of, work_of
from cnnstat.frontends.torch.origin import NO_KEYS, Origin, Origins
from cnnstat.frontends.torch.paths import ModuleCall
from cnnstat.frontends.torch.tensors import dtype_of, operands_in, shape_of
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Family, Op, Shape, Shapes, Storage
from cnnstat.ops.shape import regrouped
from cnnstat.ops.traced import Applied, Recorded, aligned_reads
from cnnstat.passes.shapes import check_input_count


@dataclass(slots=True, eq=False)
class StoredTensor:
    """A parameter or buffer of the model; `owner` is the number of the node that counts it."""

    name: str
    tensor: torch.Tensor
    is_parameter: bool
    owner: int | None = None


@dataclass(slots=True, eq=False)
class NodeDraft:
    """A node before it has its final name."""

    op: Op
    inputs: tuple[Edge, ...]
    where: ModuleCall
    function: str
    shares: int | None
    trainable: bool
    results: int = 1


@dataclass(slots=True)
class Gathered:
    """What a call reads: edges, an entry for each operand of its op, and what its stored operands bring along."""

    edges: list[Edge] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    operands: list[int | Shape] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    keys: frozenset[int] = NO_KEYS
    macs: int = 0
    flops: int = 0

    def add_edge(self, edge: Edge, tensor: torch.Tensor) -> None:
        """Add an input of the node."""
        self.edges.append(edge)
        self.dtypes.append(dtype_of(tensor))
        self.shapes.append(shape_of(tensor))

    def add_stored(self, origin: Origin | None) -> None:
        """Add what an operand is computed from."""
        if origin is not None:
            self.keys |= origin.keys
            self.macs += origin.macs
            self.flops += origin.flops


class Builder:
    """Collects the nodes of one trace."""

    def __init__(self, arity: int, dtype: str) -> None:
        self.origins = Origins()
        self.nodes: list[NodeDraft] = []
        self.stored: list[StoredTensor] = []
        self.dtype = dtype
        self._arity = arity
        self._measured: dict[int, int] = {}

    # Tensors ---------------------------------------------------------------------------------------------------------

    def store(self, name: str, tensor: torch.Tensor, stand_in: torch.Tensor, is_parameter: bool) -> None:
        """Make a parameter or buffer known, together with what stands for it in the trace."""
        key = len(self.stored)
        self.stored.append(StoredTensor(name, tensor, is_parameter))
        for each in (tensor, stand_in):
            self.origins.note(Origin(each, None, frozenset((key,))))

    def resolve(self, tensor: torch.Tensor, where: ModuleCall) -> Origin | None:
        """Return where a tensor comes from; None for a constant.

        A tensor whose memory was changed through another one is read after the change.
        """
        origin = self.origins.known(tensor)
        if origin is None:
            origin = self.origins.neighbour(tensor)
            if origin is None:
                return None
            if shape_of(origin.tensor) != shape_of(tensor):
                return self._viewed(tensor, origin, where)
            origin = replace(origin, tensor=tensor)
            self.origins.note(origin)
        writer = self.origins.written_since(origin)
        return origin if writer is None else self._rewritten(tensor, origin, writer, where)

    def _viewed(self, tensor: torch.Tensor, base: Origin, where: ModuleCall) -> Origin:
        """Return the origin of a view that was made where the trace does not see."""
        made, edge = shape_of(tensor), base.edge
        if edge is not None:
            op = Recorded(
                function="view", outputs=(made,), made=(dtype_of(tensor),), family=Family.LAYOUT, place=Storage.VIEW
            )
            edge = self._append(op, (edge,), where, "view", None, True)
        origin = replace(base, tensor=tensor, edge=edge)
        self.origins.note(origin)
        return origin

    def _rewritten(self, tensor: torch.Tensor, before: Origin, writer: Origin, where: ModuleCall) -> Origin:
        """Return the origin of a tensor that was changed through another view of its memory."""
        made, change = shape_of(tensor), shape_of(writer.tensor)
        if writer.edge is None or (before.edge is None and change == made):
            origin = replace(writer, tensor=tensor, edge=writer.edge or before.edge)
        elif change == made:
            origin = replace(writer, tensor=tensor)
        else:
            edges = (writer.edge,) if before.edge is None else (before.edge, writer.edge)
            reads = tuple(aligned_reads(shape, made) for shape in ((change,) if before.edge is None else (made, change)))
            op = Recorded(
                function="write",
                outputs=(made,),
                made=(dtype_of(tensor),),
                family=Family.LAYOUT,
                place=Storage.IN_PLACE if before.edge is not None else Storage.FRESH,
                reads=reads,
            )
            origin = replace(before, tensor=tensor, edge=self._append(op, edges, where, "write", None, True))
        self.origins.note(origin)
        return origin

    # Calls -----------------------------------------------------------------------------------------------------------

    def record(self, call: Call) -> None:
        """Add a call: as a node if it depends on the model's inputs, else as work on stored tensors."""
        operands = list(operands_in((*call.arguments, *call.keywords.values())))
        origins = [origin for tensor in operands if (origin := self.resolve(tensor, call.where)) is not None]
        if not origins:
            return
        handler = handler_of(call.name)
        match = _matched(handler, call) if handler else None
        if any(origin.edge is not None for origin in origins) or self._is_stored_layer(match):
            if match is None or not self._emit(call, match):
                self._emit_measured(call, operands)
            return
        work = Work() if call.name == "F.embedding" else work_of(call.inner)
        keys = frozenset().union(*(origin.keys for origin in origins))
        macs = work.macs + sum(origin.macs for origin in origins)
        flops = sum(count for _, count in work.flops) + sum(origin.flops for origin in origins)
        for tensor in call.results:
            self.origins.note(Origin(tensor, None, keys, macs, flops), overwrites=tensor is call.overwritten)

    def _is_stored_layer(self, match: Match | None) -> bool:
        """Whether a call is a layer of its own although it reads no input of the model: a table of positions, say."""
        if match is None or not match.weights or match.op.family is not Family.EMBEDDING:
            return False
        known = (self.origins.known(weight) for weight in match.weights.values() if weight is not None)
        return any(origin is not None and len(origin.keys) == 1 for origin in known)

    def pass_on(self, call: Call, source: torch.Tensor) -> None:
        """Note that the results of a call are the tensor it was given."""
        origin = self.resolve(source, call.where)
        if origin is not None:
            for tensor in call.results:
                self.origins.note(replace(origin, tensor=tensor))

    def _emit(self, call: Call, match: Match) -> bool:
        """Add a node for an op of the library; False where the op is not true to the trace."""
        gathered = self._gather(match.reads, call.where)
        outputs, dtypes = tuple(map(shape_of, call.results)), tuple(map(dtype_of, call.results))
        shapes = tuple(gathered.shapes[o] if isinstance(o, int) else o for o in gathered.operands)
        if isinstance(match.op, Recorded):
            return self._emit_recorded(call, match.op, match.weights, gathered, dtypes)
        try:
            check_input_count(match.op, len(shapes))
            if match.op.output(shapes) != outputs:
                return False
        except OpError:
            return False
        own = self._weights(match, gathered, call.where)
        claim = self._claim(match.op, shapes, own, gathered, call.where)
        is_plain = (
            gathered.operands == list(range(len(gathered.edges)))
            and not (gathered.macs or gathered.flops)
            and claim.is_plain
            and match.op.dtypes(tuple(gathered.dtypes), self.dtype, len(outputs)) == dtypes
        )
        op = match.op
        if not is_plain:
            op = Applied(
                op=op,
                operands=tuple(gathered.operands),
                values=tuple(gathered.values),
                extra_macs=gathered.macs,
                extra_flops=gathered.flops,
                made=dtypes,
                tensors=claim.tensors,
                stored=claim.stored,
                frozen=claim.frozen,
            )
        self._finish(call, op, gathered.edges, claim)
        return True

    def _emit_recorded(
        self, call: Call, op: Recorded, weights: Mapping[str, Any], gathered: Gathered, dtypes: tuple[str, ...]
    ) -> bool:
        """Add a node for a call whose handler gives its work rather than an op."""
        for tensor in weights.values():
            if tensor is not None:
                self._gather_one(tensor, gathered, call.where, is_operand=False)
        if op.outputs != tuple(map(shape_of, call.results)):
            return False
        is_view = op.place is not Storage.FRESH and gathered.operands[:1] == [0]
        reads = op.reads
        if reads is not None:
            # Constants have no input that could be read.
            kept = tuple(r for r, operand in zip(reads, gathered.operands) if isinstance(operand, int))
            reads = kept if len(kept) == len(gathered.edges) else None
        claim = self._claim_keys(gathered.keys)
        made = replace(
            op,
            made=dtypes,
            place=op.place if is_view else Storage.FRESH,
            reads=reads,
            work=op.work + gathered.macs,
            flops=(*op.flops, *((("element-wise", gathered.flops),) if gathered.flops else ())),
            tensors=claim.tensors,
            stored=claim.stored,
            frozen=claim.frozen,
        )
        self._finish(call, made, gathered.edges, claim)
        return True

    def _emit_measured(self, call: Call, operands: list[torch.Tensor]) -> None:
        """Add a node for a call that no op covers: its shapes as traced, its work as dispatched."""
        alias = _aliased(call, operands)
        if alias is not None:
            operands = [alias, *(tensor for tensor in operands if tensor is not alias)]
        gathered = self._gather(operands, call.where)
        work = work_of(call.inner)
        outputs = tuple(map(shape_of, call.results))
        place = Storage.FRESH
        if alias is not None and gathered.operands[:1] == [0]:
            place = Storage.IN_PLACE if call.overwritten is not None else Storage.VIEW
        known = call.name in PRODUCTS or (not work.macs and not work.unknown)
        op = Recorded(
            function=_shown(call.name),
            outputs=outputs,
            work=work.macs,
            flops=work.flops,
            family=family_of(call, work),
            place=place,
            reads=_reads(gathered.shapes, outputs, work),
            modelled=known,
            counted_as_weighted="conv" in call.name and bool(work.macs),
        )
        self._emit_recorded_as_gathered(call, op, gathered)

    def _emit_recorded_as_gathered(self, call: Call, op: Recorded, gathered: Gathered) -> None:
        """Add a measured node with what was gathered for it."""
        claim = self._claim_keys(gathered.keys)
        made = replace(
            op,
            made=tuple(map(dtype_of, call.results)),
            work=op.work + gathered.macs,
            flops=(*op.flops, *((("element-wise", gathered.flops),) if gathered.flops else ())),
            tensors=claim.tensors,
            stored=claim.stored,
            frozen=claim.frozen,
        )
        self._finish(call, made, gathered.edges, claim)

"""From recorded calls to nodes: edges, stored tensors and who owns them, and the op that is true to the trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from cnnstat.analysis.shapes import FacetsOfGraph, OpFacets
from cnnstat.errors import OpError
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Family, Op, Shapes, Storage
from cnnstat.ir.work import Work
from cnnstat.ops.traced import Applied, Recorded
from cnnstat.pytorch.aten_flops import PRODUCTS, family_of, work_of
from cnnstat.pytorch.autograd_rules import copies_of, is_other_kernel, keeps_its_input, keeps_nothing, kept_places
from cnnstat.pytorch.call_windows import known_reads
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.handlers import handler_of
from cnnstat.pytorch.handlers.layout import assigned
from cnnstat.pytorch.known_nodes import KnownNodes, matched
from cnnstat.pytorch.module_stack import ModuleCall
from cnnstat.pytorch.op_cache import has_shortcut, is_fixed_in_training
from cnnstat.pytorch.operators import UNCOUNTED
from cnnstat.pytorch.packed_weights import is_packed, packed_layer, packed_operands
from cnnstat.pytorch.parameter_ownership import NOTHING, OwnedTensors
from cnnstat.pytorch.tensor_origins import Operands, Origin
from cnnstat.pytorch.tensors import dtype_of, is_dense, operands_in, shape_of, storage_key


class Builder(KnownNodes):
    """Collects the nodes of one trace."""

    def __init__(self, arity: int, dtype: str) -> None:
        super().__init__(arity, dtype)
        self._known_facets = FacetsOfGraph()

    def record(self, call: Call) -> None:
        """Add a call: as a node if it depends on the model's inputs, else as work on stored tensors."""
        if call.known is not None:
            if self.record_again(call, call.known):
                return
            call.match = call.match or call.known.match(call.operands)
        # A match from the op cache or of FlexAttention comes with the call: no handler need look at it.
        if call.match is not None and any(map(self._is_made, call.match.reads)) and self._emit(call, call.match):
            return
        operands = [*call.operands, *packed_operands(call)]
        origins = [origin for tensor in operands if (origin := self.resolve(tensor, call.where)) is not None]
        if not origins:
            self._emit_constant_product(call)
            self.log.note(call)
            return
        handler = self._handler(call) if call.match is None else None
        match = matched(handler, call) if handler else call.match
        # Nodes are what depends on the inputs; work on weights alone is counted where its result is first used.
        if any(origin.edge is not None for origin in origins) or self._is_stored_layer(match):
            if match is None or not self._emit(call, match):
                self._emit_measured(call, operands)
            return
        self.log.note(call)
        keys = frozenset().union(*(origin.keys for origin in origins))
        works = self._work_on_weights(call, match, frozenset().union(*(origin.works for origin in origins)))
        # Views of weights take no memory; only new storages count as computed.
        known = {storage_key(tensor) for tensor in operands}
        keeps = not known.isdisjoint(self.computed_with_rest) or not self._keeps_only_stored(call)
        for tensor in call.results:
            self.origins.note(Origin(tensor, None, keys, works), overwrites=tensor is call.overwritten)
            if (storage := storage_key(tensor)) not in known:
                self.computed[storage] = tensor.untyped_storage().nbytes() if storage else 0
            if keeps:
                self.computed_with_rest.add(storage)

    def _keeps_only_stored(self, call: Call) -> bool:
        """Whether autograd keeps nothing of a call on stored tensors, or only stored ones: the places looked up."""
        places = kept_places(call)
        if not places:
            return places is not None
        stored = set(map(storage_key, self.log.aliases))
        return stored.issuperset(map(storage_key, places))

    def _facets(self, op: Op, shapes: Shapes) -> OpFacets | None:
        """Return the facets of an op on what a call reads; None where it refuses these shapes."""
        try:
            return self._known_facets.of(op, shapes)
        except OpError:
            return None

    def _handler(self, call: Call) -> Handler | None:
        if call.name == "setitem":
            return partial(assigned, over_constant=not self._is_made(call.arguments[0]))
        if call.name in PRODUCTS and not all(map(is_dense, operands_in(call.arguments))):
            return None  # only the elements that are there are multiplied
        return packed_layer if is_packed(call) else handler_of(call.name)

    def _is_made(self, read: Any) -> bool:
        origin = self.origins.known(read) if isinstance(read, torch.Tensor) else None
        return origin is not None and origin.edge is not None

    def _work_on_weights(self, call: Call, match: Match | None, before: frozenset[int]) -> frozenset[int]:
        """Remember the work of a call that reads stored tensors only."""
        if match is not None and (call.match is not None or has_shortcut(call.name)):
            reads = tuple(shape_of(read) if isinstance(read, torch.Tensor) else () for read in match.reads)
            outputs = tuple(map(shape_of, call.results))
            own = self._facets(match.op, reads)
            if own is not None and own.outputs == outputs:
                return self.ownership.add_work(Work(own.macs, tuple(own.other_flops.items())), before)
        dispatched = work_of(call.inner)
        self.uncounted.update(dispatched.unknown)
        return self.ownership.add_work(dispatched.work, before)

    def _is_stored_layer(self, match: Match | None) -> bool:
        """Whether a call is a layer of its own although it reads no input of the model.

        A table of positions is one, and so is a layer that works on constants: noise, or a grid of coordinates.
        """
        if match is None or not match.weights:
            return False
        known = [self.origins.known(weight) for weight in match.weights.values() if weight is not None]
        if not any(origin is not None and len(origin.keys) == 1 for origin in known):
            return False
        return match.op.family is Family.EMBEDDING or not any(map(self._is_known, match.reads))

    def _is_known(self, read: Any) -> bool:
        return isinstance(read, torch.Tensor) and (read in self.origins or self.origins.neighbour(read) is not None)

    def result(self, tensor: torch.Tensor, where: ModuleCall) -> Edge:
        """Return what a result of the model is; one that no input of the model decides gets a node."""
        origin = self.resolve(tensor, where)
        if origin is None:
            op = Recorded(function="constant", outputs=(shape_of(tensor),), result_dtypes=(dtype_of(tensor),))
            edge = self._append(op, (), where, "constant")
            self.nodes[-1].recorded = self.log.recompute(tensor)
            self.origins.note(Origin(tensor, edge))
            return edge
        if origin.edge is not None:
            return origin.edge
        self.changes_autograd |= storage_key(tensor) in self.computed_with_rest
        owned = self.ownership.take(origin.keys)
        op = Recorded(
            function="stored",
            outputs=(shape_of(tensor),),
            result_dtypes=(dtype_of(tensor),),
            work=self.ownership.take_works(origin.works),
            **owned.fields,
        )
        edge = self._append(op, (), where, "stored", owned)
        self.nodes[-1].recorded = self.log.recompute(tensor)
        return edge

    def _emit(self, call: Call, match: Match) -> bool:
        """Add a node for an op of the library; False where the op is not true to the trace."""
        needed = self._needed(match, call.where)
        operands = self._gather(needed, call.where)
        direct = self._weights(match, operands, call.where)
        # Masks are read, but are no operands of the op.
        for tensor in match.also:
            operands.add_other(self.resolve(tensor, call.where), tensor)
        if isinstance(match.op, Recorded):
            return self._emit_recorded(call, match.op, operands, direct.values())
        outputs, dtypes = tuple(map(shape_of, call.results)), tuple(map(dtype_of, call.results))
        shapes = tuple(operands.shapes[o] if isinstance(o, int) else o for o in operands.entries)
        op, own = match.op, self._facets(match.op, shapes)
        # The op's shapes have to be those of the trace; a match from the op cache or FlexAttention is known to fit.
        if own is None or own.outputs != outputs:
            return False
        self._add_own_buffers(own.buffers, call.where, direct)
        owned = self.ownership.take_for(own.weights, own.buffers, direct, operands.keys)
        extra = self.ownership.take_works(operands.works) + match.extra
        # An op alone says all if it reads just the node's inputs, owns just its own weights and has the usual dtypes.
        is_plain = operands.is_plain and owned.is_plain and not extra
        if not is_plain or op.dtypes(tuple(operands.dtypes), self.dtype, len(outputs)) != dtypes:
            op = Applied(
                op=op,
                operands=tuple(operands.entries),
                values=tuple(operands.values),
                extra=extra,
                learnt=tuple(operands.learnt),
                result_dtypes=dtypes,
                **owned.fields,
            )
        is_unusual = operands.constants or len(call.inner) > 2
        has_rule = match.is_ruled and operands.has_own_weights and self._is_learnt_as_a_whole(op, owned)
        has_rule &= not is_fixed_in_training(call)
        if not has_rule or (is_unusual and not _has_rule(call, match.op, shapes, operands.constants)):
            self.without_rule.add(len(self.nodes))
        self._finish(call, op, operands, owned)
        # What the op leaves out is zeros to it: the first state of a recurrent layer.
        says_all = operands.is_exact and all(map(self.log.is_zeros, match.reads[len(needed) :]))
        self._note_recorded(call, operands, direct, is_plain and says_all)
        if call.known is not None:
            self.keep(call, operands, owned, call.known)
        return True

    def _is_learnt_as_a_whole(self, op: Op, owned: OwnedTensors) -> bool:
        """Whether an op's rule for what autograd keeps holds for which of its weights are learnt."""
        owner = owned if owned.shares is None else self.nodes[owned.shares].owned
        return not owner.frozen and (owner.trainable or not op.is_ruled_when_learnt)

    def _note_recorded(self, call: Call, operands: Operands, direct: Mapping[str, int], is_plain: bool) -> None:
        """Note how a call is made again: if its op does not say it, or should its weights be called otherwise."""
        draft = self.nodes[-1]
        # What is changed in place may be a view of something that is read later.
        stored = [self.ownership.tensors[key] for key in direct.values()]
        storage = draft.op.training_storage if call.is_training else draft.op.storage
        loses_write = call.overwritten is not None and storage is not Storage.IN_PLACE
        if not is_plain or loses_write or not self._says_all(call, draft.op):
            draft.recorded = self.log.recorded(call, operands.tensors, None, stored)
            if loses_write and operands.tensors and operands.tensors[0] is call.overwritten:
                draft.overwrites = 0
        elif direct:
            draft.own = tuple((name, self.ownership.tensors[key].name) for name, key in direct.items())
            draft.call = (call, operands.tensors, len(self.log.calls), stored)

    def _says_all(self, call: Call, op: Op) -> bool:
        """Whether an op has all arguments of a call: a sum has no factor and no dtype, and no op a mode of its own."""
        values = (*call.arguments, *call.keywords.values())
        if "alpha" in call.keywords or torch.dtype in map(type, values):
            return False
        if torch._C._is_any_autocast_enabled():
            return False  # it changes dtypes behind the arguments
        if call.name == "F.multi_head_attention_forward" and call.keywords.get("is_causal"):
            return False  # its mask is none of the op's inputs
        # Statistics of the batch alone, and no dropout, are the same in both modes.
        has_modes = getattr(op, "track_running_stats", True) and getattr(op, "dropout", True)
        return call.is_training in (None, self.is_training) or not has_modes

    def _emit_recorded(self, call: Call, op: Recorded, operands: Operands, direct: Iterable[int] = ()) -> bool:
        """Add a node for a call of which the work is known rather than the op."""
        if op.outputs != tuple(map(shape_of, call.results)):
            return False
        reads = op.reads
        if reads is not None:
            # Constants have no input that could be read.
            if not operands.is_plain:
                reads = tuple([read for read, operand in zip(reads, operands.entries) if isinstance(operand, int)])
            if len(reads) != len(operands.edges):
                reads = None
        owned = self.ownership.take((*direct, *operands.keys))
        extra = self.ownership.take_works(operands.works)
        is_forgotten = keeps_nothing(call)
        changes: dict[str, Any] = {} if owned is NOTHING else owned.fields
        dtypes = tuple(map(dtype_of, call.results))
        if op.result_dtypes != dtypes:
            changes["result_dtypes"] = dtypes
        if operands.entries[:1] != [0] and op.place is not Storage.FRESH:
            changes["place"] = Storage.FRESH
        if reads is not op.reads:
            changes["reads"] = reads
        if is_forgotten and op.keeps_inputs:
            changes["keeps_inputs"] = False
        if extra:
            changes["work"] = op.work + extra
        result = replace(op, **changes) if changes else op
        if not is_forgotten and not keeps_its_input(call):
            self.without_rule.add(len(self.nodes))
        self._finish(call, result, operands, owned)
        self.nodes[-1].recorded = self.log.recorded(call, operands.tensors)
        if call.known is not None:
            self.keep(call, operands, owned, call.known)
        return True

    def _emit_measured(self, call: Call, tensors: list[torch.Tensor]) -> None:
        """Add a node for a call that no op covers: its shapes as traced, its work as dispatched."""
        # An op in place or a view is understood as one of its *first* input, so that operand is put first.
        alias = aliased(call, tensors)
        if alias is not None:
            tensors = [alias, *(tensor for tensor in tensors if tensor is not alias)]
        operands = self._gather(tensors, call.where)
        dispatched = work_of(call.inner)
        work = dispatched.work
        outputs = tuple(map(shape_of, call.results))
        in_place = Storage.IN_PLACE if call.overwritten is not None else Storage.VIEW
        shapes = tuple(shape_of(tensor) for tensor in tensors)
        op = Recorded(
            function=display_name(call.name),
            outputs=outputs,
            work=work,
            family=family_of(call, dispatched),
            place=Storage.FRESH if alias is None else in_place,
            reads=known_reads(shapes, outputs, dispatched, call),
            modelled=not dispatched.unknown and call.name not in UNCOUNTED and (call.name in PRODUCTS or not work.macs),
            counted_as_weighted="conv" in call.name and bool(work.macs),
        )
        self._emit_recorded(call, op, operands)

    def _emit_constant_product(self, call: Call) -> None:
        """Add a row for a product of constants, which stays a constant to the calls that read it."""
        dispatched = work_of(call.inner)
        if not dispatched.work.macs:
            return
        op = Recorded(
            function=display_name(call.name),
            outputs=tuple(map(shape_of, call.results)),
            result_dtypes=tuple(map(dtype_of, call.results)),
            work=dispatched.work,
            family=family_of(call, dispatched),
            reads=(),
            modelled=not dispatched.unknown,
        )
        self._append(op, (), call.where, display_name(call.name))
        self.nodes[-1].recorded = self.log.recorded(call, ())

    # Operands --------------------------------------------------------------------------------------------------------

    def _gather(self, reads: Iterable[Any], where: ModuleCall) -> Operands:
        """Return the edges of what a call reads, and what its other operands are."""
        operands = Operands()
        for read in reads:
            is_tensor = isinstance(read, torch.Tensor)
            origin = self.resolve(read, where) if is_tensor else None
            if origin is not None and origin.edge is not None:
                operands.values.append(None)
                operands.entries.append(len(operands.edges))
                operands.add_edge(origin.edge, read)
                continue
            operands.values.append(None if is_tensor else float(read))
            if is_tensor and origin is None and read.numel() > 1:
                operands.constants.append(len(operands.entries))
            if origin is not None and self.ownership.is_learnt(origin.keys):
                operands.learnt.append(len(operands.entries))
            operands.entries.append(shape_of(read) if is_tensor else ())
            operands.add_stored(origin)
        return operands

    def _weights(self, match: Match, operands: Operands, where: ModuleCall) -> dict[str, int]:
        """Return the stored tensors that are weights themselves; what others come from is added to `operands`."""
        direct: dict[str, int] = {}
        for name, tensor in match.weights.items():
            if tensor is None:
                continue
            if (origin := self.resolve(tensor, where)) is None:
                operands.has_own_weights &= tensor.numel() == 1
                continue
            operands.is_exact &= self.log.is_stored(tensor)
            if origin.edge is None and len(origin.keys) == 1 and self._is_stored_itself(origin, tensor):
                (direct[name],) = origin.keys
            else:
                operands.has_own_weights &= origin.edge is None
                operands.add_other(origin, tensor)
        return direct

    def _needed(self, match: Match, where: ModuleCall) -> tuple[Any, ...]:
        """Return what a call reads, without inputs that the op leaves out where they are constants."""
        if not match.optional:
            return match.reads
        last = match.reads[-match.optional :]
        if any(self.resolve(tensor, where) is not None for tensor in last):
            return match.reads
        return match.reads[: len(match.reads) - match.optional]

    def _is_stored_itself(self, origin: Origin, tensor: torch.Tensor) -> bool:
        (key,) = origin.keys
        return not origin.works and self.ownership.tensors[key].tensor.shape == tensor.shape

    def _add_own_buffers(self, buffers: Iterable[str], where: ModuleCall, direct: dict[str, int]) -> None:
        """Add the buffers of the calling module that the op has too, but the call was not given."""
        for name in buffers if where.module is not None else ():
            buffer = getattr(where.module, name, None) if name not in direct else None
            origin = self.origins.known(buffer) if isinstance(buffer, torch.Tensor) else None
            if origin is not None and len(origin.keys) == 1:
                (direct[name],) = origin.keys

    def _finish(self, call: Call, op: Op, operands: Operands, owned: OwnedTensors) -> None:
        """Add the node of a call with what its operands tell of it."""
        self.add(call, op, tuple(operands.edges), display_name(call.name), owned)
        if call.match is None:
            self.nodes[-1].copies = copies_of(call, op, operands)
        if self.computed:
            self._note_computed(call, operands)

    def _note_computed(self, call: Call, operands: Operands) -> None:
        """Note which weights were computed for the last node: memory of inference, and autograd keeps them."""
        read = set(map(storage_key, call.operands))
        computed = self.computed.keys() & read
        if computed:
            draft = self.nodes[-1]
            draft.computed_bytes = sum(self.computed[storage] for storage in computed)
            # What is added needs no rule: neither it nor what it is added to is kept.
            is_kept = len(self.nodes) - 1 not in self.without_rule and _keeps_something(draft.op, call, operands)
            self.changes_autograd |= is_kept or not computed.isdisjoint(self.computed_with_rest)


def _has_rule(call: Call, op: Op, shapes: Shapes, constants: list[int]) -> bool:
    """Whether an op's rule holds for a call: constants that the backward pass looks at are in no rule."""
    saved = op.saved_for(shapes, tuple(map(shape_of, call.results)), (True,) * len(shapes), True)
    # A mask that needs a gradient would rule out the fused kernel whatever was called.
    plain = saved if len(shapes) < 4 else op.saved(shapes, tuple(map(shape_of, call.results)))
    return not is_other_kernel(call, plain) and not any(number in saved.inputs for number in constants)


def _keeps_something(op: Op, call: Call, operands: Operands) -> bool:
    """Whether an op keeps anything for its backward pass, whatever needs a gradient."""
    shapes = tuple(operands.shapes)
    saved = op.saved_for(shapes, tuple(map(shape_of, call.results)), (True,) * len(shapes), True)
    return bool(saved.inputs or saved.outputs or saved.extra)


def aliased(call: Call, operands: list[torch.Tensor]) -> torch.Tensor | None:
    """Return the operand whose memory the first result uses."""
    if call.overwritten is not None:
        return call.overwritten
    result = storage_key(call.results[0])
    return next((tensor for tensor in operands if result and storage_key(tensor) == result), None)


@cache
def display_name(name: str) -> str:
    """Return a function's name for people."""
    plain = name.removeprefix("F.").removeprefix("aten.").removesuffix(".get").removesuffix(".set")
    return plain.strip("_") or plain

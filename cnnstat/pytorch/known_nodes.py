"""Known nodes: calls whose operands are results of nodes become the node that an equal call became before."""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.errors import OpError
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Op
from cnnstat.ir.recorded_call import NotRecorded, RecordedCalls
from cnnstat.ops.traced import Recorded
from cnnstat.pytorch.calls import Call, Handler, KnownCall, KnownNode, Match
from cnnstat.pytorch.handlers import handler_of
from cnnstat.pytorch.handlers.layout import reads_of_part
from cnnstat.pytorch.parameter_ownership import NOTHING, OwnedTensors
from cnnstat.pytorch.recorded_calls import part_again
from cnnstat.pytorch.tensor_origins import Operands, Origin, TensorOrigins
from cnnstat.pytorch.tensors import storage_key

MAX_PARTS = 1024
"""Most parts of tensors whose ops are kept; beyond that, all are forgotten. Tiles are traced again and again."""

_parts: dict[tuple[Any, ...], tuple[Op, RecordedCalls]] = {}


class KnownNodes(TensorOrigins):
    """Adds nodes, known ones without looking at their calls again."""

    def __init__(self, arity: int, dtype: str) -> None:
        super().__init__(arity, dtype)
        # Calls of layers that others have called before, by the known call, the module and its tensors.
        self._called_again: dict[tuple[Any, ...], KnownNode] = {}

    def record_again(self, call: Call, known: KnownCall) -> bool:
        """Add a call as an equal one became a node; False where none has, or where operands are no results of nodes."""
        nodes = self._known_nodes(known)
        node = nodes.get(self._place(call, known)) if nodes else None
        if node is None:
            return False
        operands, current = call.operands, self.origins.current
        tensors = [operands[number] for number in node.reads]
        edges = []
        for tensor in tensors:
            origin = current(tensor) or self.resolve(tensor, call.where)
            if origin is None or origin.edge is None or origin.storage in self.computed:
                return False
            edges.append(origin.edge)
        for number in known.further:
            if current(operands[number]) is None:
                return False
        op, recorded = node.op, node.recorded
        if known.has_places:
            part = self._at_place(call, node)
            if part is None:
                return False
            op, recorded = part
        if node.has_no_rule:
            self.without_rule.add(len(self.nodes))
        self.add(call, op, tuple(edges), node.function, node.owned)
        draft = self.nodes[-1]
        draft.recorded, draft.copies, draft.overwrites = recorded, node.copies, node.overwrites
        if node.stored:
            draft.own, draft.call = node.own, (call, tensors, len(self.log.calls), [*node.stored])
        return True

    def _at_place(self, call: Call, node: KnownNode) -> tuple[Op, RecordedCalls | NotRecorded | None] | None:
        """Return the op of a call that takes a part, and how it is made again, if they are like those of a known node.

        They alone depend on the place of the part.
        """
        if isinstance(node.op, Recorded) and isinstance(node.recorded, RecordedCalls):
            index = call.arguments[1] if type(call.arguments[1]) is tuple else call.arguments[1:2]
            number = [value for value in call.arguments[2:] if not isinstance(value, torch.Tensor)]
            place = (node, *[(p.start, p.stop, p.step) if type(p) is slice else p for p in index], *number)
            if place not in _parts and (reads := reads_of_part(call)) is not None:
                if len(_parts) >= MAX_PARTS:
                    _parts.clear()
                _parts[place] = node.op.reading(reads), part_again(call, node.recorded)
            return _parts.get(place)
        handler = handler_of(call.name)
        match = matched(handler, call) if handler else None
        return None if match is None or type(match.op) is not type(node.op) else (match.op, node.recorded)

    def keep(self, call: Call, operands: Operands, owned: OwnedTensors, known: KnownCall) -> None:
        """Keep the node that a call has become, if nothing but its arguments decides what that is."""
        match, draft = call.match, self.nodes[-1]
        recorded = draft.recorded
        if owned is not NOTHING and (owned.shares is None or len(draft.own) != len(known.further)):
            return  # most layers are called once
        if operands.keys or operands.works or operands.constants or (match and match.optional):
            return
        if not all(isinstance(o, int) or v is not None for o, v in zip(operands.entries, operands.values)):
            return
        if isinstance(recorded, NotRecorded) or (recorded and (recorded.stored or recorded.constants)):
            return
        numbers = {id(tensor): number for number, tensor in enumerate(call.operands)}
        self._known_nodes(known)[self._place(call, known)] = KnownNode(
            op=draft.op,
            reads=tuple([numbers[id(tensor)] for tensor in operands.tensors]),
            function=draft.function,
            recorded=recorded,
            copies=draft.copies,
            overwrites=draft.overwrites,
            has_no_rule=len(self.nodes) - 1 in self.without_rule,
            owned=owned,
            own=draft.own,
            stored=() if draft.call is None else tuple(draft.call[3]),
        )

    def _known_nodes(self, known: KnownCall) -> dict[Any, KnownNode]:
        """Return where nodes of a call are kept: those of layers with weights are of this trace alone."""
        return self._called_again if known.further else known.nodes

    def _place(self, call: Call, known: KnownCall) -> tuple[Any, ...]:
        if not known.further:
            return self.dtype, self.is_training
        module, operands = call.where.module, call.operands
        weights = [id(operands[number]) for number in known.further]
        return known, id(module), getattr(module, "training", None), *weights

    def add(self, call: Call, op: Op, inputs: tuple[Edge, ...], function: str, owned: OwnedTensors) -> None:
        """Add the node of a call and note its results."""
        if call.overwritten is not None:
            self.log.fills[storage_key(call.overwritten)] += 1
        edge = self._append(op, inputs, call.where, function, owned)
        for number, tensor in enumerate(call.results):
            origin = Origin(tensor, Edge(edge.value, number) if number else edge)
            self.origins.note(origin, overwrites=tensor is call.overwritten)


def matched(handler: Handler, call: Call) -> Match | None:
    """Return the op of a call; None where its arguments are not those of an op of the library."""
    try:
        return handler(call)
    except (OpError, TypeError, ValueError, AttributeError, KeyError, IndexError, StopIteration):
        return None

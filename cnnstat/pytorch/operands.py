"""What a call reads, before its node exists: edges, stored operands, and how it reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cnnstat.errors import OpError
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Shape
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.tensor_origins import NO_KEYS, Origin
from cnnstat.pytorch.tensors import dtype_of, shape_of, storage_key


@dataclass(slots=True)
class Operands:
    """What a call reads, and what its stored operands are computed from.

    entries: for each operand of its op the number of its edge, or the shape of one that is stored or constant.
    is_exact: whether the weights of its op are stored tensors themselves.
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


def matched(handler: Handler, call: Call) -> Match | None:
    """Return the op of a call; None where its arguments are not those of an op of the library."""
    try:
        return handler(call)
    except (OpError, TypeError, ValueError, AttributeError, KeyError, IndexError, StopIteration):
        return None


def aliased(call: Call, operands: list[torch.Tensor]) -> torch.Tensor | None:
    """Return the operand whose memory the first result uses."""
    if call.overwritten is not None:
        return call.overwritten
    result = storage_key(call.results[0])
    return next((tensor for tensor in operands if result and storage_key(tensor) == result), None)


def display_name(name: str) -> str:
    """Return a function's name for people."""
    plain = name.removeprefix("F.").removeprefix("aten.").removesuffix(".get").removesuffix(".set")
    return plain.strip("_") or plain

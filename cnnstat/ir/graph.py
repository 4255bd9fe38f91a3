"""Graph: nodes in execution order with the tensors that connect them, frozen and validated once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cnnstat.errors import GraphError, Location
from cnnstat.ir.op import Op, Shape
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
    """

    name: str
    op: Op
    inputs: tuple[Edge, ...]
    shares: int | None = None
    trainable: bool = True
    location: Location | None = None
    recorded: RecordedCalls | NotRecorded | None = field(default=None, compare=False)
    home: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A network. Raises GraphError if an edge points forward or nowhere, or a name occurs twice.

    outputs: the tensors the network returns.
    dtype: the dtype of weights and activations.
    source: what the user named (a zoo name, a file, a module).
    blocks: for a path that is a block call or a named group, what it was called (`layer1.0`: `bottleneck`).
    about: title, citation, notes and published figures, as the spec gives them.
    """

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Edge, ...]
    dtype: str = "float32"
    source: str = ""
    blocks: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate names and edges."""
        names: set[str] = set()
        for index, node in enumerate(self.nodes):
            if node.name in names:
                raise GraphError(f"two layers are called {node.name}")
            names.add(node.name)
            if any(not 0 <= edge.value < self.arity + index for edge in node.inputs):
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

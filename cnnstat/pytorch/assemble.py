"""The finished graph: names that follow the modules, blocks, and the tensors that no call used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from cnnstat.ir.graph import Edge, Graph, Input, Node, usual_dtype
from cnnstat.ir.op import Op
from cnnstat.ir.recorded_call import NotRecorded, RecordedCalls
from cnnstat.ir.scopes import UniqueNames
from cnnstat.ops.traced import unused
from cnnstat.pytorch.builder import Builder
from cnnstat.pytorch.module_stack import ModuleCall, Modules, aliases_of
from cnnstat.pytorch.parameter_ownership import OwnedTensors
from cnnstat.pytorch.recorded_calls import ConstantCalls
from cnnstat.pytorch.tensor_origins import NodeDraft

_GENERAL_HOMES = ("torch.nn.modules.module", "torch.nn.modules.container")
"""Where PyTorch keeps modules that are no layers."""


def assemble(
    builder: Builder, modules: Modules, inputs: tuple[Input, ...], outputs: tuple[Edge, ...], *, name: str, source: str
) -> Graph:
    """Return the graph of a trace."""
    names = _Names(builder)
    nodes: list[Node] = []
    for draft in builder.nodes:
        own = names.of(draft)
        recorded = _recorded(draft, own, nodes, builder.log)
        node = _node(own, draft.op, draft.inputs, draft.owned, recorded, builder.dtype)
        if draft.computed_bytes or draft.copies or draft.overwrites is not None:
            node = replace(node, computed_bytes=draft.computed_bytes, copies=draft.copies, overwrites=draft.overwrites)
        nodes.append(node)
    nodes = _at_home(nodes, builder)
    nodes += _unused(builder, names)
    return Graph(
        name=name,
        inputs=inputs,
        nodes=tuple(nodes),
        outputs=outputs,
        dtype=builder.dtype,
        source=source,
        blocks=_blocks(modules, nodes),
        aliases=aliases_of(modules),
    )


def _node(
    name: str,
    op: Op,
    inputs: tuple[Edge, ...],
    owned: OwnedTensors,
    recorded: RecordedCalls | NotRecorded | None,
    model: str,
) -> Node:
    node = Node(name, op, inputs, owned.shares, owned.trainable, recorded=recorded, transient=owned.transient)
    if not owned.dtypes:
        return node
    dtypes = {name: dtype for name, dtype in owned.dtypes.items() if dtype != usual_dtype(name, model)}
    return replace(node, dtypes=dtypes) if dtypes else node


def _recorded(
    draft: NodeDraft, name: str, before: list[Node], log: ConstantCalls
) -> RecordedCalls | NotRecorded | None:
    """Return how a node is made again, where its op, as a module of this name, would not be the same."""
    if draft.recorded is not None or draft.call is None:
        return draft.recorded
    owner, owner_name = None if draft.shares is None else before[draft.shares], name
    if owner is not None:
        owner_name = owner.name
    is_called_so = all(f"{owner_name}.{own}" == full for own, full in draft.own)
    return None if is_called_so and (owner is None or owner.recorded is None) else log.recorded(*draft.call)


def _at_home(nodes: list[Node], builder: Builder) -> list[Node]:
    """Return nodes with the paths of their modules, where these are not their names: `qkv` for `attn.linear`."""
    homes: dict[int, str] = {}
    for index, (node, draft) in enumerate(zip(nodes, builder.nodes)):
        if node.recorded is None or draft.recorded is not None or node.shares is not None:
            continue
        result = {full.removesuffix(f".{own}") for own, full in draft.own if full.endswith(f".{own}")}
        if len(result) == 1:
            homes[index] = result.pop()
    if not homes:
        return nodes
    paths = {prefix for node in nodes for prefix in (node.name, *_above(node.name))}
    shared = {node.shares for node in nodes}
    counts = Counter(homes.values())
    used = Counter(s.name for n in nodes if isinstance(n.recorded, RecordedCalls) for s in n.recorded.stored)
    return [
        replace(node, home=homes[index])
        if index in homes
        and index not in shared
        and homes[index] not in paths
        and counts[homes[index]] == 1
        and all(used[full] == 1 for _, full in builder.nodes[index].own)
        else node
        for index, node in enumerate(nodes)
    ]


class _Names:
    """Unique names: a module that is one op gives the op its path; others add the function's name."""

    def __init__(self, builder: Builder) -> None:
        drafts = builder.nodes
        calls = Counter(id(draft.where) for draft in drafts)
        self._are_layers: dict[type, bool] = {}
        self._single = {id(d.where) for d in drafts if calls[id(d.where)] == 1 and d.where.inner == 1 and d.where.path}
        self._main: dict[int, NodeDraft] = {}
        for index, draft in enumerate(drafts):
            if self._is_layer(draft.where) and (builder.ownership.weights.get(index) or draft.shares is not None):
                self._main.setdefault(id(draft.where), draft)
        self._names = UniqueNames()

    def _is_layer(self, where: ModuleCall) -> bool:
        """Whether a module is one of PyTorch's layers, which may take several calls (padding, then a convolution)."""
        if where.module is None or not where.path:
            return False
        kind = type(where.module)
        if kind not in self._are_layers:
            homes = [cls.__module__ for cls in kind.__mro__]
            is_layer = any(home.startswith("torch.nn.modules.") and home not in _GENERAL_HOMES for home in homes)
            self._are_layers[kind] = is_layer
        return self._are_layers[kind]

    def of(self, draft: NodeDraft) -> str:
        """Return the name of a node."""
        path = draft.where.path
        if id(draft.where) in self._single:
            return self.unique(path)
        if self._main.get(id(draft.where)) is draft:
            return self.unique(path)
        return self.unique(f"{path}.{draft.function}" if path else draft.function)

    def unique(self, name: str) -> str:
        """Return a name with a number behind it if it is taken."""
        return self._names.take(name)


def _blocks(modules: Modules, nodes: Iterable[Node]) -> dict[str, str]:
    """Return what kind of module each path above a node is."""
    kinds = {path: type(module).__name__ for path, module in modules if path}
    used: dict[str, str] = {}
    seen: set[str] = set()
    for node in nodes:
        path = node.name.rpartition(".")[0]
        if path not in seen:
            seen.add(path)
            used.update((above, kinds[above]) for above in _above(node.name) if above in kinds)
    return used


def _unused(builder: Builder, names: _Names) -> list[Node]:
    """Return a row for each module none of whose tensors were used, and for each other tensor left over."""
    free = builder.ownership.free()
    groups: dict[str, list[int]] = {}
    tops = _unused_tops(builder) if free else set()
    for key in free:
        stored = builder.ownership.tensors[key]
        top = next((path for path in _above(stored.name) if path in tops), stored.name)
        if not stored.is_parameter and top == stored.name:
            top = stored.name.rpartition(".")[0] or stored.name
        groups.setdefault(top, []).append(key)
    rows = []
    for path, keys in groups.items():
        owned = builder.ownership.take(keys)
        recorded = builder.log.unread(builder.ownership.tensors[key] for key in keys)
        op = unused(**owned.fields)
        rows.append(_node(names.unique(path), op, (), owned, recorded, builder.dtype))
    if work := builder.ownership.take_works(range(len(builder.ownership.works))):
        rows.append(Node(names.unique("unused_results"), unused(work=work), (), None, True))
    return rows


def _above(name: str) -> list[str]:
    """Return the paths of the modules around a tensor, the outermost first."""
    parts = name.split(".")[:-1]
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _unused_tops(builder: Builder) -> set[str]:
    """Return the paths of the modules that have parameters, none of them used."""
    used = {
        path for s in builder.ownership.tensors if s.is_parameter and s.owner is not None for path in _above(s.name)
    }
    idle = {path for s in builder.ownership.tensors if s.is_parameter and s.owner is None for path in _above(s.name)}
    return idle - used

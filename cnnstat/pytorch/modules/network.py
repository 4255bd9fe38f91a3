"""Networks: modules that run a layer graph node by node, in a tree of modules named by the layers' paths."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cnnstat.analysis.shapes import Values, infer_shapes
from cnnstat.errors import CnnstatError, OpError, printable
from cnnstat.ir.graph import Edge, Graph, Node
from cnnstat.ir.op import Shapes
from cnnstat.ir.recorded_call import NotRecorded, RecordedCalls, Stored
from cnnstat.pytorch.modules.op_modules import (
    SCALE,
    Home,
    RecordedModule,
    Scope,
    Unused,
    module_arguments,
    module_at,
    module_of,
    register_operands,
    valueless,
)
from cnnstat.pytorch.tensors import tensors_in


def place(
    root: nn.Module, layers: Mapping[str, nn.Module], blocks: Mapping[str, str], stored: Container[str] = ()
) -> dict[str, str]:
    """Hang all layers into `root` under their dotted names, and return the path of each.

    blocks: what the scopes are called. A layer that is a scope too (`a` beside `a.b`) holds the layers within itself.
    A name that its parent uses already (`type`, or `weight` inside a convolution) gets a `_` behind.
    stored: full names of tensors, which no layer can have.
    """
    placed: dict[str, tuple[nn.Module, str]] = {}
    for name in layers:
        parent, path, prefix = root, "", ""
        for part in name.split("."):
            prefix = f"{prefix}.{part}" if prefix else part
            if prefix not in placed:
                own = part
                while hasattr(parent, own) or prefix.removesuffix(part) + own in stored:
                    own += "_"
                module = layers.get(prefix) or Scope(blocks.get(prefix, "Scope"))
                parent.add_module(own, module)
                placed[prefix] = module, f"{path}.{own}" if path else own
            parent, path = placed[prefix]
    return {name: placed[name][1] for name in layers}


class Step(NamedTuple):
    """One op call: the path of its module, the tensors it reads and makes, and those that nothing reads after it."""

    path: str
    reads: tuple[Edge, ...]
    makes: tuple[Edge, ...]
    frees: tuple[Edge, ...]


class Network(Scope):
    """A layer graph as a module: runs its nodes in order and frees every tensor after its last reader.

    network_steps: the op calls in order, one for each node of the graph. What is its own has names that no layer has.
    """

    def __init__(self, name: str, inputs: tuple[str, ...], outputs: tuple[Edge, ...]) -> None:
        super().__init__(name)
        self.network_inputs = inputs
        self.network_outputs = outputs
        self.network_steps: tuple[Step, ...] = ()

    def forward(self, *tensors: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs; takes the inputs in order or by name."""
        return self.run_network({Edge(number): tensor for number, tensor in enumerate(self._arranged(tensors, named))})

    def _arranged(self, tensors: tuple[Tensor, ...], named: dict[str, Tensor]) -> list[Tensor]:
        """Return the inputs in order; raises TypeError where one is missing or too many."""
        rest = self.network_inputs[len(tensors) :]
        if len(tensors) + len(rest) > len(self.network_inputs) or set(rest) != set(named):
            values = ", ".join((*(f"{len(tensors)} in order",) * bool(tensors), *named)) or "none"
            raise TypeError(f"{self._get_name()} takes the inputs {', '.join(self.network_inputs)}, but got {values}")
        return [*tensors, *(named[name] for name in rest)]

    def run_network(self, alive: dict[Edge, Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs; empties `alive`, which holds the inputs, so that they too are freed once read."""
        for row, (path, reads, makes, frees) in enumerate(self.network_steps):
            result = self._compute_step(row, path, [alive[edge] for edge in reads])
            alive.update(zip(makes, tensors_in(result)))
            del result
            for edge in frees:
                del alive[edge]
        outputs = tuple(alive[edge] for edge in self.network_outputs)
        alive.clear()
        return outputs[0] if len(outputs) == 1 else outputs

    def _compute_step(self, row: int, path: str, arguments: list[Tensor]) -> Any:
        """Return what a step makes, by its number and the path of its module; profiles put their own in its place."""
        return self.get_submodule(path)(*arguments)


def build_network(graph: Graph, device: str | torch.device | None, dtype: str | torch.dtype | None) -> Network:
    """Return the module of a graph, see `cnnstat.pytorch.modules.build`."""
    values = infer_shapes(graph)
    network = Network(graph.name, tuple(i.name for i in graph.inputs), graph.outputs)
    kind = _torch_dtype(graph.dtype if dtype is None else dtype)
    with nullcontext() if device is None else _device(device):
        layers = _layers(graph, values)
        stored = stored_of(node for node in graph.nodes if not node.home)
        at_home = {node.home or node.name: layers[node.name] for node in graph.nodes if node.name in layers}
        paths = place(network, at_home, graph.blocks, stored)
        homes = register(network, stored.values())
        for layer in layers.values():
            if isinstance(layer, RecordedModule):
                layer.bind(homes)
        traced = {n.name: (layers[n.name], n.op) for n in graph.nodes if n.name in layers and n.recorded is None}
        register_operands(traced, network)
        _alias(network, graph.aliases)
    owners = (node if node.name in layers else graph.nodes[node.shares or 0] for node in graph.nodes)
    network.network_steps = _steps(graph, values, [paths[node.home or node.name] for node in owners])
    network.to(kind)
    if dtype is None:
        homes |= {name: home for layer in layers.values() for name, home in getattr(layer, "_homes", {}).items()}
        for node, inputs in zip(graph.nodes, values.inputs):
            if node.dtypes and node.shares is None:
                _give_dtypes(node, inputs, graph.dtype, network.get_submodule(paths[node.home or node.name]), homes)
    return network


def _give_dtypes(node: Node, inputs: Shapes, model: str, layer: nn.Module, homes: Mapping[str, Home]) -> None:
    """Give a layer's tensors their own dtypes, after the network has got the model's."""
    dtypes: dict[str, str]
    if isinstance(layer, RecordedModule):
        # Its calls know tensors by their names in the network, which may be others than the op's; a graph that was
        # converted to another dtype does not say what a tensor was before.
        stated = set(node.dtypes.values())
        dtypes = {each.name: each.dtype for each in layer.stored if each.dtype in stated}
    else:
        names = (*node.op.weights(inputs), *node.op.buffers(inputs))
        dtypes = {name: node.dtype_of(name, model) for name in names}
    for name, kind in dtypes.items():
        module_path, _, own = name.rpartition(".")
        home = homes.get(name) or Home(layer.get_submodule(module_path), own)
        tensor, dtype = home.tensor, getattr(torch, kind)
        if not dtype.is_floating_point and not dtype.is_complex:
            tensor.requires_grad_(False)
        tensor.data = tensor.data.to(dtype)


def _alias(network: Network, aliases: Mapping[str, str]) -> None:
    """Give modules and stored tensors their further names, as the state dict of the traced model has them."""
    modules = dict(network.named_modules(remove_duplicate=False))
    tensors = dict((*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)))
    for alias, first in aliases.items():
        path, _, own = alias.rpartition(".")
        if first in modules and alias not in modules:
            module_at(network, path).add_module(own, modules[first])
        elif first in tensors and alias not in tensors:
            home, tensor = module_at(network, path), tensors[first]
            if isinstance(tensor, nn.Parameter):
                home.register_parameter(own, tensor)
            else:
                home.register_buffer(own, tensor)


def _device(device: str | torch.device) -> torch.device:
    """Return a device; raises CnnstatError if PyTorch knows none of that name, or this machine lacks it."""
    try:
        result = torch.device(device)
    except (RuntimeError, TypeError):
        raise CnnstatError(f"device={str(device)[:60]}: PyTorch knows no such device; use cpu, cuda or meta") from None
    try:
        torch.empty(0, device=result)
    except Exception as error:
        message = str(error).strip().partition("\n")[0][:200]
        raise CnnstatError(f"device={result}: not available here ({message}); use cpu or meta") from None
    return result


def _torch_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Return PyTorch's dtype of that name; raises CnnstatError where a module cannot have it."""
    result = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype, None)
    if not isinstance(result, torch.dtype) or not (result.is_floating_point or result.is_complex):
        raise CnnstatError(f"dtype={dtype}: modules compute with floating-point numbers; use float32 or float16")
    return result


def _layers(graph: Graph, values: Values) -> dict[str, nn.Module]:
    """Return a module for every node but those that call the module of another one again."""
    layers: dict[str, nn.Module] = {}
    for node, inputs in zip(graph.nodes, values.inputs):
        owner = None if node.shares is None else graph.nodes[node.shares]
        if owner is not None and node.shares is not None and _is_same(node, inputs, owner, values.inputs[node.shares]):
            continue
        try:
            layer = _layer(node, inputs)
        except OpError as error:
            raise CnnstatError(printable(f"{node.name} ({node.op.kind}): {error}")) from None
        if owner is None:
            layer.requires_grad_(node.trainable)
        elif node.recorded is None:
            _tie(layer, layers[owner.name])
        layers[node.name] = layer
    return layers


def _layer(node: Node, inputs: Shapes) -> nn.Module:
    """Return the module of a node: of its recorded calls where it has them, else of its op; raises OpError."""
    if isinstance(node.recorded, NotRecorded):
        raise OpError(f"{node.recorded.reason}; build the original model instead")
    if node.recorded is None or node.home:
        return module_of(node.op, inputs)
    if node.recorded.is_idle:
        return Unused()
    missing = valueless(node.recorded)
    if missing:
        raise OpError(
            f"the buffer {missing} has no values; give the model memory, it is on the meta device or too large"
        )
    return RecordedModule(node.recorded)


def _is_same(node: Node, inputs: Shapes, owner: Node, theirs: Shapes) -> bool:
    if node.recorded is not None or owner.recorded is not None:
        return False
    return node.op == owner.op and module_arguments(node.op, inputs) == module_arguments(owner.op, theirs)


def _tie(layer: nn.Module, owner: nn.Module) -> None:
    """Give a layer the parameters and buffers of another (one with a different stride, or a decoder's transpose)."""
    own = dict(layer.named_modules())
    for path, module in owner.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            own[path].register_parameter(name, parameter)
        for name, buffer in module.named_buffers(recurse=False):
            own[path].register_buffer(name, buffer)


def _steps(graph: Graph, values: Values, paths: list[str]) -> tuple[Step, ...]:
    """Return the op calls, with what each may free."""
    result = [
        tuple(Edge(value, output) for output in range(len(shapes))) for value, shapes in enumerate(values.outputs)
    ]
    last = {edge: 0 for edges in result[: graph.arity] for edge in edges}
    for index, node in enumerate(graph.nodes):
        last.update(dict.fromkeys((*result[graph.arity + index], *node.inputs), index))
    frees: list[list[Edge]] = [[] for _ in graph.nodes]
    for edge, index in last.items():
        if edge not in graph.outputs and graph.nodes:
            frees[index].append(edge)
    return tuple(
        Step(path, node.inputs, makes, tuple(free))
        for path, node, makes, free in zip(paths, graph.nodes, result[graph.arity :], frees)
    )


def register(root: nn.Module, stored: Iterable[Stored]) -> dict[str, Home]:
    """Register stored tensors under their names, as far as nothing is there yet, and return where each is."""
    homes: dict[str, Home] = {}
    for each in stored:
        path, _, own = each.name.rpartition(".")
        home = module_at(root, path)
        if own not in home._parameters and own not in home._buffers:
            while hasattr(home, own):
                own += "_"
            _add(home, own, each)
        homes[each.name] = Home(home, own)
    return homes


def _add(home: nn.Module, name: str, stored: Stored) -> None:
    """Register one tensor: a parameter with random values, a buffer with its own, or zeros where they are not known."""
    dtype = getattr(torch, stored.dtype)
    if not stored.is_parameter:
        result = torch.zeros(stored.shape, dtype=dtype) if stored.value is None else torch.clone(stored.value)
        device = torch.empty(0).device
        home.register_buffer(name, result.to(device), persistent=stored.is_persistent)
        return
    is_floating = dtype.is_floating_point or dtype.is_complex
    values = torch.randn(stored.shape) * SCALE if is_floating else torch.zeros(stored.shape, dtype=dtype)
    home.register_parameter(name, nn.Parameter(values, requires_grad=stored.is_learnt and is_floating))


def stored_of(nodes: Iterable[Node]) -> Mapping[str, Stored]:
    """Return the stored tensors of the recorded calls of some nodes by name."""
    calls = (node.recorded for node in nodes if isinstance(node.recorded, RecordedCalls))
    return {stored.name: stored for recorded in calls for stored in recorded.stored}

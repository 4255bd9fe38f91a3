"""A network as it is deployed, by PyTorch alone: batch norm out of the module, liveness counted on torch.fx's graph."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.utils.flop_counter import FlopCounterMode

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
_OVERWRITING = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.GELU, *NORMS)
_OVERWRITING_FUNCTIONS = (
    operator.add, operator.iadd, operator.mul, torch.add, torch.mul, torch.relu, nn.functional.relu,
    nn.functional.hardswish, torch.sigmoid,
)  # fmt: skip
_VIEWS = (nn.Identity, nn.Dropout, nn.Flatten)
_VIEW_FUNCTIONS = (torch.flatten, torch.transpose, nn.functional.dropout, torch.chunk, operator.getitem, getattr)


class ScaleAndShift(nn.Module):
    """What a batch norm that cannot be folded stores: two numbers a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return each channel scaled and shifted."""
        size = (-1, *(1,) * (x.dim() - 2))
        return x * self.weight.view(size) + self.bias.view(size)


def without_norms(module: nn.Module) -> nn.Module:
    """Return a copy whose batch norms right behind a convolution or linear layer are identities, that layer biased."""
    graph = fx.symbolic_trace(copy.deepcopy(module).eval())
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, NORMS):
            continue
        before = node.args[0]
        layer = modules.get(before.target) if before.op == "call_module" else None
        if isinstance(layer, LINEAR) and len(before.users) == 1:
            channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            layer.bias = nn.Parameter(torch.zeros(channels))
            graph.set_submodule(node.target, nn.Identity())
        else:
            graph.set_submodule(node.target, ScaleAndShift(norm.num_features).to(norm.running_mean.device))
    return graph


def parameters(module: nn.Module) -> int:
    """Return how many parameters there are."""
    return sum(each.numel() for each in module.parameters())


def shapes(module: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shape that each convolution and linear layer makes, by its name."""
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, LINEAR):
            layer.register_forward_hook(lambda _, __, output, name=name: found.update({name: tuple(output.shape)}))
    with torch.no_grad():
        module(inputs)
    return found


def macs(module: nn.Module, inputs: Tensor) -> int:
    """Return the multiply-accumulates that PyTorch's own counter finds."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(inputs)
    return counter.get_total_flops() // 2


class Liveness(fx.Tracer):
    """Traces modules as they stand, so that what is not folded stays one call."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Whether a module is one call."""
        return isinstance(module, ScaleAndShift) or super().is_leaf_module(module, name)


def peak(module: nn.Module, inputs: Tensor) -> int:
    """Return the most bytes alive at once, where element-wise calls write over an input that dies with them."""
    tracer = Liveness()
    graph = tracer.trace(module)
    traced = fx.GraphModule(module, graph)
    with torch.no_grad():
        ShapeProp(traced).propagate(inputs)
    modules = dict(traced.named_modules())
    nodes = list(graph.nodes)
    order = {node: number for number, node in enumerate(nodes)}
    home: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        home[node] = home[node.args[0]] if _kind(node, modules) == "view" else node
    last = {storage: order[storage] for storage in home.values()}
    for node in nodes:
        for used in node.all_input_nodes:
            last[home[used]] = max(last[home[used]], order[node] if node.op != "output" else len(nodes))
    alive, most = 0, 0
    living: dict[fx.Node, int] = {}
    for number, node in enumerate(nodes):
        if node.op == "output":
            continue
        dying = [storage for storage in living if last[storage] == number]
        if home[node] is node:
            size = _bytes(node)
            free = [s for s in dying if living[s] == size] if _kind(node, modules) == "overwrites" else []
            if free:
                del living[free[0]]
            living[node] = size
        alive = sum(living.values())
        most = max(most, alive)
        living = {storage: size for storage, size in living.items() if last[storage] > number}
    return most


def _bytes(node: fx.Node) -> int:
    made = node.meta.get("tensor_meta")
    if made is None or node.op == "get_attr":  # a parameter is no activation
        return 0
    tensors = [made] if hasattr(made, "dtype") else list(made)
    return sum(each.shape.numel() * each.dtype.itemsize for each in tensors)


def _kind(node: fx.Node, modules: dict[str, Any]) -> str:
    if node.op == "call_module":
        module = modules[node.target]
        if isinstance(module, (*_OVERWRITING, ScaleAndShift)):
            return "overwrites"
        return "view" if isinstance(module, _VIEWS) or "StochasticDepth" in type(module).__name__ else "own"
    if node.op == "call_function":
        if node.target in _OVERWRITING_FUNCTIONS:
            return "overwrites"
        return "view" if node.target in _VIEW_FUNCTIONS else "own"
    if node.op == "call_method":
        return "view" if node.target in ("view", "flatten", "size", "reshape", "transpose", "chunk") else "own"
    return "own"

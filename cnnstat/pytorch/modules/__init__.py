"""The way back: a layer graph to a working `torch.nn.Module`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnstat.errors import CnnstatError, needing
from cnnstat.ir.graph import Graph

if TYPE_CHECKING:
    import torch


def build(
    graph: Graph, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> torch.nn.Module:
    """Return a module that computes what the graph says, initialized as PyTorch initializes its own modules.

    Parameters are called as the layers are (`layer1.0.conv1.weight`); a name that nn.Module uses itself gets a `_`
    behind. The module takes the graph's inputs in order or by name, and returns a tensor, or a tuple of several.

    device: where it is built; on `meta` nothing is allocated.
    dtype: of weights and activations, the graph's if None.
    Raises CnnstatError where PyTorch is missing or cannot build a layer, SpecError where an op refuses its inputs.
    """
    if graph.deployment is not None and graph.deployment.precision == "int8":
        raise CnnstatError("PyTorch has no modules with weights of int8; deploy in float32 or float16")
    if reason := graph.about.get("unrepeated"):
        raise CnnstatError(f"{graph.name}: {reason}; build the original model instead")
    with needing("torch", "a module"):
        from cnnstat.pytorch.modules.network import build_network
    return build_network(graph, device, dtype)

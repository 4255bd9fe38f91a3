"""Random weights for measuring: no zeros, no denormals, and activations that neither vanish nor overflow."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SEED = 0
"""Of the generator that weights come from, so that two profiles run on the same numbers."""


@torch.no_grad()
def fill_randomly(model: nn.Module) -> None:
    """Give every parameter random values, and statistics of norms the mean 0 and the variance 1.

    Weights are uniform with variance 1 / fan-in, which keeps the size of activations; factors lie around 1, biases
    around 0. Single numbers (temperatures) stay as the model builds them, as do buffers that hold finite numbers.
    """
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in model.named_parameters():
        if not nn.parameter.is_lazy(parameter):
            _fill(name.rpartition(".")[2], parameter, generator)
    for name, buffer in model.named_buffers():
        if not nn.parameter.is_lazy(buffer) and buffer.is_floating_point():
            _mend(name.rpartition(".")[2], buffer, generator)


def _fill(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    """Give one parameter values by its shape and name."""
    if not parameter.is_floating_point():
        return
    if parameter.dim() >= 2:
        fan_in = max(1, parameter.numel() // max(1, parameter.shape[0]))
        bound = math.sqrt(3 / fan_in)
        parameter.uniform_(-bound, bound, generator=generator)
    elif parameter.numel() > 1 or not torch.isfinite(parameter).all():
        is_bias = "bias" in name or "beta" in name
        parameter.uniform_(-0.1 if is_bias else 0.5, 0.1 if is_bias else 1.5, generator=generator)


def _mend(name: str, buffer: Tensor, generator: torch.Generator) -> None:
    """Give one buffer values if it has none that could be computed with."""
    if name == "running_mean":
        buffer.zero_()
    elif name == "running_var":
        buffer.fill_(1)
    elif buffer.isnan().any():
        buffer.uniform_(-1, 1, generator=generator)

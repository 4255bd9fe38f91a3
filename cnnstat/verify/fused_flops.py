"""FlopCounterMode as people run it: nobody else listens, so PyTorch takes its fused paths."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from cnnstat.pytorch.example import Made
from cnnstat.pytorch.model_isolation import preserved
from cnnstat.pytorch.module_stack import modules_of
from cnnstat.verify.flop_counter import natural_total
from cnnstat.verify.subject import Subject


def alone(subject: Subject, paths: Sequence[str]) -> tuple[int, dict[str, int]]:
    """Return FlopCounterMode's multiply-accumulates in all, and within each of some modules."""
    module, example = subject.module(real=True), subject.example
    assert example is not None
    with preserved(modules_of(module)), torch.no_grad(), _without_gradients(module), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.train(subject.mode == "train")
        made = Made(example, module, getattr(torch, subject.graph.dtype), None)
        return natural_total(lambda: module(*made.arguments, **made.keywords), paths)


@contextmanager
def _without_gradients(module: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient: FlopCounterMode, which follows modules, fails on views of those that do."""
    learnt = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_()

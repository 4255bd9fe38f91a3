"""FlopCounterMode as people run it: no recorder is active, so PyTorch takes its fused paths."""

from __future__ import annotations

import warnings

import torch

from cnnstat.pytorch.example import ExampleTensors
from cnnstat.pytorch.model_isolation import preserved
from cnnstat.pytorch.module_stack import modules_of
from cnnstat.verify.flop_counter import Evidence, fused_evidence
from cnnstat.verify.subject import Subject


def alone(subject: Subject) -> Evidence:
    """Return FlopCounterMode's multiply-accumulates, and the products that it passes over."""
    module, example = subject.module(real=True), subject.example
    assert example is not None
    with preserved(modules_of(module)), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.train(subject.mode == "train")
        made = ExampleTensors(example, module, getattr(torch, subject.graph.dtype), None)
        return fused_evidence(lambda: module(*made.arguments, **made.keywords))

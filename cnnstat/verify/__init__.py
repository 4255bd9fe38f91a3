"""Verification: a network's counts, shapes and receptive fields compared with independent references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnstat.errors import needing
from cnnstat.sources.model import ModelReference

if TYPE_CHECKING:
    from cnnstat.verify.findings import Verification


def verify(model: ModelReference, *, may_run: bool = True) -> Verification:
    """Compare a model with every reference; a module that was handed over is left as it was.

    may_run: whether the network may be run for real; otherwise PyTorch's meta kernels say the shapes.
    Raises the errors of `cnnstat.load`, and CnnstatError where PyTorch is missing.
    """
    graph = model.load()
    with needing("torch", "verify"):
        from cnnstat.verify.cross_check import verify_model
        from cnnstat.verify.model_under_test import model_under_test

    return verify_model(model_under_test(model, graph, may_run=may_run))

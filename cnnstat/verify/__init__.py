"""Verification: a network's counts, shapes and receptive fields compared with independent references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnstat.errors import CnnstatError, needing
from cnnstat.ir.graph import Graph
from cnnstat.sources.model import ModelReference

if TYPE_CHECKING:
    from cnnstat.verify.findings import Verification


def verify(model: ModelReference, *, may_run: bool = True) -> Verification:
    """Compare a model with every reference; a module that was handed over is left as it was.

    may_run: whether the network may be run for real; otherwise PyTorch's meta kernels say the shapes.
    Raises the errors of `cnnstat.load`, and CnnstatError where PyTorch is missing.
    """
    graph = model.load()
    if tensors := graph.about.get("onnx_tensors"):
        return _of_file(model, graph, tensors, may_run)
    return _of_module(model, graph, may_run)


def _of_file(model: ModelReference, graph: Graph, tensors: Sequence[str], may_run: bool) -> Verification:
    """Return the verification of an ONNX file: by runtimes, and by the module that is built of it if there is one."""
    from cnnstat.verify.onnx_references import with_onnx_references

    base, why_not = None, ""
    try:
        base = _of_module(model, graph, may_run)
    except CnnstatError as error:
        why_not = str(error)
    return with_onnx_references(graph, model.request, tensors, base, why_not, may_run)


def _of_module(model: ModelReference, graph: Graph, may_run: bool) -> Verification:
    """Return the verification of a model by a module of PyTorch, its own or one that is built of its graph."""
    with needing("torch", "verify"):
        from cnnstat.verify.cross_check import verify_model
        from cnnstat.verify.model_under_test import model_under_test

    return verify_model(model_under_test(model, graph, may_run=may_run))

"""Verification: a network's counts, shapes and receptive fields held against independent witnesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph
from cnnstat.sources.load import is_torch, load_source
from cnnstat.sources.request import InputShape, Request

if TYPE_CHECKING:
    from cnnstat.verify.findings import Verification


def verify_source(source: str, request: Request, *, may_run: bool = True) -> Verification:
    """Return what the witnesses say of a zoo name, a .yaml file or a PyTorch model.

    may_run: whether the network may be run for real; otherwise PyTorch's meta kernels say the shapes.
    Raises the errors of `cnnstat.load`, and CnnstatError where PyTorch is missing.
    """
    graph = load_source(source, request)
    _need_torch()
    from cnnstat.verify.compare import verify_subject
    from cnnstat.verify.subject import spec_subject, torch_subject

    if not is_torch(source):

        def reload(shapes: Mapping[str, InputShape]) -> Graph:
            return load_source(source, replace(request, inputs=shapes, batch=None))

        return verify_subject(spec_subject(graph, reload, mode=request.mode, may_run=may_run))
    from cnnstat.pytorch.example import as_traced
    from cnnstat.pytorch.load import build_torch_source

    example = as_traced(build_torch_source(source, request, initialized=False)[1], graph)
    subject = torch_subject(
        graph,
        lambda is_real: build_torch_source(source, request, initialized=is_real)[0],
        example,
        dtype=request.dtype,
        mode=request.mode,
        may_run=may_run,
    )
    return verify_subject(subject)


def verify_graph(graph: Graph, *, mode: str = "eval", may_run: bool = True) -> Verification:
    """Return what the witnesses say of a graph, through the module that is built from it."""
    _need_torch()
    from cnnstat.verify.compare import verify_subject
    from cnnstat.verify.subject import spec_subject

    return verify_subject(spec_subject(graph, None, mode=mode, may_run=may_run))


def verify_module(
    module: Any, graph: Graph, input: Any, inputs: Any, *, dtype: str | None, mode: str, may_run: bool
) -> Verification:
    """Return what the witnesses say of a torch.nn.Module, whose graph is known; the module is left as it was."""
    from cnnstat.pytorch.example import as_traced
    from cnnstat.pytorch.load import module_examples
    from cnnstat.verify.compare import verify_subject
    from cnnstat.verify.subject import torch_subject

    example = as_traced(module_examples(module, input, inputs), graph)
    subject = torch_subject(graph, lambda is_real: module, example, dtype=dtype, mode=mode, may_run=may_run)
    return verify_subject(subject)


def _need_torch() -> None:
    """Raise CnnstatError where PyTorch is missing."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        said = "verify needs PyTorch, which is not installed; pip install 'cnnstat[torch]'"
        raise CnnstatError(said) from None

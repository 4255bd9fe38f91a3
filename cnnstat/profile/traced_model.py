"""A traced PyTorch model made ready: its first run is aligned with the trace, so that every call has its row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.ir.graph import Graph
from cnnstat.profile.call_alignment import CallAlignment
from cnnstat.profile.call_instrumentation import CallInstrumentation, align_run
from cnnstat.profile.options import Options
from cnnstat.profile.runnable_model import RunnableModel, check_run, explained_failure, moved, place
from cnnstat.profile.torch_settings import fused_attention
from cnnstat.pytorch.load import Runnable


def prepare_traced(runnable: Runnable, options: Options, device: torch.device) -> RunnableModel:
    """Return a model of a PyTorch model, after a first run that is held against the trace."""
    notes: list[str] = []
    name = runnable.graph.name
    alignment, below = _aligned_run(runnable, options, device)
    if not alignment.is_exact and not runnable.for_real:
        # The trace on shapes alone took another path, or assumed upper bounds.
        runnable.model.cpu()
        runnable = runnable.traced_for_real()
        alignment, below = _aligned_run(runnable, options, device)
        notes.append("layers are those of a real run on this input: the trace on shapes alone has others")
    notes += _mismatches(alignment, runnable.graph)
    if below:
        notes.append("some ops run below Python and are followed there, which makes every op slower")
    arguments, keywords = moved((runnable.arguments, runnable.keywords), device, options)
    instrumentation = CallInstrumentation(runnable.model, alignment, below)
    model = RunnableModel(
        module=runnable.model,
        arguments=arguments,
        keywords=keywords,
        analysis=analyze_graph(runnable.graph),
        instrumentation=instrumentation,
        device=device,
        backward=options.backward,
        notes=tuple(notes),
    )
    with explained_failure(name):
        check_run(model)
    return model


def _aligned_run(runnable: Runnable, options: Options, device: torch.device) -> tuple[CallAlignment, bool]:
    """Return the plan of a model's runs on a device."""
    place(runnable.model, device, options)
    arguments, keywords = moved((runnable.arguments, runnable.keywords), device, options)
    runnable.model.train(runnable.mode == "train")

    def run() -> Any:
        with torch.set_grad_enabled(options.backward):
            return runnable.model(*arguments, **keywords)

    with explained_failure(runnable.graph.name), fused_attention(False):
        return align_run(runnable.model, run, runnable.calls)


def _mismatches(alignment: CallAlignment, graph: Graph) -> Iterator[str]:
    """Yield what of a run does not fit the graph."""
    if alignment.missed:
        paths = sorted({path or graph.name for path in alignment.missed})
        yield f"{len(alignment.missed)} op calls are not in the graph and count as unattributed: in {_some(paths)}"
    if alignment.lost:
        yield f"the graph has layers that did not run: {_some([graph.nodes[row].name for row in alignment.lost])}"
    if alignment.resized:
        yield f"layers ran on other sizes than counted: {_some([graph.nodes[row].name for row in alignment.resized])}"


def _some(names: list[str]) -> str:
    """Return the first few of many names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

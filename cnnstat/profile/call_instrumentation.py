"""Call instrumentation: a function mode intercepts the calls of a traced model; their alignment knows the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.ir.graph import Graph
from cnnstat.numbers import listed
from cnnstat.profile.call_alignment import AlignedCall, CallAlignment, Event, align_calls
from cnnstat.profile.device import fused_attention
from cnnstat.profile.instrumentation import LayerCall, Observer, copied, observed
from cnnstat.profile.profile_options import Options
from cnnstat.profile.profile_result import UNATTRIBUTED
from cnnstat.profile.runnable_model import RunnableModel, check_run, explained_failure, moved, place
from cnnstat.pytorch.calls import CallRecord, function_name
from cnnstat.pytorch.model_loader import Runnable
from cnnstat.pytorch.module_stack import ModuleStack, modules_of
from cnnstat.pytorch.recorder import is_transformed, results_of
from cnnstat.pytorch.tensors import shape_of

Handler = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Is given every call, and runs it."""


class _Calls:
    """Hands the outermost of nested calls to a handler."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.is_inside = False

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run one call; what it calls itself is part of it."""
        if self.is_inside or is_transformed():
            return function(*arguments, **keywords)
        self.is_inside = True
        try:
            return self.handler(function, arguments, keywords)
        finally:
            self.is_inside = False


class _FunctionCalls(TorchFunctionMode):
    """Intercepts calls from Python."""

    def __init__(self, calls: _Calls) -> None:
        super().__init__()
        self._calls = calls

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one call."""
        return self._calls.run(func, args, kwargs or {})


class _DispatchedCalls(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in PyTorch
    """Intercepts calls below Python, as in scripted modules."""

    def __init__(self, calls: _Calls) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls = calls

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation."""
        return self._calls.run(func, args, kwargs or {})


@contextmanager
def intercepted_calls(handler: Handler, below: bool) -> Iterator[None]:
    """Hand every call of this thread to a handler; `below`: those that are not seen from Python too."""
    calls = _Calls(handler)
    with ExitStack() as stack:
        if below:
            stack.enter_context(_DispatchedCalls(calls))
        stack.enter_context(_FunctionCalls(calls))
        yield


class CallInstrumentation:
    """Instrumentation by the alignment of a first run.

    diverged: how many runs since have not followed it; the calls behind the first other one belong to no row.
    below: whether calls below Python are looked at, which costs time in every operation.
    """

    def __init__(self, model: nn.Module, alignment: CallAlignment, below: bool) -> None:
        self._model = model
        self.alignment = alignment
        self.below = below
        self.diverged = 0
        self.passed_over = alignment.passed_over
        self.counts = Counter(
            aligned.row for aligned in alignment.calls if aligned.is_layer and aligned.row is not None
        )
        self._place = 0
        self._is_lost = False
        self._before: Counter[int] = Counter()

    @contextmanager
    def observing(self, observer: Observer) -> Iterator[None]:
        calls, passing = self.alignment.calls, self.alignment.passing
        end = len(calls)

        runs = _ModelRuns(self._model, self._start, self._finish)

        def handle(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            place = self._place
            if not runs.depth or function in passing:
                return function(*arguments, **keywords)
            self._place = place + 1
            aligned = calls[place] if place < end else None
            if self._is_lost or aligned is None or aligned.function != function:
                return self._unaligned(observer, function, arguments, keywords)
            if aligned.row is None:
                return function(*arguments, **keywords)
            return observed(observer, aligned.row, self._count(aligned), function, arguments, keywords)

        with runs.following(), intercepted_calls(handle, self.below):
            yield

    def _count(self, aligned: AlignedCall) -> int:
        """Return how often a row was called before in this run; work on its weights goes with the call it is for."""
        assert aligned.row is not None
        before = self._before[aligned.row]
        if aligned.is_layer:
            self._before[aligned.row] = before + 1
        return before

    def _unaligned(
        self, observer: Observer, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Run a call that does not follow the alignment: it belongs to no row, nor do those behind it."""
        if not self._is_lost:
            self._is_lost = True
            self.diverged += 1
        return observed(observer, UNATTRIBUTED, 0, function, arguments, keywords)

    @contextmanager
    def capturing(self, into: list[LayerCall]) -> Iterator[None]:
        stored = {id(tensor) for tensor in (*self._model.parameters(), *self._model.buffers())}
        runs = _ModelRuns(self._model, self._start)

        def handle(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            if not runs.depth or function in self.alignment.passing:
                return function(*arguments, **keywords)
            aligned = self.alignment.calls[self._place] if self._place < len(self.alignment.calls) else None
            self._place += 1
            if aligned is not None and aligned.function == function and aligned.row not in (None, UNATTRIBUTED):
                copies = copied((arguments, keywords), stored)
                into.append(LayerCall(aligned.row or 0, function, *copies))
            return function(*arguments, **keywords)

        with runs.following(), intercepted_calls(handle, self.below):
            yield

    def _start(self) -> None:
        self._place, self._is_lost = 0, False
        self._before.clear()

    def _finish(self) -> None:
        if not self._is_lost and any(aligned.row is not None for aligned in self.alignment.calls[self._place :]):
            self.diverged += 1


class _ModelRuns:
    """Follows the runs of a model: `depth` is 0 outside, and above 1 where a model calls itself."""

    def __init__(self, model: nn.Module, start: Callable[[], None], finish: Callable[[], None] | None = None) -> None:
        self._model = model
        self._start = start
        self._finish = finish
        self.depth = 0

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self.depth += 1
        if self.depth == 1:
            self._start()

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.depth -= 1
        if not self.depth and self._finish is not None:
            self._finish()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the runs for as long as the context lasts."""
        before = self._model.register_forward_pre_hook(self._enter)
        after = self._model.register_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()


def align_run(model: nn.Module, run: Callable[[], Any], trace: Sequence[CallRecord]) -> tuple[CallAlignment, bool]:
    """Run a model once and align its calls with the trace; returns whether to look below Python, too."""
    below = any(call.below for call in trace)
    events: list[Event] = []
    stack = ModuleStack(modules_of(model))
    runs = _ModelRuns(model, events.clear)
    no_results: tuple[Tensor, ...] = ()

    def handle(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        path, results = stack.current.path, no_results
        name = function_name(function)
        try:
            result = function(*arguments, **keywords)
            results = results_of(name, arguments, result)
        finally:
            # A call that fails is an event too: the model may go on without it.
            if runs.depth:
                events.append(Event(function, name, path, tuple(map(shape_of, results)) if results else None))
        return result

    with runs.following(), stack.following(), intercepted_calls(handle, below):
        run()
    return align_calls(events, trace), below


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
    notes += _mismatch_notes(alignment, runnable.graph)
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


def _mismatch_notes(alignment: CallAlignment, graph: Graph) -> Iterator[str]:
    """Yield what of a run does not fit the graph."""

    def names_of(rows: Sequence[int]) -> str:
        return listed([graph.nodes[row].name for row in rows], 3)

    if alignment.missed:
        paths = sorted({path or graph.name for path in alignment.missed})
        yield f"{len(alignment.missed)} op calls are not in the graph and count as unattributed: in {listed(paths, 3)}"
    if alignment.lost:
        yield f"the graph has layers that did not run: {names_of(alignment.lost)}"
    if alignment.resized:
        yield f"layers ran on other sizes than counted: {names_of(alignment.resized)}"

"""Runs with gradients: a network in ones, whose gradients show where its feature maps read the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import checkpoint

from cnnstat.ir.graph import Edge
from cnnstat.pytorch.builder import Builder
from cnnstat.pytorch.calls import function_name
from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.module_stack import ModuleStack
from cnnstat.pytorch.modules.network import Network
from cnnstat.pytorch.recorder import Inner, Recorder
from cnnstat.pytorch.tensors import tensors_in
from cnnstat.pytorch.thread_changes import replaced
from cnnstat.pytorch.trace import trace_with
from cnnstat.verify.flop_counter import unfused
from cnnstat.verify.forward_pass import spec_inputs
from cnnstat.verify.model_under_test import ModelUnderTest
from cnnstat.verify.nan_gradients import NanGradients, keep_saved_tensors, ones, run_function


class FieldError(Exception):
    """Why gradients could not be followed."""


class Gradients(NamedTuple):
    """What a run with gradients leaves: the network's inputs, and the results that were asked for."""

    inputs: list[Tensor]
    results: dict[Edge, Tensor]


def run_with_gradients(model: ModelUnderTest, edges: Sequence[Edge]) -> Gradients:
    """Run the network so that gradients show what is read; raises FieldError where it cannot be.

    Where a gate with global context stands beside a local field, what has seen everything is left out.
    """
    analysis = model.analysis
    cut = frozenset[int]()
    if any(field.global_context for edge in edges if (field := analysis.fields.of(*edge)) is not None):
        nodes = range(analysis.graph.arity, edges[-1].value)
        # A tensor that is local along one axis still belongs to the field along that one.
        local = {value for value in nodes if (trace := analysis.fields.traces[value][0]).tracked or trace.coordinates}
        cut = frozenset(value for value in nodes if value not in local and analysis.fields.sees_whole_input(value))
    # Weights are taken for ones, so that they need no memory; a PyTorch model may read its buffers' values.
    module = model.module(real=model.why_not_real == "" and model.example is not None)
    try:
        with unfused(), keep_saved_tensors():
            if isinstance(module, Network):
                return _run_network(module, model, edges, cut)
            return _run_model(module, model, edges, cut)
    except FieldError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:160]
        raise FieldError(f"gradients cannot be followed through it ({type(error).__name__}: {message})") from error


def _run_network(network: Network, model: ModelUnderTest, edges: Sequence[Edge], cut: frozenset[int]) -> Gradients:
    """Run the module of a spec, layer by layer."""
    tensors = spec_inputs(model.graph, None)
    alive = {Edge(number): tensor for number, tensor in enumerate(tensors)}
    results: dict[Edge, Tensor] = {}
    with torch.enable_grad():
        inputs = _leaves(tensors)
    with torch.enable_grad(), NanGradients():
        for path, reads, makes, frees in network.network_steps:
            outputs = tensors_in(network.get_submodule(path)(*(alive[edge] for edge in reads)))
            for edge, tensor in zip(makes, outputs):
                # New ones: in this mode, `detach` reads what it is given.
                alive[edge] = torch.ones(tensor.shape, dtype=tensor.dtype) if edge.value in cut else tensor
                results.update({edge: tensor} if edge in edges else {})
            for edge in frees:
                del alive[edge]
            if edges[-1] in results:
                break
    return Gradients(inputs, results)


def _leaves(inputs: list[Tensor]) -> list[Tensor]:
    """Return the tensors that gradients are asked of; the inputs become copies, which the model may overwrite."""
    leaves = [t.clone().requires_grad_() if t.is_floating_point() else t for t in inputs]
    for tensor, leaf in zip(inputs, leaves):
        if leaf is not tensor:
            tensor.copy_(leaf)
    return leaves


class _Done(Exception):  # noqa: N818  # no error: it ends the run
    """All that is asked for has been computed."""


LAYOUT = "contiguous"
"""The call that makes a node or not by the memory layout of what it is given."""


class GradientRecorder(Recorder):
    """A recorder that keeps the results of some nodes, and cuts others off from the input."""

    def __init__(
        self,
        builder: Builder,
        stack: ModuleStack,
        inputs: list[Tensor],
        edges: Sequence[Edge],
        cut: frozenset[int],
        kinds: tuple[str, ...],
    ) -> None:
        super().__init__(builder, stack, None)
        self.inputs = _leaves(inputs)
        self.results: dict[Edge, Tensor] = {}
        self._edges = edges
        self._cut = cut
        self._kinds = kinds

    def run(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Return what a call makes, in ones that show what was read."""
        with _with_gradients():
            result = run_function(function, arguments, keywords)
            is_copied = function_name(function) == LAYOUT and self._comes_copy()
            return ones(result) if is_copied and result is arguments[0] else result

    def is_unchanged(self, name: str, first: Tensor, results: tuple[Tensor, ...]) -> bool:
        """Whether a call did nothing; a change of layout happens where the graph has it, as layouts here are others."""
        return not self._comes_copy() if name == LAYOUT else super().is_unchanged(name, first, results)

    def _comes_copy(self) -> bool:
        return self._kinds[len(self.builder.nodes) :][:1] == (LAYOUT,)

    def record(
        self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any, inner: Inner
    ) -> None:
        """Record a call, and keep or cut off what it made."""
        super().record(function, arguments, keywords, result, inner)
        written = function_name(function) in ("setitem", "data.set")
        for tensor in arguments[:1] if written else tensors_in(result):
            origin = self.builder.origins.known(tensor)
            if origin is None or origin.edge is None:
                continue
            if origin.edge in self._edges and origin.edge not in self.results:
                self.results[origin.edge] = self._copy(tensor)
            if origin.edge.value in self._cut and tensor.requires_grad and not tensor._is_view():
                tensor.detach_()
        if len(self.results) == len(self._edges):
            raise _Done

    def _copy(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor that may be cut off or overwritten; the trace must not record it."""
        self.inner = []
        try:
            with _with_gradients():
                return ones(tensor)
        finally:
            self.inner = None


@contextmanager
def _with_gradients() -> Iterator[None]:
    """Let gradients come through a part that the model runs without: it reads what it reads all the same."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _run_model(module: Any, model: ModelUnderTest, edges: Sequence[Edge], cut: frozenset[int]) -> Gradients:
    """Run a PyTorch model; raises FieldError where this run has other layers than the graph."""
    recorders: list[GradientRecorder] = []
    kinds = tuple(node.op.kind for node in model.graph.nodes)

    def make_recorder(builder: Builder, stack: ModuleStack, faker: Faker | None, inputs: list[Tensor]) -> Recorder:
        recorders.append(GradientRecorder(builder, stack, inputs, edges, cut, kinds))
        return recorders[0]

    assert model.example is not None
    with without_checkpoints(), suppress(_Done):
        trace_with(
            module,
            model.example,
            make_recorder,
            dtype=None,
            mode=model.mode,
            seed=model.seed,
            real=True,
            gradients=True,
        )
    calls = recorders[0].builder.nodes
    is_same = tuple(draft.op.kind for draft in calls) == kinds[: len(calls)]
    if len(recorders[0].results) < len(edges) or not is_same:
        raise FieldError("run with gradients, it does not call the same layers")
    return Gradients(recorders[0].inputs, recorders[0].results)


# Activation checkpoints, which would run parts again on the way back --------------------------------------------------


def _followed(*arguments: Any, **keywords: Any) -> Iterator[None]:
    """Do nothing before and after a checkpointed part."""
    yield


def _called(function: Callable[..., Any], preserve: bool, *arguments: Any) -> Any:
    return function(*arguments)


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Let checkpointed parts run as if they were not, whatever name a model knows `checkpoint` by.

    What PyTorch does before and after such a part has other names in other releases; where none is known, gradients
    that do not come through are told of.
    """
    names = [name for name in vars(checkpoint) if name.startswith("_checkpoint_without_reentrant_generator")]
    others = [(checkpoint, name, _followed) for name in names]
    with replaced(*others, (checkpoint.CheckpointFunction, "apply", _called)):
        yield

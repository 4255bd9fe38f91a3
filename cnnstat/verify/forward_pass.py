"""A forward pass as a reference: what every node of the graph came from, its shapes, and what was dispatched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cnnstat.ir.graph import Edge, Graph
from cnnstat.ir.op import Shape
from cnnstat.pytorch.builder import Builder
from cnnstat.pytorch.calls import FIRST_ONLY, function_name
from cnnstat.pytorch.example import ExampleTensors
from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.followed_threads import followed_threads
from cnnstat.pytorch.model_isolation import preserved
from cnnstat.pytorch.module_stack import ModuleStack, modules_of
from cnnstat.pytorch.modules.network import Network
from cnnstat.pytorch.recorder import Inner, Recorder
from cnnstat.pytorch.tensors import dtype_of, shape_of, tensors_in
from cnnstat.pytorch.thread_changes import quiet
from cnnstat.pytorch.trace import trace_with
from cnnstat.verify.flop_counter import Evidence, FlopMeter, dispatched, evidence, fused_evidence, unfused
from cnnstat.verify.model_under_test import ModelUnderTest


@dataclass(slots=True)
class Run:
    """One node in a forward pass.

    path: the module that called it; function: the name of what was called, empty for a spec's layer.
    shapes, dtypes: of its results; None for a node that no call of its own made.
    """

    path: str
    function: str = ""
    shapes: tuple[Shape, ...] | None = None
    dtypes: tuple[str, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(slots=True)
class Pass:
    """A forward pass: one run a node, and what FlopCounterMode counted outside all of them.

    names: the layers' names in the order of the pass.
    """

    names: tuple[str, ...]
    runs: tuple[Run, ...]
    outside: int
    is_real: bool


def forward_pass(model: ModelUnderTest, *, real: bool) -> Pass:
    """Run a network, on random values or on shapes alone, under FlopCounterMode; the model's errors come through."""
    with unfused():
        if isinstance(module := model.module(real=real), Network):
            return _network_pass(module, model.graph, real)
        return _model_pass(module, model, real)


def _model_pass(module: nn.Module, model: ModelUnderTest, real: bool) -> Pass:
    recorders: list[CountingRecorder] = []
    with FlopMeter() as meter:

        def make_recorder(
            builder: Builder, stack: ModuleStack, faker: Faker | None, inputs: list[torch.Tensor]
        ) -> Recorder:
            recorders.append(CountingRecorder(builder, stack, faker, meter))
            return recorders[0]

        assert model.example is not None
        options: dict[str, Any] = {"dtype": model.dtype, "mode": model.mode, "seed": model.seed}
        graph = trace_with(module, model.example, make_recorder, real=real, **options)
    recorder = recorders[0]
    names = tuple(node.name for node in graph.nodes)
    runs = recorder.finished(graph)
    return Pass(names, runs, recorder.outside, real)


class CountingRecorder(Recorder):
    """A recorder that reads FlopCounterMode after each call, and keeps what each node came from."""

    takes_shortcuts = False

    def __init__(self, builder: Builder, stack: ModuleStack, faker: Faker | None, meter: FlopMeter) -> None:
        super().__init__(builder, stack, faker)
        self._meter = meter
        self._on_weights: dict[int, Evidence] = {}
        self.runs: list[Run] = []
        self.outside = 0

    def record(
        self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any, inner: Inner
    ) -> None:
        """Record a call, and give its count to the node it became, or to the first node that uses its result."""
        evidence_of_call = evidence(self._meter.macs(), inner)
        ownership = self.builder.ownership
        works, taken = len(ownership.works), len(ownership.taken)
        super().record(function, arguments, keywords, result, inner)
        for number in ownership.taken[taken:]:
            evidence_of_call += self._on_weights.pop(number, Evidence())
        has_node = len(self.builder.nodes) > len(self.runs)
        for draft in self.builder.nodes[len(self.runs) :]:
            self.runs.append(Run(draft.where.path, draft.function))
        name = function_name(function)
        results = (arguments[0],) if name in ("setitem", "data.set") else tuple(tensors_in(result))
        if name in FIRST_ONLY:
            results = results[:1]
        if self._is_new(results, has_node):
            run = self.runs[-1]
            run.shapes, run.dtypes = tuple(map(shape_of, results)), tuple(map(dtype_of, results))
            run.evidence += evidence_of_call
        elif len(ownership.works) > works:
            self._on_weights[len(ownership.works) - 1] = evidence_of_call
        else:
            self.outside += evidence_of_call.macs

    def finished(self, graph: Graph) -> tuple[Run, ...]:
        """Return the runs of all nodes of the pass; the last ones hold the tensors and the work that no call uses."""
        unused = graph.nodes[len(self.runs) :]
        runs = [Run("", "", node.op.output(()), node.op.dtypes((), graph.dtype, 1)) for node in unused]
        left = sum(self._on_weights.values(), Evidence())
        if unused:
            runs[-1].evidence = left
        else:
            self.outside += left.macs
        return (*self.runs, *runs)

    def _is_new(self, results: tuple[torch.Tensor, ...], has_node: bool) -> bool:
        """Whether the last node is the one that made these results; has_node: whether their call added nodes."""
        origin = self.builder.origins.known(results[0]) if results and self.runs else None
        if origin is None and has_node:
            # A product of constants has a row, and its result stays a constant.
            return self.runs[-1].shapes is None
        last = Edge(self.builder.arity + len(self.runs) - 1)
        return origin is not None and origin.edge == last and self.runs[-1].shapes is None


def _network_pass(network: Network, graph: Graph, is_real: bool) -> Pass:
    alive = {Edge(number): tensor for number, tensor in enumerate(spec_inputs(graph, None if is_real else "meta"))}
    runs = []
    with torch.no_grad(), FlopMeter() as meter:
        for path, reads, makes, frees in network.network_steps:
            with dispatched() as inner:
                results = tuple(tensors_in(network.get_submodule(path)(*(alive[edge] for edge in reads))))
            alive.update(zip(makes, results))
            for edge in frees:
                del alive[edge]
            shapes, dtypes = tuple(map(shape_of, results)), tuple(map(dtype_of, results))
            runs.append(Run(path, "", shapes, dtypes, evidence(meter.macs(), inner)))
    return Pass(tuple(node.name for node in graph.nodes), tuple(runs), 0, is_real)


def spec_inputs(graph: Graph, device: str | None) -> list[torch.Tensor]:
    """Return small random values (zeros for whole numbers) of the shapes that a graph takes."""
    tensors = []
    for source in graph.inputs:
        dtype = getattr(torch, source.dtype)
        values: Callable[..., torch.Tensor] = torch.rand if dtype.is_floating_point else torch.zeros
        tensors.append(values(source.shape, dtype=dtype, device=device))
    return tensors


def input_dtype(graph: Graph) -> torch.dtype:
    """Return the dtype of the inputs that sizes stand for: adapters on a bfloat16 base say take another than it has."""
    names = (each.dtype for each in graph.inputs if "float" in each.dtype)
    return getattr(torch, next(names, graph.dtype))  # type: ignore[no-any-return]


def fused_flop_count(model: ModelUnderTest) -> Evidence:
    """Return what FlopCounterMode counts and passes over as people run it: no recorder is active, so PyTorch fuses."""
    module, example = model.module(real=True), model.example
    assert example is not None
    with preserved(modules_of(module), model.seed) as generators, torch.no_grad(), quiet(), followed_threads():
        module.train(model.mode == "train")
        values = ExampleTensors(example, module, input_dtype(model.graph), None)
        generators.seed(model.seed)
        return fused_evidence(lambda: module(*values.arguments, **values.keywords))

"""ModelUnderTest: the network under test, with its analysis and everything needed to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import nn

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.ir.graph import Graph
from cnnstat.pytorch.example import Example, as_traced, with_sizes
from cnnstat.pytorch.modules.network import Network, build_network
from cnnstat.sources.model import ModelReference, ModuleReference
from cnnstat.sources.request import InputShape

MAX_REAL_BYTES = 4 * 2**30
"""Parameters and tensors alive at once of the largest network that is run for real."""

MAX_REAL_MACS = 100 * 10**9
"""Work of the largest network that is run for real: seconds on a laptop."""


@dataclass(eq=False)
class ModelUnderTest:
    """A network: its analysis, and how to get a module and arguments for it.

    build: returns the module with its initial weights (True) or without memory (False).
    example: arguments of the forward pass, as shapes, of a PyTorch model; None for a spec, whose graph has them.
    resized: returns the same network for other input sizes.
    """

    analysis: Analysis
    build: Callable[[bool], nn.Module]
    example: Example | None = None
    dtype: str | None = None
    mode: str = "eval"
    seed: int = 0
    resized: Callable[[Mapping[str, tuple[int, ...]]], ModelUnderTest] | None = None
    may_run: bool = True
    _modules: dict[bool, nn.Module] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The layer graph that cnnstat made."""
        return self.analysis.graph

    def module(self, *, real: bool) -> nn.Module:
        """Return the module, with memory or without; built once."""
        if real not in self._modules:
            if True in self._modules and self.example is not None:
                return self._modules[True]
            with _quiet_and_seeded():
                self._modules[real] = self.build(real)
        return self._modules[real]

    @cached_property
    def why_not_real(self) -> str:
        """Why the network is not run for real; empty if it is."""
        if not self.may_run:
            return "--no-run"
        needed = self.analysis.totals.memory.params_bytes + self.analysis.totals.memory.peak_inference_bytes
        if needed > MAX_REAL_BYTES:
            return f"it needs {needed / 2**30:.1f} GiB, and the limit is {MAX_REAL_BYTES // 2**30} GiB"
        if self.analysis.totals.macs > MAX_REAL_MACS:
            macs = f"{self.analysis.totals.macs / 1e9:,.0f} G multiply-accumulates"
            return f"it takes {macs}, and the limit is {MAX_REAL_MACS // 10**9} G"
        if any("upper bound" in note for note in self.analysis.warnings):
            return "values decide how much this model keeps, and the counts are those of keeping everything"
        if self.example is not None and any(each.is_meta for each in self.module(real=True).parameters()):
            return "its parameters have no memory"
        return ""


@contextmanager
def _quiet_and_seeded() -> Iterator[None]:
    """Build with the same weights each time, and leave the caller's random numbers as they were."""
    from cnnstat.pytorch.random_generators import same_random_numbers
    from cnnstat.pytorch.thread_changes import quiet

    with same_random_numbers(0), quiet():
        yield


def model_under_test(model: ModelReference, graph: Graph, *, may_run: bool) -> ModelUnderTest:
    """Return what is needed to verify a model: its graph, and its own module or one that is built from the graph."""
    if isinstance(model, ModuleReference):
        return _own_module(model, graph, may_run)
    return _built_module(model, graph, may_run)


def _built_module(model: ModelReference, graph: Graph, may_run: bool) -> ModelUnderTest:
    """Return what is needed to verify a model that is only a graph, which cnnstat.build can make a module of."""
    mode = model.request.mode

    def build(is_real: bool) -> Network:
        network = build_network(graph, None if is_real else "meta", None)
        return network.train(mode == "train")

    def resized(sizes: Mapping[str, tuple[int, ...]]) -> ModelUnderTest:
        other = model.with_inputs({name: InputShape(shape) for name, shape in sizes.items()})
        return _built_module(other, other.load(), may_run)

    return ModelUnderTest(
        analyze_graph(graph), build, None, None, mode, 0, resized if model.can_change_inputs else None, may_run
    )


def _own_module(model: ModuleReference, graph: Graph, may_run: bool) -> ModelUnderTest:
    """Return what is needed to verify a PyTorch model."""
    example = as_traced(model.examples(), graph)
    dtype, mode, seed = model.request.dtype, model.request.mode, model.request.seed

    def build(is_real: bool) -> nn.Module:
        return model.build(initialized=is_real)

    tested = ModelUnderTest(analyze_graph(graph), build, example, dtype, mode, seed, None, may_run)

    def resized(sizes: Mapping[str, tuple[int, ...]]) -> ModelUnderTest:
        from cnnstat.pytorch.trace import trace

        other = with_sizes(example, graph, sizes)
        module = tested.module(real=tested.why_not_real == "")
        options: dict[str, Any] = {"dtype": dtype, "mode": mode, "seed": seed, "may_run": False}
        retraced = trace(module, other, name=graph.name, source=graph.source, **options)
        return replace(tested, analysis=analyze_graph(retraced), example=other, resized=None, _modules=tested._modules)

    tested.resized = resized
    return tested

"""Marks of a network that was built from a layer graph: it runs node by node, and each node is a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from cnnstat.ir.graph import Edge
from cnnstat.profile.observer import LayerCall, Observer, copied
from cnnstat.pytorch.modules.network import Network, tensors_in


class NetworkMarks:
    """Runs the steps of a network, and tells an observer where there is one.

    The network finds its modules once instead of in every run, so that a plain run is as fast as it can be.
    """

    diverged = 0
    passed_over = 0

    def __init__(self, network: Network) -> None:
        self._network = network
        self._modules = [network.get_submodule(step.path) for step in network._steps]
        self.counts = dict.fromkeys(range(len(self._modules)), 1)
        self._observer: Observer | None = None
        self._captured: list[LayerCall] | None = None
        object.__setattr__(network, "run", self._run)

    def _run(self, alive: dict[Edge, Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs; does what `Network.run` does."""
        network, observer = self._network, self._observer
        for row, ((_, reads, makes, frees), module) in enumerate(zip(network._steps, self._modules)):
            arguments = [alive[edge] for edge in reads]
            if self._captured is not None:
                self._captured.append(LayerCall(row, module, copied(tuple(arguments), set()), {}))
            made = module(*arguments) if observer is None else _observed(observer, row, module, arguments)
            del arguments
            alive.update(zip(makes, tensors_in(made)))
            del made
            for edge in frees:
                del alive[edge]
        outputs = tuple(alive[edge] for edge in network._outputs)
        alive.clear()
        return outputs[0] if len(outputs) == 1 else outputs

    @contextmanager
    def marking(self, observer: Observer) -> Iterator[None]:
        """While active, every run tells the observer."""
        self._observer = observer
        try:
            yield
        finally:
            self._observer = None

    @contextmanager
    def capturing(self, found: list[LayerCall]) -> Iterator[None]:
        """While active, a run puts its computations into `found`."""
        self._captured = found
        try:
            yield
        finally:
            self._captured = None


def _observed(observer: Observer, row: int, module: nn.Module, arguments: list[Tensor]) -> Any:
    """Call a module between two marks."""
    observer.enter(row, 0)
    try:
        made = module(*arguments)
    finally:
        observer.leave(row, 0)
    observer.made(row, made)
    return made

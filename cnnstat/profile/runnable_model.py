"""RunnableModel: a model with random weights and inputs, ready to run, and instrumentation that knows its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError
from cnnstat.profile.device import synchronizer
from cnnstat.profile.instrumentation import Instrumentation, LayerCall, Observer
from cnnstat.profile.measurement import Beside, RowTimes
from cnnstat.profile.profile_options import Options
from cnnstat.pytorch.tensors import changed_in, tensors_in

SEED = 0
"""Of the generator that weights come from, so that two profiles run on the same numbers."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RunnableModel:
    """A model to be measured; everything already lies on `device`, and nothing of it belongs to the caller.

    arguments, keywords: random inputs of one pass; the same tensors in every run.
    analysis: the counts of what runs; its graph's nodes are the rows.
    backward: whether runs record what a backward pass needs.
    notes: what a reader must know of how the model was made ready.
    autocast: of automatic mixed precision. optimizer: what steps after each backward pass.
    """

    module: nn.Module
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    analysis: Analysis
    instrumentation: Instrumentation
    device: torch.device
    backward: bool = False
    notes: tuple[str, ...] = ()
    autocast: torch.dtype | None = None
    optimizer: torch.optim.Optimizer | None = None
    _ones: dict[Any, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def training(self) -> bool:
        """Whether the module is in train mode."""
        return self.module.training

    def run(self) -> Any:
        """Run one forward pass, and return what the model returns."""
        with torch.set_grad_enabled(self.backward):
            return self.forward()

    def forward(self) -> Any:
        """Run one forward pass, gradients as they are switched, and return what the model returns."""
        if self.autocast is None:
            return self.module(*self.arguments, **self.keywords)
        # Without the cache of cast weights, as CUDA graphs need it; one pass uses a weight once anyway.
        with torch.autocast(self.device.type, dtype=self.autocast, cache_enabled=False):
            return self.module(*self.arguments, **self.keywords)

    def clear_gradients(self) -> None:
        """Drop the gradients of the last backward pass, as `zero_grad` does."""
        for parameter in self.module.parameters():
            parameter.grad = None

    def run_backward(self, result: Any) -> None:
        """Run the backward pass of a run: the gradient of the sum of all its outputs.

        Raises CnnstatError where no output depends on anything that is trained.
        """
        outputs = self.differentiable(result)
        torch.autograd.backward(outputs, [self._ones_like(place, output) for place, output in enumerate(outputs)])

    def _ones_like(self, place: int, output: Tensor) -> Tensor:
        """Return the gradient of an output in its sum; made once, for making it is a kernel of no layer."""
        key = place, output.shape, output.stride(), output.dtype, output.device
        if key not in self._ones:
            self._ones[key] = torch.ones_like(output)
        return self._ones[key]

    def one_pass(self) -> None:
        """Run what a profile measures: forward, and backward on new gradients and the step where they are asked for."""
        if self.backward:
            # Gradients that are there already would be added to, by kernels that a first pass does not have.
            self.clear_gradients()
            self.train_step()
        else:
            self.run()

    def train_step(self) -> None:
        """Run one forward and one backward pass, and a step where there is an optimizer; gradients are left."""
        self.run_backward(self.run())
        self.step()

    def step(self) -> None:
        """Let the optimizer step, where there is one, marked as a row behind those of the graph."""
        if self.optimizer is not None:
            with torch.profiler.record_function(f"cnnstat#{len(self.analysis.graph.nodes)}#0"):
                self.optimizer.step()

    def differentiable(self, result: Any) -> list[Tensor]:
        """Return the outputs that a backward pass starts from; raises CnnstatError where there are none."""
        outputs = [tensor for tensor in tensors_in(result) if tensor.requires_grad]
        if not outputs:
            raise CnnstatError("no output of the model depends on trainable parameters: there is no backward pass")
        return outputs

    def observing(self, observer: Observer) -> AbstractContextManager[None]:
        """While active, the observer is informed when the computation of a row begins and ends."""
        return self.instrumentation.observing(observer)

    def capture(self) -> list[LayerCall]:
        """Run once, and return every computation of a row, in order, with copies of its inputs."""
        calls: list[LayerCall] = []
        with self.instrumentation.capturing(calls):
            self.run()
        return calls

    def synchronize(self) -> None:
        """Wait until the device has done its work."""
        wait = synchronizer(self.device)
        if wait is not None:
            wait()


def with_training(model: RunnableModel, options: Options) -> RunnableModel:
    """Return a model with the mixed precision and the optimizer that the options ask for.

    The rate of learning is 0, so that weights stay as they are however often it steps; the work is the same.
    """
    optimizer: torch.optim.Optimizer | None = None
    parameters = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    if options.step == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=0.0, momentum=0.9)
    elif options.step == "adam":
        optimizer = torch.optim.Adam(parameters, lr=0.0, capturable=model.device.type == "cuda")
    autocast: torch.dtype | None = None if options.autocast is None else getattr(torch, options.autocast)
    return replace(model, autocast=autocast, optimizer=optimizer)


def pop_optimizer(model: RunnableModel, rows: dict[int, RowTimes]) -> tuple[Beside, ...]:
    """Take the times of the optimizer's step, the row behind those of the graph, out of the rows; return them named."""
    times = rows.pop(len(model.analysis.graph.nodes), None)
    if times is None or model.optimizer is None:
        return ()
    return (("optimizer", type(model.optimizer).__name__, replace(times, calls=1, backward=None)),)


def check_run(model: RunnableModel) -> None:
    """Run once; raises whatever the model raises."""
    result = model.run()
    if model.backward:
        model.run_backward(result)
        model.clear_gradients()


@contextmanager
def explained_failure(name: str, errors: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Turn an error of the model into one line."""
    try:
        yield
    except CnnstatError:
        raise
    except torch.cuda.OutOfMemoryError as error:
        text = str(error).strip().split(". ")[0][:200]
        raise CnnstatError(
            f"{name}: the GPU's memory is too small ({text}); use a smaller --batch or --dtype bfloat16"
        ) from error
    except errors as error:
        text = " ".join(str(error).split())[:300]
        raise CnnstatError(f"{name} does not run: {type(error).__name__}: {text}") from error


def place(model: nn.Module, device: torch.device, options: Options) -> None:
    """Move a model to the device, in the memory format asked for."""
    if options.channels_last:
        # Stubs of PyTorch disagree from release to release on whether a module can be moved to a memory format.
        to: Any = model.to
        to(memory_format=torch.channels_last)
    model.to(device)


def moved(value: Any, device: torch.device, options: Options) -> Any:
    """Return nested inputs on the device."""

    def move(tensor: Tensor) -> Tensor:
        is_image = options.channels_last and tensor.dim() == 4
        return tensor.to(device, memory_format=torch.channels_last if is_image else torch.preserve_format)

    return changed_in(value, Tensor, move)

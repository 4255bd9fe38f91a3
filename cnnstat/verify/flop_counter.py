"""PyTorch's FlopCounterMode as a reference: what it counts for each call, and what it has no formula for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from cnnstat.pytorch.model_isolation import one_at_a_time
from cnnstat.pytorch.process_state import same_settings
from cnnstat.pytorch.products import DEFINITIONS, defined_macs, operands_of, quantized_macs, sparse_macs
from cnnstat.pytorch.recorder import Inner
from cnnstat.pytorch.tensors import operands_in, shape_of

CONVENTION = "its FLOPs / 2: products that PyTorch has a formula for, no bias, no norm, no activation"


class _NoModules:
    """Stands in for the ModuleTracker of FlopCounterMode, so that everything counts as the whole's only.

    A ModuleTracker asks what a module is given for its node in autograd's graph, which a view of a parameter that was
    made under `no_grad` does not have though it requires a gradient: a class token, expanded, ends the pass.
    """

    parents = frozenset(("Global",))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass


class FlopMeter:
    """Reads FlopCounterMode between calls; a context manager."""

    def __init__(self) -> None:
        self._mode = cast(Any, FlopCounterMode(display=False))
        self._mode.mod_tracker = _NoModules()
        self._read = 0

    def __enter__(self) -> FlopMeter:
        self._mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)

    def macs(self) -> int:
        """Return the multiply-accumulates counted since the last reading."""
        total = int(self._mode.get_total_flops())
        counted, self._read = total - self._read, total
        return counted // 2


@dataclass(frozen=True, slots=True)
class Unseen:
    """A product that FlopCounterMode has no formula for; macs is None where nobody has one."""

    function: str
    macs: int | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one call came to: FlopCounterMode's count, and facts about what was dispatched.

    unseen: products without a formula; filters: elements of the filters that convolutions ran with.
    summed: elements that sums over axes read, for products that are written out element by element.
    zeros: counted multiply-accumulates with what a sparse matrix does not store.
    """

    macs: int = 0
    unseen: tuple[Unseen, ...] = ()
    filters: int = 0
    summed: int = 0
    zeros: int = 0

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(
            self.macs + other.macs,
            self.unseen + other.unseen,
            self.filters + other.filters,
            self.summed + other.summed,
            self.zeros + other.zeros,
        )


def evidence(macs: int, inner: Inner) -> Evidence:
    """Return what is known of a call from what it dispatched to."""
    return Evidence(macs, tuple(_unseen(inner)), *_sizes(inner))


def _unseen(inner: Inner) -> Iterator[Unseen]:
    for function, arguments, _, result in inner:
        if function._overloadpacket in flop_registry:
            continue
        namespace, _, name = function._schema.name.partition("::")
        first = next(operands_in((result,)), None)
        macs = sparse_macs(name, arguments)
        if macs is None:
            macs = quantized_macs(function, name, arguments, result)
        if macs is not None:
            yield Unseen(f"{namespace}.{name}", macs)
        elif name in DEFINITIONS and first is not None:
            yield Unseen(f"{namespace}.{name}", defined_macs(name, operands_of(arguments), shape_of(first)))
        elif namespace not in ("aten", "prim", "prims"):
            yield Unseen(f"{namespace}.{name}", None)


def _sizes(inner: Inner) -> tuple[int, int, int]:
    """Return the elements of all filters, those that sums read, and products counted with zeros of sparse matrices."""
    filters = summed = zeros = 0
    for function, arguments, _, result in inner:
        name = function._schema.name.partition("::")[2]
        if name in ("convolution", "_convolution"):
            filters += arguments[1].numel()
        elif name == "sum":
            summed += arguments[0].numel()
        elif function._overloadpacket in flop_registry and (macs := sparse_macs(name, arguments)) is not None:
            dense = defined_macs(name, operands_of(arguments), shape_of(result))
            zeros += 0 if dense is None else dense - macs
    return filters, summed, zeros


class _Listener(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in PyTorch
    """Tells of every dispatched operation while it is active; keeps no tensor alive itself."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tell = tell

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and tell of it."""
        result = func(*args, **(kwargs or {}))
        self._tell((func, args, kwargs or {}, result))
        return result


@contextmanager
def dispatched() -> Iterator[Inner]:
    """Yield a list that fills with what is dispatched."""
    inner: Inner = []
    with _Listener(inner.append):
        yield inner


def fused_evidence(run: Callable[[], Any]) -> Evidence:
    """Return what FlopCounterMode counts, and what it passes over, where PyTorch may take its fused paths."""
    total = Evidence()

    def add(call: Any) -> None:
        nonlocal total
        total += evidence(0, [call])

    with FlopMeter() as meter, _Listener(add):
        run()
        return total + Evidence(meter.macs())


@contextmanager
def unfused() -> Iterator[None]:
    """Let attention run as matrix products, which every release of FlopCounterMode has formulas for.

    Which fused kernel PyTorch would take else depends on its release, the processor, and the rank of the tensors.
    """
    # All threads have these settings in common.
    with one_at_a_time(), same_settings(), sdpa_kernel(SDPBackend.MATH):
        torch.backends.mha.set_fastpath_enabled(False)
        yield

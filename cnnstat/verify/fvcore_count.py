"""fvcore's FlopCountAnalysis as a reference: the operations of its trace, and the nodes that they belong to."""

from __future__ import annotations

import faulthandler
import inspect
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import nn

from cnnstat.choices import words
from cnnstat.pytorch.example import ExampleTensors
from cnnstat.pytorch.products import DEFINITIONS, defined_macs
from cnnstat.pytorch.thread_changes import quiet, replaced, silence_when_quiet, unreplaced
from cnnstat.verify.forward_pass import Run, input_dtype, spec_inputs
from cnnstat.verify.model_under_test import ModelUnderTest

CONVENTION = "multiply-accumulates of products, and its own estimates for norms, resizing and adaptive pooling"


PRODUCTS = words(
    """
    _convolution _convolution_mode linear addmm mm bmm matmul einsum baddbmm addmv mv dot vdot bilinear multi_dot
    scaled_dot_product_attention lstm gru rnn_tanh rnn_relu deform_conv2d _native_multi_head_attention
    _transformer_encoder_layer_fwd affine_grid_generator addmm_ baddbmm_ addbmm addbmm_ addmv_
    _sparse_mm _sparse_addmm _sparse_sparse_matmul smm sspaddmm hspmm sparse_sampled_addmm
    linalg_matrix_power linalg_multi_dot chain_matmul
    """
)
"""Operations of its trace that hold products."""


silence_when_quiet("fvcore")


class FvcoreError(Exception):
    """Why fvcore did not run."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of fvcore's trace.

    scope: path of the module it ran in; kind: its name without namespace.
    counted: what fvcore counts; None where it has no formula. product: multiply-accumulates by definition; None where
    they are not known. elements: of its first input and its first output.
    """

    scope: str
    kind: str
    counted: int | None
    product: int | None
    inputs: int
    outputs: int

    @property
    def is_product(self) -> bool:
        """Whether it multiplies and sums."""
        return self.kind in PRODUCTS


def fvcore_operations(model: ModelUnderTest) -> tuple[Operation, ...]:
    """Return what fvcore sees, in order; raises FvcoreError where it cannot run.

    It needs a model in memory and positional arguments.
    """
    try:
        with quiet():
            import fvcore.nn  # noqa: F401  # whether it is there
    except ImportError:
        raise FvcoreError("fvcore is not installed; pip install fvcore") from None
    if model.why_not_real:
        raise FvcoreError(f"it needs a real forward pass: {model.why_not_real}")
    module = model.module(real=True)
    from cnnstat.pytorch.followed_threads import no_threads
    from cnnstat.pytorch.model_isolation import preserved, substituted
    from cnnstat.pytorch.module_stack import modules_of

    modules = modules_of(module)
    with (
        preserved(modules, model.seed) as generators,
        substituted(modules, None),
        torch.no_grad(),
        quiet(),
        no_threads(),
    ):
        module.train(model.mode == "train")
        arguments = _arguments(model, module)

        def count() -> tuple[Operation, ...]:
            # Python seeds its generator anew in each process that is a copy of another.
            generators.seed(model.seed)
            return _counted(module, arguments)

        return _in_child_process(count)


def _counted(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Operation, ...]:
    """Return what fvcore sees of one call of a module; raises FvcoreError where it cannot run."""
    operations: list[Operation] = []
    try:
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(module, arguments)
        analysis.set_op_handle(**_handles(analysis, operations))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        # A module's own hooks run in its scope only behind fvcore's: computed weights (spectral_norm) are the module's.
        name = "register_forward_pre_hook"
        with replaced((nn.Module, name, partial(unreplaced(nn.Module, name), prepend=True))):
            analysis.total()
    except Exception as error:
        message = " ".join(str(error).split())[:160]
        raise FvcoreError(f"could not run: {type(error).__name__}{': ' * bool(message)}{message}") from error
    return (*operations, *_foreign(analysis._analyze().unsupported_ops))


TIMEOUT = 300
"""Seconds that fvcore may take."""


def _in_child_process(count: Callable[[], tuple[Operation, ...]]) -> tuple[Operation, ...]:
    """Return what a function returns that runs in a copy of this process; raises FvcoreError where that ends or hangs.

    torch.jit.trace does not survive that a model catches an operation's error: the process dies of a segmentation
    fault. A process that has used CUDA cannot be copied, and other systems than Linux copy none safely.
    """
    if sys.platform != "linux" or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # in PyTorch
        return count()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if not child:
        _send(count, sender)
    sender.close()
    try:
        if not receiver.poll(TIMEOUT):
            os.kill(child, signal.SIGKILL)
            raise FvcoreError(f"it took more than {TIMEOUT} s")
        result = receiver.recv()
    except EOFError:
        reason = "as torch.jit.trace does where a model catches an operation's error"
        raise FvcoreError(f"could not run: its process ended, {reason}") from None
    finally:
        receiver.close()
        os.waitpid(child, 0)
    if isinstance(result, FvcoreError):
        raise result
    operations: tuple[Operation, ...] = result
    return operations


def _send(count: Callable[[], tuple[Operation, ...]], sender: Connection) -> NoReturn:
    """Send what a function returns, or its FvcoreError, and end this process, which is a child."""
    try:
        faulthandler.disable()
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        # The threads of the parent's pool are not there.
        torch.set_num_threads(1)
        try:
            sender.send(count())
        except FvcoreError as error:
            sender.send(FvcoreError(str(error)))
    finally:
        # Nothing of what the parent does at its end is to be done twice.
        os._exit(0)


def _foreign(unsupported: Mapping[str, Mapping[str, int]]) -> Iterator[Operation]:
    """Yield the operations that are not PyTorch's own, whose work is not known, by innermost module."""
    for scope, kinds in unsupported.items():
        for kind in kinds:
            below = any(kind in inner for path, inner in unsupported.items() if path != scope and _is_in(path, scope))
            if not below and not kind.startswith("aten::") and kind not in _handled():
                yield Operation(scope, kind.removeprefix("prim::"), None, None, 0, 0)


def _is_in(path: str, scope: str) -> bool:
    return not scope or path.startswith(f"{scope}.")


def _handled() -> frozenset[str]:
    return frozenset((*(f"aten::{kind}" for kind in PRODUCTS), "torchvision::deform_conv2d"))


def _arguments(model: ModelUnderTest, module: nn.Module) -> tuple[Any, ...]:
    if model.example is None:
        return tuple(spec_inputs(model.graph, None))
    values = ExampleTensors(model.example, module, input_dtype(model.graph), None)
    if not values.keywords:
        return values.arguments
    try:
        bound = inspect.signature(module.forward).bind(*values.arguments, **values.keywords)
    except (TypeError, ValueError):
        raise FvcoreError("could not run: it takes no keyword arguments") from None
    if bound.kwargs:
        raise FvcoreError("could not run: it takes no keyword arguments")
    return bound.args


def _handles(analysis: Any, operations: list[Operation]) -> dict[str, Callable[..., Any]]:
    """Return a handle for each operation that fvcore counts or that is a product: fvcore's own, and a note of it."""
    own = dict(analysis._op_handles)
    kinds = {*own, *_handled()}
    return {kind: _noting_handle(kind.partition("::")[2], own.get(kind), operations) for kind in kinds}


def _noting_handle(kind: str, handle: Callable[..., Any] | None, operations: list[Operation]) -> Callable[..., Any]:
    """Return fvcore's handle that also notes the operation."""

    def hook(inputs: list[Any], outputs: list[Any]) -> Any:
        count = handle(inputs, outputs) if handle is not None else 0
        counted = None if handle is None else int(sum(count.values()) if hasattr(count, "values") else count)
        scope = outputs[0].node().scopeName().split("/")[-1]
        sizes = math.prod(_shape(inputs[0]) or (0,)), math.prod(_shape(outputs[0]) or (0,))
        operations.append(Operation(scope, kind, counted, _product(kind, inputs, outputs, counted), *sizes))
        return count

    return hook


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.type().sizes()) if value.isCompleteTensor() else None


def _product(kind: str, inputs: list[Any], outputs: list[Any], counted: int | None) -> int | None:
    """Return the multiply-accumulates of an operation by definition; None where they are not known."""
    if kind not in PRODUCTS:
        return 0
    if kind not in DEFINITIONS:
        return counted
    result = _shape(outputs[0])
    return None if result is None else defined_macs(kind, [_operand(value) for value in inputs], result)


def _operand(value: Any) -> Any:
    """Return an argument of the trace as a shape, a list of arguments, or a constant."""
    if value.isCompleteTensor():
        return _shape(value)
    if value.node().kind() == "prim::ListConstruct":
        return [_operand(item) for item in value.node().inputs()]
    return value.toIValue()


KINDS = {
    **{f"conv{n}d": ("_convolution", "_convolution_mode") for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": ("_convolution",) for n in (1, 2, 3)},
    "rmatmul": ("matmul",),
    "interpolate": ("upsample_nearest2d", "upsample_bilinear2d"),
    "grid_sample": ("grid_sampler",),
}
"""What fvcore's trace calls a function that it has another name for."""


FUSED = ("_native_multi_head_attention", "_transformer_encoder_layer_fwd")
"""Operations that are all of a module, submodules included."""


class Group(NamedTuple):
    """Nodes, by number, and the operations that are theirs together."""

    nodes: tuple[int, ...]
    operations: tuple[Operation, ...]


def aligned(runs: Sequence[Run], operations: Iterable[Operation]) -> tuple[list[Group], list[Operation]]:
    """Return every node in one group, alone where that is possible, and the operations that belong to no node.

    A module with a single node owns all that fvcore saw in it. Of several, each gets the operation that is its own
    kind's, in order of execution, where there are as many of them.
    """
    operations = list(operations)
    fused = {each.scope for each in operations if each.kind in FUSED}
    places = [_outermost(run.path, fused) for run in runs]
    nodes: dict[str, list[int]] = {}
    for number, place in enumerate(places):
        nodes.setdefault(place, []).append(number)
    owned: dict[str, list[Operation]] = {place: [] for place in nodes}
    homeless: list[Operation] = []
    for each in operations:
        home = next((p for p in _upwards(_outermost(each.scope, fused)) if p in owned), None)
        if home is None:
            homeless.append(each)
        else:
            owned[home].append(each)
    groups = []
    for place, members in nodes.items():
        groups += _split(members, owned[place], runs)
    return groups, homeless


def _outermost(path: str, fused: set[str]) -> str:
    return next((p for p in reversed(list(_upwards(path))) if p in fused), path)


def _upwards(path: str) -> Iterable[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _split(members: list[int], operations: list[Operation], runs: Sequence[Run]) -> list[Group]:
    if len(members) == 1:
        return [Group((members[0],), tuple(operations))]
    own: dict[int, list[Operation]] = {number: [] for number in members}
    left = list(operations)
    for kinds in dict.fromkeys(_kinds(runs[number].function) for number in members):
        theirs = [each for each in operations if each.kind in kinds]
        callers = [number for number in members if _kinds(runs[number].function) == kinds]
        if len(theirs) == len(callers):
            for number, each in zip(callers, theirs):
                own[number].append(each)
                left.remove(each)
    if left:
        return [Group(tuple(members), tuple(operations))]
    return [Group((number,), tuple(theirs)) for number, theirs in own.items()]


def _kinds(function: str) -> tuple[str, ...]:
    return KINDS.get(function, (function,))

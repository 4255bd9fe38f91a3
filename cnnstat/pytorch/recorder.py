"""The recorder: a function mode records what Python calls, a dispatch mode below it what that dispatches to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cnnstat.errors import ModelError
from cnnstat.pytorch.builder import Builder
from cnnstat.pytorch.calls import (
    DROPOUTS,
    FACTORIES,
    FIRST_ONLY,
    MAYBE_SAME,
    SAME,
    TURNS,
    Call,
    CallRecord,
    KnownCall,
    function_name,
)
from cnnstat.pytorch.fake import DEVICE, Faker
from cnnstat.pytorch.gpu_simulation import ASKING, on_this_machine
from cnnstat.pytorch.module_stack import ModuleStack
from cnnstat.pytorch.op_cache import FAST, VIEWS, keep_view, of_views, shortcut
from cnnstat.pytorch.operators import (
    BOUNDED,
    HigherOrderOperator,
    attention,
    custom_body,
    follow,
    is_attention,
    is_composite,
    is_exact,
)
from cnnstat.pytorch.refused_dtypes import check_dtypes
from cnnstat.pytorch.tensors import operands_in, shape_of, storage_key, tensors_in

_ITEM = torch.ops.aten._local_scalar_dense.default
"""What `item()`, `bool()` and `int()` come to."""

_EQUAL = torch.ops.aten.equal.default

Inner = list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]]


class ValueNeededError(Exception):
    """The values of a tensor are asked for, and a fake tensor has none."""


class TracerError(Exception):
    """The tracer itself failed; nothing that the model could be blamed for, or that a real pass would mend."""


_PLAIN = frozenset((int, float, bool, str, torch.Size, torch.dtype, torch.device, torch.layout))
"""Kinds of results that make a call nothing but a question, such as for the number of axes."""

_READS = frozenset(("tolist", "numpy", "array"))
"""Calls that read the values of a tensor where the dispatch mode does not see it."""


class Recorder:
    """Hands the calls of one forward pass to the builder; `calls`, if there is such a list, gets a record of each.

    takes_shortcuts: whether calls whose result the ops know need not run.
    reads_values: whether the model has read the values of a tensor, which then may decide its path.
    reader: the path of the first module that read those of a tensor which follows from an input or a parameter.
    """

    takes_shortcuts = True

    def __init__(
        self, builder: Builder, stack: ModuleStack, faker: Faker | None, calls: list[CallRecord] | None = None
    ) -> None:
        self.builder = builder
        self.stack = stack
        self.faker = faker
        self.calls = calls
        self.bounded: set[str] = set()
        self.is_bounded = False
        self.reads_values = False
        self.reader: str | None = None
        self.follows_values = False
        self.inner: Inner | None = None

    def run(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Return what a call from Python makes; a subclass may let something else run in its place."""
        return function(*arguments, **keywords)

    def shortcut(
        self, name: str, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[Any] | None:
        """Return the result of a call that need not run, in a tuple, once it is recorded; None where it has to run."""
        if self.faker is None or not self.takes_shortcuts:
            return None
        call = Call(name, arguments, keywords, (), None, self.stack.calls[-1], function=function)
        if name in FAST and (result := shortcut(call, self.faker)) is not None:
            call.results, call.returned = (result,), result
            self.note(self.builder.record, call)
            return (result,)
        made = of_views(call, self.faker) if name in VIEWS else None
        if made is not None and call.results:
            self.note(self.builder.record, call)
        elif made is not None:
            self._record(function, arguments, keywords, made[0], [], call.known)
        return made

    def record(
        self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any, inner: Inner
    ) -> None:
        """Record a call that has returned."""
        self._record(function, arguments, keywords, result, inner)

    def _record(
        self,
        function: Any,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        result: Any,
        inner: Inner,
        known: KnownCall | None = None,
    ) -> None:
        """Record a call that has returned; known: of one like which the op cache keeps the node."""
        if type(result) in _PLAIN:
            return
        name = function_name(function)
        results = results_of(name, arguments, result)
        if not results:
            self.builder.changes_autograd |= name == "_set_grad_enabled"
            if name in _READS:
                self.reads_values = True
                self.note_reader(operands_in(arguments))
            self.builder.log.note(
                Call(name, arguments, keywords, (), None, self.stack.current, function=function, returned=result)
            )
            return
        if name in FIRST_ONLY:
            # No layer reads the others, and a node with outputs that nothing reads would be counted in memory.
            results = results[:1]
        first = arguments[0] if arguments and isinstance(arguments[0], torch.Tensor) else None
        if first is None:
            first = next(operands_in(arguments), None)
        call = Call(name, arguments, keywords, results, None, self.stack.calls[-1])
        call.overwritten = _overwritten(call, first)
        call.inner, call.function, call.returned = inner, function, result
        # The dispatch mode sets it while the call runs; it belongs to this call alone.
        call.is_bounded, self.is_bounded = self.is_bounded, False
        plain = name.removeprefix("F.")
        # A call that returns its input makes no node: the result is another name of that tensor.
        if first is not None and (plain in SAME or self.is_unchanged(plain, first, results)):
            self.note(self.builder.pass_on, call, first)
        else:
            call.known = known
            self.note(self.builder.record, call)
            if known is not None:
                keep_view(call)

    def note_reader(self, tensors: Iterable[torch.Tensor]) -> None:
        """Note that values are read here, unless they are the same whatever the inputs and parameters are."""
        if self.reader is None and self.is_decided(tensors):
            self.reader = self.stack.current.path

    def is_decided(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Whether one of these tensors follows from an input, a parameter, or a buffer that the model changes."""
        stored, log = self.builder.ownership.tensors, self.builder.log
        origins = list(filter(None, map(self.builder.origins.known, tensors)))
        if any(each.edge is not None or any(stored[key].is_parameter for key in each.keys) for each in origins):
            return True
        written = {log.stored[id(alias)].name for alias in log.aliases if storage_key(alias) in log.writes}
        return any(stored[key].name in written for each in origins for key in each.keys)

    def is_unchanged(self, name: str, first: torch.Tensor, results: tuple[torch.Tensor, ...]) -> bool:
        """Whether a call that may do nothing did nothing; a subclass that changes what runs may know better."""
        return _is_unchanged(name, first, results)

    def note(self, action: Callable[..., None], call: Call, *arguments: Any) -> None:
        """Let the builder do something with a call; its own errors are TracerErrors, for which no model is to blame."""
        before = len(self.builder.nodes)
        # What the builder itself asks of tensors is no call of the model.
        self.inner = []
        try:
            action(call, *arguments)
        except Exception as error:
            if any(tensor.is_nested for tensor in (*call.results, *call.operands)):
                raise ModelError(f"{call.name}: nested tensors have no sizes to count; pad them to one size") from error
            raise TracerError(f"{type(error).__name__}: {error}") from error
        finally:
            self.inner = None
        if self.calls is not None:
            self.calls.append(_record_of(call, before, len(self.builder.nodes)))


def _record_of(call: Call, before: int, after: int) -> CallRecord:
    """Return the record of a call that made these nodes; the last is itself, those before it are views it reads."""
    return CallRecord(
        name=call.name,
        path=call.where.path,
        shapes=tuple(map(shape_of, call.results)),
        node=after - 1 if after > before else None,
        below=call.name.startswith("aten."),
        operands=tuple(call.operands),
        results=call.results,
    )


def results_of(name: str, arguments: tuple[Any, ...], result: Any) -> tuple[torch.Tensor, ...]:
    """Return the tensors that a call made or changed; none for a call that a trace passes over."""
    if name in ("setitem", "data.set", "backward"):
        # A backward pass returns nothing; what it works on stands for the gradients that it leaves behind.
        return (arguments[0],)
    if name in FACTORIES:
        return ()
    return (result,) if isinstance(result, torch.Tensor) else tuple(tensors_in(result))


def _overwritten(call: Call, first: torch.Tensor | None) -> torch.Tensor | None:
    """Return the tensor that a call changed in place."""
    out = call.keywords.get("out") if call.keywords else None
    if isinstance(out, torch.Tensor):
        return out
    if first is None or call.results[0] is not first:
        return None
    plain = call.name.removeprefix("F.")
    if plain in MAYBE_SAME or plain in SAME:
        return None
    is_idle = plain in DROPOUTS and not call.is_training
    return None if is_idle or plain.removeprefix("aten.") in TURNS else first


def _is_unchanged(name: str, first: torch.Tensor, results: tuple[torch.Tensor, ...]) -> bool:
    """Whether a call that may do nothing did nothing."""
    if len(results) != 1 or name not in MAYBE_SAME or (name == "flatten" and results[0] is not first):
        return False
    result = results[0]
    if result is first:
        return name != "flatten"
    if result.shape != first.shape or result.dtype != first.dtype or result.layout is not torch.strided:
        return False
    # Same memory from the same place in the same order: `contiguous()` or `to()` had nothing to do.
    is_there = result.untyped_storage()._cdata == first.untyped_storage()._cdata
    return bool(is_there and result.storage_offset() == first.storage_offset() and result.stride() == first.stride())


_FUNCTIONS = frozenset((FunctionType, BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType))
"""Kinds of what is called from Python, as a rule."""


class FunctionMode(TorchFunctionMode):
    """Records every call of a PyTorch function or method from Python."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run and record one call; what it calls itself is part of it."""
        recorder, keywords = self._recorder, kwargs or {}
        name = function_name(func)
        if keywords and ("device" in keywords or "pin_memory" in keywords) or name in ASKING:
            func, args, keywords = on_this_machine(name, func, args, keywords)
            name = function_name(func)
        # Within a recorded call everything is a part of it; within vmap, tensors have lost one of their axes.
        if recorder.inner is not None or is_transformed():
            return func(*args, **keywords)
        frame = sys._getframe(1)
        recorder.stack.regions.look(frame)
        if name == "requires_grad.get" and not frame.f_globals.get("__name__", "").startswith("torch."):
            # A trace has no gradients: where they are on, the model may take another way.
            recorder.builder.changes_autograd = True
        inner: Inner = []
        recorder.inner = inner
        if name in FAST or name in VIEWS:
            try:
                made = recorder.shortcut(name, func, args, keywords)
            finally:
                recorder.inner = None
            if made is not None:
                return made[0]
            recorder.inner = inner
        # The class is abstract, so that to ask for it takes longer than it looks.
        if type(func) not in _FUNCTIONS and isinstance(func, HigherOrderOperator):
            recorder.inner = None
            return self._operator(func, args, keywords)
        if name in TURNS and args:
            # What it reads is found by the view that it was.
            recorder.builder.resolve(args[0], recorder.stack.current)
        try:
            result = recorder.run(func, args, keywords)
        finally:
            recorder.inner = None
        recorder.record(func, args, keywords, result, inner)
        return result

    def _operator(self, func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run an operator that takes functions; what these call is recorded."""
        recorder = self._recorder
        if not is_attention(func):
            with self:
                return follow(func, args, keywords)
        result, match = attention(func, args, keywords, recorder.faker)
        call = Call("flex_attention", args, keywords, result, None, recorder.stack.current, match=match)
        recorder.note(recorder.builder.record, call)
        return result


def is_transformed() -> bool:
    """Whether vmap or another transform of functions is at work, so that tensors here are parts of others.

    That includes dual numbers, whose tangents only the operations themselves make.
    """
    return _transforms() is not None or forward_ad._current_level >= 0


_transforms = torch._C._functorch.peek_interpreter_stack


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in PyTorch
    """Records what runs below Python: the parts of a recorded call, or calls that the function mode does not see."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # PyTorch would import its compiler to keep it away from here, which takes seconds; a trace compiles nothing.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, on fake tensors where one of its operands is fake."""
        if func is DEVICE:
            return func(*args)
        recorder, keywords = self._recorder, kwargs or {}
        if recorder.inner is not None:
            return self._part(func, args, keywords, recorder.inner)
        # With `inner` set, the function mode does not record this operation a second time.
        inner: Inner = []
        recorder.inner = inner
        try:
            result = self._part(func, args, keywords, inner)
        finally:
            recorder.inner = None
        recorder.record(func, args, keywords, result, inner)
        return result

    def _part(self, func: Any, args: tuple[Any, ...], keywords: dict[str, Any], inner: Inner) -> Any:
        """Run one operation and note it, or the operations that it is made of."""
        if is_composite(func):
            # Without autograd (inference mode, custom operations) it comes here in one piece.
            with self:
                result = func.decompose(*args, **keywords)
            if result is not NotImplemented:
                return result
        body = custom_body(func)
        result = self._run(func, args, keywords) if body is None else self._run_body(body, func, args, keywords, inner)
        inner.append((func, args, keywords, result))
        return result

    def _run_body(
        self, body: Callable[..., Any], func: Any, args: tuple[Any, ...], keywords: dict[str, Any], inner: Inner
    ) -> Any:
        """Run the Python function behind a custom operation, so that its inner operations are recorded."""
        before = len(inner)
        try:
            with self:
                return body(*args, **keywords)
        except Exception:
            # It may need values, or code that knows no fake tensors; the operation itself can say its shape.
            del inner[before:]
            return self._run(func, args, keywords)

    def _run(self, func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Return what an operation makes; operations whose result depends on values give an upper bound."""
        faker = self._recorder.faker
        self._recorder.reads_values |= func is _ITEM or func._schema.name in BOUNDED
        operands = [*operands_in(args), *operands_in(keywords.values())]
        if func is _ITEM or func is _EQUAL:
            self._recorder.note_reader(operands)
        if faker is None:
            self._recorder.is_bounded |= func._schema.name in BOUNDED and self._recorder.is_decided(operands)
            return func(*args, **keywords)
        is_fake = [faker.is_fake(tensor) for tensor in operands]
        if func is _ITEM:
            origin = self._recorder.builder.origins.known(operands[0])
            if is_fake[0] or storage_key(operands[0]) in faker.overwritten:
                raise ValueNeededError("the path through the model depends on the values of a tensor")
            self._recorder.follows_values |= origin is not None and origin.edge is not None
        if not any(is_fake):
            if not faker.overwritten or not any(storage_key(tensor) in faker.overwritten for tensor in operands):
                return func(*args, **keywords)
        else:
            check_dtypes(func, operands, args, keywords)
        bound = BOUNDED.get(func._schema.name)
        result = bound(faker, *args, **keywords) if bound is not None else None
        if result is not None:
            if is_exact(func._schema.name, args, faker):
                self._recorder.follows_values |= any(
                    (origin := self._recorder.builder.origins.known(tensor)) is not None and origin.edge is not None
                    for tensor in operands
                    if not faker.is_fake(tensor)
                )
            else:
                self._recorder.is_bounded = True
                self._recorder.bounded.add(func._schema.name.split("::")[-1].strip("_"))
            return result
        if all(is_fake):
            direct = faker.on_meta(func, args, keywords)
            return func(*args, **keywords) if direct is None else direct
        return _run_on_fakes(faker, func, args, keywords)


def _run_on_fakes(faker: Faker, func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run an operation on the fake fakes of its real operands; a real one that it changes is returned as it is."""
    fakes: dict[int, torch.Tensor] = {}

    def swap(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and not faker.is_fake(value):
            fake = faker.fake_of(value)
            fakes[id(fake)] = value
            return fake
        if isinstance(value, (list, tuple)):
            return type(value)(map(swap, value))
        return value

    result = func(*map(swap, args), **{name: swap(value) for name, value in keywords.items()})
    # An operation in place returns the operand it changed: the caller must get its own tensor, not the fake one of it.
    if isinstance(result, torch.Tensor) and id(result) in fakes:
        faker.overwritten.add(storage_key(fakes[id(result)]))
        return fakes[id(result)]
    return result

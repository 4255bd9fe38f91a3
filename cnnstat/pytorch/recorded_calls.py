"""Recorded calls: what is computed from stored tensors and constants, and how each node can be computed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from cnnstat.ir.recorded_call import (
    Constant,
    ConstantNumber,
    InputNumber,
    NotRecorded,
    OwnDevice,
    RecordedCall,
    RecordedCalls,
    ResultOf,
    SliceOf,
    Stored,
    StoredName,
    TorchName,
)
from cnnstat.pytorch.calls import TURNS, Call, NotPlainError, own_keywords, path_of, plain_value
from cnnstat.pytorch.parameter_ownership import StoredTensor
from cnnstat.pytorch.tensors import PLAIN, operands_in, shape_of, storage_key

MOST_ELEMENTS = 2**20
"""Constants and buffers beyond this are not kept by value."""

_FILLS = {
    "zeros_like": "zeros", "new_zeros": "zeros", "ones_like": "ones", "new_ones": "ones", "empty_like": "empty",
    "new_empty": "empty", "rand_like": "rand", "randn_like": "randn", "full_like": "full", "new_full": "full",
}  # fmt: skip
"""Functions that take a tensor for its shape or dtype, and those that make the same of plain numbers."""
_LIKE = {"expand_as": "expand", "view_as": "view", "reshape_as": "reshape", "type_as": "to"}
"""Methods that take another tensor for its shape or dtype, and those that take the shape or dtype."""


@dataclass(slots=True, eq=False)
class _ConstantCall:
    """A call on stored tensors and constants: its arguments with tensors in them, and what it returned."""

    function: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    returned: Any
    problem: str = ""


SEVERAL_WRITES = "it is a view of memory that is written to in several places"


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _written(call: Call) -> _ConstantCall:
    """Return a call as plain values with tensors in them, and what keeps it from being made again, if anything."""
    try:
        path = _path(call)
    except NotPlainError as error:
        return _ConstantCall("", (), (), call.returned, str(error))
    try:
        return _ConstantCall(path, *_arguments(call, _itself), call.returned)
    except NotPlainError as error:
        return _ConstantCall("", (), (), call.returned, f"{call.name} cannot be called again: {error}")


def _path(call: Call) -> str:
    """Return the name under which a call is made again; raises NotPlainError where there is none."""
    if call.is_bounded:
        raise NotPlainError(f"how much {call.name} keeps depends on values, so that no shape behind it is fixed")
    if torch._C._is_any_autocast_enabled():
        raise NotPlainError("it runs under autocast, in a dtype that its arguments do not say")
    if call.name in _LIKE:
        return f"Tensor.{_LIKE[call.name]}"
    path = None if call.function is None else path_of(call.function)
    if path is None or not {"set", "set_", "resize_", "resize_as_"}.isdisjoint(path.split(".")):
        raise NotPlainError(f"PyTorch has no function {call.name} to call again")
    return path


def _arguments(
    call: Call, tensor: Callable[[torch.Tensor], Any]
) -> tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]]:
    """Return the arguments of a call as plain values, those in order and those by name; raises NotPlainError.

    tensor: returns what stands for a tensor.
    """
    if call.name in _LIKE:
        return _like(call, tensor), ()
    arguments = tuple([plain_value(value, tensor) for value in call.arguments])
    if not call.keywords:
        return arguments, ()
    keywords = own_keywords(call.function, call.keywords)
    return arguments, tuple([(name, plain_value(value, tensor)) for name, value in keywords.items()])


def _like(call: Call, tensor: Callable[[torch.Tensor], Any]) -> tuple[Any, ...]:
    """Return the arguments of a call that takes a tensor for its shape or dtype only: that shape or dtype instead."""
    name, result, x = _LIKE[call.name], call.results[0], _first(call)
    if name == "to":
        return tensor(x), TorchName(str(result.dtype).removeprefix("torch."))
    # An axis that was repeated stays free, so that the call also fits another batch.
    new_axes = result.dim() - x.dim()
    sizes = tuple(
        -1 if name == "expand" and axis >= new_axes and size == x.shape[axis - new_axes] else size
        for axis, size in enumerate(shape_of(result))
    )
    return tensor(x), *sizes


def _first(call: Call) -> torch.Tensor:
    x: torch.Tensor = call.get(0, "input", call.keywords.get("self"))
    return x


class ConstantCalls:
    """The calls of a trace that do not depend on the model's inputs; tensors are kept, so that an id means one.

    writes: the calls that change each memory; fills: how often what depends on inputs is written into it.
    attributes: tensors that attributes hold, with their substitutes in the trace.
    split: memory of which a node has a copy, so that further writes do not reach all views of it.
    """

    def __init__(self) -> None:
        self.calls: list[_ConstantCall] = []
        self.stored: dict[int, StoredTensor] = {}
        self.results: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.writes: dict[int, list[int]] = {}
        self.fills: Counter[int] = Counter()
        self.aliases: list[torch.Tensor] = []
        self.split: set[int] = set()
        self._alive: list[torch.Tensor] = []
        self._shared: dict[int, set[int]] = {}
        self._counted: set[int] = set()
        self._held: set[int] = set()
        self.attributes: list[tuple[torch.Tensor, torch.Tensor]] = []

    def store(self, stored: StoredTensor, *aliases: torch.Tensor) -> None:
        """Make a parameter or buffer known, with the tensors that are it in the trace."""
        for tensor in aliases:
            self.stored[id(tensor)] = stored
            self.aliases.append(tensor)

    def hold(self, tensor: torch.Tensor) -> None:
        """Note a tensor that a call reads by its value."""
        self._alive.append(tensor)
        self._held.add(storage_key(tensor))

    def is_view_written_elsewhere(self, tensor: torch.Tensor) -> bool:
        """Whether an attribute is a view of a buffer's memory that is changed through another tensor."""
        own = storage_key(tensor)
        homes = [storage_key(real) for real, substitute in self.attributes if storage_key(substitute) == own]
        return any(self._is_written_but(own, home) for home in homes)

    def is_stored(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a parameter or buffer itself."""
        return id(tensor) in self.stored

    def is_zeros(self, tensor: torch.Tensor) -> bool:
        """Whether a constant is known to hold zeros."""
        if storage_key(tensor) in self.writes or storage_key(tensor) in self.fills:
            return False
        if not isinstance(tensor, FakeTensor):
            return not bool(tensor.count_nonzero())
        number, _ = self.results.get(id(tensor), (None, ()))
        return number is not None and self.calls[number].function == "torch.zeros"

    def is_written_elsewhere(self, tensor: torch.Tensor) -> bool:
        """Whether the memory of a stored tensor is changed through another stored tensor, or a view in an attribute."""
        # Buffers that are views of one memory have substitutes of their own, in which no write reaches the other.
        return self._is_written_but(storage_key(tensor), storage_key(self.stored[id(tensor)].tensor))

    def _is_written_but(self, own: int, home: int) -> bool:
        """Whether memory is changed through a tensor of another substitute than its own."""
        return any(key in self.writes or key in self.fills for key in self._substitutes(home) - {own})

    def _substitutes(self, home: int) -> set[int]:
        """Return the memory of all that stands for tensors of a stored tensor's memory in the trace."""
        if not self._shared:
            pairs = [(self.stored[id(alias)].tensor, alias) for alias in self.aliases]
            for real, alias in pairs:
                self._shared.setdefault(storage_key(real), set()).add(storage_key(alias))
            for real, alias in self.attributes:
                if storage_key(real) in self._shared:
                    self._shared[storage_key(real)].add(storage_key(alias))
        return self._shared.get(home, set())

    def is_left_changed(self, stored: StoredTensor) -> bool:
        """Whether a call that no node makes changes a parameter or buffer, or one that changes it by another name."""
        if self._unmade_writes((stored,)):
            return True
        home = storage_key(stored.tensor)
        if len(self._substitutes(home) - {home}) < 2:
            return False
        aliases = [alias for alias in self.aliases if self.stored[id(alias)] is stored and storage_key(alias) != home]
        return any(map(self.is_written_elsewhere, aliases))

    @property
    def is_constant_changed(self) -> bool:
        """Whether a tensor that an attribute holds, which a call reads by its value, is changed."""
        return not self._held.isdisjoint((*self.writes, *self.fills))

    def _unmade_writes(self, stored: Iterable[StoredTensor]) -> list[int]:
        """Return the calls that change stored tensors, read no input, and are made by no node yet."""
        if not self.writes:
            return []
        memories = {key for each in stored for key in self._substitutes(storage_key(each.tensor))}
        return sorted({n for key in memories & self.writes.keys() for n in self.writes[key]} - self._counted)

    def _counts(self, stored: Iterable[StoredTensor], until: int) -> list[int]:
        """Return the calls by which a pass counts in stored tensors; they are made from now on."""
        counts = [number for number in self._unmade_writes(stored) if number < until]
        self._counted.update(counts)
        return counts

    def note(self, call: Call) -> None:
        """Keep a call that reads no tensor that depends on the model's inputs, but perhaps for its shape."""
        number = len(self.calls)
        plain = call.name.removeprefix("aten.")
        fill = _fill_of(call, plain)
        if fill and isinstance(call.returned, torch.Tensor):
            self.calls.append(_filled(call, fill))
        else:
            self.calls.append(_written(call))
        values = set(map(id, call.operands))
        for path, tensor in _places(call.returned):
            self._alive.append(tensor)
            if id(tensor) not in values:
                self.results.setdefault(id(tensor), (number, path))
        if call.overwritten is not None or call.name == "setitem" or plain in TURNS:
            target = call.overwritten if call.overwritten is not None else call.arguments[0]
            self.writes.setdefault(storage_key(target), []).append(number)
            self._shared.clear()  # `x.data = y` gives x the memory of y

    def recorded(
        self,
        call: Call,
        inputs: Sequence[torch.Tensor],
        until: int | None = None,
        further: Iterable[StoredTensor] = (),
    ) -> RecordedCalls | NotRecorded:
        """Return how to make a call again that reads these inputs; until: how many calls had been made before.

        further: tensors that the node has beside those it reads, such as how many batches a norm has seen; it counts
        them on.
        """
        further = tuple(further)
        if not further and (alone := _alone(call, inputs)) is not None:
            return alone
        overwritten = 0 if call.overwritten is None else storage_key(call.overwritten)
        until = len(self.calls) if until is None else until
        maker = _Maker(self, inputs, until, overwritten)
        try:
            result = maker.recorded(call, self._counts(further, until))
        except NotPlainError as error:
            return NotRecorded(_written(call).problem or str(error))
        if not further:
            return result
        known = {each.name for each in result.stored}
        others = tuple(described(each) for each in further if each.name not in known)
        return replace(result, stored=(*result.stored, *others)) if others else result

    def unread(self, stored: Iterable[StoredTensor]) -> RecordedCalls | NotRecorded:
        """Return parameters and buffers that no node reads, and the calls that change them."""
        own = tuple(stored)
        maker = _Maker(self, (), len(self.calls))
        try:
            return maker.changes(self._counts(own, maker.until), {each.name: described(each) for each in own})
        except NotPlainError as error:
            return NotRecorded(str(error))

    def recompute(self, tensor: torch.Tensor) -> RecordedCalls | NotRecorded:
        """Return how to compute a tensor that does not depend on the model's inputs."""
        try:
            return _Maker(self, (), len(self.calls)).recomputed(tensor)
        except NotPlainError as error:
            return NotRecorded(str(error))

    def filled(self, tensor: torch.Tensor, view: torch.Tensor) -> RecordedCalls | NotRecorded:
        """Return how to fill a constant with the node's input, which was written into a view of it."""
        if self.fills[storage_key(tensor)] != 1 or not {id(tensor), id(view)} <= self.results.keys():
            return NotRecorded(SEVERAL_WRITES)
        self.split.add(storage_key(tensor))
        try:
            return _Maker(self, (), len(self.calls), storage_key(tensor)).filled(tensor, view)
        except NotPlainError as error:
            return NotRecorded(str(error))


def part_again(call: Call, like: RecordedCalls) -> RecordedCalls:
    """Return how to make x[…] or x[…] = value again, by a call that differs in places and plain values alone."""
    (known,) = like.calls
    index, *value = call.arguments[1:]
    places = tuple(map(_place, index)) if type(index) is tuple else _place(index)
    last = [argument if isinstance(argument, InputNumber) else value[0] for argument in known.arguments[2:]]
    return RecordedCalls((RecordedCall(known.function, (known.arguments[0], places, *last)),), like.results)


def _place(item: Any) -> Any:
    return SliceOf(item.start, item.stop, item.step) if type(item) is slice else item


def _alone(call: Call, inputs: Sequence[torch.Tensor]) -> RecordedCalls | None:
    """Return the same for a call of one result, or of none, that reads plain values and inputs of its node alone.

    None where there may be more to it. Most calls are of this kind.
    """
    if call.name in _LIKE or call.name in TURNS or call.keywords or len(call.results) != 1:
        return None
    numbers = {id(tensor): number for number, tensor in reversed([*enumerate(inputs)])}
    (result,) = call.results
    is_new = call.returned is result and id(result) not in numbers
    try:
        path, arguments = (
            _path(call),
            tuple([plain_value(value, lambda t: _known(t, numbers)) for value in call.arguments]),
        )
        return RecordedCalls((RecordedCall(path, arguments),), (_FIRST_RESULT if is_new else _known(result, numbers),))
    except NotPlainError:
        return None


_FIRST_RESULT = ResultOf(0)


def _known(tensor: torch.Tensor, numbers: dict[int, int]) -> InputNumber:
    if id(tensor) not in numbers:
        raise NotPlainError("no input")
    return InputNumber(numbers[id(tensor)])


def _fill_of(call: Call, name: str) -> str:
    """Return the function that makes of plain numbers what a factory makes; empty for what is none."""
    if name not in ("new", "new_tensor"):
        return _FILLS.get(name, "")
    data = call.get(1, "data", call.keywords.get("size"))
    if isinstance(data, torch.Tensor):
        return ""
    return "tensor" if name == "new_tensor" or isinstance(data, list) else "empty"


def _filled(call: Call, name: str) -> _ConstantCall:
    """Return a factory with the shape and dtype that it took from another tensor."""
    result = call.returned
    value: tuple[Any, ...] = ()
    if name == "full":
        place = 1 if call.name.endswith("full_like") else 2
        value = (plain_value(call.get(place, "fill_value"), _itself),)
    keywords = (("dtype", TorchName(str(result.dtype).removeprefix("torch."))), ("device", OwnDevice()))
    sizes = plain_value(call.get(1, "data"), _itself) if name == "tensor" else shape_of(result)
    return _ConstantCall(f"torch.{name}", (sizes, *value), keywords, result)


def _places(result: Any, path: tuple[int, ...] = ()) -> list[tuple[tuple[int, ...], torch.Tensor]]:
    """Return the tensors in what a call returned, with their places."""
    if isinstance(result, torch.Tensor):
        return [(path, result)]
    if not isinstance(result, (list, tuple)):
        return []
    return [place for number, each in enumerate(result) for place in _places(each, (*path, number))]


class _Maker:
    """Works out the calls behind a tensor: first which it takes, then the calls with references in place of tensors.

    inputs: what the node reads; until: how many calls had been made before; overwritten: the memory that its call
    changes. Raises NotPlainError.
    """

    def __init__(self, log: ConstantCalls, inputs: Sequence[torch.Tensor], until: int, overwritten: int = 0) -> None:
        self.log = log
        self.until = until
        self.overwritten = overwritten
        self.stored: dict[str, Stored] = {}
        self.constants: list[Constant] = []
        self._numbers = dict(zip(map(id, reversed(inputs)), range(len(inputs) - 1, -1, -1)))
        self._places: dict[int, int] = {}
        self._known: dict[int, ConstantNumber] = {}

    def recorded(self, call: Call, counts: Sequence[int] = ()) -> RecordedCalls:
        """Return the calls behind one that reads the inputs, itself included; counts: calls to be made before it."""
        values = call.operands if call.name not in _LIKE else [_first(call)]
        # Most calls read inputs of their node alone.
        is_alone = not counts and self._numbers.keys() >= set(map(id, values))
        before = () if is_alone else self._calls_behind(values, counts)
        path, arguments = _path(call), _arguments(call, self._ref)
        if call.name in TURNS:
            # Other names of the tensor have the same variable in what is written, and stay as they are.
            path = path.removesuffix("_")
            values = []
        own = {id(tensor): place for place, tensor in _places(call.returned)}
        for tensor in values:
            own.pop(id(tensor), None)
        results = tuple([ResultOf(len(before), own[id(t)]) if id(t) in own else self._ref(t) for t in call.results])
        return self._made((*before, RecordedCall(path, *arguments)), results)

    def changes(self, numbers: Sequence[int], stored: dict[str, Stored]) -> RecordedCalls:
        """Return calls that change stored tensors, in order."""
        self.stored = stored
        calls = [self.log.calls[number] for number in numbers]
        return self._made(self._calls_behind(operands_in([(c.arguments, *c.keywords) for c in calls]), numbers), ())

    def recomputed(self, tensor: torch.Tensor) -> RecordedCalls:
        """Return the calls that make a tensor."""
        return self._made(self._calls_behind((tensor,)), (self._ref(tensor),))

    def filled(self, tensor: torch.Tensor, view: torch.Tensor) -> RecordedCalls:
        """Return the calls that make a tensor and write the node's input into a view of it."""
        calls = self._calls_behind((tensor, view))
        write = RecordedCall("Tensor.copy_", (self._ref(view), InputNumber(0)))
        return self._made((*calls, write), (self._ref(tensor),))

    def _made(self, calls: tuple[RecordedCall, ...], results: tuple[Any, ...]) -> RecordedCalls:
        return RecordedCalls(calls, results, tuple(self.stored.values()), tuple(self.constants))

    def _calls_behind(self, tensors: Iterable[torch.Tensor], further: Sequence[int] = ()) -> tuple[RecordedCall, ...]:
        """Return the calls on stored tensors and constants that made tensors, and further ones, in order."""
        numbers = sorted(self._needed(tensors).union(further))
        self._places = {number: place for place, number in enumerate(numbers)}
        return tuple([self._call(self.log.calls[number]) for number in numbers])

    def _needed(self, tensors: Iterable[torch.Tensor]) -> set[int]:
        """Return the numbers of the calls that made tensors, or changed them, and so on."""
        needed: set[int] = set()
        waiting = list(tensors)
        seen: set[int] = set()
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in seen or id(tensor) in self._numbers:
                continue
            seen.add(id(tensor))
            writes = [number for number in self.log.writes.get(storage_key(tensor), ()) if number < self.until]
            if self.log.is_stored(tensor):
                if self.log.stored[id(tensor)].name in self.stored:
                    continue  # it is what is changed
                others = self.log.fills[storage_key(tensor)] > (storage_key(tensor) == self.overwritten)
                if writes or others or self.log.is_written_elsewhere(tensor):
                    raise NotPlainError(f"{self.log.stored[id(tensor)].name} is changed while the model runs")
                continue
            if self.log.fills[storage_key(tensor)] > (storage_key(tensor) == self.overwritten):
                raise NotPlainError(SEVERAL_WRITES)
            place = self.log.results.get(id(tensor))
            if place is None and self.log.is_view_written_elsewhere(tensor):
                raise NotPlainError("it reads a view of a buffer that is changed while the model runs")
            if place is None and storage_key(tensor) in self.log.writes:
                # Its value was not kept before the change.
                raise NotPlainError("a tensor that the model holds is changed while it runs")
            if place is None or place[0] >= self.until:
                continue
            for number in (place[0], *writes):
                if number not in needed:
                    needed.add(number)
                    call = self.log.calls[number]
                    waiting += operands_in((call.arguments, [value for _, value in call.keywords]))
        return needed

    def _call(self, call: _ConstantCall) -> RecordedCall:
        """Return a call with references in place of tensors."""
        if call.problem:
            raise NotPlainError(call.problem)
        keywords = tuple((name, plain_value_again(value, self._ref)) for name, value in call.keywords)
        return RecordedCall(
            call.function, tuple(plain_value_again(value, self._ref) for value in call.arguments), keywords
        )

    def _ref(self, tensor: torch.Tensor) -> Any:
        """Return the reference to a tensor."""
        if id(tensor) in self._numbers:
            return InputNumber(self._numbers[id(tensor)])
        if self.log.is_stored(tensor):
            return self._stored(self.log.stored[id(tensor)])
        place = self.log.results.get(id(tensor))
        if place is not None and place[0] in self._places:
            return ResultOf(self._places[place[0]], place[1])
        if id(tensor) not in self._known:
            self._known[id(tensor)] = ConstantNumber(len(self.constants))
            self.constants.append(_constant(tensor))
            self.log.hold(tensor)
        return self._known[id(tensor)]

    def _stored(self, stored: StoredTensor) -> StoredName:
        if stored.inner or stored.tensor.layout is not torch.strided:
            raise NotPlainError(f"{stored.name} is no plain tensor, but a {type(stored.tensor).__name__} of others")
        self.stored.setdefault(stored.name, described(stored))
        return StoredName(stored.name)


def plain_value_again(value: Any, tensor: Any) -> Any:
    """Return plain values with the tensors in them replaced."""
    if type(value) in PLAIN or (type(value) is tuple and PLAIN.issuperset(map(type, value))):
        return value
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, (tuple, list)):
        return type(value)(plain_value_again(each, tensor) for each in value)
    return value


def described(stored: StoredTensor) -> Stored:
    """Return a parameter or buffer as recorded calls name it; a buffer with its value, if that is known and small."""
    tensor = stored.tensor
    is_real = tensor.device.type != "meta" and not isinstance(tensor, FakeTensor)
    has_value = not stored.is_parameter and is_real and tensor.numel() <= MOST_ELEMENTS
    return Stored(
        name=stored.name,
        shape=shape_of(tensor),
        dtype=str(tensor.dtype).removeprefix("torch."),
        is_parameter=stored.is_parameter,
        is_learnt=tensor.requires_grad,
        is_persistent=stored.is_persistent,
        value=tensor.detach() if has_value else None,
    )


def _constant(tensor: torch.Tensor) -> Constant:
    """Return a constant by value; raises NotPlainError where it has none, or is large."""
    if isinstance(tensor, FakeTensor) or tensor.device.type == "meta" or tensor.layout is not torch.strided:
        raise NotPlainError("it takes a tensor that was made where the trace does not see")
    if tensor.numel() > MOST_ELEMENTS:
        raise NotPlainError(f"it takes a constant of {tensor.numel()} numbers; make it a buffer of the model")
    value = tensor.detach().clone()
    if isinstance(value, FakeTensor):  # values of the model's inputs were written into it
        raise NotPlainError("a tensor that the model holds is changed while it runs")
    return Constant(shape_of(tensor), str(tensor.dtype).removeprefix("torch."), value)

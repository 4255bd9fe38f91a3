"""Recorded calls: what was called, with which arguments, what it returned; and classes of calls that are no layers."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, reduce
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch.nn import functional

from cnnstat.choices import words
from cnnstat.ir.op import Op
from cnnstat.ir.recorded_call import NotRecorded, OwnDevice, RecordedCalls, SliceOf, TorchName
from cnnstat.ir.work import Work
from cnnstat.pytorch.module_stack import ModuleCall
from cnnstat.pytorch.parameter_ownership import OwnedTensors, StoredTensor
from cnnstat.pytorch.tensors import PLAIN, operands_in

_NAMES: dict[Any, str] = {}


_DUNDERS = {
    "truediv": "div",
    "itruediv": "div_",
    "rtruediv": "rdiv",
    "floordiv": "floor_divide",
    "iadd": "add_",
    "isub": "sub_",
    "imul": "mul_",
    "idiv": "div_",
    "ipow": "pow_",
    "radd": "add",
    "rmul": "mul",
    "invert": "bitwise_not",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "multiply": "mul",
    "subtract": "sub",
    "divide": "div",
    "true_divide": "div",
    "iand": "bitwise_and_",
    "ior": "bitwise_or_",
}


def function_name(function: Any) -> str:
    """Return the name a call is known by: `conv2d`, `F.batch_norm` for torch.nn.functional's own, `T.get` for `.T`.

    Operators have the name of their function (`add` for `+`, `add_` for `+=`).
    """
    try:
        return _NAMES[function]
    except (KeyError, TypeError):
        name = _function_name(function)
        with contextlib.suppress(TypeError):
            _NAMES[function] = name
        return name


def base_name(function: Any) -> str:
    """Return the name of an operation without that of its namespace."""
    return str(function._schema.name.split("::")[-1])


def parameters_of(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...] | None:
    """Return the parameters of a function or class; None where they are not known, as of one not written in Python."""
    try:
        return tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _function_name(function: Any) -> str:
    """Work out what `function_name` keeps."""
    if isinstance(function, torch._ops.OpOverload):
        return f"aten.{base_name(function)}"
    name = str(getattr(function, "__name__", type(function).__name__))
    if name == "__get__":
        return f"{getattr(function.__self__, '__name__', '')}.get"
    if name == "__set__":
        return f"{getattr(function.__self__, '__name__', '')}.set"
    is_dunder = name.startswith("__") and name.endswith("__")
    name = name.strip("_") if is_dunder else name
    name = _DUNDERS.get(name, name)
    if isinstance(function, FunctionType) and (function.__module__ or "") == "torch.nn.functional":
        return f"F.{name}"
    return name


@dataclass(eq=False, slots=True)
class Call:
    """One call of a function.

    name: see `function_name`; results: the tensors it returned (of a call in place that returns none, the one changed).
    overwritten: the tensor that was changed in place.
    inner: what it dispatched to, as (op, arguments, keyword arguments, result).
    match: the op it is, if that is known already.
    function, returned: what was called, and what it returned, as it was returned.
    is_bounded: whether values decide how much it returns, and all there can be was assumed.
    known: what equal calls have in common, if the op cache knows it by its arguments.
    """

    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    results: tuple[torch.Tensor, ...]
    overwritten: torch.Tensor | None
    where: ModuleCall
    inner: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = field(default_factory=list)
    match: Match | None = None
    function: Any = None
    is_bounded: bool = False
    returned: Any = None
    known: KnownCall | None = None
    _operands: list[torch.Tensor] | None = None

    @property
    def operands(self) -> list[torch.Tensor]:
        """The tensors among its arguments."""
        if self._operands is None:
            keywords = self.keywords
            self._operands = list(operands_in((*self.arguments, *keywords.values()) if keywords else self.arguments))
        return self._operands

    @operands.setter
    def operands(self, tensors: list[torch.Tensor]) -> None:
        self._operands = tensors

    def get(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument by its place or name."""
        if place < len(self.arguments):
            return self.arguments[place]
        return self.keywords.get(name, default)

    @property
    def is_training(self) -> bool | None:
        """The mode that it is given as an argument; None where it takes none."""
        place, name, default = MODE_ARGUMENTS.get(self.name, (0, "", None))
        return bool(self.get(place, name, default)) if name else None

    @property
    def inplace(self) -> bool:
        """Whether the call changed its first argument."""
        return self.overwritten is not None and self.overwritten is self.get(0, "input", self.keywords.get("self"))


@dataclass(slots=True)
class Match:
    """A call as an op of the library.

    reads: its inputs in order, tensors or plain numbers.
    weights: the tensors behind the op's weights, by the op's names.
    optional: how many of the last inputs the op leaves out where they are constants (first states of zeros).
    also: tensors that the call reads beside the op's inputs: masks; extra: the work that they take.
    is_ruled: whether the op's rule for what autograd keeps holds for the call.
    """

    op: Op
    reads: tuple[Any, ...]
    weights: dict[str, torch.Tensor | None] = field(default_factory=dict)
    optional: int = 0
    also: tuple[torch.Tensor, ...] = ()
    extra: Work = Work()
    is_ruled: bool = True


@dataclass(slots=True, eq=False)
class KnownNode:
    """The node that a call became whose operands are all results of nodes, or inputs of the model.

    reads: the numbers of the operands that are the node's inputs; the other fields are those of a draft.
    has_no_rule: whether no rule tells what autograd keeps of it.
    stored: of a layer that is called again, its weights and buffers, which another node owns.
    """

    op: Op
    reads: tuple[int, ...]
    function: str
    recorded: RecordedCalls | NotRecorded | None
    copies: tuple[tuple[int, int], ...]
    overwrites: int | None
    has_no_rule: bool
    owned: OwnedTensors
    own: tuple[tuple[str, str], ...]
    stored: tuple[StoredTensor, ...]


@dataclass(slots=True, eq=False, kw_only=True)
class KnownCall:
    """What calls of the same arguments have in common.

    nodes: what they became, by the dtype and mode of the model; further: the numbers of the operands that are weights.
    has_places: whether they may take parts of the same sizes at different places.
    """

    nodes: dict[tuple[str, bool], KnownNode] = field(default_factory=dict)
    further: tuple[int, ...] = ()
    has_places: bool = False

    def match(self, operands: list[torch.Tensor]) -> Match | None:
        """Return what a call of these tensors is, if its arguments alone tell that."""
        return None


Handler = Callable[[Call], "Match | None"]


@dataclass(frozen=True, slots=True, eq=False)
class CallRecord:
    """A call as a later run of the same model can be held against it.

    path: the module it was called from; shapes: of the tensors it returned.
    node: the node that is this call; None where it has none (work on weights, constants, another name for a tensor).
    below: whether only the dispatch mode saw it, below Python.
    operands, results: the tensors it was given and returned, by which calls follow from one another.
    """

    name: str
    path: str
    shapes: tuple[tuple[int, ...], ...]
    node: int | None
    below: bool
    operands: tuple[torch.Tensor, ...]
    results: tuple[torch.Tensor, ...]


SAME = words(
    """
    detach alias lift_fresh requires_grad_ data.get detach_ as_subclass cpu cuda retain_grad aten.detach aten.alias
    aten.lift_fresh pin_memory
    """
)
"""Calls whose result is the tensor they were given, under another name."""


MAYBE_SAME = words(
    """
    contiguous to type type_as float half double bfloat16 int long bool expand expand_as view reshape view_as
    reshape_as squeeze broadcast_to aten.view aten._to_copy aten.expand aten._unsafe_view getitem aten.slice flatten
    clone_ aten.view_as
    """
)
"""Calls that return the very memory and shape they were given where there is nothing to do."""

TURNS = words("squeeze_ unsqueeze_ t_ transpose_ swapaxes_ swapdims_ as_strided_ resize_ resize_as_ set_")
"""Calls that make a tensor another view of its memory, in place, and change none of its elements."""


FACTORIES = words(
    """
    new new_zeros new_ones new_full new_empty new_tensor zeros_like ones_like full_like empty_like rand_like randn_like
    randint_like zeros ones full empty rand randn arange
    aten.new_zeros aten.new_ones aten.new_full aten.new_empty aten.zeros_like aten.ones_like
    aten.full_like aten.empty_like aten.rand_like aten.randn_like aten.new_empty_strided
    """
)
"""Calls that take a tensor for its shape or dtype only."""


DROPOUTS = words(
    """
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout
    """
)


MODE_ARGUMENTS: dict[str, tuple[int, str, bool]] = {
    **{f"{home}{name}": (2, "training" if home else "train", True) for name in sorted(DROPOUTS) for home in ("F.", "")},
    **dict.fromkeys(("F.batch_norm", "batch_norm"), (5, "training", False)),
    "F.instance_norm": (5, "use_input_stats", True),
    "F.multi_head_attention_forward": (13, "training", True),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), (6, "train", False)),
}
"""Arguments that a module passes its mode on in: their places, names and defaults."""


FIRST_ONLY = words(
    """
    _pack_padded_sequence aten._pack_padded_sequence aten.native_batch_norm aten.native_layer_norm
    aten.native_group_norm aten.cudnn_batch_norm
    """
)
"""Calls whose other results no call of the model computes with: statistics for training, how many sequences have each
step (a constant, as lengths are, or all steps are assumed)."""


_PARTS = ("linalg", "fft", "special")
"""Parts of PyTorch whose functions have the part's name in front of their own."""


class NotPlainError(Exception):
    """A call cannot be written down."""


def path_of(function: Callable[..., Any]) -> str | None:
    """Return the name by which a function is found again, see `RecordedCall`; None where it has none."""
    try:
        return _path_of(function)
    except TypeError:
        return None  # what cannot be hashed is no function of PyTorch


@cache
def _path_of(function: Callable[..., Any]) -> str | None:
    """Work out what `path_of` returns."""
    if isinstance(function, torch._ops.OpOverload):
        return f"ops.{function.namespace}.{base_name(function)}.{function._overloadname}"
    name = str(getattr(function, "__name__", ""))
    owner = getattr(function, "__self__", None)
    if isinstance(function, torch._ops.OpOverloadPacket):
        return f"ops.{function._qualified_op_name.replace('::', '.')}"
    if name == "__get__":
        return f"Tensor.{getattr(owner, '__name__', '')}.get"
    for path in _candidates(name):
        home, *parts = path.split(".")
        root: Any = {"Tensor": torch.Tensor, "torch": torch, "F": functional}[home]
        try:
            result = reduce(getattr, parts, root)
        except AttributeError:
            continue
        if result is function and not isinstance(result, ModuleType):
            return path
    return None


def _candidates(name: str) -> list[str]:
    parts = [f"torch.{part}.{name.removeprefix(part + '_')}" for part in _PARTS if name.startswith(f"{part}_")]
    methods = [f"Tensor.{name}", f"Tensor.__{name}__", f"Tensor.__i{name.rstrip('_')}__"]
    return [*methods, *parts, f"F.{name}", f"torch.{name}"]


def own_keywords(function: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments that are no defaults of a function written in Python."""
    if not keywords or not isinstance(function, FunctionType):
        return keywords
    defaults = {parameter.name: parameter.default for parameter in parameters_of(function) or ()}
    return {
        name: value
        for name, value in keywords.items()
        if name not in defaults or type(value) is not type(defaults[name]) or value is not defaults[name]
    }


def plain_value(value: Any, tensor: Callable[[torch.Tensor], Any]) -> Any:
    """Return an argument as plain values and references; raises NotPlainError.

    tensor: returns the reference to a tensor.
    """
    kind = type(value)
    if kind in PLAIN or (kind is tuple and PLAIN.issuperset(map(type, value))):
        return value
    if kind is slice:
        parts = (value.start, value.stop, value.step)
        return SliceOf(
            *(parts if PLAIN.issuperset(map(type, parts)) else [plain_value(each, tensor) for each in parts])
        )
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return TorchName(str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return OwnDevice()
    if isinstance(value, (tuple, list)):
        result = tuple([plain_value(each, tensor) for each in value])
        # A list of numbers indexes, a tuple of numbers means one axis each.
        return list(result) if kind is list else result
    if isinstance(value, (int, float)):
        return plain_value(int(value) if isinstance(value, int) else float(value), tensor)
    item = getattr(value, "item", None)
    if type(value).__module__ == "numpy" and item is not None and getattr(value, "ndim", 1) == 0:
        return item()
    raise NotPlainError(f"it takes a {type(value).__name__}")

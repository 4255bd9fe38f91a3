"""What a caller may change about a model: input shapes, batch, dtype, variables."""

from __future__ import annotations

import re
import warnings
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, NamedTuple, TypedDict, get_args

from cnnstat.analysis.shapes import MAX_AXES
from cnnstat.choices import Mode, Precision
from cnnstat.errors import RequestError, did_you_mean, printable
from cnnstat.ir.graph import DTYPE_BYTES, Input, check_dtype, dtype_name

_INPUT = re.compile(r"(?:(?P<name>[^\s=][^=]*?)\s*=\s*)?(?P<sizes>\d{1,30}(?:[x×,]\d{1,30})*)(?::(?P<dtype>\w+))?\Z")
_TUPLE = re.compile(r"[(\[]\s*(\d{1,30}(?:\s*,\s*\d{1,30})*\s*,?)\s*[)\]]\Z")
"""Sizes as Python writes them."""


@dataclass(frozen=True, slots=True)
class InputShape:
    """A shape with or without the batch axis, and perhaps a dtype."""

    sizes: tuple[int, ...]
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that a PyTorch model gets as it is."""

    value: Any


def literal(value: Any) -> Literal:
    """Return an input that a PyTorch model gets as it is, though it looks like sizes: `literal((30, 32))`.

    Beside a tensor every value is passed so.
    """
    return Literal(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Changes to a model; everything unset stays as the model has it.

    inputs: shapes by input name; the name "" means the only input.
    values: input and inputs from Python instead, where they are more than shapes. input: the only argument of a forward
        pass: sizes `(1, 3, 224, 224)`, a tensor, or any nesting of these; a list is one argument, a tuple of several is
        several. inputs: arguments by name.
    variables: values for `let:` variables, as text (evaluated) or Python values.
    arguments: arguments for the class or function that builds a PyTorch model.
    mode: whether a PyTorch model runs in `eval` or `train` mode.
    seed: what random generators start from where a PyTorch model draws numbers.
    deploy: the precision that it is deployed in; None for the network as it is written.
    input_values: numbers of an exported model's inputs by name, as far as they decide sizes or branches.
    uses_cache: whether the trace of a PyTorch model may be taken from the trace cache, and is kept there.
    keeps_values: whether its buffers are to have their values, as a module that is built from its graph needs them.
    """

    inputs: Mapping[str, InputShape] = field(default_factory=dict)
    batch: int | None = None
    dtype: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "eval"
    seed: int = 0
    deploy: str | None = None
    keeps_values: bool = False
    values: tuple[Any, Any] | None = None
    input_values: Mapping[str, Any] = field(default_factory=dict)
    uses_cache: bool = False

    def __post_init__(self) -> None:
        """Give the dtype its main name; whether there is one of that name is seen where the model is loaded."""
        if isinstance(self.dtype, str):
            object.__setattr__(self, "dtype", dtype_name(self.dtype))

    def changed_by(self, other: Request) -> Request:
        """Return what another request asks for, and of this one what it leaves open; names with values add up."""
        changes: dict[str, Any] = {}
        for each in fields(self):
            own, asked = getattr(self, each.name), getattr(other, each.name)
            if each.name != "inputs" and isinstance(own, Mapping):
                changes[each.name] = {**own, **asked}
            else:
                is_open = asked == ({} if each.default is MISSING else each.default)
                changes[each.name] = own if is_open else asked
        return Request(**changes)


class ModelOptions(TypedDict, total=False):
    """The options of `cnnstat.load`, as functions pass them on."""

    inputs: Any
    batch: int | None
    dtype: str | None
    variables: Mapping[str, Any] | None
    arguments: Mapping[str, Any] | None
    values: Mapping[str, Any] | None
    mode: Mode
    seed: int
    deploy: Precision | None


def check_seed(seed: object) -> None:
    """Raise RequestError where random generators cannot start from a value."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise RequestError(f"seed={str(seed)[:60]}: write an integer of at least 0")


def check_options(
    batch: object, dtype: object, mode: object, variables: object, arguments: object, numbers: object = None
) -> None:
    """Raise RequestError where an option from Python is of another kind than it has to be; numbers: of inputs."""
    named = (
        ("variables", variables, "classes"),
        ("arguments", arguments, "num_classes"),
        ("values", numbers, "sampling_rate"),
    )
    for name, values, example in named:
        if values is not None and not isinstance(values, Mapping):
            raise RequestError(f'{name}={values!r}: write names and values, as in {name}={{"{example}": 10}}')
        if wrong := [key for key in values or () if not isinstance(key, str)]:
            raise RequestError(f"{name}: {wrong[0]!r:.60} is no name; names are texts")
    if mode not in get_args(Mode):
        raise RequestError(f"mode={mode!r}: write eval or train")
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int)):
        raise RequestError(f"batch={batch!r}: write a whole number, as in batch=8")
    if dtype is not None and not isinstance(dtype, str):
        name = str(dtype).removeprefix("torch.")
        hint = name if name in DTYPE_BYTES else "float16"
        raise RequestError(f'dtype={dtype}: write its name, as in dtype="{hint}"')


def python_terms(message: str) -> str:
    """Return a message about options as a Python caller writes them: `input="3x32x32"` for `--input 3x32x32`."""
    for pattern, terms in _PYTHON_TERMS:
        message = re.sub(pattern, terms, message)
    return message


def _arguments_in_python(match: re.Match[str]) -> str:
    texts = [part for part in match[0].split() if part != "--argument"]
    values = parse_arguments(texts).items()
    return (
        "arguments={" + ", ".join(f'"{name}": {value if value == "…" else repr(value)}' for name, value in values) + "}"
    )


_SIZES = r"(\d[\w×,]*(?::[a-z]\w*)?)"
_NO_VALUE = r"(?:and|are|exclude|goes|has|is|leaves|mean|needs|or|out|says|shows|takes)\b"
"""Words behind an option that go on with the sentence."""

_PYTHON_TERMS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (rf"--input {_SIZES}, or (\w+)={_SIZES}", r"""input="\1", or inputs={"\2": "\3"}"""),
    (r"--input (\w+)=…", r"""inputs={"\1": …}"""),
    (rf"--input {_SIZES}", r'input="\1"'),
    (r"--input (\S+): write sizes", r'input="\1": write sizes'),
    (r"--input (\w+):", r"inputs: \1:"),
    (r"--(batch|samples|threads|depth|top|sample|jobs) (-?\d+)", r"\1=\2"),
    (r"--trace ([^\s:]+)", r'trace="\1"'),
    (rf"--(mode|dtype|device|deploy|optimizer|to|by|style|expand) (?!{_NO_VALUE})([\w:.-]*\w)", r'\1="\2"'),
    (
        r"--(input|batch|mode|dtype|device|deploy|optimizer|trace|threads|samples|baseline|depth|top"
        r"|by|style|field|expand|full|profile|image|where|pareto|sort|sample|jobs|executor)\b",
        r"\1",
    ),
    (r"--argument \w+=[^\s;,]+(?: --argument \w+=[^\s;,]+)*", _arguments_in_python),
    (r"--(?:set|variable)\b", "variables="),
    (r"--argument\b", "arguments="),
    (r"--value\b", "values="),
    (r"--no-run\b", "run=False"),
)
"""Patterns of options in messages, and what a Python caller writes instead; the first ones first."""


def parse_input(text: str) -> tuple[str, InputShape]:
    """Return name and shape of `[name=]3x227x227[:dtype]`; raises RequestError."""
    match = _INPUT.match(_plain_sizes(text.strip()))
    if match is None:
        raise RequestError(f"--input {text[:60]}: write sizes as in 3x224x224, or name=1x128:int64")
    if "," in match["sizes"] and re.search("[x×]", match["sizes"]):
        raise RequestError(f"--input {text[:60]}: write sizes as in 3x224x224; several in a sweep as 3x{{160,224}}x=")
    sizes = tuple(int(size) for size in re.split("[x×,]", match["sizes"]))
    return match["name"] or "", input_shape(sizes, match["dtype"])


def _plain_sizes(text: str) -> str:
    """Return sizes in their plain form, where they are as Python writes them (`(3, 32, 32)`) or `3X32X32`."""
    head, name, sizes = text.rpartition("=")
    if (match := _TUPLE.match(sizes)) is not None:
        sizes = "x".join(match[1].replace(" ", "").rstrip(",").split(","))
    return f"{head}{name}{re.sub('(?<=[0-9])X(?=[0-9])', 'x', sizes)}"


def parse_inputs(texts: Sequence[str]) -> dict[str, InputShape]:
    """Return input shapes by name from texts as `parse_input` takes them; raises RequestError."""
    inputs: dict[str, InputShape] = {}
    for text in texts:
        name, shape = parse_input(text)
        if name in inputs:
            fault = f"{name} is given twice" if name else "write name=sizes to tell several inputs apart"
            raise RequestError(f"--input {text[:60]}: {fault}")
        inputs[name] = shape
    return inputs


def shape_from(value: Any) -> InputShape | None:
    """Return the shape that a Python value is, sizes or a text such as `3x32x32`; None where it is something else.

    Raises RequestError for numbers that are no sizes.
    """
    if isinstance(value, str):
        return parse_input(value)[1] if _INPUT.match(value.strip()) else None
    if isinstance(value, (tuple, list)) and value and all(isinstance(size, Real) for size in value):
        return input_shape(value)
    return None


def input_shape(sizes: Sequence[int], dtype: str | None = None) -> InputShape:
    """Return a shape whose sizes are checked; raises RequestError."""
    if not sizes or any(isinstance(size, bool) or not isinstance(size, Integral) or size < 1 for size in sizes):
        raise RequestError(f"input {str(tuple(sizes))[:60]}: every size must be an integer of at least 1")
    if len(sizes) > MAX_AXES:
        raise RequestError(f"input: {len(sizes)} sizes; a tensor has at most {MAX_AXES}")
    if any(size > 2**31 - 1 for size in sizes):
        raise RequestError("input: no size may exceed 2147483647")
    return InputShape(tuple(map(int, sizes)), None if dtype is None else check_dtype(dtype))


class DeclaredInput(NamedTuple):
    """An input as a spec writes it: sizes without the batch, and the batch unless asked for another; None for none."""

    name: str
    sizes: tuple[int, ...]
    dtype: str
    batch: int | None = 1


def inputs_by_name(request: Request, names: Sequence[str]) -> dict[str, InputShape]:
    """Return the shapes that are asked for by the names of a model's inputs, the only one's for the name "".

    Raises RequestError for names that none of them has, those of numbers (`--value`) too.
    """
    requested = dict(request.inputs)
    listed = ", ".join(map(printable, names[:8])) or "none"
    if "" in requested and len(names) != 1:
        first = printable(names[0])[:80] if names else "name"
        raise RequestError(f"the model has {len(names)} inputs; write --input {first}=…, one for each of {listed}")
    if "" in requested:
        requested[names[0]] = requested.pop("")
    for option, named in (("--input", requested), ("--value", request.input_values)):
        for name in named:
            if name not in names:
                hint = did_you_mean(name, names)
                raise RequestError(f"{option} {printable(name)[:80]}: the model's inputs are {listed}{hint}")
    return requested


def resolve_inputs(declared: Sequence[DeclaredInput], request: Request) -> tuple[Input, ...]:
    """Return the inputs with their batch axis.

    A requested shape of the declared rank gets the batch in front; one axis more is taken as including it.
    Raises RequestError if a name or rank does not fit.
    """
    requested = inputs_by_name(request, [each.name for each in declared])
    return tuple(_resolved(each, requested.get(each.name), request) for each in declared)


def _resolved(declared: DeclaredInput, requested: InputShape | None, request: Request) -> Input:
    """Return one input with the request applied."""
    name, sizes, dtype, own_batch = declared
    if request.batch is not None and request.batch < 1:
        raise RequestError("--batch must be at least 1")
    if own_batch is None:
        return _whole(declared, requested)
    batch = own_batch if request.batch is None else request.batch
    if requested is None:
        return Input(name, (batch, *sizes), dtype)
    own = requested.dtype or dtype
    if len(requested.sizes) == len(sizes):
        return Input(name, (batch, *requested.sizes), own)
    if len(requested.sizes) != len(sizes) + 1:
        declared_sizes = "×".join(map(str, sizes))
        raise RequestError(
            f"--input {'x'.join(map(str, requested.sizes))}: {name} is {declared_sizes} ({len(sizes)} sizes, or "
            f"{len(sizes) + 1} with the batch in front)"
        )
    if request.batch is not None and request.batch != requested.sizes[0]:
        raise RequestError(f"--input has a batch of {requested.sizes[0]}, but --batch says {request.batch}; keep one")
    return Input(name, requested.sizes, own)


def _whole(declared: DeclaredInput, requested: InputShape | None) -> Input:
    """Return an input without a batch axis, with the shape that is asked for."""
    name, sizes, dtype, _ = declared
    if requested is None:
        return Input(name, sizes, dtype)
    if len(requested.sizes) != len(sizes):
        declared_sizes = "x".join(map(str, sizes)) or "a single number"
        raise RequestError(
            f"--input {'x'.join(map(str, requested.sizes))}: {name} is {declared_sizes}, and has no batch"
        )
    return Input(name, requested.sizes, requested.dtype or dtype)


def parse_variables(texts: Sequence[str]) -> dict[str, str]:
    """Return variables and their values from texts `name=value`; raises RequestError."""
    variables = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.strip().isidentifier() or not value.strip():
            raise RequestError(f"--variable {text[:60]}: write name=value, as in classes=10")
        variables[name.strip()] = value.strip()
    return variables


def parse_input_values(texts: Sequence[str]) -> dict[str, Any]:
    """Return numbers of inputs by name from texts `name=16000` or `name=[1,3]`; raises RequestError."""
    values = {}
    for text in texts:
        name, separator, written = text.rpartition("=")
        try:
            value = literal_eval({"true": "True", "false": "False"}.get(written.strip().lower(), written.strip()))
            is_number = _is_numbers(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            is_number = False
        if not separator or not name.strip() or not is_number:
            raise RequestError(
                f"--value {text[:60]}: write an input's name and its number, as in sr=16000 or size=[8,8]"
            )
        values[name.strip()] = value
    return values


def _is_numbers(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_numbers, value))
    return isinstance(value, (bool, int, float))


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Return arguments from texts `name=value`; a value is a Python literal, true, false, null, or else text."""
    words = {"true": True, "false": False, "null": None, "none": None}
    arguments = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.strip().isidentifier():
            raise RequestError(f"--argument {text[:60]}: write name=value, as in num_classes=10")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a backslash in a text, say
                arguments[name.strip()] = literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            arguments[name.strip()] = words.get(value.strip().lower(), value)
    return arguments

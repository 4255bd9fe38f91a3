"""Building models without weights: nothing is initialized, and large tensors get no memory."""

from __future__ import annotations

import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cnnstat.call_cleanup import until_call_ends
from cnnstat.choices import words
from cnnstat.errors import CnnstatError, ModelError, RequestError, SourceError, did_you_mean
from cnnstat.pytorch.calls import function_name, parameters_of
from cnnstat.pytorch.gpu_simulation import on_cpu, simulated_gpu
from cnnstat.pytorch.model_code import drawing_values, told_by_stand_ins
from cnnstat.pytorch.model_isolation import own_generators, same_process
from cnnstat.pytorch.process_state import change_settings
from cnnstat.pytorch.random_generators import Generators, same_random_numbers
from cnnstat.pytorch.tensors import operands_in
from cnnstat.pytorch.thread_changes import quiet, stdout_to_stderr

MIN_META_ELEMENTS = 4096
"""Tensors from this size on are made without memory."""


WAYS = ("without memory for large tensors", "without initializing", "as the model builds itself")
"""How a model is built; each way is tried where the one before fails."""


@dataclass(frozen=True, slots=True)
class ModelCode:
    """Code that gives a model: a class or function that makes one, or the model itself.

    source: how it was named. library: `torchvision`, `timm`, or empty; name: what the model is called there.
    fixed: arguments that every model of the library is built with.
    settings: those of PyTorch that the code changed when it was imported, with their values.
    """

    source: str
    factory: Callable[..., Any] | None
    model: Any
    name: str
    library: str = ""
    fixed: tuple[tuple[str, Any], ...] = ()
    settings: tuple[tuple[Any, Any], ...] = ()

    def build(
        self,
        arguments: Mapping[str, Any],
        first_way: int,
        seed: int = 0,
        draw: int = 0,
        drawn: list[Any] | None = None,
    ) -> tuple[nn.Module, str]:
        """Return the model, and which of `WAYS` made it; raises SourceError, RequestError or ModelError.

        seed, draw, drawn: as in `construct`.
        """
        change_settings(self.settings)
        if self.factory is None:
            if arguments:
                raise RequestError(f"{self.source}: is a model already; only a class or function takes --argument")
            return self.model, WAYS[first_way]
        model, way = construct(self.factory, {**dict(self.fixed), **arguments}, self.name, first_way, seed, draw, drawn)
        if isinstance(model, nn.Module):
            return model, way
        if inspect.isclass(self.factory):
            raise SourceError(f"{self.name} is a class, but no torch.nn.Module")
        article = "nothing" if model is None else f"a {type(model).__name__}"
        raise SourceError(f"{self.name} returns {article}; name a function that returns one torch.nn.Module")


def construct(
    factory: Callable[..., Any],
    arguments: dict[str, Any],
    name: str,
    first_way: int = 0,
    seed: int = 0,
    draw: int = 0,
    drawn: list[Any] | None = None,
) -> tuple[Any, str]:
    """Return what a factory makes, and which of `WAYS` made it; raises ModelError with the last way's error.

    draw: which of several sequences of random numbers follows from the seed. drawn: gets the random generators whose
    numbers may have decided what was made, if given.
    """
    check_arguments(factory, arguments, name)
    contexts = (_sparing, _uninitialized, _as_built)
    reason: Exception | None = None
    for way in range(first_way, len(WAYS)):
        try:
            with (
                _drawing(factory, seed, draw) as generators,
                generators.watched() as used,
                quiet(),
                simulated_gpu(),
                contexts[way]() as reading,
            ):
                made = factory(**arguments), WAYS[way]
            if drawn is not None:
                drawn += [each for each in used if reading.is_after_draw or not isinstance(each, torch.Generator)]
            return made
        except CnnstatError:
            raise
        except Exception as error:
            reason = error
            if _is_fetching(error):
                # The other ways would wait for the same network.
                raise ModelError(f"{name} cannot be built: {error_line(error)}{_without_weights(factory)}") from error
    message = "" if reason is None else error_line(reason)
    raise ModelError(f"{name} cannot be built: {message}") from reason


@contextmanager
def _drawing(factory: Callable[..., Any], seed: int, draw: int) -> Iterator[Generators]:
    """Leave random generators as they were, those of the factory's file too, so that each call makes the same."""
    home = [getattr(factory, "__module__", None) or ""]
    held = own_generators((factory, *drawing_values(home)))
    with same_random_numbers(None, held) as generators:
        # What a file's generators start from, it may have said itself.
        if draw:
            generators.seed(seed + draw)
        with same_random_numbers(seed + draw), told_by_stand_ins(home):
            yield generators


_FETCHING = (
    "URLError",
    "HTTPError",
    "ConnectionError",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "MaxRetryError",
)
"""Names of the errors, in Python and in the libraries that fetch weights, of a network that does not answer."""


def _is_fetching(error: BaseException | None) -> bool:
    """Whether a model could not be built because it fetches something; other errors may stand around that one."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return any(kind.__name__ in _FETCHING for each in chain for kind in type(each).__mro__)


def _without_weights(factory: Callable[..., Any]) -> str:
    """Return how to ask for a model without trained weights, as far as the names of its arguments tell."""
    parameters = parameters_of(factory)
    if parameters is None:
        return ""
    flags = [
        f"--argument {p.name}={'false' if isinstance(p.default, bool) else 'none'}"
        for p in parameters
        if ("weight" in p.name or "pretrained" in p.name)
        and p.default is not p.empty
        and p.default not in (None, False)
    ]
    return (
        f"; no weights are needed: write {' '.join(flags)}"
        if flags
        else "; no weights are needed: choose arguments that leave them out"
    )


def check_arguments(factory: Callable[..., Any], arguments: dict[str, Any], name: str) -> None:
    """Raise ModelError where a factory needs an argument that is not given, or does not take one that is."""
    parameters = parameters_of(factory)
    if parameters is None:
        return
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [argument for argument in arguments if argument not in {p.name for p in named}]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = [p.name for p in named]
        hint = did_you_mean(unknown[0], known) or f"; it takes {', '.join(known) or 'none'}"
        raise ModelError(f"{name} takes no argument {unknown[0]}{hint}")
    by_place = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if by_place:
        raise ModelError(f"{name} takes {by_place[0]} by its place only; write a function that takes none, or by name")
    missing = [p.name for p in named if p.default is p.empty and p.name not in arguments]
    if missing:
        flags = " ".join(f"--argument {argument}=…" for argument in missing)
        raise ModelError(f"{name} needs {' and '.join(missing)}; write {flags}")


@contextmanager
def _sparing() -> Iterator[_Reading]:
    # The mode that is entered last sees a call first, and has to see which code makes it.
    with _LargeToMeta(), on_cpu(), _Uninitialized() as mode:
        yield mode


@contextmanager
def _uninitialized() -> Iterator[_Reading]:
    with on_cpu(), _Uninitialized() as mode:
        yield mode


@contextmanager
def _as_built() -> Iterator[_Reading]:
    with on_cpu(), _Reading() as mode:
        yield mode


_READS: frozenset[Any] = frozenset(
    getattr(torch.Tensor, name)
    for name in words("item tolist numpy nonzero unique __bool__ __int__ __float__ __index__ __array__ __contains__")
) | {torch.nonzero, torch.unique, torch.equal}
"""Functions whose result, or how much of it there is, Python code may go by."""


class _Reading(TorchFunctionMode):
    """Knows whether the values of a tensor are read after PyTorch has drawn numbers, which may be among them."""

    def __init__(self) -> None:
        super().__init__()
        self._start = torch.get_rng_state()
        self.is_after_draw = False

    def note(self, function: Any) -> None:
        """Note a call before it runs."""
        if function in _READS and not self.is_after_draw:
            self.is_after_draw = not torch.equal(torch.get_rng_state(), self._start)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one call."""
        self.note(func)
        return func(*args, **(kwargs or {}))


_IN_INIT: dict[Any, Any] = {torch.Tensor.is_meta.__get__: True, torch.Tensor.any: False}  # type: ignore[attr-defined]
"""What functions of torch.nn.init are told where they ask: a tensor on the meta device is left alone by them, and where
values are drawn until none is out of range, none is."""


class _Uninitialized(_Reading):
    """Lets the functions of torch.nn.init leave their tensor as it is, in this thread alone.

    Their calls are recognized by the code that makes them: models import these functions by name, so that nothing put
    in their place would be seen, and other threads need the functions as they are.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one call, unless torch.nn.init makes it to fill a tensor, or it is a function of torch.nn.init."""
        keywords = kwargs or {}
        if getattr(func, "__globals__", None) is vars(nn.init):
            return keywords["tensor"] if "tensor" in keywords else args[0]
        caller = sys._getframe(1)
        if caller.f_globals is vars(nn.init):
            if func in _IN_INIT:
                return _IN_INIT[func]
            if function_name(func).endswith(("_", "setitem")):
                return args[0]
            # It factorizes a matrix of this size, unless the tensor is empty.
            if caller.f_code.co_name == "orthogonal_" and func is torch.Tensor.numel:
                return 0
        self.note(func)
        return func(*args, **keywords)


_FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)


class _LargeToMeta(TorchFunctionMode):
    """Makes large new tensors on the meta device; what is computed from these and others goes there too."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one call, on the meta device if it makes a large tensor on the CPU."""
        keywords = kwargs or {}
        if func in _FACTORIES and keywords.get("device") in (None, "cpu", torch.device("cpu")):
            size = args[:1] if func is torch.full else args
            if _elements(size, keywords) >= MIN_META_ELEMENTS:
                keywords = {**keywords, "device": "meta"}
        try:
            return func(*args, **keywords)
        except Exception:
            tensors = list(operands_in((*args, *keywords.values())))
            # What is written into a tensor with memory cannot be left out.
            changes = function_name(func).endswith(("_", "setitem")) or "out" in keywords
            if changes or len({tensor.device.type for tensor in tensors}) < 2:
                raise
            return func(*map(_on_meta, args), **{name: _on_meta(value) for name, value in keywords.items()})


def _on_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    return type(value)(map(_on_meta, value)) if type(value) in (list, tuple) else value


def _elements(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> int:
    size = arguments or (keywords.get("size", ()),)
    if len(size) == 1 and isinstance(size[0], (list, tuple)):
        size = tuple(size[0])
    return math.prod(size) if all(isinstance(length, int) for length in size) else 0


_HOMES = tuple(str(Path(file).parent) for file in (torch.__file__, sys.modules["cnnstat"].__file__ or "") if file)
"""Folders whose code is not the model's."""


@contextmanager
def no_exit(source: str) -> Iterator[None]:
    """Let code of a model not end the program, as `sys.exit` and exceptions of its own beside Exception would."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except SystemExit as left:
        raise ModelError(f"{source[:200]}: its code ends the program (sys.exit, code {left.code})") from left
    except BaseException as error:
        raise ModelError(f"{source[:200]}: its code raises {error_line(error)}, which is no Exception") from error


@contextmanager
def readable(source: str) -> Iterator[None]:
    """Say in one line of a model that it cannot even be looked at: PyTorch walks through nested modules recursively."""
    try:
        with no_exit(source):
            yield
    except RecursionError as error:
        limit = sys.getrecursionlimit()
        message = f"its modules are nested too deeply, or its code calls itself without end (recursion limit {limit})"
        raise ModelError(f"{source[:200]}: {message}") from error


@contextmanager
def contained(source: str) -> Iterator[None]:
    """Let code of a model neither write to standard output, where a report goes, nor end the program or need a GPU.

    What it changes in the process lasts until the call of the Python interface ends.
    """
    until_call_ends(same_process)
    with stdout_to_stderr(), readable(source), simulated_gpu():
        yield


def error_line(error: BaseException) -> str:
    """Return an error in one line, with the last place in the model's own code."""
    message = " ".join(str(error).split())[:300]
    place = _place(error)
    what = type(error).__name__ + (f": {message}" if message else "")
    return what + (f" ({place})" if place and place not in message else "")


def _place(error: BaseException) -> str:
    """Return the innermost file and line outside of PyTorch and cnnstat, such as `nets.py:12`."""
    result = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith(("<", *_HOMES)) and "importlib" not in file:
            result = f"{Path(file).name}:{line}"
    return result

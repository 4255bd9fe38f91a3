"""Options of the Python interface: what signatures show, what values are taken, and messages in Python's terms."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from operator import index
from typing import Any, TypeVar, cast, get_args

from cnnstat import choices
from cnnstat.call_cleanup import call_cleanup
from cnnstat.errors import CnnstatError, RequestError, SpecError, did_you_mean
from cnnstat.sources.request import python_terms

Function = TypeVar("Function", bound=Callable[..., Any])

COMMAND_NAMES = {"set": "variables", "variable": "variables", "arg": "arguments", "argument": "arguments"}
"""What an option of the command line is called in Python, where that is not its name."""


def takes_options_of(other: Callable[..., Any], *, without: str = "") -> Callable[[Function], Function]:
    """Let a function that passes `**options` on to another show in its signature what these are, and refuse others.

    without: an option of the other that this function does not take.
    """

    def decorate(function: Function) -> Function:
        *own, last = inspect.signature(function).parameters.values()
        assert last.kind is last.VAR_KEYWORD
        named = {each.name for each in own}
        options = [
            each.replace(kind=each.KEYWORD_ONLY)
            for each in inspect.signature(other).parameters.values()
            if each.name not in named | {"source", without}
        ]
        own_options = [each for each in own if each.kind is each.KEYWORD_ONLY]
        first = [each for each in own if each.kind is not each.KEYWORD_ONLY]
        signature = inspect.Signature(
            [*first, *options, *own_options], return_annotation=inspect.signature(function).return_annotation
        )
        return checked(function, signature)

    return decorate


def in_python_terms(function: Function) -> Function:
    """Return a function that refuses wrong options and speaks of them as Python has them, with its own signature."""
    return checked(function, inspect.signature(function))


def checked(function: Function, signature: inspect.Signature) -> Function:
    """Return a function that refuses options of another kind than its signature says, with errors in Python's terms."""

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        __tracebackhide__ = True
        for name in keywords:
            if name not in signature.parameters:
                other = COMMAND_NAMES.get(name)
                hint = f"; did you mean {other}?" if other else did_you_mean(name, signature.parameters)
                raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}{hint}")
        try:
            values = {n: _value(n, v, signature.parameters[n]) for n, v in keywords.items()}
            with call_cleanup():
                return function(*arguments, **values)
        except CnnstatError as error:
            if not isinstance(error, SpecError):  # messages speak of options as the command line has them
                error.args = tuple(python_terms(part) if isinstance(part, str) else part for part in error.args)
            if os.environ.get("CNNSTAT_TRACEBACK"):
                raise
            # Of what a caller did wrong the caller's own line tells more than ours; a model's error is the cause.
            raise error.with_traceback(None) from error.__cause__

    call.__signature__ = signature  # type: ignore[attr-defined]  # read by inspect
    return cast(Function, call)


def _value(name: str, value: Any, parameter: inspect.Parameter) -> Any:
    """Return an option's value as its annotation has it; raises RequestError where it is of another kind."""
    kind = str(parameter.annotation).removesuffix(" | None")
    if (value is None and parameter.default is None) or name in CHECKED_ELSEWHERE:
        return value
    if kind == "bool":
        is_number = isinstance(value, int) and value in (0, 1)
        if type(value).__name__ not in ("bool", "bool_") and not is_number:  # numpy has its own
            raise RequestError(f"{name}={value!r:.60}: write True or False")
        return bool(value)
    if kind == "int":
        try:
            assert not isinstance(value, bool)
            return index(value)
        except (AssertionError, TypeError):
            raise RequestError(f"{name}={value!r:.60}: write a whole number, as in {name}=8") from None
    if kind in WORDS:
        words = get_args(getattr(choices, kind))
        text = str(value) if type(value).__module__ == "torch" else value  # torch.device("cuda")
        if not isinstance(text, str):
            raise RequestError(f"{name}={value!r:.60}: write {', '.join(words[:3])}")
        return text
    if kind == "str | os.PathLike[str]" and not isinstance(value, (str, os.PathLike)):
        raise RequestError(f"{name}={value!r:.60}: write the path of a file")
    return value


WORDS = ("Optimizer", "Precision", "ExportFormat", "Device", "DrawShare", "DrawStyle")
"""Kinds of options that are one of several words; which, is checked where they are used."""

CHECKED_ELSEWHERE = ("dtype", "mode", "seed", "variables", "arguments")
"""Options of a model, which `sources/request.py` checks."""

"""The command line: finds the command that is asked for, runs it, and turns errors into lines and exit codes.

Exit codes: 0 fine, 1 a limit is broken, 2 the usage or the model is wrong, 3 something could not be verified.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
import threading
import traceback
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cnnstat.errors import CnnstatError, SpecError, inert_line, printable

COMMANDS = {
    "analyze": "analyze:analyze",
    "compare": "compare:compare",
    "explain": "explain:explain",
    "draw": "draw:draw",
    "profile": "profile:profile",
    "sweep": "sweep:sweep",
    "verify": "verify:verify",
    "export": "export:export",
    "check": "check:check",
    "list": "reference:list_zoo",
    "ops": "reference:ops",
    "schema": "reference:schema",
    "cache": "cache:cache",
}
"""Where under cnnstat.commands each command's function is, in the order of `cnnstat --help`."""


class Commands(TyperGroup):
    """The group of all commands; a command's file is read only when the command is called or listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; for a name that none has, load all, so that the nearest can be suggested."""
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = load_command(name)
        return self.commands.get(cmd_name)


def load_command(name: str) -> Any:
    """Return the command that typer makes of a function under cnnstat.commands."""
    from cnnstat.commands.options import flattened

    module, function = COMMANDS[name].split(":")
    single = typer.Typer(add_completion=False, context_settings=HELP_FLAGS)
    examples = "\n\n".join(("Examples:", *(f"  cnnstat {line}" for line in EXAMPLES[name])))
    single.command(name, epilog=examples)(flattened(getattr(import_module(f"cnnstat.commands.{module}"), function)))
    return _with_old_names(_without_types(typer.main.get_command(single)))


def _converting_late(parameter: Any) -> None:
    """Let typer convert a parameter's value only where one is given that is no text.

    Typer makes a converter of every option, used or not, for which it imports pydantic: a quarter of a short run.
    """
    # Before 0.29 typer had no such method, and converted values itself.
    converter = getattr(parameter, "get_runtime_param", None)
    if converter is not None and not isinstance(converter, partial):
        parameter.get_runtime_param = partial(_LateConverter, converter, parameter.type_descriptor.annotation)


class _LateConverter:
    """Converts the values of one parameter: texts, defaults and what is not given as they are, all else as typer."""

    def __init__(self, converter: Any, annotation: Any) -> None:
        self._converter = converter
        self._annotation = annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a converted value; raises what typer raises."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        is_text = self._annotation is str and type(value) is str
        is_default = type(value) is type(param.default) and value == param.default
        return value if is_text or is_default else self._converter().coerce(value, param=param, ctx=ctx)


OLD_NAMES = {"--set": "--variable", "--arg": "--argument"}
"""Options by their names of before, which are read on."""


def _with_old_names(command: Any) -> Any:
    """Return a command that takes options by their old names too, and then tells the new one."""
    parse = command.parse_args

    def parse_args(context: Any, arguments: list[str]) -> Any:
        known = {name for option in command.params for name in option.opts}
        for place, argument in enumerate(arguments):
            name, equals, value = argument.partition("=")
            if name in known:
                continue
            if name in OLD_NAMES:
                print(f"cnnstat: {name} is called {OLD_NAMES[name]} now", file=sys.stderr)
                arguments[place] = f"{OLD_NAMES[name]}{equals}{value}"
            elif old := next((old for old, new in OLD_NAMES.items() if new == name and old in known), ""):
                arguments[place] = f"{old}{equals}{value}"
        return parse(context, arguments)

    command.parse_args = parse_args
    return command


def _without_types(command: Any) -> Any:
    """Return a command whose help names no Python types (`--help <bool>`, `SOURCE <str>`), and that converts late."""
    get_help_option = command.get_help_option

    def help_option(context: Any) -> Any:
        option = get_help_option(context)
        if option is not None:
            option.metavar = ""
            _converting_late(option)
        return option

    command.get_help_option = help_option
    for parameter in command.params:
        _converting_late(parameter)
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda **_: None
        elif parameter.metavar is None and parameter.is_flag:
            parameter.metavar = ""
    return command


EXAMPLES = {
    "analyze": (
        "analyze vgg16",
        "analyze resnet50 --depth 2 --sort macs",
        "analyze torchvision:resnet18 --input 3x64x64",
        "analyze vgg16 -o vgg16.csv",
        "analyze alexnet --published",
    ),
    "compare": ("compare alexnet vgg16", "compare resnet18 resnet34 resnet50 -o table.md"),
    "explain": ("explain alexnet conv1", "explain resnet50 layer1.0.conv2", "explain vgg16 12"),
    "draw": (
        "draw resnet50 -o resnet50.svg",
        "draw vgg16 --by params -o vgg16.pdf",
        "draw alexnet_2012 --style volumes -o alexnet.tex",
        "draw vgg16 --field conv3_3 -o field.svg",
    ),
    "profile": ("profile resnet18 --device cpu", "profile resnet18 --top 10 --sort time"),
    "sweep": (
        "sweep resnet50 --set classes=10,100,1000 --input 3x{160,192,224}x=",
        "sweep 'torchvision:resnet*' --where 'params < 30M' --pareto macs,params",
        "sweep vgg16 --set classes=10:1000:90 -o points.jsonl",
    ),
    "verify": ("verify resnet18", "verify torchvision:mobilenet_v2 --all"),
    "export": ("export vgg16 -o vgg16.py", "export torchvision:resnet18 --to yaml"),
    "check": ("check vgg16 --max-params 150M", "check --config cnnstat.toml -o junit:report.xml"),
    "list": ("list", "list --format json"),
    "ops": ("ops Conv2d", "ops pool", "ops sigmoid tanh ReLU LeakyReLU"),
    "cache": ("cache", "cache clear"),
    "schema": ("schema > cnnstat.schema.json",),
}
"""What the help of each command ends with."""


HELP_FLAGS = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="cnnstat",
    cls=Commands,
    help="Analyze CNN architectures: shapes, parameters, MACs, memory and receptive fields, layer by layer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP_FLAGS,
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, metavar="")
    ] = False,
) -> None:
    """Analyze CNN architectures: shapes, parameters, MACs, memory and receptive fields, layer by layer."""
    if version:
        from cnnstat.version import __version__

        print(f"cnnstat {__version__}")
        raise typer.Exit


MAX_PROBLEMS = 30
"""Faults of a spec that are printed; the rest is only counted."""

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""System errors that a full disk behind standard output gives."""


def prepare_streams() -> None:
    """Let characters that the terminal's encoding lacks print as `?`, and let what a closed stream gets be lost."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as in `cnnstat … >&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # stays open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def report_error(error: CnnstatError) -> int:
    """Print an error that cnnstat raised on purpose; return the exit code."""
    if isinstance(error, SpecError):
        lines = [str(problem) for problem in error.problems[:MAX_PROBLEMS]]
        more = len(error.problems) - len(lines)
        lines += [f"… and {more} more"] * (more > 0)
    else:
        lines = [f"cnnstat: {error}"]
    print(*(inert_line(printable(line)) for line in lines), sep="\n", file=sys.stderr)
    if error.__cause__ is None:
        return 2
    from cnnstat.commands.options import shows_tracebacks

    if shows_tracebacks():
        cause = "".join(traceback.format_exception(error.__cause__))
        print(*(inert_line(printable(line)) for line in cause.splitlines()), sep="\n", file=sys.stderr)
    return 2


def report_unexpected(error: Exception) -> int:
    """Print a usage error of the command-line parser, or a fault of cnnstat itself; return the exit code."""
    message = getattr(error, "format_message", None)
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        print(f"cnnstat: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    if isinstance(error, OSError) and error.filename is not None and not os.environ.get("CNNSTAT_TRACEBACK"):
        line = f"cnnstat: {str(error.filename)[:200]}: {error.strerror or error}; name another file"
        print(inert_line(printable(line)), file=sys.stderr)
        return 2
    if message is None:
        if os.environ.get("CNNSTAT_TRACEBACK"):
            raise error
        line = f"internal error, please report it ({type(error).__name__}: {error}); CNNSTAT_TRACEBACK=1 shows where"
        print(inert_line(printable(f"cnnstat: {line}")), file=sys.stderr)
        return 2
    if not message():  # no arguments at all: the help is already printed
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "cnnstat"
    line = message().replace("Value error, ", "")  # what pydantic puts before typer's own message
    print(inert_line(printable(f"{command}: {line} (`{command} --help` shows how)")), file=sys.stderr)
    return int(getattr(error, "exit_code", 2))


def main() -> None:
    """Run the command line; every error is one clear line (a spec's faults one each) and exit code 2."""
    # Imports leave very many objects, PyTorch a million, which the collector would walk over again and again.
    gc.set_threshold(100_000, 20, 100)
    prepare_streams()
    try:
        code = _without_types(typer.main.get_command(app)).main(prog_name="cnnstat", standalone_mode=False)
        sys.stdout.flush()
    except CnnstatError as error:
        code = report_error(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = report_unexpected(error)
    sys.exit(code or 0)


def run() -> None:
    """Run the command line as a process of its own, which ends at once; Python takes a second to dismantle PyTorch."""
    try:
        main()
    except SystemExit as done:
        if "torch" in sys.modules and isinstance(done.code, int) and not _is_waited_for():
            _leave(done.code)
        raise


def _is_waited_for() -> bool:
    """Whether other threads still work, or a debugger or profiler wants to see the end."""
    return threading.active_count() > 1 or sys.gettrace() is not None or sys.getprofile() is not None


def _leave(code: int) -> None:
    """End the process as Python would, but leave the memory to the system; returns where output cannot be written."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    atexit._run_exitfuncs()
    os._exit(code)

"""The command line: finds the command that is asked for, runs it, and turns errors into lines and exit codes.

Exit codes: 0 fine, 1 a limit is broken, 2 the usage or the model is wrong, 3 something could not be verified.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cnnstat import console

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
    """Return a command whose help names no Python types (`--help <bool>`, `SOURCE <str>`)."""
    get_help_option = command.get_help_option

    def help_option(context: Any) -> Any:
        option = get_help_option(context)
        if option is not None:
            option.metavar = ""
        return option

    command.get_help_option = help_option
    for parameter in command.params:
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


def main() -> None:
    """Run the command line; every error is one clear line (a spec's faults one each) and exit code 2."""
    from cnnstat.errors import CnnstatError

    # Imports leave very many objects, PyTorch a million, which the collector would walk over again and again.
    gc.set_threshold(100_000, 20, 100)
    console.prepare_streams()
    try:
        code = _without_types(typer.main.get_command(app)).main(prog_name="cnnstat", standalone_mode=False)
        sys.stdout.flush()
    except CnnstatError as error:
        code = console.report_error(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = console.report_unexpected(error)
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

"""Options that several commands share: those of a model stand together in one class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from cnnstat.choices import Format, Mode, Optimizer, Precision, format_endings
from cnnstat.commands.completion import column_keys, dtype_names, zoo_names
from cnnstat.errors import CnnstatError, nearest
from cnnstat.files import check_output, open_output

if TYPE_CHECKING:
    from cnnstat.analysis.analysis import Analysis
    from cnnstat.report.document import Document
    from cnnstat.sources.request import Request

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


_wanted: set[str] = set()
"""What errors of this run show beside their own line."""


def show_tracebacks(wanted: bool) -> bool:
    """Let errors of a model show where in it they come from, if wanted."""
    (_wanted.add if wanted else _wanted.discard)("traceback")
    return wanted


def shows_tracebacks() -> bool:
    """Whether errors of a model show where in it they come from."""
    return "traceback" in _wanted


def flag(name: str, help: str, **others: Any) -> Any:
    """Return an option that takes no value; its help says so by an empty word, where typer would write its type."""
    return typer.Option(name, help=help, metavar="", **others)


def model_option(*names: str, help: str, metavar: str, **others: Any) -> Any:
    """Return an option that chooses or changes a model; these stand under one heading in every command's help."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel="Model", **others)


MODE = model_option("--mode", help="Mode a PyTorch model runs in: eval or train.", metavar="MODE")
OPTIMIZER = typer.Option(help="Whose state training memory includes: sgd, momentum or adam.", metavar="NAME")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What is to be changed about a model."""

    input: Annotated[
        list[str] | None,
        model_option(
            "--input", help="Input sizes, with or without the batch: 3x227x227, or name=1x128:int64.", metavar="SIZES"
        ),
    ] = None
    batch: Annotated[int | None, model_option("--batch", help="Batch size (1 unless given).", metavar="N")] = None
    dtype: Annotated[
        str | None,
        model_option(
            "--dtype",
            help="Dtype of weights and activations, such as float16.",
            metavar="DTYPE",
            autocompletion=dtype_names,
        ),
    ] = None
    variable: Annotated[
        list[str] | None,
        model_option("--variable", help="Give a variable of the spec another value.", metavar="NAME=VALUE"),
    ] = None
    argument: Annotated[
        list[str] | None,
        model_option(
            "--argument", help="Give the class or function of a PyTorch model an argument.", metavar="NAME=VALUE"
        ),
    ] = None
    value: Annotated[
        list[str] | None,
        model_option(
            "--value", help="Give an ONNX model's input a number that decides sizes or branches.", metavar="NAME=NUMBER"
        ),
    ] = None
    mode: Annotated[Mode, MODE] = "eval"
    seed: Annotated[
        int,
        model_option("--seed", help="What random numbers that a PyTorch model draws start from.", metavar="N", min=0),
    ] = 0
    traceback: Annotated[
        bool,
        model_option(
            "--traceback",
            help="Show a PyTorch model's own error too.",
            metavar="",
            callback=show_tracebacks,
            is_eager=True,
        ),
    ] = False

    def request(self, *, uses_cache: bool = False) -> Request:
        """Return the options read; raises RequestError.

        uses_cache: whether the trace of a PyTorch model may come from the trace cache.
        """
        from cnnstat.sources.request import (
            Request,
            parse_arguments,
            parse_input_values,
            parse_inputs,
            parse_variables,
        )

        return Request(
            inputs=parse_inputs(self.input or ()),
            batch=self.batch,
            dtype=self.dtype,
            variables=parse_variables(self.variable or ()),
            arguments=parse_arguments(self.argument or ()),
            input_values=parse_input_values(self.value or ()),
            mode=self.mode or "eval",
            seed=self.seed,
            uses_cache=uses_cache,
        )


@dataclass(frozen=True, kw_only=True)
class AnalyzedOptions(ModelOptions):
    """What is to be changed about a model of which figures are computed."""

    deploy: Annotated[
        Precision | None,
        model_option(
            "--deploy",
            help="The network as it is shipped, batch norm folded and in place: float32, float16 or int8.",
            metavar="PRECISION",
        ),
    ] = None
    no_cache: Annotated[
        bool, model_option("--no-cache", help="Trace a PyTorch model anew, and keep no trace of it.", metavar="")
    ] = False

    def request(self, *, uses_cache: bool = False) -> Request:
        """Return the options read; raises RequestError."""
        return replace(super().request(uses_cache=uses_cache and not self.no_cache), deploy=self.deploy)

    def analyze(self, source: str, optimizer: Optimizer = "sgd", strict_receptive_field: bool = False) -> Analysis:
        """Return the analysis of a model with these options; raises CnnstatError."""
        from cnnstat.analysis.analysis import analyze_graph
        from cnnstat.sources.load import load_source

        return analyze_graph(
            load_source(source, self.request(uses_cache=True)), optimizer=optimizer, strict=strict_receptive_field
        )


def flattened(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command whose classes of options, as ModelOptions, are taken apart, so that typer sees every option."""
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in types.items() if is_dataclass(kind)}
    options: dict[str, inspect.Parameter] = {}
    spelt: dict[str, str] = {}
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in groups:
            kind = groups[parameter.name]
            kinds = get_type_hints(kind, include_extras=True)
            defaults = {field.name: field.default for field in fields(kind)}
        else:
            kinds, defaults = types, {parameter.name: parameter.default}
        for name, default in defaults.items():
            for info in getattr(kinds[name], "__metadata__", ()):
                info.case_sensitive = False  # of choices: `--format JSON`
                if isinstance(info, OptionInfo) and default != "":
                    spelt[name] = next(iter(info.param_decls or ()), f"--{name.replace('_', '-')}")
            options[name] = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kinds[name]
            )

    def run(**arguments: Any) -> Any:
        for name in spelt:
            if arguments.get(name) == "":  # a shell's variable that is not set, say
                raise CnnstatError(f"{spelt[name]} is empty; give it a value, or leave it out")
        if arguments.get("output") == Path("-"):
            arguments["output"] = None
        check_outputs(arguments)
        for name, kind in groups.items():
            arguments[name] = kind(**{field.name: arguments.pop(field.name) for field in fields(kind)})
        return command(**arguments)

    run.__doc__ = command.__doc__
    run.__annotations__ = {name: option.annotation for name, option in options.items()}
    run.__signature__ = inspect.Signature([*options.values()])  # type: ignore[attr-defined]  # read by typer
    return run


WRITTEN = ("output", "trace", "chart")
"""Options that name a file which a command writes; every other path is read, and so are texts of SOURCES."""
SOURCES = ("source", "sources", "baseline")


def check_outputs(arguments: Mapping[str, Any]) -> None:
    """Raise CnnstatError if a file that a command is to write cannot be, or is one of those that it reads or writes."""
    read: list[str | Path] = []
    for name, value in arguments.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        kinds = () if name in WRITTEN else (str, Path) if name in SOURCES else Path
        read += [each for each in values if isinstance(each, kinds)]
    written: dict[Path, str] = {}
    for name in WRITTEN:
        if not isinstance(path := arguments.get(name), Path):
            continue
        check_output(path, read + _extended(arguments.get("source"), path), f"--{name}")
        if path in written and (path.is_file() or not path.exists()):  # /dev/null takes both
            raise CnnstatError(f"--{name} {path}: --{written[path]} writes the same file; name another")
        written[path] = name
    if isinstance(path := arguments.get("chart"), Path):
        from cnnstat.picture_file import check_picture_path

        check_picture_path(path, "--chart")


def _extended(source: object, output: Path) -> list[str | Path]:
    """Return the files that a spec extends, where an output that exists may be one of them."""
    from cnnstat.sources import zoo

    if not isinstance(source, str) or not output.name.endswith(zoo.SUFFIXES) or not output.is_file():
        return []
    from cnnstat.spec.spec_document import spec_files

    return [*spec_files(Path(source), zoo.find)]


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A zoo network (`cnnstat list`), a .yaml or .json file, - for one on standard input, torchvision:NAME, "
        "timm:NAME, file.py:Class, an .onnx file.",
        autocompletion=zoo_names,
    ),
]
OptimizerOption = Annotated[Optimizer, OPTIMIZER]
StrictOption = Annotated[
    bool,
    flag("--strict-receptive-field", "Let a gate with global context (squeeze-excite) count as seeing everything."),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="cuda, cuda:1, cpu or mps; CUDA where there is a GPU, else the CPU.", metavar="DEVICE"),
]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads of PyTorch's CPU ops.", metavar="N")]


def alternatives(choice: Any) -> str:
    """Return the words of a choice as text: `table, json or csv`."""
    *first, last = get_args(choice)
    return f"{', '.join(first)} or {last}"


FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format", "-f", help=f"{alternatives(Format)}; else as FILE ends, or table.", metavar="FORMAT"
    ),
]  # fmt: skip
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.", metavar="FILE")]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns", help="Columns to show, separated by commas.", metavar="KEY,…", autocompletion=column_keys
    ),
]


@dataclass(frozen=True, kw_only=True)
class LatexOptions:
    """What a paper says of a table."""

    caption: Annotated[
        str | None,
        typer.Option(help="Caption of a LaTeX table, instead of conditions and conventions.", metavar="TEXT"),
    ] = None
    label: Annotated[str | None, typer.Option(help="Label of a LaTeX table, as in tab:vgg16.", metavar="KEY")] = None

    def on(self, document: Document, format: str) -> Document:
        """Return a document with caption and label; raises CnnstatError where the format has none."""
        if format != "latex" and (self.caption is not None or self.label is not None):
            raise CnnstatError(f"--{'label' if self.caption is None else 'caption'} is of LaTeX; add --format latex")
        return document._replace(own_caption=self.caption or "", label=self.label or "")


NO_LATEX = LatexOptions()


@dataclass(frozen=True, kw_only=True)
class ChartOptions:
    """A chart beside what is printed."""

    chart: Annotated[Path | None, typer.Option(help="Write a chart too, as .svg, .png or .pdf.", metavar="FILE")] = None
    by: Annotated[
        str | None, typer.Option(help="What the chart is of, such as macs or params,macs.", metavar="KEY,…")
    ] = None

    def write(self, document: Document) -> None:
        """Write the charts of a document that are asked for; raises CnnstatError where it has none of a name."""
        if self.chart is None:
            if self.by is not None:
                raise CnnstatError("--by says what a chart is of; add --chart FILE")
            return
        from cnnstat.picture_file import write_picture

        names = split_keys(self.by)
        if names == ():
            raise CnnstatError(f"--by is empty; choose from {', '.join(document.charts())}")
        write_picture(self.chart, document.picture(names or ()).standalone(), "--chart")


NO_CHART = ChartOptions()


NOT_WRITTEN = (
    ".pdf", ".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp", ".eps", ".ps", ".dot", ".mmd", ".tikz",
    ".xlsx", ".xls", ".ods", ".docx", ".doc", ".odt", ".rtf", ".tsv", ".parquet", ".feather",
    ".xml", ".yaml", ".yml", ".toml", ".jsonl", ".pkl", ".npz", ".npy", ".ipynb", ".py", ".onnx", ".pt", ".pt2", ".pth",
    ".zip", ".gz",
)  # fmt: skip
"""Endings of files that would not hold what they promise."""


def output_format(format: Format | None, output: Path | None, *, has_charts: bool = True) -> Format:
    """Return the format that is asked for, by its name or by the ending of the output file; table for any other.

    has_charts: whether the command takes `--chart`.
    """
    if format is not None or output is None:
        return format or "table"
    endings, suffix = format_endings(), output.suffix.lower()
    if suffix not in endings and (near := nearest(suffix, endings, 0.82)):
        raise CnnstatError(f"--output {output}: {suffix} is no ending of a format; did you mean {near}?")
    if suffix not in endings and suffix in NOT_WRITTEN:
        chart = f", or write a chart with --chart {output}" if has_charts and suffix in (".svg", ".png", ".pdf") else ""
        raise CnnstatError(f"--output {output}: {suffix} is not written here; end it in {', '.join(endings)}{chart}")
    return endings.get(suffix, "table")


def write(
    document: Document,
    format: str,
    output: Path | None,
    latex: LatexOptions = NO_LATEX,
    chart: ChartOptions = NO_CHART,
) -> None:
    """Write a document to a file, or to stdout, and its chart; raises CnnstatError where options do not fit it."""
    from cnnstat import report

    document = latex.on(document, format)
    chart.write(document)
    with open_output(output) as out:
        report.write(document, format, out)


def split_keys(columns: str | None) -> tuple[str, ...] | None:
    """Return the keys of a comma-separated list."""
    return None if columns is None else tuple(key.strip() for key in columns.split(",") if key.strip())

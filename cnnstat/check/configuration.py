"""Configuration: the models to check, their limits, and what to compare them with, from `[tool.cnnstat.check]`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cnnstat.analysis.memory import OPTIMIZER_STATES
from cnnstat.check.check_result import Place
from cnnstat.check.limits import Limit, overridden, read_limits
from cnnstat.choices import Precision
from cnnstat.errors import CnnstatError
from cnnstat.files import exists, is_file, path_from_here
from cnnstat.ir.graph import check_dtype
from cnnstat.sources import zoo
from cnnstat.sources.request import InputShape, Request, input_shape, parse_input

if TYPE_CHECKING:
    from cnnstat.check.configuration_file import ConfigurationReader, Keys

NAMES = ("cnnstat.toml", "cnnstat.yaml", "cnnstat.yml", "pyproject.toml")
KEYS = ("models", "budgets", "baseline", "baseline_ref", "require_baseline", "fail_on_baseline_growth")
MODEL_KEYS = (
    "source", "name", "input", "inputs", "batch", "dtype", "variables", "set", "arguments", "values", "mode",
    "seed", "deploy", "optimizer", "strict_receptive_field", "budgets",
)  # fmt: skip
MODES = ("eval", "train")
MAX_DOUBLE_WILDCARDS = 2
"""Most `**` in one source; each more multiplies the folders that are walked."""
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One model to check.

    source: as the user wrote it, with a path from the folder of the configuration. name: what reports and baselines
        call it. request, optimizer, strict_receptive_field: how it is analyzed. limits: what must hold. setting: where
        it is listed.
    """

    source: str
    name: str
    request: Request = field(default_factory=Request)
    optimizer: str = "sgd"
    strict_receptive_field: bool = False
    limits: tuple[Limit, ...] = ()
    setting: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The content of a configuration.

    origin: the configuration's file as messages call it, or `command line`. folder: where its paths start.
    limits: those of every model. baseline, baseline_ref: the file or the git ref to compare with.
    notes: what a reader should know of how it is written, one line each.
    """

    origin: str
    folder: Path
    models: tuple[ModelSettings, ...] = ()
    limits: tuple[Limit, ...] = ()
    baseline: str | None = None
    baseline_ref: str | None = None
    require_baseline: bool = False
    fail_on_baseline_growth: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """Where a model is read from.

    source: what `load_source` takes, from the current folder. file: its file, None for a module or a library's model.
    rest: what stands behind the file, as `:Class`. is_spec: whether it is a spec of this language.
    is_zoo: whether it is a network of the zoo, which goes by its name rather than by its path.
    """

    source: str
    file: Path | None
    rest: str = ""
    is_spec: bool = True
    is_zoo: bool = False


def locate(source: str, folder: Path) -> ModelFile:
    """Return the file of a source that is written in a configuration in `folder`, or on the command line there."""
    if source in zoo.names():
        return ModelFile(source=source, file=zoo.path(source), is_zoo=True)
    head, separator, rest = source.partition(":")
    if len(head) == 1 and os.name == "nt":  # a drive letter
        drive, (head, separator, rest) = head, rest.partition(":")
        head = f"{drive}:{head}"
    is_spec = head.endswith(zoo.SUFFIXES)
    if not is_spec and not head.endswith(".py"):
        return ModelFile(source=source, file=None, is_spec=False)
    file, rest = folder / head, f"{separator}{rest}"
    return ModelFile(source=f"{path_from_here(file)}{rest}", file=file, rest=rest, is_spec=is_spec)


def find_settings(start: Path) -> Settings | None:
    """Return the settings of the nearest configuration, from a folder upwards to the repository's root.

    Without a repository only `start` itself is looked at. Raises ConfigurationError if the configuration has faults,
    and CnnstatError if one folder has two.
    """
    start = start.resolve()
    upwards = (start, *start.parents)
    root = next((number for number, folder in enumerate(upwards) if (folder / ".git").exists()), 0)
    for folder in upwards[: root + 1]:
        files = (_reader(folder / name) for name in NAMES if (folder / name).is_file())
        readers = [reader for reader in files if reader is not None]
        if len(readers) > 1:
            both = " and ".join(reader.file for reader in readers[:2])
            raise CnnstatError(f"{both} both configure `check`; keep one, or choose with --config")
        if readers:
            return read_settings(readers[0], folder)
    return None


def _reader(path: Path) -> ConfigurationReader | None:
    from cnnstat.check.configuration_file import read_configuration_file  # many checks have no configuration

    return read_configuration_file(path)


def load_settings(path: Path) -> Settings:
    """Return the settings in a file that the user names; raises CnnstatError or ConfigurationError."""
    if not is_file(path):
        raise CnnstatError(f"--config {path}: {'is no file' if exists(path) else 'there is no such file'}")
    reader = _reader(path)
    if reader is None:
        wanted = "[tool.cnnstat.check]" if path.name == "pyproject.toml" else "check"
        raise CnnstatError(f"--config {path}: has no {wanted}")
    return read_settings(reader, path.parent)


def read_settings(reader: ConfigurationReader, folder: Path) -> Settings:
    """Return the settings in a configuration; raises ConfigurationError with every fault of it."""
    table = reader.table((), KEYS)
    limits = read_limits(reader, ("budgets",)) if "budgets" in table else ()
    models = list(_read_models(reader, table.get("models", ()), limits, folder))
    _check_names(reader, models)
    if "baseline" in table and "baseline_ref" in table and not table.get("fail_on_baseline_growth"):
        reader.fault(("baseline_ref",), "baseline and baseline_ref exclude each other; keep one")
    settings = Settings(
        origin=reader.file,
        folder=folder,
        models=tuple(model for _, model in models),
        limits=limits,
        baseline=reader.text(("baseline",)),
        baseline_ref=reader.text(("baseline_ref",)),
        require_baseline=reader.flag(("require_baseline",)),
        fail_on_baseline_growth=reader.flag(("fail_on_baseline_growth",)),
        notes=tuple(dict.fromkeys(reader.notes)),
    )
    reader.finish()
    return settings


def _read_models(
    reader: ConfigurationReader, entries: Any, limits: Iterable[Limit], folder: Path
) -> Iterator[tuple[int, ModelSettings]]:
    """Yield the models of a list with their numbers; a source with wildcards stands for every file that matches."""
    if not isinstance(entries, (list, tuple)):
        reader.fault(("models",), "models must be a list of tables, each with a source")
        return
    for number in range(len(entries)):
        path = ("models", number)
        table = reader.table(path, MODEL_KEYS)
        source, name = reader.text((*path, "source")), reader.text((*path, "name"))
        if source is None:
            reader.fault(path, 'a model needs a source, as in source = "models/tiny.yaml"')
            continue
        own = read_limits(reader, (*path, "budgets")) if "budgets" in table else ()
        settings = ModelSettings(
            source=source,
            name=name or source,
            request=_read_request(reader, path, table),
            optimizer=reader.choice((*path, "optimizer"), tuple(OPTIMIZER_STATES)) if "optimizer" in table else "sgd",
            strict_receptive_field=reader.flag((*path, "strict_receptive_field")),
            limits=overridden(limits, own),
            setting=reader.place((*path, "source")),
        )
        if not _WILDCARDS & set(source):
            yield number, settings
            continue
        yield from ((number, model) for model in _matches(reader, settings, number, folder))


def _matches(
    reader: ConfigurationReader, settings: ModelSettings, number: int, folder: Path
) -> Iterator[ModelSettings]:
    path = ("models", number, "source")
    if settings.source.count("**") > MAX_DOUBLE_WILDCARDS:
        reader.fault(path, f"{settings.source[:100]}: ** stands more than {MAX_DOUBLE_WILDCARDS} times; once will do")
        return
    try:
        files = sorted(file.relative_to(folder).as_posix() for file in folder.glob(settings.source) if file.is_file())
    except (OSError, ValueError, NotImplementedError, IndexError):  # how pathlib refuses a pattern depends on Python
        files = []
    if not files:
        reader.fault(path, f"{settings.source[:100]}: no file matches")
    if settings.name != settings.source:
        reader.fault(("models", number, "name"), "one name cannot stand for several files; leave it out")
    for file in files:
        yield replace(settings, source=file, name=file)


def _check_names(reader: ConfigurationReader, models: Iterable[tuple[int, ModelSettings]]) -> None:
    """Add a fault for models that reports could not tell apart."""
    names: set[str] = set()
    for number, model in models:
        if model.name in names:
            message = f"two models are called {model.name[:60]}; give one another name"
            reader.fault(("models", number, "source"), message)
        names.add(model.name)


def _read_request(reader: ConfigurationReader, path: Keys, table: Mapping[str, Any]) -> Request:
    shapes: dict[str, InputShape] = {}
    if "input" in table:
        _read_shape(reader, (*path, "input"), "", table["input"], shapes)
    inputs = table.get("inputs", {})
    if not isinstance(inputs, Mapping):
        reader.fault((*path, "inputs"), "inputs must be a table of sizes by name; input = […] is for the only input")
    else:
        for name, sizes in inputs.items():
            _read_shape(reader, (*path, "inputs", name), name, sizes, shapes)
    values = {}
    examples = {"variables": "width = 32", "set": "width = 32", "arguments": "num_classes = 10", "values": "steps = 4"}
    for key, example in examples.items():
        values[key] = table.get(key, {})
        if not isinstance(values[key], Mapping):
            reader.fault((*path, key), f"{key} must be a table of values by name, as in {key} = {{{example}}}")
            values[key] = {}
    if "set" in table:
        reader.notes.append(f"{reader.place((*path, 'set'))}: set is called variables now")
    dtype = reader.text((*path, "dtype"))
    if dtype is not None:
        dtype = reader.parsed((*path, "dtype"), partial(check_dtype, dtype))
    return Request(
        inputs=shapes,
        batch=reader.integer((*path, "batch")),
        dtype=dtype,
        variables={**values["set"], **values["variables"]},
        arguments=dict(values["arguments"]),
        input_values=dict(values["values"]),
        mode=reader.choice((*path, "mode"), MODES) if "mode" in table else "eval",
        seed=reader.integer((*path, "seed"), at_least=0) or 0,
        deploy=reader.choice((*path, "deploy"), get_args(Precision)) if "deploy" in table else None,
    )


def _read_shape(
    reader: ConfigurationReader, path: Keys, name: str, written: Any, shapes: dict[str, InputShape]
) -> None:
    """Add the shape of one input, written as `[3, 224, 224]` or `"3x224x224"`."""
    if not isinstance(written, (str, list, tuple)):
        reader.fault(path, f"{path[-1]}: write the sizes, as in [3, 224, 224]")
        return
    shape = reader.parsed(
        path, lambda: parse_input(written)[1] if isinstance(written, str) else input_shape(tuple(written))
    )
    if shape is not None:
        shapes[name] = shape

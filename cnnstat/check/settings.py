"""Settings: the models to check, their limits, and what to compare them with, read from `[tool.cnnstat.check]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cnnstat.analysis.memory import OPTIMIZER_STATES
from cnnstat.check.limits import Limit, overridden, read_limits
from cnnstat.check.report import Place
from cnnstat.check.tables import Tables
from cnnstat.errors import CnnstatError
from cnnstat.sources.request import InputShape, Request, input_shape, parse_input
from cnnstat.units import check_dtype

KEYS = ("models", "budgets", "baseline", "baseline_ref", "require_baseline", "fail_on_baseline_growth")
MODEL_KEYS = ("source", "name", "input", "inputs", "batch", "dtype", "set", "arguments", "mode", "optimizer", "budgets")
MODES = ("eval", "train")
MAX_DOUBLE_WILDCARDS = 2
"""Most `**` in one source; each more multiplies the folders that are walked."""
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One model to check.

    source: as the user wrote it, with a path from the folder of the configuration. name: what reports and baselines
        call it. request, optimizer: how it is analyzed. limits: what must hold. setting: where it is listed.
    """

    source: str
    name: str
    request: Request = field(default_factory=Request)
    optimizer: str = "sgd"
    limits: tuple[Limit, ...] = ()
    setting: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a configuration says.

    origin: the configuration's file as messages call it, or `command line`. folder: where its paths start.
    limits: those of every model. baseline, baseline_ref: the file or the git ref to compare with.
    """

    origin: str
    folder: Path
    models: tuple[ModelSettings, ...] = ()
    limits: tuple[Limit, ...] = ()
    baseline: str | None = None
    baseline_ref: str | None = None
    require_baseline: bool = False
    fail_on_baseline_growth: bool = False


def read_settings(tables: Tables, folder: Path) -> Settings:
    """Return the settings in a configuration; raises ConfigurationError with every fault of it."""
    found = tables.table((), KEYS)
    limits = read_limits(tables, ("budgets",)) if "budgets" in found else ()
    models = list(_models(tables, found.get("models", ()), limits, folder))
    _check_names(tables, models)
    if "baseline" in found and "baseline_ref" in found and not found.get("fail_on_baseline_growth"):
        tables.fault(("baseline_ref",), "baseline and baseline_ref exclude each other; keep one")
    settings = Settings(
        origin=tables.file,
        folder=folder,
        models=tuple(model for _, model in models),
        limits=limits,
        baseline=tables.text(("baseline",)),
        baseline_ref=tables.text(("baseline_ref",)),
        require_baseline=tables.flag(("require_baseline",)),
        fail_on_baseline_growth=tables.flag(("fail_on_baseline_growth",)),
    )
    tables.finish()
    return settings


def _models(tables: Tables, listed: Any, limits: Iterable[Limit], folder: Path) -> Iterator[tuple[int, ModelSettings]]:
    """Yield the models of a list with their numbers; a source with wildcards stands for every file that matches."""
    if not isinstance(listed, (list, tuple)):
        tables.fault(("models",), "models must be a list of tables, each with a source")
        return
    for number in range(len(listed)):
        path = ("models", number)
        found = tables.table(path, MODEL_KEYS)
        source, name = tables.text((*path, "source")), tables.text((*path, "name"))
        if source is None:
            tables.fault(path, 'a model needs a source, as in source = "models/tiny.yaml"')
            continue
        own = read_limits(tables, (*path, "budgets")) if "budgets" in found else ()
        settings = ModelSettings(
            source=source,
            name=name or source,
            request=_request(tables, path, found),
            optimizer=tables.choice((*path, "optimizer"), tuple(OPTIMIZER_STATES)) if "optimizer" in found else "sgd",
            limits=overridden(limits, own),
            setting=tables.place((*path, "source")),
        )
        if not _WILDCARDS & set(source):
            yield number, settings
            continue
        yield from ((number, model) for model in _matches(tables, settings, number, folder))


def _matches(tables: Tables, settings: ModelSettings, number: int, folder: Path) -> Iterator[ModelSettings]:
    """Yield one model for each file that a source with wildcards matches."""
    path = ("models", number, "source")
    if settings.source.count("**") > MAX_DOUBLE_WILDCARDS:
        tables.fault(path, f"{settings.source[:100]}: ** stands more than {MAX_DOUBLE_WILDCARDS} times; once will do")
        return
    try:
        files = sorted(file.relative_to(folder).as_posix() for file in folder.glob(settings.source) if file.is_file())
    except (OSError, ValueError, NotImplementedError, IndexError):
        files = []
    if not files:
        tables.fault(path, f"{settings.source[:100]}: no file matches")
    if settings.name != settings.source:
        tables.fault(("models", number, "name"), "one name cannot stand for several files; leave it out")
    for file in files:
        yield replace(settings, source=file, name=file)


def _check_names(tables: Tables, models: Iterable[tuple[int, ModelSettings]]) -> None:
    """Note models that reports could not tell apart."""
    seen: set[str] = set()
    for number, model in models:
        if model.name in seen:
            said = f"two models are called {model.name[:60]}; give one another name"
            tables.fault(("models", number, "source"), said)
        seen.add(model.name)


def _request(tables: Tables, path: tuple[str | int, ...], found: Mapping[str, Any]) -> Request:
    """Return the changes to a model that its table asks for."""
    shapes: dict[str, InputShape] = {}
    if "input" in found:
        _add_shape(tables, (*path, "input"), "", found["input"], shapes)
    inputs = found.get("inputs", {})
    if not isinstance(inputs, Mapping):
        tables.fault((*path, "inputs"), "inputs must be a table of sizes by name; input = […] is for the only input")
    else:
        for name, sizes in inputs.items():
            _add_shape(tables, (*path, "inputs", name), name, sizes, shapes)
    named = {}
    for key, example in (("set", "{width = 32}"), ("arguments", "{num_classes = 10}")):
        named[key] = found.get(key, {})
        if not isinstance(named[key], Mapping):
            tables.fault((*path, key), f"{key} must be a table of values by name, as in {key} = {example}")
            named[key] = {}
    dtype = tables.text((*path, "dtype"))
    if dtype is not None:
        _noted(tables, (*path, "dtype"), check_dtype, dtype)
    return Request(
        inputs=shapes,
        batch=tables.whole((*path, "batch")),
        dtype=dtype,
        variables=dict(named["set"]),
        arguments=dict(named["arguments"]),
        mode=tables.choice((*path, "mode"), MODES) if "mode" in found else "eval",
    )


def _add_shape(
    tables: Tables, path: tuple[str | int, ...], name: str, written: Any, shapes: dict[str, InputShape]
) -> None:
    """Add the shape of one input, written as `[3, 224, 224]` or `"3x224x224"`."""
    try:
        if isinstance(written, str):
            shapes[name] = parse_input(written)[1]
        elif isinstance(written, (list, tuple)):
            shapes[name] = input_shape(tuple(written))
        else:
            tables.fault(path, f"{path[-1]}: write the sizes, as in [3, 224, 224]")
    except CnnstatError as error:
        tables.fault(path, str(error).removeprefix("--"))


def _noted(tables: Tables, path: tuple[str | int, ...], check: Any, value: Any) -> None:
    """Run a check and note what it refuses."""
    try:
        check(value)
    except CnnstatError as error:
        tables.fault(path, str(error))

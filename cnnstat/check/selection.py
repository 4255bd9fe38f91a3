"""Selection: which models a run checks and under which settings, from the options and the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cnnstat.check.configuration import find_settings, load_settings
from cnnstat.check.limits import Limit, flag_limit, overridden
from cnnstat.check.metrics import METRICS, Unit
from cnnstat.check.settings import ModelSettings, Settings
from cnnstat.check.sources import locate
from cnnstat.check.tables import ConfigurationError
from cnnstat.errors import CnnstatError, Location, Problem, did_you_mean
from cnnstat.sources.request import Request

NOTHING = (
    "nothing to check: name a model and a limit, as in `cnnstat check vgg16 --max-params 150M`, or list models in "
    "pyproject.toml under [[tool.cnnstat.check.models]] with source and budgets"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line or a caller asks for; it goes before what the configuration says.

    sources: models to check, all that are configured if there are none. limits: for every model.
    config: the configuration file, searched for if None. baseline, baseline_ref: a file or a git ref to compare with.
    device, threads: where all times are measured. fail_on_latency: whether times can decide the exit code.
    """

    sources: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    request: Request = field(default_factory=Request)
    mode: str | None = None
    optimizer: str | None = None
    config: Path | None = None
    baseline: str | None = None
    baseline_ref: str | None = None
    require_baseline: bool = False
    fail_on_baseline_growth: bool = False
    device: str | None = None
    threads: int | None = None
    fail_on_latency: bool = False


def flag_limits(flags: Mapping[str, str | None], increases: Iterable[str]) -> tuple[Limit, ...]:
    """Return the limits of options: amounts by metric, and texts `METRIC=AMOUNT` for growth; raises CnnstatError."""
    limits = [flag_limit(name, METRICS[name].bounds[0], amount) for name, amount in flags.items() if amount is not None]
    relative = [name for name, metric in METRICS.items() if "max_increase" in metric.bounds]
    for text in increases:
        name, separator, amount = text.partition("=")
        if not separator or name not in relative:
            hint = did_you_mean(name, relative) or f"; metrics: {', '.join(relative)}"
            raise CnnstatError(f"--max-increase {text[:60]}: write METRIC=AMOUNT, as in params=2%{hint}")
        limits.append(flag_limit(name, "max_increase", amount, f"--max-increase {name}="))
    return tuple(limits)


def select(options: Options) -> tuple[Settings, list[ModelSettings]]:
    """Return the settings in force, and the models to check with what the options change about them."""
    here = Path.cwd()
    found = load_settings(options.config) if options.config is not None else find_settings(here)
    settings = found or Settings(origin="command line", folder=here)
    if options.baseline is not None:
        settings = replace(settings, baseline=str(here / options.baseline), baseline_ref=None)
    if options.baseline_ref is not None:
        is_both = options.baseline is not None or options.fail_on_baseline_growth or settings.fail_on_baseline_growth
        settings = replace(settings, baseline_ref=options.baseline_ref, baseline=settings.baseline if is_both else None)
    settings = replace(
        settings,
        require_baseline=settings.require_baseline or options.require_baseline,
        fail_on_baseline_growth=settings.fail_on_baseline_growth or options.fail_on_baseline_growth,
    )
    if settings.baseline and settings.baseline_ref and not settings.fail_on_baseline_growth:
        raise CnnstatError("--baseline and --baseline-ref exclude each other, except with --fail-on-baseline-growth")
    models = [m for source in options.sources for m in _named(source, settings)] or list(settings.models)
    if not models:
        raise CnnstatError(NOTHING)
    unique = {model.name: model for model in models}
    return settings, [_changed(model, options) for model in unique.values()]


def _named(source: str, settings: Settings) -> list[ModelSettings]:
    """Return the configured models that a source on the command line means, else a new one."""
    here = locate(source, Path.cwd())
    configured = []
    for model in settings.models:
        file = locate(model.source, settings.folder).file
        is_file = here.file is not None and file is not None and here.file.resolve() == file.resolve()
        if source in (model.name, model.source) or (is_file and not here.rest):
            configured.append(model)
    if configured:
        return configured
    if here.file is None or here.is_named:
        return [ModelSettings(source=source, name=source, limits=settings.limits)]
    try:
        name = here.file.resolve().relative_to(settings.folder.resolve()).as_posix() + here.rest
    except ValueError:
        name = source
    return [ModelSettings(source=f"{here.file.absolute()}{here.rest}", name=name, limits=settings.limits)]


def _changed(model: ModelSettings, options: Options) -> ModelSettings:
    """Return a model's settings with what the command line says instead."""
    own, given = model.request, options.request
    request = Request(
        inputs=given.inputs or own.inputs,
        batch=own.batch if given.batch is None else given.batch,
        dtype=given.dtype or own.dtype,
        variables={**own.variables, **given.variables},
        arguments={**own.arguments, **given.arguments},
        mode=options.mode or own.mode,
    )
    limits = tuple(_timed(limit, options) for limit in overridden(model.limits, options.limits))
    return replace(model, request=request, limits=limits, optimizer=options.optimizer or model.optimizer)


def _timed(limit: Limit, options: Options) -> Limit:
    """Return a limit with what the command line says of times."""
    if limit.metric.unit is not Unit.TIME:
        return limit
    is_blocking = limit.is_blocking or options.fail_on_latency
    device, threads = options.device or limit.device, options.threads or limit.threads
    return replace(limit, device=device, threads=threads, is_blocking=is_blocking)


def check_limits(model: ModelSettings) -> None:
    """Raise CnnstatError if nothing limits a model."""
    if model.limits:
        return
    said = f"{model.name[:100]} has no limit; write one, as in budgets.params.max, or give one, as in --max-params 5M"
    raise located(model, said)


def located(model: ModelSettings, said: str) -> CnnstatError:
    """Return an error that points to where a model is listed."""
    if model.setting is None:
        return CnnstatError(said)
    place = model.setting
    return ConfigurationError([Problem(Location(place.file, place.line, place.column), said)])

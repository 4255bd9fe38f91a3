"""One run of `cnnstat check`: from options and configuration to a result, or to a new baseline file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from cnnstat.check.baseline import (
    baseline_text,
    check_conditions,
    difference_lines,
    layer_changes,
    read_baseline,
    with_renames,
)
from cnnstat.check.check_result import CheckResult, ModelResult, Place, Status, Verdict
from cnnstat.check.configuration import ModelFile, ModelSettings, Settings, find_settings, load_settings, locate
from cnnstat.check.limits import CONVENTION, METRICS, Limit, flag_limit, overridden
from cnnstat.check.model_figures import NO_BASELINE, Baseline, ModelFigures, analyze_model
from cnnstat.check.verdicts import Comparison, baseline_growth, verdict
from cnnstat.errors import CnnstatError, ConfigurationError, Location, Problem, did_you_mean
from cnnstat.files import check_output, exists, locked, path_from_here, resolved, write_text
from cnnstat.numbers import Unit, listed
from cnnstat.sources import zoo
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request

NOTHING = (
    "nothing to check: name a model and a limit, as in `cnnstat check vgg16 --max-params 150M`, or list models in "
    "pyproject.toml under [[tool.cnnstat.check.models]] with source and budgets"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of the command line or of a caller; they go before the configuration.

    sources: models to check, all that are configured if there are none. limits: for every model.
    config: the configuration file, searched for if None. baseline, baseline_ref: a file or a git ref to compare with.
    device, threads: where all times are measured. fail_on_latency: whether times can decide the exit code.
    outputs: files that will be written, none of which may be one that is read.
    no_code: whether sources that run code are refused before anything is analyzed.
    """

    sources: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    request: Request = field(default_factory=Request)
    mode: str | None = None
    optimizer: str | None = None
    strict_receptive_field: bool = False
    config: Path | None = None
    baseline: str | None = None
    baseline_ref: str | None = None
    require_baseline: bool = False
    fail_on_baseline_growth: bool = False
    device: str | None = None
    threads: int | None = None
    fail_on_latency: bool = False
    outputs: tuple[Path, ...] = ()
    no_code: bool = False


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


def check(options: Options) -> CheckResult:
    """Return the verdict on every limit; raises CnnstatError where the configuration or a model is wrong."""
    settings, models = select_models(options)
    for path in options.outputs:
        baselines = [] if settings.baseline is None else [settings.folder / settings.baseline]
        check_output(path, [*files_read(settings, models), *baselines])
    for model in models:
        if not model.limits:
            wanted = "write one, as in budgets.params.max, or give one, as in --max-params 5M"
            raise _model_error(model, f"{model.name[:100]} has no limit; {wanted}")
    baseline, earlier = _baselines(settings, models)
    root = cache(_root)  # git is asked only where a model is a file
    results = [_model_result(model, settings, baseline, earlier, root) for model in models]
    configuration = settings.origin if settings.models or settings.limits else "command line"
    is_both = options.limits and configuration != "command line"
    return CheckResult(
        models=tuple(results),
        configuration=f"{configuration} and command line" if is_both else configuration,
        baseline=baseline.label,
        convention=CONVENTION,
        notes=(*settings.notes, *baseline.notes, *(earlier.notes if earlier else ())),
    )


def update_baseline(options: Options) -> list[str]:
    """Write the baseline file anew; return the lines that say what changed. Raises CnnstatError, also under CI."""
    if os.environ.get("CI", "").lower() in ("true", "1", "yes"):
        raise CnnstatError(
            "--update-baseline refuses to run in CI, where a grown model would raise its own limit; run it on your "
            "machine and commit the file"
        )
    settings, models = select_models(options)
    if settings.baseline is None:
        raise CnnstatError("--update-baseline needs a file: --baseline FILE, or baseline in the configuration")
    path = settings.folder / settings.baseline
    label = path_from_here(path)
    figures = {model.name: _figures(model, locate(model.source, settings.folder)) for model in models}
    check_output(path, files_read(settings, models), "--baseline")
    notes = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):  # another run may be adding other models
            try:
                before = read_baseline(path, label).models
            except CnnstatError as error:
                if options.sources:  # the other models would be lost
                    raise
                before, notes = {}, [f"was not read: {error}"]
            others = {n: entry for n, entry in before.items() if options.sources and isinstance(entry, ModelFigures)}
            after = {**others, **figures}
            write_text(path, baseline_text(after))
    except OSError as error:
        raise CnnstatError(f"{label}: cannot be written: {error.strerror or error}") from None
    return [
        *settings.notes,
        *notes,
        *(difference_lines(before, after) or ["no figure changed"]),
        f"wrote {label}: {len(after)} model{'s' * (len(after) != 1)}",
    ]


def files_read(settings: Settings, models: Iterable[ModelSettings]) -> list[str]:
    """Return what a check reads: sources, and the configuration."""
    return [settings.origin, *(locate(model.source, settings.folder).source for model in models)]


def select_models(options: Options) -> tuple[Settings, list[ModelSettings]]:
    """Return the settings in force, and the models to check with the changes that the options ask for."""
    here = Path.cwd()
    configured = load_settings(options.config) if options.config is not None else find_settings(here)
    settings = configured or Settings(origin="command line", folder=here)
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
    models = [m for source in options.sources for m in _models_of(source, settings)] or list(settings.models)
    if not models:
        raise CnnstatError(NOTHING)
    # a source that is named twice, or by name and by path, is one model
    unique = {model.name: model for model in models}
    if options.no_code:
        _refuse_code(settings, unique.values())
    return settings, [_with_options(model, options) for model in unique.values()]


def _refuse_code(settings: Settings, models: Iterable[ModelSettings]) -> None:
    """Raise CnnstatError if a model is Python code, whose import would run it, or leads out of the checkout.

    A message on a spec quotes it: a link could have the log show keys of a file that is none of the change's.
    """
    from cnnstat.spec.spec_document import spec_files

    root = _root()
    for model in models:
        file = locate(model.source, settings.folder)
        reference = named_model(file.source, model.request)
        if reference.runs_code:
            raise _model_error(
                model, f"{file.source[:100]} runs code, which --no-code refuses; name a spec or a network"
            )
        files = (
            spec_files(Path(file.source), zoo.find) if isinstance(reference, zoo.SpecReference) else [Path(file.source)]
        )
        for path in () if file.is_zoo else map(resolved, files):
            is_inside = root in path.parents and ".git" not in path.relative_to(root).parts
            if not is_inside and zoo.directory() not in path.parents:
                where = f"leads to {path}, outside of the files of {root}"
                raise _model_error(model, f"{file.source[:100]} {where}, which --no-code does not read")


def _models_of(source: str, settings: Settings) -> list[ModelSettings]:
    """Return the configured models that a source on the command line means, else a new one."""
    here = locate(source, Path.cwd())
    configured = []
    for model in settings.models:
        file = locate(model.source, settings.folder).file
        is_file = here.file is not None and file is not None and resolved(here.file) == resolved(file)
        if source in (model.name, model.source) or (is_file and not here.rest):
            configured.append(model)
    if configured:
        return configured
    if here.file is None or here.is_zoo:
        return [ModelSettings(source=source, name=source, limits=settings.limits)]
    try:
        name = resolved(here.file).relative_to(settings.folder.resolve()).as_posix() + here.rest
    except ValueError:
        name = source
    return [ModelSettings(source=f"{here.file.absolute()}{here.rest}", name=name, limits=settings.limits)]


def _with_options(model: ModelSettings, options: Options) -> ModelSettings:
    # The command line says nothing of the mode unless it is given there.
    request = replace(model.request.changed_by(options.request), mode=options.mode or model.request.mode)
    limits = tuple(
        replace(
            limit,
            device=options.device or limit.device,
            threads=options.threads or limit.threads,
            is_blocking=limit.is_blocking or options.fail_on_latency,
        )
        if limit.metric.unit is Unit.TIME
        else limit
        for limit in overridden(model.limits, options.limits)
    )
    return replace(
        model,
        request=request,
        limits=limits,
        optimizer=options.optimizer or model.optimizer,
        strict_receptive_field=options.strict_receptive_field or model.strict_receptive_field,
    )


def _model_error(model: ModelSettings, message: str) -> CnnstatError:
    if model.setting is None:
        return CnnstatError(message)
    place = model.setting
    return ConfigurationError([Problem(Location(place.file, place.line, place.column), message)])


def _root() -> Path:
    """Return the folder that paths in results start from: that of the repository, else the current one."""
    from cnnstat.check.git import find_repository

    repository = find_repository(Path.cwd())
    return Path.cwd().resolve() if repository is None else repository.root


def _baselines(settings: Settings, models: Sequence[ModelSettings]) -> tuple[Baseline, Baseline | None]:
    """Return the baseline that the settings name, an empty one if none, and the file as it was, if it must not grow.

    Raises CnnstatError.
    """
    baseline = NO_BASELINE
    if settings.baseline is not None:
        path = settings.folder / settings.baseline
        baseline = read_baseline(path, path_from_here(path))
    if settings.baseline_ref is None and not settings.fail_on_baseline_growth:
        return baseline, None
    from cnnstat.check.base_commit import git_baseline, growth_base
    from cnnstat.check.git import find_repository, required

    repository = find_repository(Path.cwd())
    if settings.baseline is None and settings.baseline_ref is not None:
        baseline = git_baseline(required(repository), settings.baseline_ref, settings, models)
    is_guarded = settings.fail_on_baseline_growth
    return baseline, with_renames(growth_base(settings, repository), baseline) if is_guarded else None


def _figures(model: ModelSettings, file: ModelFile) -> ModelFigures:
    if file.file is not None and model.setting is not None and not exists(file.file):
        message = f"{model.name[:100]}: there is no such file; if it was deleted or moved, change this entry"
        raise _model_error(model, message)
    return analyze_model(file.source, model)


def _model_result(
    model: ModelSettings, settings: Settings, baseline: Baseline, earlier: Baseline | None, root: Callable[[], Path]
) -> ModelResult:
    """Return the verdicts on one model; earlier: the baseline file before this change, where it must not grow."""
    file = locate(model.source, settings.folder)
    figures = _figures(model, file)
    before = baseline.of(model.name)
    notes = _uncounted_note(figures)
    if isinstance(before, ModelFigures):
        if settings.baseline is not None and baseline.label is not None:
            check_conditions(model.name, figures, before, baseline.label)
        elif before.conditions != figures.conditions:
            notes += ("its input, dtype or batch differs from the baseline's",)
    comparison = Comparison(figures=figures, baseline=before, is_required=settings.require_baseline)
    verdicts = [_verdict(limit, comparison, file.source, model) for limit in model.limits]
    if earlier is not None and settings.baseline is not None:
        label = path_from_here(settings.folder / settings.baseline)
        verdicts += baseline_growth(model.limits, before, earlier.of(model.name), label)
    return ModelResult(
        name=model.name,
        source=file.source,
        place=_place(file, figures, verdicts, root),
        verdicts=tuple(verdicts),
        totals=figures.totals,
        baseline=before.totals if isinstance(before, ModelFigures) else None,
        changed_layers=layer_changes(before.layers, figures.layers) if isinstance(before, ModelFigures) else (),
        notes=notes,
        inputs=figures.inputs,
    )


def _verdict(limit: Limit, comparison: Comparison, source: str, model: ModelSettings) -> Verdict:
    if limit.metric.unit is not Unit.TIME:
        return verdict(limit, comparison)
    from cnnstat.check.latency import latency_verdict

    return latency_verdict(limit, source, model, comparison)


def _uncounted_note(figures: ModelFigures) -> tuple[str, ...]:
    if not figures.uncounted:
        return ()
    return (f"not counted: {listed(figures.uncounted)}; MACs, FLOPs and training memory are at least",)


def _place(
    file: ModelFile, figures: ModelFigures, verdicts: Iterable[Verdict], root: Callable[[], Path]
) -> Place | None:
    """Return where a model is written: the layer that the first broken limit names, if the file itself holds it.

    The path is that of the repository, as annotations need it; None for a model that is no file below it.
    """
    if file.file is None or root() not in resolved(file.file).parents:
        return None
    path = resolved(file.file)
    broken = (v for v in verdicts if v.status in (Status.FAIL, Status.WARN) and v.layers)
    location = next((figures.location(v.layers[0].name) for v in broken), None)
    is_here = location is not None and resolved(Path(location.file)) == path
    line = location.line if location is not None and is_here else 1
    return Place(file=path.relative_to(root()).as_posix(), line=line)

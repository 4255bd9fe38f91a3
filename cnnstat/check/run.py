"""One run of `cnnstat check`: from options and configuration to a report, or to a new baseline file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cnnstat.check.baseline import Baseline, baseline_text, check_conditions, difference_lines, read_baseline
from cnnstat.check.baseline_source import choose_baseline, growth_base
from cnnstat.check.difference import changes
from cnnstat.check.evaluate import Comparison, baseline_growth, verdict
from cnnstat.check.git import Repository, find_repository
from cnnstat.check.latency import latency_verdict
from cnnstat.check.measurement import Measurement, measure
from cnnstat.check.metrics import CONVENTION, Unit
from cnnstat.check.renames import with_renames
from cnnstat.check.report import CheckReport, ModelReport, Place, Status, Verdict
from cnnstat.check.selection import Options, check_limits, located, select
from cnnstat.check.settings import ModelSettings, Settings
from cnnstat.check.sources import Source, from_here, locate
from cnnstat.errors import CnnstatError


def check(options: Options) -> CheckReport:
    """Return what became of every limit; raises CnnstatError where the configuration or a model is wrong."""
    settings, models = select(options)
    for model in models:
        check_limits(model)
    repository = find_repository(Path.cwd())
    baseline = choose_baseline(settings, models, repository)
    then = with_renames(growth_base(settings, repository), baseline) if settings.fail_on_baseline_growth else None
    reports = [_report(model, settings, baseline, then, repository) for model in models]
    used = settings.origin if settings.models or settings.limits else "command line"
    return CheckReport(
        models=tuple(reports),
        configuration=used if not options.limits or used == "command line" else f"{used} and command line",
        baseline=baseline.shown,
        convention=CONVENTION,
        notes=(*baseline.notes, *(then.notes if then else ())),
    )


def update_baseline(options: Options) -> list[str]:
    """Write the baseline file anew; return the lines that say what changed. Raises CnnstatError, also under CI."""
    if os.environ.get("CI", "").lower() in ("true", "1", "yes"):
        raise CnnstatError(
            "--update-baseline refuses to run in CI, where a grown model would raise its own limit; run it on your "
            "machine and commit the file"
        )
    settings, models = select(options)
    if settings.baseline is None:
        raise CnnstatError("--update-baseline needs a file: --baseline FILE, or baseline in the configuration")
    path = settings.folder / settings.baseline
    shown = from_here(path)
    found = {model.name: _measured(model, locate(model.source, settings.folder)) for model in models}
    try:
        before = read_baseline(path, shown).models
    except CnnstatError:
        before = {}
    kept = {name: entry for name, entry in before.items() if options.sources and isinstance(entry, Measurement)}
    after = {**kept, **found}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(baseline_text(after), encoding="utf-8", newline="\n")
    except OSError as error:
        raise CnnstatError(f"{shown}: cannot be written: {error.strerror or error}") from None
    return [
        *(difference_lines(before, after) or ["no figure changed"]),
        f"wrote {shown}: {len(after)} model{'s' * (len(after) != 1)}",
    ]


def _measured(model: ModelSettings, source: Source) -> Measurement:
    """Return the figures of a model."""
    if source.file is not None and model.setting is not None and not source.file.exists():
        said = f"{model.name[:100]}: there is no such file; if it was deleted or moved, change this entry"
        raise located(model, said)
    return measure(source.written, model)


def _report(
    model: ModelSettings, settings: Settings, baseline: Baseline, then: Baseline | None, repository: Repository | None
) -> ModelReport:
    """Return the verdicts on one model."""
    source = locate(model.source, settings.folder)
    found = _measured(model, source)
    before = baseline.of(model.name)
    notes = _uncounted(found)
    if isinstance(before, Measurement):
        if settings.baseline is not None and baseline.shown is not None:
            check_conditions(model.name, found, before, baseline.shown)
        elif before.conditions != found.conditions:
            notes += ("its input, dtype or batch differs from the baseline's",)
    comparison = Comparison(found=found, baseline=before, is_required=settings.require_baseline)
    required = settings.require_baseline
    verdicts = [
        latency_verdict(limit, source.written, model, before, found, required)
        if limit.metric.unit is Unit.TIME
        else verdict(limit, comparison)
        for limit in model.limits
    ]
    if then is not None and settings.baseline is not None:
        verdicts += baseline_growth(
            model.limits, before, then.of(model.name), from_here(settings.folder / settings.baseline)
        )
    is_compared = isinstance(before, Measurement)
    return ModelReport(
        name=model.name,
        source=source.written,
        place=_place(source, found, verdicts, repository),
        verdicts=tuple(verdicts),
        totals=found.totals,
        baseline=before.totals if isinstance(before, Measurement) else None,
        changed_layers=changes(before.layers, found.layers) if isinstance(before, Measurement) and is_compared else (),
        notes=notes,
    )


def _uncounted(found: Measurement) -> tuple[str, ...]:
    """Return a note on layers whose work could not be counted."""
    if not found.uncounted:
        return ()
    more = f" and {len(found.uncounted) - 5} more" if len(found.uncounted) > 5 else ""
    return (f"not counted: {', '.join(found.uncounted[:5])}{more}; MACs, FLOPs and training memory are at least",)


def _place(
    source: Source, found: Measurement, verdicts: Iterable[Verdict], repository: Repository | None
) -> Place | None:
    """Return where a model is written: the layer that the first broken limit names, if the file itself holds it.

    The path is that of the repository, as annotations need it; None for a model that is no file below it.
    """
    root = repository.root if repository else Path.cwd().resolve()
    if source.file is None or root not in source.file.resolve().parents:
        return None
    file = source.file.resolve()
    broken = (v for v in verdicts if v.status in (Status.FAIL, Status.WARN) and v.layers)
    location = next((found.locations.get(v.layers[0].name) for v in broken), None)
    is_here = location is not None and Path(location.file).resolve() == file
    line = location.line if location is not None and is_here else 1
    return Place(file=file.relative_to(root).as_posix(), line=line)

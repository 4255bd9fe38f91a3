"""Which baseline a run compares with, and against which commit a committed baseline must not have grown."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cnnstat.check.base_commit import find_base
from cnnstat.check.baseline import NO_BASELINE, Baseline, Missing, parse_baseline, read_baseline
from cnnstat.check.git import Repository, why_no_repository
from cnnstat.check.settings import ModelSettings, Settings
from cnnstat.check.sources import from_here
from cnnstat.errors import CnnstatError


def choose_baseline(settings: Settings, models: Iterable[ModelSettings], repository: Repository | None) -> Baseline:
    """Return the baseline that the settings name, an empty one if they name none; raises CnnstatError."""
    if settings.baseline is not None:
        path = settings.folder / settings.baseline
        return read_baseline(path, from_here(path))
    if settings.baseline_ref is None:
        return NO_BASELINE
    from cnnstat.check.git_baseline import git_baseline

    return git_baseline(_needed(repository), settings.baseline_ref, settings, models)


def growth_base(settings: Settings, repository: Repository | None) -> Baseline:
    """Return the baseline file as the base commit has it; raises CnnstatError where there is no file or no base."""
    if settings.baseline is None:
        raise CnnstatError("--fail-on-baseline-growth needs a file: --baseline FILE, or baseline in the configuration")
    repository = _needed(repository)
    path = settings.folder / settings.baseline
    written = repository.relative(path)
    if written is None:
        raise CnnstatError(
            f"{from_here(path)} is not in this repository; commit it, or leave out --fail-on-baseline-growth"
        )
    ref = settings.baseline_ref or _target(repository)
    base = find_base(repository, ref)
    text = repository.ask("show", f"{base.commit}:{written}")
    shown = f"{written} in {base.shown}"
    if text is None:
        none = Missing(reason=f"{written} is new since {base.shown}")
        return Baseline(shown=base.shown, models={}, otherwise=none, notes=base.notes)
    try:
        found = parse_baseline(text, shown)
    except CnnstatError as error:
        fault = Missing(reason=f"growth of the baseline cannot be told: {error}", is_fault=True)
        return Baseline(shown=base.shown, models={}, otherwise=fault, notes=base.notes)
    notes = (*base.notes, f"the baseline file is held against {base.shown}")
    return Baseline(shown=base.shown, models=found.models, otherwise=found.otherwise, notes=notes)


def _target(repository: Repository) -> str:
    """Return the ref that a change goes into, as CI systems tell it; HEAD where there is none of them."""
    if name := os.environ.get("GITHUB_BASE_REF"):
        return f"origin/{name}"
    if commit := os.environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA"):
        return commit
    is_merge = len(repository.parents("HEAD")) > 1
    if os.environ.get("CI") and not is_merge:
        raise CnnstatError("--fail-on-baseline-growth: say against what, as in --baseline-ref main")
    return "HEAD"


def _needed(repository: Repository | None) -> Repository:
    """Return the repository; raises CnnstatError if there is none."""
    if repository is None:
        raise CnnstatError(why_no_repository(Path.cwd()))
    return repository

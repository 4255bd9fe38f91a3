"""The baseline of a git ref: the commit to compare with, and its models analyzed in a temporary worktree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cnnstat.check.baseline import Baseline, Missing, parse_baseline
from cnnstat.check.configuration import ModelFile, ModelSettings, Settings, load_settings, locate
from cnnstat.check.configuration_file import path_from_here
from cnnstat.check.git import Repository, required
from cnnstat.check.model_figures import ModelFigures, analyze_in_subprocess, analyze_model
from cnnstat.errors import CnnstatError, SpecError, did_you_mean

FETCH = (
    "this clone is shallow: fetch the whole history (GitHub: `fetch-depth: 0` for actions/checkout; GitLab: "
    '`GIT_DEPTH: "0"`; by hand: git fetch --unshallow)'
)


class Base(NamedTuple):
    """A commit to compare with; label: what reports call it; notes: how it was chosen, where that may surprise."""

    commit: str
    label: str
    notes: tuple[str, ...] = ()


def find_base(repository: Repository, ref: str) -> Base:
    """Return the base of HEAD against a ref; raises CnnstatError with what to fetch where history is missing.

    Pull requests are checked out as a merge commit: its first parent is the target branch just as it was merged. That
    holds only if the first parent belongs to the ref; on a branch that has merged the ref in, it is the merge base.
    """
    head = repository.commit("HEAD")
    if head is None:
        raise CnnstatError("the repository has no commit yet; there is nothing to compare with")
    target = repository.commit(ref) or repository.commit(f"origin/{ref}")
    parents = repository.parents(head)
    if len(parents) > 1 and (target is None or target == head or repository.is_ancestor(parents[0], target)):
        return _first_parent(repository, ref, parents[0], target)
    if target is None:
        raise CnnstatError(_unknown_ref(repository, ref))
    common = repository.output("merge-base", head, target)
    if not common:
        remedy = FETCH if repository.is_shallow else "compare with a ref of the same history"
        raise CnnstatError(f"HEAD and {ref} have no common commit here; {remedy}")
    base = common.splitlines()[0]
    notes = (f"HEAD is contained in {ref}: only uncommitted changes can differ from it",) if base == head else ()
    return Base(base, f"{ref} ({base[:10]})", notes)


def _first_parent(repository: Repository, ref: str, parent: str, target: str | None) -> Base:
    """Return the first parent of the merge commit HEAD."""
    if target is None and not repository.is_shallow:
        raise CnnstatError(_unknown_ref(repository, ref))
    if repository.commit(parent) is None:
        raise CnnstatError(f"HEAD is a merge commit, but its first parent {parent[:10]} is not here; {FETCH}")
    notes = [f"HEAD is a merge commit: compared with its first parent {parent[:10]}"]
    if target is None:
        notes.append(f"{ref} is not in this shallow clone, so that the first parent could not be held against it")
    return Base(parent, f"{ref} ({parent[:10]})", tuple(notes))


def _unknown_ref(repository: Repository, ref: str) -> str:
    """Return the message on a ref that this clone does not have."""
    names = (repository.output("for-each-ref", "--format=%(refname:short)", "--count=200") or "").split()
    hint = did_you_mean(ref, names)
    if hint:
        return f"--baseline-ref {ref[:80]}: there is no such ref{hint}"
    remedy = FETCH if repository.is_shallow else f"fetch it: git fetch origin {ref[:80]}"
    return f"--baseline-ref {ref[:80]}: this clone has no such ref; {remedy}"


def git_baseline(repository: Repository, ref: str, settings: Settings, models: Iterable[ModelSettings]) -> Baseline:
    """Return the figures of models at the base of HEAD against a ref; raises CnnstatError without a base.

    Both sides are analyzed with the input, dtype and variables of today's configuration.
    """
    base = find_base(repository, ref)
    notes = list(base.notes)
    figures: dict[str, ModelFigures | Missing] = {}
    with repository.worktree(base.commit) as tree:
        checkout = Checkout(repository, base, tree, repository.renames(base.commit))
        for model in models:
            figures[model.name], model_notes = _base_figures(checkout, locate(model.source, settings.folder), model)
            notes += model_notes
        notes += _no_longer_checked(checkout, settings)
    missing = Missing(reason=f"no baseline in {base.label}")
    return Baseline(label=base.label, models=figures, otherwise=missing, notes=tuple(notes))


class Checkout(NamedTuple):
    """The base commit in a temporary worktree; renames: old paths of files that have another name today."""

    repository: Repository
    base: Base
    tree: Path
    renames: Mapping[str, str]


def _base_figures(
    checkout: Checkout, file: ModelFile, model: ModelSettings
) -> tuple[ModelFigures | Missing, list[str]]:
    """Return the figures of one model at the base or why there are none, and notes."""
    repository, base, tree, renames = checkout
    inside = None if file.file is None else repository.relative(file.file)
    if file.file is not None and inside is None:
        return Missing(reason=f"no baseline: {model.name} is no file of this repository"), []
    try:
        if inside is None:
            folder = repository.relative(Path.cwd()) or "."
            return analyze_in_subprocess(file.source, model, tree / folder, repository.root), []
        earlier = inside if (tree / inside).exists() else renames.get(inside)
        if earlier is None or not (tree / earlier).exists():
            return Missing(reason=f"no baseline: {inside} is new since {base.label}"), []
        notes = [] if earlier == inside else [f"{inside} was {earlier} in {base.label}"]
        path = tree / earlier
        if file.is_spec:
            return analyze_model(str(path), model), notes
        return analyze_in_subprocess(f"{path}{file.rest}", model, tree, repository.root), notes
    except CnnstatError as error:
        message = error.problems[0].message if isinstance(error, SpecError) and error.problems else str(error)
        message = message.splitlines()[0].replace(f"{tree}/", "")[:200]
        reason = f"{model.name} cannot be analyzed as it is in {base.label}: {message}"
        return Missing(reason=reason, is_fault=True), []


def _no_longer_checked(checkout: Checkout, settings: Settings) -> list[str]:
    """Return a note for each file that the base's configuration checks and today's does not."""
    repository, base, tree, renames = checkout
    configuration = repository.relative(Path(settings.origin))
    if not settings.models or configuration is None or not (tree / configuration).is_file():
        return []
    try:
        before = load_settings(tree / configuration)
    except CnnstatError:
        return [f"{configuration} could not be read as it is in {base.label}"]
    today = {name for model in settings.models if (name := _relative(model, settings.folder, repository.root))}
    today |= {renames.get(name, name) for name in today}
    earlier = {_relative(model, before.folder, tree) for model in before.models}
    return [f"{name} was checked in {base.label} and is no longer" for name in sorted(earlier - today - {""})]


def _relative(model: ModelSettings, folder: Path, root: Path) -> str:
    """Return the path of a model's file from a root, its source where it has no file there."""
    file = locate(model.source, folder).file
    if file is None or root.resolve() not in file.resolve().parents:
        return model.source
    return file.resolve().relative_to(root.resolve()).as_posix()


def growth_base(settings: Settings, repository: Repository | None) -> Baseline:
    """Return the baseline file as the base commit has it; raises CnnstatError where there is no file or no base."""
    if settings.baseline is None:
        raise CnnstatError("--fail-on-baseline-growth needs a file: --baseline FILE, or baseline in the configuration")
    repository = required(repository)
    path = settings.folder / settings.baseline
    inside = repository.relative(path)
    if inside is None:
        raise CnnstatError(
            f"{path_from_here(path)} is not in this repository; commit it, or leave out --fail-on-baseline-growth"
        )
    base = find_base(repository, settings.baseline_ref or _target(repository))
    text = repository.output("show", f"{base.commit}:{inside}")
    if text is None:
        none = Missing(reason=f"{inside} is new since {base.label}")
        return Baseline(label=base.label, models={}, otherwise=none, notes=base.notes)
    try:
        baseline = parse_baseline(text, f"{inside} in {base.label}")
    except CnnstatError as error:
        fault = Missing(reason=f"growth of the baseline cannot be told: {error}", is_fault=True)
        return Baseline(label=base.label, models={}, otherwise=fault, notes=base.notes)
    notes = (*base.notes, f"the baseline file is held against {base.label}")
    return Baseline(label=base.label, models=baseline.models, otherwise=baseline.otherwise, notes=notes)


def _target(repository: Repository) -> str:
    """Return the ref that a change goes into, as CI systems give it; HEAD where there is none of them."""
    if name := os.environ.get("GITHUB_BASE_REF"):
        return f"origin/{name}"
    if commit := os.environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA"):
        return commit
    is_merge = len(repository.parents("HEAD")) > 1
    if os.environ.get("CI") and not is_merge:
        raise CnnstatError("--fail-on-baseline-growth: say against what, as in --baseline-ref main")
    return "HEAD"

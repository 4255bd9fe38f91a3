"""The commit that a change is compared with, and the figures of the models there: those of a baseline."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cnnstat.check.baseline import LEAST_LIKENESS, likeness_of, parse_baseline
from cnnstat.check.configuration import ModelFile, ModelSettings, Settings, load_settings, locate
from cnnstat.check.git import Repository, required
from cnnstat.check.model_figures import Baseline, Missing, ModelFigures, analyze_in_subprocess, analyze_model
from cnnstat.errors import CnnstatError, SpecError, did_you_mean
from cnnstat.files import path_from_here, resolved
from cnnstat.sources import zoo

FETCH = (
    "this clone is shallow: fetch the whole history (GitHub: `fetch-depth: 0` for actions/checkout; GitLab: "
    '`GIT_DEPTH: "0"`; by hand: git fetch --unshallow)'
)
MAX_CANDIDATES = 20
"""Files of the earlier commit that a new model is compared with, to see whether it is one of them."""


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
    # CI systems check out the pull request alone: the target branch exists only as a remote one
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
    if target is None and not repository.is_shallow:
        raise CnnstatError(_unknown_ref(repository, ref))
    if repository.commit(parent) is None:
        raise CnnstatError(f"HEAD is a merge commit, but its first parent {parent[:10]} is not here; {FETCH}")
    notes = [f"HEAD is a merge commit: compared with its first parent {parent[:10]}"]
    if target is None:
        notes.append(f"{ref} is not in this shallow clone, so that the first parent could not be held against it")
    return Base(parent, f"{ref} ({parent[:10]})", tuple(notes))


def _unknown_ref(repository: Repository, ref: str) -> str:
    names = (repository.output("for-each-ref", "--format=%(refname:short)", "--count=200") or "").split()
    hint = did_you_mean(ref, names)
    if hint:
        return f"--baseline-ref {ref[:80]}: there is no such ref{hint}"
    remedy = FETCH if repository.is_shallow else f"fetch it: git fetch origin {shlex.quote(ref[:80])}"
    return f"--baseline-ref {ref[:80]}: this clone has no such ref; {remedy}"


def git_baseline(repository: Repository, ref: str, settings: Settings, models: Sequence[ModelSettings]) -> Baseline:
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
        gone, gone_notes = _no_longer_checked(checkout, settings)
        new = [(model, locate(model.source, settings.folder)) for model in models if _is_new(figures[model.name])]
        for name, old, earlier in _by_content(checkout, new, gone):
            figures[name] = earlier
            notes.append(f"{name} is compared with {old} of {base.label}, whose layers it has")
        notes += gone_notes
    missing = Missing(reason=f"no baseline in {base.label}")
    return Baseline(label=base.label, models=figures, otherwise=missing, notes=tuple(notes))


class Checkout(NamedTuple):
    """The base commit in a temporary worktree; renames: old paths of files that have another name today."""

    repository: Repository
    base: Base
    tree: Path
    renames: Mapping[str, str]

    def file(self, name: str) -> Path | None:
        """Return a file of the commit; for a link into the working tree, what stood there."""
        path = self.tree / name
        real = resolved(path)
        if self.repository.root in real.parents and self.tree not in real.parents:
            path = self.tree / real.relative_to(self.repository.root)
        return path if path.is_file() else None


def _base_figures(
    checkout: Checkout, file: ModelFile, model: ModelSettings
) -> tuple[ModelFigures | Missing, list[str]]:
    repository, base, tree, renames = checkout
    # a file that has become a link is still the model that stood under its name
    names = [] if file.file is None else [repository.written(file.file), repository.relative(file.file)]
    inside_names = [name for name in names if name is not None]
    if names and not inside_names:
        return Missing(reason=f"no baseline: {model.name} is no file of this repository"), []
    try:
        if not inside_names:
            folder = repository.relative(Path.cwd()) or "."
            return analyze_in_subprocess(file.source, model, tree / folder, repository.root), []
        inside = inside_names[0]
        candidates = (*inside_names, *(renames.get(name, "") for name in inside_names))
        earlier = next((name for name in candidates if name and checkout.file(name)), None)
        if earlier is None:
            return Missing(reason=f"no baseline: {inside} is new since {base.label}", is_new=True), []
        notes = [] if earlier == inside else [f"{inside} was {earlier} in {base.label}"]
        path = checkout.file(earlier)
        if file.is_spec:
            return analyze_model(str(path), model), notes
        return analyze_in_subprocess(f"{path}{file.rest}", model, tree, repository.root), notes
    except CnnstatError as error:
        message = error.problems[0].message if isinstance(error, SpecError) and error.problems else str(error)
        message = message.splitlines()[0].replace(f"{tree}/", "")[:200]
        reason = f"{model.name} cannot be analyzed as it is in {base.label}: {message}"
        return Missing(reason=reason, is_fault=True), []


def _is_new(figures: ModelFigures | Missing) -> bool:
    return isinstance(figures, Missing) and figures.is_new


def _by_content(
    checkout: Checkout, new: Sequence[tuple[ModelSettings, ModelFile]], gone: Iterable[str]
) -> Iterator[tuple[str, str, ModelFigures]]:
    """Yield new models that have the layers of one that is gone: name, the earlier file, and its figures.

    So a growth limit also holds for a spec that was renamed and rewritten, which git does not see as the same file.
    """
    repository, base, _, renames = checkout
    names = dict.fromkeys((*gone, *(repository.deleted(base.commit) if new else ())))
    left = [n for n in names if n.endswith(zoo.SUFFIXES) and n not in renames.values() and checkout.file(n)]
    for model, file in new:
        if not file.is_spec:
            continue
        likeness = {}
        for name in left[:MAX_CANDIDATES]:
            with contextlib.suppress(CnnstatError):
                earlier = analyze_model(str(checkout.file(name)), model)
                likeness[name] = likeness_of(earlier, analyze_model(file.source, model)), earlier
        best = max(likeness, key=lambda name: likeness[name][0], default=None)
        if best is not None and likeness[best][0] >= LEAST_LIKENESS:
            left.remove(best)
            yield model.name, best, likeness[best][1]


def _no_longer_checked(checkout: Checkout, settings: Settings) -> tuple[list[str], list[str]]:
    """Return the files that the base's configuration checks and today's does not, and a note for each."""
    repository, base, tree, renames = checkout
    configuration = repository.relative(Path(settings.origin))
    if not settings.models or configuration is None or not (tree / configuration).is_file():
        return [], []
    try:
        before = load_settings(tree / configuration)
    except CnnstatError:
        return [], [f"{configuration} could not be read as it is in {base.label}"]
    today = {name for model in settings.models if (name := _relative(model, settings.folder, repository.root))}
    today |= {renames.get(name, name) for name in today}
    earlier = {_relative(model, before.folder, tree) for model in before.models}
    gone = sorted(earlier - today - {""})
    return gone, [f"{name} was checked in {base.label} and is no longer" for name in gone]


def _relative(model: ModelSettings, folder: Path, root: Path) -> str:
    """Return the path of a model's file from a root, its source where it has no file there."""
    file = locate(model.source, folder).file
    if file is None or root.resolve() not in resolved(file).parents:
        return model.source
    return resolved(file).relative_to(root.resolve()).as_posix()


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
    text, inside = _earlier_baseline(repository, base, settings, [repository.written(path) or inside, inside])
    nothing = Baseline(label=base.label, models={}, notes=base.notes, otherwise=Missing(reason=""))
    if text is None:
        return replace(nothing, otherwise=Missing(reason=f"{inside} is new since {base.label}"))
    try:
        # a file of another version cannot be compared with, which must not read as "no growth"
        baseline = parse_baseline(text, f"{inside} in {base.label}")
    except CnnstatError as error:
        reason = f"growth of the baseline cannot be told: {error}"
        return replace(nothing, otherwise=Missing(reason=reason, is_fault=True))
    notes = (*base.notes, f"the baseline file is held against {base.label}")
    return replace(baseline, label=base.label, notes=notes)


def _earlier_baseline(
    repository: Repository, base: Base, settings: Settings, names: list[str]
) -> tuple[str | None, str]:
    """Return the baseline file of the base commit and its name: as it is called today, was renamed, or configured then.

    names: today's, as it is written and where links lead. None where the base commit has no baseline.
    """
    renames = repository.renames(base.commit)
    for name in (*names, *(renames[name] for name in names if name in renames)):
        if (text := repository.output("show", f"{base.commit}:{name}")) is not None:
            return text, name
    configuration = repository.relative(Path(settings.origin))
    with repository.worktree(base.commit) as tree, contextlib.suppress(CnnstatError, OSError, ValueError):
        before = load_settings(tree / (configuration or "."))
        if before.baseline is not None:
            path = tree / configuration if configuration else tree
            file = path.parent / before.baseline
            return file.read_text(encoding="utf-8"), resolved(file).relative_to(tree.resolve()).as_posix()
    return None, names[0]


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

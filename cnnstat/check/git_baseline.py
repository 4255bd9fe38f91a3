"""The baseline of a git ref: the models as the base commit has them, analyzed in a temporary worktree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from cnnstat.check.base_commit import Base, find_base
from cnnstat.check.baseline import Baseline, Missing
from cnnstat.check.configuration import load_settings
from cnnstat.check.git import Repository
from cnnstat.check.isolation import measure_apart
from cnnstat.check.measurement import Measurement, measure
from cnnstat.check.settings import ModelSettings, Settings
from cnnstat.check.sources import Source, locate
from cnnstat.errors import CnnstatError, SpecError


def git_baseline(repository: Repository, ref: str, settings: Settings, models: Iterable[ModelSettings]) -> Baseline:
    """Return the measurements of models at the base of HEAD against a ref; raises CnnstatError without a base.

    Both sides are analyzed with the input, dtype and variables of today's configuration.
    """
    base = find_base(repository, ref)
    renames = repository.renames(base.commit)
    notes = list(base.notes)
    found: dict[str, Measurement | Missing] = {}
    listed = list(models)
    with repository.worktree(base.commit) as tree:
        for model in listed:
            source = locate(model.source, settings.folder)
            found[model.name], note = _measured(repository, base, tree, renames, source, model)
            notes += note
        notes += _dropped(repository, base, tree, settings, renames)
    missing = Missing(reason=f"no baseline in {base.shown}")
    return Baseline(shown=base.shown, models=found, otherwise=missing, notes=tuple(notes))


def _measured(
    repository: Repository, base: Base, tree: Path, renames: Mapping[str, str], source: Source, model: ModelSettings
) -> tuple[Measurement | Missing, list[str]]:
    """Return the measurement of one model at the base or why there is none, and notes."""
    inside = None if source.file is None else repository.relative(source.file)
    if source.file is not None and inside is None:
        return Missing(reason=f"no baseline: {model.name} is no file of this repository"), []
    try:
        if inside is None:
            return measure_apart(source.written, model, tree / _folder(repository), repository.root), []
        earlier = inside if (tree / inside).exists() else renames.get(inside)
        if earlier is None or not (tree / earlier).exists():
            return Missing(reason=f"no baseline: {inside} is new since {base.shown}"), []
        notes = [] if earlier == inside else [f"{inside} was {earlier} in {base.shown}"]
        path = tree / earlier
        if source.is_spec:
            return measure(str(path), model), notes
        return measure_apart(f"{path}{source.rest}", model, tree, repository.root), notes
    except CnnstatError as error:
        first = error.problems[0].message if isinstance(error, SpecError) and error.problems else str(error)
        said = first.splitlines()[0].replace(f"{tree}/", "")[:200]
        reason = f"{model.name} cannot be analyzed as it is in {base.shown}: {said}"
        return Missing(reason=reason, is_fault=True), []


def _folder(repository: Repository) -> str:
    """Return the folder in which the user stands, from the root of the repository."""
    return repository.relative(Path.cwd()) or "."


def _dropped(
    repository: Repository, base: Base, tree: Path, settings: Settings, renames: Mapping[str, str]
) -> list[str]:
    """Return a note for each file that the base's configuration checks and today's does not."""
    written = repository.relative(Path(settings.origin))
    if not settings.models or written is None or not (tree / written).is_file():
        return []
    try:
        before = load_settings(tree / written)
    except CnnstatError:
        return [f"{written} could not be read as it is in {base.shown}"]
    today = {name for model in settings.models if (name := _inside(model, settings.folder, repository.root))}
    kept = {*today, *(renames.get(name, name) for name in today)}
    gone = {name for model in before.models if (name := _inside(model, before.folder, tree)) and name not in kept}
    return [f"{name} was checked in {base.shown} and is no longer" for name in sorted(gone)]


def _inside(model: ModelSettings, folder: Path, root: Path) -> str | None:
    """Return the file of a model from a root, its source where it has no file."""
    file = locate(model.source, folder).file
    if file is None:
        return model.source
    try:
        return file.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return model.source

"""The commit that a change is compared with: the first parent of a merge commit, else the merge base with a ref."""

from __future__ import annotations

from typing import NamedTuple

from cnnstat.check.git import Repository
from cnnstat.errors import CnnstatError, did_you_mean

FETCH = (
    "this clone is shallow: fetch the whole history (GitHub: `fetch-depth: 0` for actions/checkout; GitLab: "
    '`GIT_DEPTH: "0"`; by hand: git fetch --unshallow)'
)


class Base(NamedTuple):
    """A commit to compare with; shown: what reports call it; notes: how it was found, where that may surprise."""

    commit: str
    shown: str
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
        raise CnnstatError(_unknown(repository, ref))
    common = repository.ask("merge-base", head, target)
    if not common:
        remedy = FETCH if repository.is_shallow else "compare with a ref of the same history"
        raise CnnstatError(f"HEAD and {ref} have no common commit here; {remedy}")
    base = common.splitlines()[0]
    notes = (f"HEAD is contained in {ref}: only uncommitted changes can differ from it",) if base == head else ()
    return Base(base, f"{ref} ({base[:10]})", notes)


def _first_parent(repository: Repository, ref: str, parent: str, target: str | None) -> Base:
    """Return the first parent of the merge commit HEAD."""
    if target is None and not repository.is_shallow:
        raise CnnstatError(_unknown(repository, ref))
    if repository.commit(parent) is None:
        raise CnnstatError(f"HEAD is a merge commit, but its first parent {parent[:10]} is not here; {FETCH}")
    notes = [f"HEAD is a merge commit: compared with its first parent {parent[:10]}"]
    if target is None:
        notes.append(f"{ref} is not in this shallow clone, so that the first parent could not be held against it")
    return Base(parent, f"{ref} ({parent[:10]})", tuple(notes))


def _unknown(repository: Repository, ref: str) -> str:
    """Return what to say about a ref that this clone does not have."""
    names = (repository.ask("for-each-ref", "--format=%(refname:short)", "--count=200") or "").split()
    hint = did_you_mean(ref, names)
    if hint:
        return f"--baseline-ref {ref[:80]}: there is no such ref{hint}"
    remedy = FETCH if repository.is_shallow else f"fetch it: git fetch origin {ref[:80]}"
    return f"--baseline-ref {ref[:80]}: this clone has no such ref; {remedy}"

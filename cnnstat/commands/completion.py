"""Completion: what the shell offers for a word that is being typed; no model's code runs."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from cnnstat.errors import CnnstatError


def zoo_names(incomplete: str) -> list[str]:
    """Return the networks of the zoo that begin so, or models of a library, for the shell's completion.

    Files complete by themselves.
    """
    from cnnstat.sources import zoo

    if ":" in incomplete:
        from cnnstat.sources.other_tools import library_models

        return [name for name in library_models() if name.startswith(incomplete)]
    return [name for name in zoo.names() if name.startswith(incomplete)]


def layer_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the layers of the network before it that begin as the last of a comma-separated list, for the shell.

    No model's code runs.
    """
    from cnnstat.sources import zoo

    # Behind an option whose value is still to come, what stands before it is no parameter yet.
    source = str((ctx.params or {}).get("source") or next(iter(ctx.args), ""))
    if source not in zoo.names() and not source.endswith(zoo.SUFFIXES):
        return []
    from cnnstat.sources.load import load_source
    from cnnstat.sources.request import Request

    try:
        names = [node.name for node in load_source(source, Request()).nodes]
    except CnnstatError:
        return []
    return _continued(incomplete, names)


def column_keys(incomplete: str) -> list[str]:
    """Return the columns of layers that begin as the last of a comma-separated list, for the shell's completion."""
    from cnnstat.report.subjects.analysis import AnalysisView

    return _continued(incomplete, AnalysisView.keys)


def network_column_keys(incomplete: str) -> list[str]:
    """Return the columns of networks that begin as the last of a comma-separated list, for the shell's completion."""
    from cnnstat.report.network_columns import KEYS

    return _continued(incomplete, KEYS)


def dtype_names(incomplete: str) -> list[str]:
    """Return the dtypes that begin so."""
    from cnnstat.ir.graph import DTYPE_BYTES

    return [name for name in DTYPE_BYTES if name.startswith(incomplete)]


def _continued(incomplete: str, keys: Iterable[str]) -> list[str]:
    chosen, comma, last = incomplete.rpartition(",")
    return [f"{chosen}{comma}{key}" for key in keys if key.startswith(last)]

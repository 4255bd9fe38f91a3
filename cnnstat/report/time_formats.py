"""TimeFormats: a profile, and what changed since an earlier one, in the format that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cnnstat.profile.difference import Difference
from cnnstat.profile.record import document
from cnnstat.profile.result import Profile
from cnnstat.report import profile as pages
from cnnstat.report import time_difference as changes
from cnnstat.report.formats.json import json_text
from cnnstat.report.terminal_text import BLANK, Page, Verbatim, show
from cnnstat.report.time_sheet import TimeView

if TYPE_CHECKING:
    from rich.console import Console


class Against(NamedTuple):
    """What changed since an earlier profile, and what that one is called."""

    difference: Difference
    shown: str


def print_table(profile: Profile, view: TimeView, against: Against | None, console: Console) -> None:
    """Print the table and, under it, the changes."""
    page = pages.table(profile, view, console.width)
    show(page if against is None else page + Page([BLANK]) + changes.page(*against, console.width), console)


def print_json(profile: Profile, view: TimeView, against: Against | None, console: Console) -> None:
    """Print the `cnnstat-profile/1` document, one line a layer, with the changes under `difference`."""
    added = {} if against is None else {"difference": changes.document(*against)}
    show(Verbatim(json_text({**document(profile), **added}, "layers")), console)


def print_csv(profile: Profile, view: TimeView, against: Against | None, console: Console) -> None:
    """Print the layers' raw figures or, against an earlier profile, the layers' changes."""
    show(Verbatim(pages.csv(profile, view) if against is None else changes.csv(against.difference)), console)


def print_markdown(profile: Profile, view: TimeView, against: Against | None, console: Console) -> None:
    """Print the table and, under it, the changes for GitHub."""
    text = pages.markdown(profile, view)
    show(Verbatim(text if against is None else f"{text}\n{changes.markdown(*against)}"), console)


FORMATS = {"table": print_table, "json": print_json, "csv": print_csv, "markdown": print_markdown}
"""The functions that print a profile, by the name of the format."""

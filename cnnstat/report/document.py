"""Document: what there is to say about one subject, without a format; every format renders any document.

A subject is one file in subjects/ with a function that makes its document, for example of a list of networks:

    def document(analyses: Sequence[Analysis]) -> Document:
        table = Table(COLUMNS, analyses)
        return Document(blocks=lambda: [table], data=lambda: {"schema": SCHEMA, "networks": table.objects()},
                        listed=("networks",))

    report.write(document(analyses), "markdown", console)

A format is one file in formats/ with `render(document) -> str`, which names no subject and knows the four kinds of
blocks, and its word in `cnnstat/choices.py`, which is the name of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, get_args, runtime_checkable

from cnnstat import choices
from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.report.table import Table
from cnnstat.report.terminal_text import Line, Page, Verbatim, show

if TYPE_CHECKING:
    from rich.console import Console

    from cnnstat.report.charts.picture import Picture

DRAWINGS = "cnnstat.report.charts.network_drawing"
"""What draws networks, imported where a page asks for it."""

SCHEMA = "cnnstat/1"
"""Name and version of the JSON contract of all subjects that have none of their own."""


class Fact(NamedTuple):
    """A label and what is to be said; an empty label continues the fact above. Text keeps no-break spaces whole."""

    label: str
    text: str
    style: str = ""


def glued(text: str) -> str:
    """Return text that is never wrapped inside."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


class Facts(NamedTuple):
    """Labelled statements, one below the other.

    is_attached: whether a terminal sets them right below what comes before them.
    """

    facts: Sequence[Fact]
    is_attached: bool = False


class KeyFigure(NamedTuple):
    """A figure that is read at a glance, with a remark such as its exact value; `style` is that of a fact."""

    label: str
    value: str
    remark: str = ""
    style: str = ""


@runtime_checkable
class Pictured(Protocol):
    """Something that is drawn as vector graphics."""

    def picture(self) -> Picture:
        """Return the drawing."""


class Chart(Protocol):
    """Something drawn; formats that cannot draw leave it out."""

    def lines(self, width: int) -> Sequence[Line]:
        """Return the drawing in characters, fitted to a width."""


class Text(NamedTuple):
    """A paragraph of text that is shown as it is; a terminal wraps it at spaces, in one style."""

    text: str
    style: str = ""


Block = Table | Facts | Chart | Text


class NetworkDrawing(NamedTuple):
    """A network as SVG, folded to a page; unfolded: every layer by itself, empty where there is no room."""

    svg: str
    unfolded: str = ""


class Document(NamedTuple):
    """One subject in any format.

    title, subtitle: its heading, and one more line of it; empty for none.
    page_title: what a page of its own is called, where that is not the title.
    blocks: makes the tables, facts, charts and texts, for formats that people read.
    data: makes the values under the JSON contract; `listed` names the keys whose entries get a line each.
    records: the table that programs get as CSV; None for the first table of the blocks.
    caption: what is counted and how, for formats that leave facts out.
    key_figures: makes what pages begin with: the totals, or the outcome.
    charts: makes the charts that can be asked for, by name; page_charts: the names of those that pages show, and that
        are meant where no name is given.
    drawings: makes the drawings of the networks that it is about, by what they are called.
    own_caption, label: a user's caption instead of heading and `caption`, and the key that a text refers to it by.
    Blocks and data are made only when a format asks for them, so that JSON costs no table and a table no JSON.
    """

    data: Callable[[], Mapping[str, Any]]
    title: str = ""
    subtitle: str = ""
    page_title: str = ""
    blocks: Callable[[], Iterable[Block]] = tuple
    listed: tuple[str, ...] = ()
    records: Table | None = None
    caption: str = ""
    key_figures: Callable[[], Iterable[KeyFigure]] = tuple
    charts: Callable[[], Mapping[str, Pictured]] = dict
    page_charts: tuple[str, ...] = ()
    drawings: Callable[[], Mapping[str, NetworkDrawing]] = dict
    own_caption: str = ""
    label: str = ""

    @property
    def main_table(self) -> Table:
        """The table for programs."""
        return self.records or next(block for block in self.blocks() if isinstance(block, Table))

    def picture(self, names: Sequence[str] = ()) -> Picture:
        """Return charts below each other; raises CnnstatError where there is none, or none of a name."""
        from cnnstat.report.charts.picture import stacked  # here, as tables do without

        charts = self.charts()
        if not charts:
            raise CnnstatError("there is no chart of this; analyze, compare, profile and ops of activations have some")
        for name in names:
            if name not in charts:
                hint = did_you_mean(name, charts)
                raise CnnstatError(f"there is no chart {name[:40]}{hint}; known: {', '.join(charts)}")
        return stacked([charts[name].picture() for name in names or self.page_charts or charts])


FORMATS = {
    word: f"cnnstat.report.formats.{'terminal' if word == 'table' else word}" for word in get_args(choices.Format)
}
"""What renders a document in each format, imported when it is asked for: a new format is one file and one word."""


def rendered(document: Document, format: str, width: int) -> Page | Verbatim:
    """Return a document in a format, a table of at most `width` columns; raises CnnstatError if there is none."""
    check_format(format, FORMATS)
    renderer: Any = import_module(FORMATS[format])
    return renderer.page(document, width) if format == "table" else Verbatim(renderer.render(document))


def check_format(format: str, known: Collection[str]) -> None:
    """Raise CnnstatError with the nearest format and the list if there is none of this name."""
    if format not in known:
        hint = did_you_mean(format, known)
        raise CnnstatError(f"there is no format {format[:40]} here{hint}; known: {', '.join(known)}")


def write(document: Document, format: str, console: Console) -> None:
    """Print a document; a table is as wide as the console. Raises CnnstatError if there is no such format."""
    show(rendered(document, format, console.width), console)

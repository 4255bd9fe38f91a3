"""Display: how results print themselves, show in notebooks, and turn into JSON and data frames.

It is the only way from results to reports.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cnnstat.errors import needing

SUBJECTS = {
    "Analysis": "cnnstat.report.subjects.analysis",
    "Comparison": "cnnstat.report.subjects.comparison",
    "Explanation": "cnnstat.report.subjects.explanation",
    "Networks": "cnnstat.report.subjects.zoo",
    "Ops": "cnnstat.report.subjects.ops",
    "Peak": "cnnstat.report.subjects.peak",
    "Profile": "cnnstat.report.subjects.profile",
    "Sweep": "cnnstat.report.subjects.sweep",
    "Tiling": "cnnstat.report.subjects.tiles",
    "Verification": "cnnstat.report.subjects.verification",
}
"""The module whose `document` describes a result, by the name of the result's class.

Reports import results, so results name their report here as text: an import, even a late one, would be a circle.
"""

WIDTH = 100
"""Columns of a table that `repr` and `str` return."""

MOST_ROWS = 60
"""Rows of a table that `repr` shows; `str`, and so `print`, shows all."""


def drawn(result: Any, **options: Any) -> Any:
    """Return a result as a picture; the options are those of `cnnstat.draw`."""
    return import_module("cnnstat.api").draw(result, **options)


class Displayed:
    """A result that is shown as the document of its subject."""

    __slots__ = ()

    def _document(self) -> Any:
        subject = next(SUBJECTS[each.__name__] for each in type(self).__mro__ if each.__name__ in SUBJECTS)
        return import_module(subject).document(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the result under its JSON contract, as JSON-ready values."""
        values: dict[str, Any] = self._document().data()
        return values

    def to_json(self) -> str:
        """Return the result under its JSON contract, as text."""
        return str(import_module("cnnstat.report.formats.json").render(self._document()))

    def to_pandas(self) -> Any:
        """Return the rows of its CSV as a pandas.DataFrame; raises CnnstatError where pandas is missing."""
        with needing("pandas", "to_pandas"):
            pandas = import_module("pandas")
        table = self._document().main_table
        return pandas.DataFrame(table.objects(), columns=[column.key for column in table.columns])

    def chart(self, *names: str) -> Any:
        """Return its charts as a picture, those of some names or its main ones: `analyze("vgg16").chart("macs")`.

        A notebook shows it, and `.save("macs.svg")` writes it. Raises CnnstatError where there is none of a name.
        """
        return self._document().picture(names)

    def __str__(self) -> str:
        """Return the table that its command prints, at 100 columns."""
        return self._text(None)

    def __repr__(self) -> str:
        """Return the same, the middle of long tables left out."""
        return self._text(MOST_ROWS)

    def _text(self, most_rows: int | None) -> str:
        return str(import_module("cnnstat.report.formats.terminal").text(self._document(), WIDTH, most_rows))

    def _repr_html_(self) -> str:
        """Return the fragment that notebooks show."""
        return str(import_module("cnnstat.report.notebook").fragment(self._document()))

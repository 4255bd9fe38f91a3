"""Display: how results print themselves, show in notebooks and turn into JSON; the only door to reports."""

from __future__ import annotations

from importlib import import_module
from typing import Any

SUBJECTS = {
    "Analysis": "cnnstat.report.subjects.analysis",
    "Comparison": "cnnstat.report.subjects.comparison",
    "Profile": "cnnstat.report.subjects.profile",
}
"""The module whose `document` describes a result, by the name of the result's class.

Reports import results, so results name their report here as text: an import, even a late one, would be a circle.
"""

WIDTH = 100
"""Columns of a table that `repr` returns."""


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

    def __repr__(self) -> str:
        """Return the table that its command prints, at 100 columns."""
        return str(import_module("cnnstat.report.formats.terminal").text(self._document(), WIDTH))

    def _repr_html_(self) -> str:
        """Return the page that notebooks show."""
        return str(import_module("cnnstat.report.formats.html").fragment(self._document()))

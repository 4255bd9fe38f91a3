"""JSON: a document for programs; `cnnstat analyze` reads it as it reads YAML."""

from __future__ import annotations

import json

from cnnstat.export.document import Document


def json_text(document: Document) -> str:
    """Return a document as JSON; remarks, for which JSON has no comments, are added to its notes."""
    data = dict(document.data)
    if document.remarks:
        own = str(data.get("notes", ""))
        data["notes"] = " ".join(filter(None, (own.strip(), *(f"{remark}." for remark in document.remarks))))[:5000]
        data = {key: data[key] for key in sorted(data, key=_place)}
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _place(key: str) -> int:
    """Return the place of a key: the texts come first."""
    order = ("name", "title", "cite", "notes")
    return order.index(key) if key in order else len(order)

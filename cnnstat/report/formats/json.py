"""JSON: the data of a document, under the contract that other programs rely on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cnnstat.report.document import Document


def render(document: Document) -> str:
    """Return the data, one line a key and one line an entry of the keys that the document lists."""
    return json_text(document.data(), *document.listed)


def json_text(values: Mapping[str, Any], *listed: str) -> str:
    """Return JSON text, one line for each key; lists called `listed` have one line for each entry.

    ASCII throughout, so that any terminal and file encoding will do.
    """
    lines = []
    for key, value in values.items():
        if key in listed and value:
            # A line for each layer, so that files under version control have readable differences.
            entries = ",\n".join(f"    {_compact(entry)}" for entry in value)
            lines.append(f"  {_compact(key)}: [\n{entries}\n  ]")
        else:
            lines.append(f"  {_compact(key)}: {_compact(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, allow_nan=False)

"""`cnnstat schema`: the JSON Schema of the spec language."""

from __future__ import annotations

from cnnstat import console
from cnnstat.commands.options import OutputOption


def schema(output: OutputOption = None) -> None:
    """Print the JSON Schema of the spec language, for editors."""
    import json

    from cnnstat.spec.json_schema import schema as spec_schema

    with console.open_output(output) as out:
        out.file.write(json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n")

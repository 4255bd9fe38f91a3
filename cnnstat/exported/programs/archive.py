"""The archive of an exported program: the JSON of its graph, of a schema version that is known."""

from __future__ import annotations

import json
import zipfile
from typing import Any

from cnnstat.errors import SourceError, printable
from cnnstat.files import exists, is_file

SCHEMA = 8
"""Major version of the schema of torch._export.serde.schema that is read; another may mean something else."""
MOST = 64 * 2**20
"""Most bytes of the graph, of which ResNet-152 has one hundredth."""


def read_program(source: str) -> dict[str, Any]:
    """Return the exported program of an archive as plain data; raises SourceError."""
    name = source[:200]
    if exists(source) and not is_file(source):  # a pipe would be waited for
        raise SourceError(f"{name}: is no file")
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [each for each in archive.infolist() if _is_model(each.filename)]
            if not entries:
                raise SourceError(f"{name}: the file holds no exported program (torch.export.save writes one)")
            if entries[0].file_size > MOST:
                raise SourceError(f"{name}: its graph has more than {MOST >> 20} MiB")
            with archive.open(entries[0]) as file:
                content = file.read(MOST + 1)
        program = json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise SourceError(f"{name}: there is no such file") from None
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError, EOFError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise SourceError(f"{name}: the file is no exported program, or damaged ({reason}); export it again") from None
    if not isinstance(program, dict):
        raise SourceError(f"{name}: the file is no exported program; export it again")
    version = program.get("schema_version")
    major = version.get("major") if isinstance(version, dict) else None
    if major != SCHEMA:
        by = f" by PyTorch {printable(str(program['torch_version']))[:30]}" if "torch_version" in program else ""
        raise SourceError(
            f"{name}: it was written{by} in schema {str(major)[:20]} of exported programs, but only {SCHEMA} is read: "
            "export it again with another PyTorch, or name the PyTorch model"
        )
    return program


def _is_model(entry: str) -> bool:
    """Whether an entry is the graph: `models/model.json` in the newer archives, `serialized_exported_program.json`."""
    return entry.endswith((".json",)) and ("/models/" in f"/{entry}" or "serialized_exported_program" in entry)

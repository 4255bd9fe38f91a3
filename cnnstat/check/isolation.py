"""Measuring in a process of its own, so that another commit's Python code does not meet this one's modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cnnstat.check.measurement import Measurement, from_json, measure, to_json
from cnnstat.check.settings import ModelSettings
from cnnstat.errors import CnnstatError
from cnnstat.sources.request import InputShape, Request

TIMEOUT = 600
"""Seconds that one measurement may take."""
_PACKAGE = Path(__file__).resolve().parents[2]
_CODE = "from cnnstat.check.isolation import answer; answer()"


def measure_apart(source: str, settings: ModelSettings, folder: Path, instead_of: Path) -> Measurement:
    """Return the figures of a source, analyzed by a new process in another folder; raises CnnstatError.

    instead_of: the folder whose code must not be what is imported, because `folder` holds another commit of it.
    """
    paths = [str(_PACKAGE), *(path for path in sys.path if path and not _is_below(Path(path), Path.cwd()))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", _CODE, str(folder), str(instead_of)]
    question = json.dumps({"source": source, **_question(settings)}, default=str)
    try:
        result = subprocess.run(
            command, input=question, capture_output=True, encoding="utf-8", env=environment, cwd=folder, timeout=TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CnnstatError(f"{source}: could not be analyzed apart ({type(error).__name__})") from None
    if result.returncode:
        said = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise CnnstatError(said[:300])
    return from_json(json.loads(result.stdout.splitlines()[-1]))


def answer() -> None:
    """Read a question from stdin and write the measurement to stdout; an error goes to stderr with exit code 2."""
    question = json.load(sys.stdin)
    folder, instead_of = map(Path, sys.argv[1:3])
    sys.path[:0] = [str(folder), str(folder / "src")]
    source = question.pop("source")
    try:
        found = measure(source, _settings(question))
        _check_module(source.partition(":")[0], folder, instead_of)
    except CnnstatError as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        sys.exit(2)
    print(json.dumps(to_json(found)))


def _check_module(name: str, folder: Path, instead_of: Path) -> None:
    """Raise CnnstatError if a module came from the working tree, so that it would be compared with itself."""
    file = Path(getattr(sys.modules.get(name), "__file__", None) or folder).resolve()
    if _is_below(file, instead_of) and not _is_below(file, folder.resolve()) and "site-packages" not in file.parts:
        raise CnnstatError(f"{name} is imported from the working tree, not from the base commit; name the file instead")


def _question(settings: ModelSettings) -> dict[str, Any]:
    """Return what the other process must know about a model."""
    request = settings.request
    return {
        "inputs": {name: [list(shape.sizes), shape.dtype] for name, shape in request.inputs.items()},
        "batch": request.batch,
        "dtype": request.dtype,
        "variables": dict(request.variables),
        "arguments": dict(request.arguments),
        "mode": request.mode,
        "optimizer": settings.optimizer,
    }


def _settings(question: dict[str, Any]) -> ModelSettings:
    """Return the settings that a question describes."""
    shapes = {name: InputShape(tuple(sizes), dtype) for name, (sizes, dtype) in question["inputs"].items()}
    kept = {key: question[key] for key in ("batch", "dtype", "variables", "arguments", "mode")}
    request = Request(inputs=shapes, **kept)
    return ModelSettings(source="", name="", request=request, optimizer=question["optimizer"])


def _is_below(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder or lies in it."""
    return folder == path or folder in path.parents

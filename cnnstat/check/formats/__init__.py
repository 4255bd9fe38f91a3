"""Formats of `cnnstat check`, one file each, and where a result goes: terminal, files, the summary of a GitHub job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, cast, get_args

from cnnstat.check.check_result import CheckResult
from cnnstat.choices import CheckFormat, format_endings
from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.files import write_output
from cnnstat.report.document import check_format, rendered

VERDICT_FORMATS = {
    "json": "cnnstat.check.check_result:json_text",
    "markdown": "cnnstat.check.formats.pull_request_comment:render",
    "summary": "cnnstat.check.formats.pull_request_comment:render_summary",
    "github": "cnnstat.check.formats.github:render",
    "gitlab": "cnnstat.check.formats.gitlab:render",
    "junit": "cnnstat.check.formats.junit:render",
    "sarif": "cnnstat.check.formats.sarif:render",
}
"""The function that renders a result, imported when it is needed: a new format is a file and a line."""
FORMATS = get_args(CheckFormat)
"""Every format; those that are not of verdicts render a document, see `cnnstat.report.formats`."""
WIDTH = 80
"""Columns of a table that goes into a file."""


class Output(NamedTuple):
    """A file to write, and in which format."""

    format: str
    path: Path


def render(result: CheckResult, format: str) -> str:
    """Return a result as text, the same from run to run; raises CnnstatError if there is no such format."""
    check_format(format, FORMATS)
    if format in VERDICT_FORMATS:
        module, _, function = VERDICT_FORMATS[format].partition(":")
        return cast("Callable[[CheckResult], str]", getattr(import_module(module), function))(result)
    from cnnstat.report.subjects.check import document

    return str(rendered(document(result), format, WIDTH))


ENDINGS = {**format_endings(), ".sarif": "sarif"}
"""The formats that an ending alone names; .xml may be of several."""


def parse_outputs(texts: Iterable[str]) -> tuple[Output, ...]:
    """Return formats and paths of texts `FORMAT:PATH`, or of a path whose ending names it; raises CnnstatError."""
    outputs = []
    for text in texts:
        format, separator, path = text.partition(":")
        if not separator and (ending := ENDINGS.get(Path(text).suffix.lower())):
            outputs.append(Output(ending, Path(text)))
            continue
        if not separator or not path.strip() or format not in FORMATS:
            near = did_you_mean(format, FORMATS) if separator and path.strip() else ""
            hint = near or f"; formats: {', '.join(FORMATS)}"
            raise CnnstatError(f"--output {text[:100]}: write FORMAT:PATH, as in junit:report.xml{hint}")
        outputs.append(Output(format, Path(path)))
    return tuple(outputs)


def write_outputs(result: CheckResult, outputs: Iterable[Output], printed: str) -> None:
    """Write the files, and a GitHub job's summary if `printed` or a file is for GitHub; raises CnnstatError."""
    outputs = tuple(outputs)
    for output in outputs:
        write_output(output.path, render(result, output.format))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    # whoever prints annotations wants the table too, and GitHub shows it under the job
    if summary and "github" in (printed, *(output.format for output in outputs)):
        try:
            with Path(summary).open("a", encoding="utf-8", newline="\n") as file:  # the job's other steps write there
                file.write(render(result, "summary"))
        except OSError as error:
            raise CnnstatError(f"{summary}: cannot be written: {error.strerror or error}") from None

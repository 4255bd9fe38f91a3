"""Delivery: the files of `--output FORMAT:PATH` and the summary of a GitHub job."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cnnstat.check.formats import FORMATS, render
from cnnstat.check.report import CheckReport
from cnnstat.errors import CnnstatError, did_you_mean


class Output(NamedTuple):
    """A file to write, and in which format."""

    format: str
    path: Path


def parse_outputs(texts: Iterable[str]) -> tuple[Output, ...]:
    """Return formats and paths of texts `FORMAT:PATH`; raises CnnstatError."""
    outputs = []
    for text in texts:
        format, separator, path = text.partition(":")
        if not separator or not path.strip() or format not in FORMATS:
            hint = did_you_mean(format, FORMATS) if separator else ""
            said = hint or f"; formats: {', '.join(FORMATS)}"
            raise CnnstatError(f"--output {text[:100]}: write FORMAT:PATH, as in junit:report.xml{said}")
        outputs.append(Output(format, Path(path)))
    return tuple(outputs)


def deliver(report: CheckReport, outputs: Iterable[Output], printed: str) -> None:
    """Write the files, and a GitHub job's summary if that is what is printed; raises CnnstatError if one cannot be."""
    listed = tuple(outputs)
    for output in listed:
        _write(output.path, render(report, output.format), "w")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and "github" in (printed, *(output.format for output in listed)):
        _write(Path(summary), render(report, "summary"), "a")


def _write(path: Path, text: str, mode: str) -> None:
    """Write or append a text."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise CnnstatError(f"--output {path}: cannot be written: {error.strerror or error}") from None

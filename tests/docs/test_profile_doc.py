"""docs/profile.md tells every option and column, and its example adds up as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnnstat import cli
from cnnstat.report.subjects.profile import layer_columns
from cnnstat.report.table import ON_REQUEST

DOC = (Path(__file__).resolve().parents[2] / "docs" / "profile.md").read_text(encoding="utf-8")
SHARED = {"--help", "--traceback", "--no-tf32"}


def test_every_option_is_told() -> None:
    command = cli.load_command("profile")
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert {name for name in options - SHARED if f"`{name}" not in DOC} == set()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_column_is_told(device: str) -> None:
    rows = re.findall(r"^\| ([^|]+) \|", DOC, re.MULTILINE)
    told = {title.strip() for row in rows for title in row.split(",")}
    own = {"operation", "forward", "backward", "warm", "cold"}  # explained by the options that bring them
    shown = {column.title for column in layer_columns(device=device) if column.importance < ON_REQUEST}
    assert shown - own <= told


def test_the_example_adds_up() -> None:
    times = re.findall(r"^(layers|gaps|unattributed|drift|whole model) +(−?[\d.]+) ms", DOC, re.MULTILINE)
    *parts, whole = (round(10 * float(time.replace("−", "-"))) for _, time in times)
    assert len(parts) == 4 and sum(parts) == whole
    rows = re.findall(r"^\S+ +[\d.]+ ± [\d.]+ [mµ]s +([\d.]+) ", DOC, re.MULTILINE)
    (total,) = re.findall(r"^sum +[\d.]+ ms +([\d.]+) ", DOC, re.MULTILINE)
    assert len(rows) == 22 and sum(map(float, rows)) == pytest.approx(float(total), abs=22 * 0.05)

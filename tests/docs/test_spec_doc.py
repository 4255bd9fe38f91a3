"""What docs/spec.md says is so: its specs load, its output is real, its names exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import cnnstat
from cnnstat import cli, ops
from cnnstat.analysis.figures import FIGURES
from cnnstat.analysis.published import PUBLISHED
from cnnstat.errors import SpecError
from cnnstat.spec.expressions import FUNCTIONS
from cnnstat.spec.item_reader import COMMON_KEYS
from cnnstat.spec.spec_document import FIGURE_KEYS, KEYS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "spec.md").read_text(encoding="utf-8")


ONLY_PUBLISHED = sorted(PUBLISHED.keys() - {figure.key for figure in FIGURES})
"""The figures that are in no table but that of the page."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("spec", blocks("yaml"))
def test_every_spec_is_complete(spec: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(spec, encoding="utf-8")
    assert cnnstat.analyze(path).totals.layers > 0


def test_the_first_spec_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["cnnstat", "analyze", "tiny.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out.split("\n\nparameters")[0] == blocks("text")[0].strip()


def test_the_wrong_spec_gives_the_errors_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = blocks("yaml wrong")
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text(spec, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        cnnstat.analyze("wrong.yaml")
    assert str(caught.value) == blocks("text")[1].strip()


def test_variables_can_be_set_as_shown(tmp_path: Path) -> None:
    (spec,) = (spec for spec in blocks("yaml") if "norm: BatchNorm2d" in spec and "widths:" in spec)
    path = tmp_path / "net.yaml"
    path.write_text(spec, encoding="utf-8")
    analysis = cnnstat.analyze(path, variables={"width": "32", "norm": "Identity"})
    assert [layer.output_shape[1] for layer in analysis.layers] == [32, 32, 64, 64]
    assert analysis.layers[1].op.kind == "Identity"


@pytest.mark.parametrize("word", [*KEYS, *COMMON_KEYS, *FIGURE_KEYS, *ONLY_PUBLISHED, *FUNCTIONS])
def test_every_word_of_the_language_is_there(word: str) -> None:
    assert re.search(rf"\b{word}\b", TEXT)


def test_every_inferred_argument_is_there() -> None:
    for name in {name for op in map(ops.lookup, ops.names()) for name in op.inferred}:
        assert f"`{name}`" in TEXT


def test_links_lead_to_headings() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= anchors

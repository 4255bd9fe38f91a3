"""Networks a row each: chosen columns, plain numbers in the units of the heads, and tables of papers."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess

import pytest
from networks import written, zoo

from cnnstat import report
from cnnstat.analysis.comparison import compare_analyses
from cnnstat.errors import CnnstatError
from cnnstat.numbers import Unit, common_unit
from cnnstat.report.network_columns import KEYS
from cnnstat.report.subjects.comparison import document

KEYS_OF_A_PAPER = ("model", "input", "params", "macs", "activation_bytes", "macs_ratio", "receptive_field")


def compared(*names, keys=KEYS_OF_A_PAPER, format="latex"):
    return written(report.write, document(compare_analyses(list(map(zoo, names))), keys), format)


def test_numbers_are_plain_decimals_in_the_unit_of_the_head():
    text = compared("alexnet", "vgg16", "resnet18")
    rows = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if line.endswith(r" \\")]
    assert rows[0][2:4] == [r"{\shortstack[r]{params\cr (M)}}", r"{\shortstack[r]{MACs\cr (G)}}"]
    assert rows[2] == ["vgg16", r"{1$\times$3$\times$224$\times$224}", "138.36", "15.47", "109.49", "21.66", "212"]
    for row in rows[1:]:
        for cell in row[1:]:
            assert re.fullmatch(r"\d+(\.\d+)?|\{.*\}", cell), "a column S of siunitx takes numbers and braces only"


def test_the_caption_has_input_convention_and_what_ratios_are_to():
    (caption,) = re.findall(r"\\caption\{(.*)\}", compared("alexnet", "vgg16"))
    assert caption.startswith(r"Input 1$\times$3$\times$224$\times$224 float32. MACs are of convolutions")
    assert caption.endswith("Ratios are to alexnet.")
    assert "Ratios" not in compared("alexnet", "vgg16", keys=("model", "macs"))


@pytest.mark.parametrize(
    ("numbers", "unit", "texts"),
    [
        ([61_100_840, 138_357_544], Unit.COUNT, ["61.10 M", "138.36 M"]),
        ([61_706, 138_357_544, 0], Unit.COUNT, ["0.062 M", "138.358 M", "0.000 M"]),
        ([999, 12], Unit.COUNT, ["999 ", "12 "]),
        ([1024 * 1024, 1536 * 1024], Unit.BYTES, ["1.00 MiB", "1.50 MiB"]),
        ([40, 1_200], Unit.ITEMS, ["40 ", "1200 "]),
        ([0, 0], Unit.COUNT, ["0 ", "0 "]),
    ],
)
def test_one_unit_for_several_numbers(numbers, unit, texts):
    common = common_unit(numbers, unit)
    assert [f"{common.text(number)} {common.name}" for number in numbers] == texts


def test_csv_has_the_raw_values_of_the_columns():
    rows = list(
        csv.reader(io.StringIO(compared("alexnet", "vgg16", keys=("model", "macs", "params_bytes"), format="csv")))
    )
    assert rows[0] == ["model", "macs", "params_bytes"] and rows[2] == ["vgg16", "15470264320", str(4 * 138_357_544)]


@pytest.mark.parametrize("format", ["table", "markdown", "html", "latex", "csv"])
def test_every_column_in_every_format(format):
    assert "resnet18" in compared("vgg16", "resnet18", keys=KEYS, format=format)


def test_unknown_columns_are_named():
    with pytest.raises(CnnstatError, match="there is no column mac; did you mean macs?"):
        compared("vgg16", keys=("mac",))
    with pytest.raises(CnnstatError, match="--columns is empty; choose from model, input, params"):
        compared("vgg16", keys=())


PAPER = r"""\documentclass{article}\usepackage{booktabs}%s\begin{document}
%s\end{document}"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("package", ["", r"\usepackage{siunitx}"])
def test_papers_compile_with_and_without_siunitx(package, tmp_path):
    if package and subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False).returncode:
        pytest.skip("siunitx is not installed")
    table = compared("alexnet", "vgg16", "lenet5")
    if package:
        table = re.sub(r"\{lr+\}", lambda found: found[0].replace("r", "S"), table)
    (tmp_path / "paper.tex").write_text(PAPER % (package, table), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert result.returncode == 0, result.stdout[-2000:]

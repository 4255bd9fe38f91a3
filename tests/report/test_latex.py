"""LaTeX: tables that compile with booktabs alone, whatever the names in them."""

import re
import shutil
import subprocess

import pytest
from handmade_profiles import gpu_profile
from networks import branches, network, op, printed, written, zoo

from cnnstat import report
from cnnstat.analysis.comparison import compare_analyses
from cnnstat.analysis.explanation import Explanation
from cnnstat.analysis.published import published_rows
from cnnstat.report.formats.latex import escaped
from cnnstat.report.latex_layout import fitted, pieces, width_of
from cnnstat.report.subjects import explanation, ops, profile, published
from cnnstat.report.subjects import zoo as zoo_list
from cnnstat.report.subjects.analysis import FLOOR, AnalysisView
from cnnstat.report.subjects.comparison import document

HOSTILE = "\\input{x}$&#_%~^{}\n\u202e|<>\"'`--日本é×\\\\"
FRAME = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n%s\n\\end{document}\n"


def test_a_table_of_layers(golden):
    golden("lenet5.tex", printed(zoo("lenet5"), format="latex"))


def test_input_size_and_conventions_are_in_the_caption():
    (caption,) = re.findall(r"\\caption\{.*\}", printed(zoo("vgg16"), format="latex"))
    assert r"1$\times$3$\times$224$\times$224 float32" in caption
    assert r"FLOPs are 2 $\times$ MACs and everything else" in caption


def test_numbers_are_right_aligned_and_the_total_stands_under_a_rule():
    text = printed(zoo("vgg16"), AnalysisView(columns=("name", "params", "macs")), "latex")
    assert r"\begin{tabular}{lrr}" in text
    assert "\\midrule\ntotal & 138,357,544 & 15,470,264,320 \\\\\n\\bottomrule" in text


def test_hostile_names_stay_text():
    text = escaped(HOSTILE)
    assert text.startswith(r"\textbackslash{}input\{x\}\$\&\#\_\%\textasciitilde{}\textasciicircum{}\{\}")
    assert "[U+202E]" in text and "é" in text and "[U+65E5]" in text and "--" not in text
    analysis = network((1, 3, 8, 8), (HOSTILE, op("Conv2d", 4, 3), "input"), name=HOSTILE)
    for line in printed(analysis, format="latex").splitlines():
        if not line.startswith("%"):
            assert not re.search(r"(?<!\\)(\$(?!\\times)|#|%|_)", line.replace(r"\times$", r"\times"))


def test_symbols_of_formulas_have_their_commands():
    assert escaped("⌊H₀²⌋ ≤ 2·π·ж") == r"$\lfloor$H$_0$$^2$$\rfloor$ $\leq$ 2$\cdot$$\pi$$\cdot$[U+0436]"


def test_every_line_of_a_table_has_as_many_cells():
    analysis = network((1, 3, 8, 8), (HOSTILE, op("Conv2d", 4, 3), "input"))
    lines = [line for line in printed(analysis, format="latex").splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {6}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_compiles(tmp_path):
    both = compare_analyses([zoo("alexnet"), network((1, 3, 8, 8), (HOSTILE, op("Conv2d", 4, 3), "input"))])
    tables = [
        printed(branches(), format="latex"),
        printed(network((1, 3, 8, 8), (HOSTILE, op("Conv2d", 4, 3), "input"), name=HOSTILE), format="latex"),
        written(report.write, document(both), "latex"),
        written(report.write, zoo_list.document([zoo("lenet5"), zoo("c3d")]), "latex"),
        written(report.write, explanation.document(Explanation(zoo("alexnet"), "conv1")), "latex"),
        written(report.write, profile.document(gpu_profile(model=HOSTILE)), "latex"),
    ]
    (tmp_path / "paper.tex").write_text(FRAME % "\n".join(tables), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert result.returncode == 0, result.stdout[-2000:]


def test_caption_and_label_of_the_user():
    found = document(compare_analyses([zoo("alexnet")]))._replace(own_caption="50 % & more", label="tab:a}b")
    text = written(report.write, found, "latex")
    assert "\\caption{50 \\% \\& more}\n\\label{tab:ab}\n" in text


def test_a_table_longer_than_a_page_repeats_its_titles():
    text = printed(zoo("resnet50"), format="latex")
    assert text.startswith("% \\usepackage{booktabs,longtable}\n") and "\\endhead" in text
    assert "\\begin{table}" not in text and text.count("\\caption{") == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_no_table_is_wider_than_the_text_of_an_article(tmp_path):
    long_name = network((1, 3, 8, 8), (f"{'stage' * 20}.{'block' * 12}", op("Conv2d", 4, 3), "input"), name="n" * 90)
    names = ["lenet5", "alexnet", "vgg16", "resnet50", "c3d", "faster_rcnn", "unet", "ssd300"]
    explained = [("vgg16", "conv1_1"), ("resnet50", "layer1.0.conv2"), ("c3d", "conv1"), ("vgg16", "fc6")]
    tables = [
        *(printed(zoo(name), format="latex") for name in names),
        printed(long_name, format="latex"),
        printed(zoo("vgg16"), AnalysisView(columns=tuple(key for key in AnalysisView.keys if key != FLOOR)), "latex"),
        written(report.write, zoo_list.document(list(map(zoo, names))), "latex"),
        *(written(report.write, explanation.document(Explanation(zoo(n), layer)), "latex") for n, layer in explained),
        *(
            written(report.write, ops.document(*each), "latex")
            for each in ((), ("conv",), ("Conv2d",), ("relu", "GELU"))
        ),
        written(report.write, document(compare_analyses([zoo(name) for name in names[:5]])), "latex"),
        written(report.write, published.document(zoo("vgg16"), published_rows(zoo("vgg16"))), "latex"),
        written(report.write, profile.document(gpu_profile()), "latex"),
    ]
    frame = FRAME.replace("{booktabs}", "{booktabs,longtable,graphicx}")
    (tmp_path / "paper.tex").write_text(frame % "\n".join(tables).replace("\\end{table}", "\\end{table}\\clearpage"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert result.returncode == 0, result.stdout[-2000:]
    assert re.findall(r"Overfull \\hbox \([^)]*\)[^\n]*|Float too large[^\n]*", result.stdout) == []


def test_widths_are_never_less_than_those_of_computer_modern():
    assert [round(width_of(letter), 3) for letter in "M1i W"] == [0.917, 0.514, 0.278, 0.333, 1.028]
    fit = fitted(("layer", "output of all layers"), (("a" * 90, "b.c d"), ("1", "2")), (True, False))
    assert fit.font.startswith(r"\scriptsize") and fit.is_stacked and fit.wrapped[1] is None and fit.lines >= 2
    assert "".join(pieces("conv_1.a (2×3), b")) == "conv_1.a (2×3), b"

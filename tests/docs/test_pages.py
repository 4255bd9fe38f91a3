"""Every block of the pages runs as it stands, in the order of its page; every page is in the index and links back."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cnnstat
from cnnstat import cli
from cnnstat.analysis.figures import FIGURES
from cnnstat.draw.formats import render

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RUN_HERE = (
    "tutorial",
    "python",
    "json",
    "compared",
    "troubleshooting",
    "glossary",
    "export",
    "pytorch",
    "verify",
    "draw",
    "reports",
    "deploy",
    "onnx",
    "sweep",
)
"""Pages whose blocks this file runs; README, spec.md, ci.md, counting.md and profile.md have tests of their own."""

BLOCK = re.compile(r"(?:<!-- file: (?P<file>[\w.]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.S | re.M)
NEEDS_TORCH = (
    "import torch",
    "torchvision",
    "transformers",
    "timm",
    "verify",
    "tutorial_model",
    "nets.py",
    "cnnstat.build",
)


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def steps(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield what each block of a page is: a file, a command, or Python code."""
    for block in BLOCK.finditer(page(name)):
        if block["file"]:
            yield "file", block["file"], block["text"]
        elif block["language"] == "sh":
            lines = block["text"].replace("\\\n", " ").splitlines()
            yield from (("command", "", line) for line in lines if line.startswith("cnnstat "))
        elif block["language"] == "python":
            yield "python", "", block["text"]


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code, command


@pytest.mark.parametrize("name", RUN_HERE)
def test_the_blocks_of_a_page_run_in_their_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "onnx":
        pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace: dict[str, Any] = {}
    for kind, file, text in steps(name):
        if "to_pandas()" in text and not _is_there("pandas"):
            continue
        if any(word in text or word in file for word in NEEDS_TORCH):
            for module in ["torch", *(word for word in ("torchvision", "timm", "transformers") if word in text)]:
                if not _is_there(module):
                    break
            else:
                _step(kind, file, text, namespace, monkeypatch)
            continue
        _step(kind, file, text, namespace, monkeypatch)


def _is_there(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def _step(kind: str, file: str, text: str, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "file":
        Path(file).write_text(text, encoding="utf-8")
    elif kind == "command":
        run(text, monkeypatch)
    else:
        exec(compile(text, "block", "exec"), namespace)  # our own text


PAGES = sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "README")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_in_the_index_and_links_back(name: str) -> None:
    assert f"]({name}.md)" in page("README")
    assert "](README.md)" in page(name)


@pytest.mark.parametrize("path", [*DOCS.glob("*.md"), ROOT / "README.md"], ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("name", ["profile", "gpu"])
def test_pages_are_honest_about_the_gpu(name: str) -> None:
    assert re.search(r"[Nn]othing (has been measured )?(on a GPU )?yet", page(name)[:2500])


# The JSON -------------------------------------------------------------------------------------------------------------

OF_FIGURES = {
    name for figure in FIGURES for name in (figure.key, figure.layer, figure.total.rpartition(".")[2]) if name
}
"""Keys and attributes that the table of figures in docs/counting.md has, to which other pages lead."""
FREE = (
    "flop_parts",
    "macs_by_precision",
    "ratios",
    "inputs",
    "versions",
    "settings",
    "conventions",
    "arguments",
    "schema",
    "totals.memory",
)
"""Keys below which stand names that are data, or that have their place elsewhere."""


def keys(values: Any, above: str = "") -> Iterator[str]:
    """Yield every key, but not those that are data themselves."""
    if isinstance(values, dict) and above not in FREE:
        for key, value in values.items():
            yield key
            yield from keys(value, key)
    elif isinstance(values, list):
        for value in values:
            if isinstance(value, (dict, list)):
                yield from keys(value, above if above != "arguments" else "")


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments, "--format", "json"])
    with pytest.raises(SystemExit):
        cli.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "command",
    ["analyze resnet18", "compare alexnet vgg16", "compare alexnet vgg16 --published", "analyze vgg16 --published",
     "explain alexnet conv1", "list", "ops ELU", "ops pool", "check lenet5 --max-params 1k --min-receptive-field 3",
     "analyze resnet18 --deploy int8", "explain resnet18 --peak",
     "analyze unet --tiles 512x512",
     "verify lenet5_1998"],
)  # fmt: skip
def test_every_key_of_the_json_is_documented(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if command.startswith("verify"):
        pytest.importorskip("torch")
    values = printed(capsys, monkeypatch, *command.split())
    unknown = {key for key in keys(values) if f"`{key}`" not in page("json") and key not in {*FREE, *OF_FIGURES}}
    assert not unknown - {"agrees", "explained", "no witness", "no reference", "unexplained"}


# The comparison -------------------------------------------------------------------------------------------------------


def test_the_worked_example_holds_for_fvcore_and_flop_counter_mode() -> None:
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    fvcore = pytest.importorskip("fvcore.nn")
    from torch.utils.flop_counter import FlopCounterMode

    model, image = torchvision.models.resnet18(weights=None).eval(), torch.zeros(1, 3, 224, 224)
    count = fvcore.FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert f"{int(count.total()):,}" in page("compared")
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert f"{counter.get_total_flops():,}" in page("compared")
    assert f"{cnnstat.analyze('resnet18').totals.macs:,}" in page("compared")


def test_the_plot_of_activations_is_vector_graphics_of_the_ops_own_curves() -> None:
    text = (DOCS / "activations.svg").read_text(encoding="utf-8")
    lines = re.findall(r'<polyline points="([^"]+)"', text)
    assert len(lines) == 4 and all(len(line.split()) == 161 for line in lines)
    assert [name in text for name in ("Sigmoid", "Tanh", "ReLU", "LeakyReLU")] == [True] * 4
    sigmoid = [tuple(map(float, point.split(","))) for point in lines[0].split()]
    assert sigmoid[80] == (270.0, 240.0)  # x = 0, y = 1/2: half a unit of 60 above the axis at 270


# The Python interface -------------------------------------------------------------------------------------------------


def public_names() -> Iterator[str]:
    """Yield every public name of the package, and every name that its results have."""
    yield from cnnstat.__all__
    analysis = cnnstat.analyze("lenet5")
    results = [analysis, analysis.layers[0], analysis.totals, analysis.totals.memory, analysis.totals.receptive_field]
    results += [analysis.by_op()["Conv2d"], cnnstat.compare(analysis), cnnstat.explain(analysis, "C1")]
    for result in results:
        of_tuple = dir(tuple) if isinstance(result, tuple) else []
        yield from (name for name in dir(type(result)) if not name.startswith("_") and name not in of_tuple)
    for kind in (cnnstat.Profile, cnnstat.Verification, cnnstat.Networks):
        yield from (name for name in dir(kind) if not name.startswith("_") and name not in dir(tuple))


def test_the_whole_python_interface_is_on_its_page() -> None:
    text = page("python")
    missing = {name for name in public_names() if not re.search(rf"\b{name}\b", text)} - {"of", *OF_FIGURES}
    assert not missing, f"docs/python.md does not name {sorted(missing)}"


def test_the_mermaid_block_is_what_is_drawn() -> None:
    (block,) = re.findall(r"^```mermaid\n(.*?)^```$", page("draw"), re.S | re.M)
    assert block == render(cnnstat.draw("lenet5"), "mmd")


# Pictures -------------------------------------------------------------------------------------------------------------


def script() -> Any:
    """Return docs/screenshots.py as a module."""
    spec = importlib.util.spec_from_file_location("screenshots", DOCS / "screenshots.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_made_by_one_script_and_look_right_offline() -> None:
    made = script().pictures()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = {*re.findall(r"\]\(docs/([\w-]+)\.svg\)", readme), *re.findall(r"\]\((drawings/\w+)\.svg\)", page("draw"))}
    assert shown == set(made)
    for name, svg in made.items():
        text = (DOCS / f"{name}.svg").read_text(encoding="utf-8")
        assert text.splitlines()[0][:60] == svg.splitlines()[0][:60], "run python docs/screenshots.py"
        if name.startswith("drawings/"):
            assert text == svg, "run python docs/screenshots.py"
        for each in (text, svg):
            ElementTree.fromstring(each)
            assert not re.search(r"@font-face|@import|url\(|<image|href|<script|[─-╿▀-▟⠀-⣿]", each)
            assert each.count("http") == 1  # the namespace
        assert "prefers-color-scheme:dark" in text

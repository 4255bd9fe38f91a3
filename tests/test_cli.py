"""The command line as a user meets it: what it prints, where, and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cnnstat import cli

TINY = "input: [3, 8, 8]\nlet: {width: 4}\nlayers:\n  - Conv2d(width, 3)\n  - ReLU\n"


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        return Result(int(stop.value.code or 0), out, err)

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def test_analyze_prints_every_layer_and_the_totals(run: Run) -> None:
    result = run("analyze", "vgg16")
    assert (result.code, result.err) == (0, "")
    assert "conv1_1" in result.out and "138,357,544" in result.out and "15,470,264,320" in result.out
    assert max(map(len, result.out.splitlines())) <= 100


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("network", ["vgg16", "resnet152", "unet", "m5", "lenet5_1998"])
def test_tables_fit_the_width(run: Run, monkeypatch: pytest.MonkeyPatch, width: int, network: str) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, run("analyze", network).out.splitlines())) <= width


def test_a_pipe_gets_plain_text(run_process: Process) -> None:
    out = run_process("analyze", "alexnet", check=True).stdout
    assert "\x1b" not in out and "61,100,840" in out


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m cnnstat analyze resnet152 | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stderr == "" and result.stdout.startswith("resnet152")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(run_process: Process) -> None:
    with Path("/dev/full").open("w") as full:
        done = run_process("analyze", "alexnet", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["cnnstat: the output cannot be written: No space left on device"]


@pytest.mark.skipif(os.name != "posix", reason="closes a stream as shells do")
def test_a_closed_output_is_no_error() -> None:
    command = f"{sys.executable} -m cnnstat analyze alexnet >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("cnnstat analyze vgg1", "vgg16"),
        ("cnnstat compare vgg16 resn", "resnet50"),
        ("cnnstat ops ConvT", "ConvTranspose2d"),
        ("cnnstat explain vgg16 fc", "fc6"),
        ("cnnstat draw vgg16 --field conv1_1,po", "conv1_1,pool5"),
        ("cnnstat analyze vgg16 --columns name,ma", "name,macs"),
        ("cnnstat analyze vgg16 --dtype fl", "float16"),
    ],
)
def test_shells_complete_names(words: str, found: str) -> None:
    asked = {"_CNNSTAT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    command = [sys.executable, "-c", "from cnnstat.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **asked})
    assert found in done.stdout.split()


def test_shells_complete_models_of_libraries() -> None:
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    from cnnstat.commands.completion import zoo_names

    assert "torchvision:resnet50" in zoo_names("torchvision:res") and not zoo_names("torchvision:nope")


def test_an_ascii_terminal_gets_all_figures(run_process: Process) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert "61,100,840" in run_process("analyze", "alexnet", check=True, env=environment).stdout


def test_input_with_and_without_the_batch_mean_the_same(run: Run) -> None:
    plain = json.loads(run("analyze", "alexnet", "--input", "3x227x227", "--format", "json").out)
    batched = json.loads(run("analyze", "alexnet", "--input", "1x3x227x227", "--format", "json").out)
    assert plain == batched
    assert plain["model"]["inputs"] == [[1, 3, 227, 227]]


def test_batch_and_dtype_scale(run: Run) -> None:
    one = json.loads(run("analyze", "vgg16", "--format", "json").out)["totals"]
    many = json.loads(run("analyze", "vgg16", "--batch", "4", "--dtype", "float16", "--format", "json").out)["totals"]
    assert many["macs"] == 4 * one["macs"] and many["params"] == one["params"]
    assert many["memory"]["activation_bytes"] == 2 * one["memory"]["activation_bytes"]
    assert many["memory"]["params_bytes"] * 2 == one["memory"]["params_bytes"]


def test_set_overrides_a_variable(run: Run, tiny: str) -> None:
    assert json.loads(run("analyze", tiny, "--variable", "width=6", "-f", "json").out)["totals"]["params"] == 6 * 28


def test_depth_folds_without_changing_totals(run: Run) -> None:
    whole = json.loads(run("analyze", "resnet50", "-f", "json").out)
    folded = json.loads(run("analyze", "resnet50", "--depth", "1", "-f", "json").out)
    assert folded["totals"] == whole["totals"] and len(folded["layers"]) < len(whole["layers"])
    assert sum(layer["macs"] for layer in folded["layers"]) == whole["totals"]["macs"]


def test_csv_columns_sort_and_top(run: Run) -> None:
    result = run("analyze", "vgg16", "-f", "csv", "--columns", "name,params", "--sort", "params", "--top", "2")
    rows = list(csv.reader(io.StringIO(result.out)))
    assert rows[:3] == [["name", "params"], ["fc6", "102764544"], ["fc7", "16781312"]]


def test_json_is_the_contract(run: Run) -> None:
    document = json.loads(run("analyze", "vgg16", "-f", "json").out)
    assert list(document) == ["schema", "model", "totals", "coverage", "warnings", "arena", "layers"]
    assert document["schema"] == "cnnstat/1"
    assert set(document["model"]) == {"name", "source", "inputs", "dtype"}
    assert set(document["totals"]) >= {
        "params", "trainable_params", "buffers", "macs", "flops", "moved_bytes", "layers", "memory", "receptive_field",
        "flop_parts", "intensity", "bops", "macs_by_precision",
    }  # fmt: skip
    assert set(document["totals"]["memory"]) >= {
        "params_bytes", "activation_bytes", "weighted_activation_bytes", "peak_inference_bytes", "training_bytes",
        "flash_bytes", "arena_bytes", "ram_bytes",
    }  # fmt: skip
    assert document["totals"]["receptive_field"] == {"size": [212, 212], "stride": [32, 32], "start": [-90, -90]}
    assert document["layers"][0] == {
        "name": "conv1_1",
        "op": "Conv2d",
        "kind": "Conv2d",
        "operation": "Conv2d(64, 3, padding=1)",
        "inputs": ["input"],
        "input_shapes": [[1, 3, 224, 224]],
        "output_shape": [1, 64, 224, 224],
        "output_shapes": [[1, 64, 224, 224]],
        "params": 1792,
        "macs": 86704128,
        "flops": 2 * 86704128 + 64 * 224 * 224,
        "moved_bytes": (3 * 224 * 224 + 1792 + 64 * 224 * 224) * 4,
        "output_bytes": 64 * 224 * 224 * 4,
        "weight_bytes": 1792 * 4,
        "alive_bytes": (3 + 64) * 224 * 224 * 4,
        "saved_bytes": 3 * 224 * 224 * 4,
        "receptive_field": {"size": [3, 3], "stride": [1, 1], "start": [-1, -1], "exact": True},
        "receptive_field_extent": "local",
        "arguments": {
            "out_channels": 64, "kernel_size": 3, "stride": 1, "padding": 1, "dilation": 1, "groups": 1, "bias": True,
            "padding_mode": "zeros",
        },
    }  # fmt: skip
    assert document["layers"][-1]["receptive_field"] is None


def test_output_goes_to_a_file_and_not_to_the_terminal(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.md"
    assert run("analyze", "lenet5", "-f", "markdown", "-o", str(target)) == Result(0, "", "")
    assert "61,706" in target.read_text()


def test_a_failed_run_leaves_the_old_file(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    assert run("analyze", "nothing", "-o", str(target)).code == 2
    assert target.read_text() == "old"


def test_compare_reproduces_the_lecture(run: Run) -> None:
    result = run("compare", "alexnet", "vgg16")
    assert result.code == 0
    assert "27.4" in result.out and "2.26" in result.out and "21.7" in result.out
    ratios = json.loads(run("compare", "alexnet", "vgg16", "-f", "json").out)["ratios"][1]
    assert round(ratios["macs"], 1) == 21.7


def test_explain_writes_the_arithmetic(run: Run) -> None:
    out = run("explain", "alexnet", "conv1").out
    assert "(224 − 11 + 2·2) / 4" in out and "23,232" in out and "70,276,800" in out


def test_published_figures_stand_beside_exact_ones(run: Run) -> None:
    out = run("analyze", "vgg16", "--published").out
    assert "48.6" in out and "51.7" in out


def test_list_ops_and_schema(run: Run) -> None:
    assert "resnet152_v1" in run("list").out
    assert "ConvTranspose3d" in run("ops").out
    assert "f(x)" in run("ops", "ELU").out
    assert json.loads(run("schema").out)["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize(
    "command", [["list"], ["ops"], ["ops", "Conv2d"], ["compare", "lenet5", "vgg16"], ["explain", "vgg16", "fc6"]]
)
@pytest.mark.parametrize("format", ["table", "json", "csv", "markdown"])
def test_every_command_has_every_format(run: Run, command: list[str], format: str) -> None:
    result = run(*command, "--format", format)
    assert result.code == 0 and result.out and not result.err
    if format == "json":
        json.loads(result.out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyze", "vgg61"], "vgg61: no network of the zoo and no .yaml file; did you mean vgg16?"),
        (["analyze", "nets.py"], "nets.py: name the class, function or model in it, as in nets.py:Net"),
        (["analyze", "missing.yaml"], "missing.yaml"),
        (["analyze", "."], "directory"),
        (["analyze", "vgg16", "--input", "3xx"], "--input 3xx"),
        (["analyze", "vgg16", "--input", "224x224"], "--input 224x224"),
        (["analyze", "vgg16", "--input", "left=3x224x224"], "left"),
        (["analyze", "vgg16", "--input", "0x224x224"], "at least 1"),
        (["analyze", "vgg16", "--batch", "0"], "--batch must be at least 1"),
        (["analyze", "vgg16", "--batch", "two"], "--batch"),
        (["analyze", "vgg16", "--dtype", "flot16"], "did you mean float16?"),
        (["analyze", "vgg16", "--variable", "clases=10"], "did you mean classes?"),
        (["analyze", "vgg16", "--variable", "classes"], "name=value"),
        (["analyze", "vgg16", "--variable", "classes=ten"], "ten"),
        (["analyze", "vgg16", "--columns", "prams"], "did you mean params?"),
        (["analyze", "vgg16", "--sort", "mac"], "macs"),
        (["analyze", "vgg16", "--depth", "0"], "at least 1"),
        (["analyze", "vgg16", "--top", "-1"], "at least 1"),
        (["analyze", "vgg16", "--format", "jsn"], "--format"),
        (["analyze", "vgg16", "--published", "--top", "3"], "--top is of the table of layers"),
        (["analyze", ""], "SOURCE is empty"),
        (["analyze", "vgg16", "--optimizer", "adm"], "--optimizer"),
        (["analyze", "vgg16", "--colums", "name"], "--columns"),
        (["analyze", "vgg16", "-o", "/dev/null/file"], "/dev/null is no folder"),
        (["analyse", "vgg16"], "analyze"),
        (["analyze"], "SOURCE"),
        (["compare", "vgg16", "vgg61"], "vgg16"),
        (["explain", "vgg16", "conv9_9"], "conv"),
        (["explain", "vgg16"], "LAYER"),
        (["ops", "Con2d"], "did you mean Conv2d?"),
    ],
)
def test_a_mistake_is_one_clear_line(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.code == 2 and result.out == ""
    assert said in result.err and len(result.err.splitlines()) == 1
    assert "Traceback" not in result.err


LONG = "a" * 300
"""A name that file systems refuse even to look for."""


@pytest.mark.parametrize(
    "command",
    [
        "analyze {}.yaml", "analyze {}", "analyze {}.py:Net", "analyze {}:Net", "analyze {}.onnx", "compare {} lenet5",
        "analyze lenet5 -o {}.json", "analyze lenet5 --chart {}.svg", "analyze lenet5 --device-sheet {}",
        "draw lenet5 -o {}.svg", "draw lenet5 --field C1 --image {}.png", "draw lenet5 --by time --profile {}.json",
        "export lenet5 -o {}.yaml", "explain {} 1", "profile lenet5 --trace {}", "profile lenet5 --baseline {}",
        "sweep {}.yaml", "sweep lenet5 -o {}.json", "sweep lenet5 --accuracy {}", "verify {}.yaml", "schema -o {}",
        "check --config {}.toml", "check {}.yaml --max-params 1", "check lenet5 --max-params 1M -o json:{}",
        "check lenet5 --max-params 1M --baseline {} --update-baseline",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", [LONG, "loop/x"])
def test_a_path_that_cannot_be_looked_at_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    result = run(*command.format(name).split())
    assert result.code == 2 and "internal error" not in result.err + result.out
    assert len(result.err.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes with a path of a folder")
@pytest.mark.parametrize(
    "command",
    [
        "analyze {}.yaml", "analyze {}.pt2", "analyze {}.pt", "analyze {}.safetensors", "analyze {}.py:Net",
        "analyze lenet5 --device-sheet {}.yaml", "analyze lenet5 -o {}.json", "draw lenet5 --by time --profile {}.json",
        "draw lenet5 --field C1 --image {}.png", "sweep lenet5 --accuracy {}.csv", "check --config {}.toml",
        "check lenet5 --max-increase params=1 --baseline {}.json",
    ],
)  # fmt: skip
def test_no_command_waits_for_a_pipe(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    for ending in ("yaml", "pt2", "pt", "safetensors", "py", "json", "png", "csv", "toml"):
        os.mkfifo(f"pipe.{ending}")
    result = run(*command.format("pipe").split())
    assert result.code == 2 and len(result.err.splitlines()) == 1 and "internal error" not in result.err


def test_an_error_of_the_system_names_its_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error", "disk\x1b[31m")

    monkeypatch.setattr("cnnstat.commands.analyze.write", fails)
    result = run("analyze", "lenet5")
    assert (result.code, result.err) == (2, "cnnstat: disk\\x1b[31m: Input/output error; name another file\n")


@pytest.mark.parametrize("ending", [".jsn", ".cvs", ".htlm", ".tx", ".jsonl"])
def test_an_ending_that_is_nearly_one_of_a_format_is_refused(run: Run, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table{ending}"
    result = run("analyze", "lenet5", "-o", str(path))
    assert result.code == 2 and "did you mean ." in result.err and not path.exists()


def test_faults_of_a_spec_come_one_a_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("input: [3, 8, 8]\nlayers:\n  - Conv2D(4, 3)\n  - Conv2d(4, 3, groups=2)\n  - Conv2d(4)\n")
    result = run("analyze", str(path))
    assert result.code == 2
    assert [line.split(":")[1] for line in result.err.splitlines()] == ["3", "5"]


def test_markup_in_a_title_is_only_text(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text('title: "[red]x[/red]"\ninput: [1, 4, 4]\nlayers: [ReLU]\n')
    assert "[red]x[/red]" in run("analyze", str(path)).out


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (TINY.encode(), 0, b"conv1"),
        (b"extends: vgg16\nlet: {classes: 7}\n", 0, b"Linear(7)"),
        (b"", 2, b"stdin:1:1: the file is empty"),
        (b"\xff\xfe\x00", 2, b"stdin: not UTF-8 text (byte 0)"),
        (b"input: [3, 8, 8]\nlayers: [Relu]\n", 2, b"stdin:2:10: there is no layer called Relu; did you mean ReLU?"),
    ],
)
def test_a_spec_on_standard_input(
    run: Run, monkeypatch: pytest.MonkeyPatch, text: bytes, code: int, said: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    result = run("analyze", "-")
    assert result.code == code and said.decode() in (result.err if code else result.out)


def test_names_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text('name: "a\\e[31mb"\ninput: [1, 4, 4]\nlayers: [ReLU]\n')
    result = run("analyze", str(path))
    assert "\x1b" not in result.out + result.err and len(result.err.splitlines()) <= 1


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_names_every_option_in_full_at_80_columns(run: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)  # read when typer is imported
    shown = run(command, "--help").out
    words = shown.split()
    assert max(map(len, shown.splitlines())) <= 80
    for option in (name for item in cli.load_command(command).params for name in item.opts if name[0] == "-"):
        assert option in words


@pytest.mark.parametrize(
    "command", [["analyze", "lenet5"], ["analyze", "lenet5", "--published"], ["compare", "lenet5", "m5"]]
)
def test_pages_of_their_own(run: Run, command: list[str]) -> None:
    result = run(*command, "--format", "html")
    assert result.code == 0 and "<table" in result.out and result.out.endswith("</html>\n")


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("cnnstat 0.")


@pytest.mark.parametrize(("ending", "code"), [("sys.exit(3)", 3), ("sys.exit(0)", 0), ("raise ValueError", 1)])
def test_process_with_pytorch_ends_with_its_code_output_and_exit_handlers(ending, code):
    program = (
        "import atexit, sys\nfrom types import ModuleType\nfrom cnnstat import cli\n"
        "sys.modules['torch'] = ModuleType('torch')\natexit.register(print, 'handled')\n"
        f"def main():\n    print('table')\n    {ending}\ncli.main = main\ncli.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "table\nhandled\n")


def test_process_with_pytorch_waits_for_threads():
    program = (
        "import sys, threading, time\nfrom types import ModuleType\nfrom cnnstat import cli\n"
        "sys.modules['torch'] = ModuleType('torch')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('done'))).start()\n"
        "cli.main = lambda: sys.exit(0)\ncli.run()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "done\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("draw", "lenet5", "--field", ""), ("draw", "lenet5", "--expand", ""), ("analyze", "lenet5", "--columns", ""),
        ("analyze", "lenet5", "--sort", ""), ("check", "lenet5", "--max-params", "1M", "--baseline-ref", ""),
        ("check", "lenet5", "--max-params", ""), ("profile", "lenet5", "--device", ""),
        ("analyze", "lenet5", "--dtype", ""),
    ],
    ids=lambda words: words[-2],
)  # fmt: skip
def test_an_empty_value_is_not_taken_for_none(run: Run, arguments: tuple[str, ...]) -> None:
    """As a script gives it whose variable is not set: a limit on growth would be skipped."""
    code, out, err = run(*arguments)
    assert code == 2 and not out and err == f"cnnstat: {arguments[-2]} is empty; give it a value, or leave it out\n"


def test_lists_that_name_nothing_are_refused(run: Run) -> None:
    for option in ("--field", "--expand"):
        code, out, err = run("draw", "lenet5", option, " , ")
        assert code == 2 and not out and f"{option} names nothing" in err


def test_choices_are_taken_in_any_case(run: Run) -> None:
    assert run("analyze", "lenet5", "--format", "JSON") == run("analyze", "lenet5", "--format", "json")
    options = ("--mode", "Eval", "--optimizer", "Adam", "--deploy", "INT8")
    assert run("analyze", "lenet5", *options) == run("analyze", "lenet5", *map(str.lower, options))

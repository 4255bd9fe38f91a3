"""`cnnstat export` as people call it."""

import json
import sys
from typing import NamedTuple

import pytest

import cnnstat
from cnnstat import cli


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capfd):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnnstat", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Result(int(stop.value.code or 0), *capfd.readouterr())

    return call


def test_without_options_it_prints_yaml(run_process):
    done = run_process("export", "vgg11")
    assert done.stdout == cnnstat.export("vgg11") and done.returncode == 0
    assert done.stdout.startswith(f"# Exported by cnnstat {cnnstat.__version__} from vgg11\nname: vgg11\n")


@pytest.mark.parametrize(
    ("file", "to"), [("net.yaml", "yaml"), ("net.yml", "yaml"), ("net.json", "json"), ("net.py", "torch")]
)
def test_the_ending_decides_the_format(run, file, to, tmp_path):
    assert run("export", "lenet5", "-o", tmp_path / file) == (0, "", "")
    assert (tmp_path / file).read_text(encoding="utf-8") == cnnstat.export("lenet5", to=to)


def test_options_of_the_source_count(run, tmp_path):
    run(
        "export",
        "resnet18",
        "--input",
        "3x64x64",
        "--variable",
        "classes=10",
        "--to",
        "json",
        "-o",
        tmp_path / "net.txt",
    )
    data = json.loads((tmp_path / "net.txt").read_text(encoding="utf-8"))
    assert data["input"] == [3, 64, 64]
    assert data["layers"][-1] == {"fc": "Linear(10)"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vgg61"], "did you mean vgg16?"),
        (["vgg16", "--to", "yml"], "'yml' is not one of 'yaml', 'json', 'torch'"),
        (["vgg16", "-o", "net.txt"], "ends in neither .yaml, .json nor .py; say --to yaml, json or torch"),
        (["vgg16", "--variable", "clases=3"], "did you mean classes?"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("export", *arguments)
    assert done.code == 2 and done.out == ""
    assert said in done.err and len(done.err.splitlines()) == 1

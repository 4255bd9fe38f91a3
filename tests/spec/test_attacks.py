"""Hostile specs are refused in one line each, quickly and in little memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS, ODDITIES
from computing_time import MOST_LOOPS

import cnnstat
from cnnstat.errors import SpecError
from cnnstat.sources import zoo
from cnnstat.sources.request import Request
from cnnstat.spec.spec_graph import parse_spec, read_spec

pytestmark = pytest.mark.skipif(os.name != "posix", reason="measures memory as Unix counts it")


@pytest.fixture(scope="module")
def report() -> Any:
    """Run all of them in one process of its own, which may die without taking the tests along."""
    command = [sys.executable, str(Path(__file__).with_name("attacks.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(report: Any, name: str) -> None:
    outcome = report["outcomes"][name]
    assert outcome["end"] == "refused", outcome["message"]
    lines = outcome["message"].split("\n")
    assert len(lines) <= 60
    for line in lines:
        assert re.match(r".+\.yaml(:[1-9][0-9]*:[1-9][0-9]*)?: \S", line), line
        assert line.isprintable() and len(line) < 1000
    assert outcome["loops"] < MOST_LOOPS


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity_is_fine(report: Any, name: str) -> None:
    outcome = report["outcomes"][name]
    assert outcome["end"] == "accepted", outcome["message"]
    assert outcome["loops"] < MOST_LOOPS


def test_attacks_take_little_memory(report: Any) -> None:
    assert report["mebibytes"] < 300


def refused(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        read_spec(path, Request(), zoo.find)
    return str(caught.value)


def test_directory(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path}: a directory; name a .yaml file"


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "a.yaml") == f"{tmp_path}/a.yaml: no such file; name a .yaml file"


def test_missing_file_that_is_nearly_there(tmp_path: Path) -> None:
    (tmp_path / "my_net.yaml").touch()
    assert refused(tmp_path / "x.yaml").endswith(": no such file; name a .yaml file")
    assert refused(tmp_path / "mynet.yml") == f"{tmp_path}/mynet.yml: no such file; did you mean my_net.yaml?"
    assert refused(tmp_path / "vgg16.yaml").endswith(": no such file; the zoo's network is called vgg16")


def test_networks_of_the_zoo_go_by_name() -> None:
    with pytest.raises(SpecError, match=r"^vgg16\.yaml:\d+:\d+: pool4 "):
        cnnstat.analyze("vgg16", (3, 10, 10))


def test_device() -> None:
    assert refused(Path("/dev/zero")) == "/dev/zero: not a file; name a .yaml file"


def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    assert refused(tmp_path / "a.yaml").endswith(": not a file; name a .yaml file")


def test_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "a.yaml")
    assert refused(tmp_path / "a.yaml").startswith(f"{tmp_path}/a.yaml: ")


def test_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: takes no space on the disk
    assert refused(path) == f"{path}: larger than 16 MiB; a spec is a page or two of text"


def test_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert ": cannot be read" in refused(tmp_path / ("a" * 5000))
    assert refused(tmp_path / "a\0b").startswith(f"{tmp_path}/a\0b: ")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("itself.yaml", lambda folder: None),
        ("folder.yaml", lambda folder: (folder / "folder.yaml").mkdir()),
        ("binary.yaml", lambda folder: (folder / "binary.yaml").write_bytes(bytes(range(256)))),
        ("pipe.yaml", lambda folder: os.mkfifo(folder / "pipe.yaml")),
        ("missing.yaml", lambda folder: None),
        ("link.yaml", lambda folder: (folder / "link.yaml").symlink_to(folder / "link.yaml")),
        ("device.yaml", lambda folder: (folder / "device.yaml").symlink_to("/dev/zero")),
        ("back.yaml", lambda folder: (folder / "back.yaml").write_text("extends: ./sub/../itself.yaml\n")),
        ("no_such_network", lambda folder: None),
    ],
)
def test_extends_what_cannot_be_extended(tmp_path: Path, name: str, make: Any) -> None:
    (tmp_path / "sub").mkdir()
    make(tmp_path)
    path = tmp_path / "itself.yaml"
    path.write_text(f"extends: {name}\n")
    message = refused(path)
    assert len(message.splitlines()) == 1
    assert re.match(r".*/(itself|back)\.yaml:1:10: ", message)


def test_long_chain_of_extends(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml\n")
    assert refused(tmp_path / "0.yaml") == f"{tmp_path}/16.yaml:1:10: more than 16 specs extend each other"


def test_half_a_character_in_a_text() -> None:
    with pytest.raises(SpecError, match="invisible character U\\+D800"):
        parse_spec("name: \ud800\n")


def test_nothing_is_executed(tmp_path: Path) -> None:
    target = tmp_path / "proof"
    for code in (
        f"!!python/object/apply:os.mkdir ['{target}']",
        f"\"__import__('os').mkdir('{target}')\"",
        f"\"[].__class__.__base__.__subclasses__()[0]('{target}')\"",
        f"\"(lambda: open('{target}', 'w'))()\"",
        f"\"f'{{open(\\'{target}\\', \\'w\\')}}'\"",
        f"\"[open('{target}', 'w') for x in [1]]\"",
    ):
        with pytest.raises(SpecError):
            parse_spec(f"input: [3]\nlet: {{x: {code}}}\nlayers: ['Linear(x)']\n")
        with pytest.raises(SpecError):
            parse_spec(f"input: [3]\nlayers:\n  - {code}\n")
    assert not target.exists()

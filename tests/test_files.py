"""Files are written whole or not at all, links and permissions stay, and no source is overwritten."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnstat import cli, files
from cnnstat.errors import CnnstatError
from cnnstat.spec.yaml_file import read_text

TINY = "input: [3, 8, 8]\nlayers:\n  - conv: Conv2d(4, 3)\n  - relu: ReLU\n"
unix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and permissions of POSIX")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capfd.readouterr())

    return call


def fails(*arguments: object, **keywords: object) -> None:
    raise OSError(28, "No space left on device")


def test_what_fails_halfway_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    files.write_text(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="No space left"):
            files.write_text(path, "new")
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["report.json"]
    files.write_text(path, "new")
    assert path.read_text() == "new" and [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "a\r\nb\n")
    assert (tmp_path / "x").read_bytes() == b"a\r\nb\n"


@unix
def test_permissions_and_links_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    files.write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new" and stat.S_IMODE(real.stat().st_mode) == 0o640
    os.umask(mask := os.umask(0))
    files.write_text(tmp_path / "fresh", "new")
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o666 & ~mask


@unix
def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    files.write_text(Path(os.devnull), "nothing")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CnnstatError, match="nobody reads this pipe"):
        files.write_output(pipe, "text")
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    for _ in range(200):
        try:
            files.write_text(pipe, "text")
            break
        except OSError:  # the reader has not opened it yet
            time.sleep(0.01)
    reader.join()
    assert received == ["text"] and stat.S_ISFIFO(pipe.stat().st_mode)


@unix
def test_reading_never_waits(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.yaml"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with pytest.raises(OSError, match="not a file"):
        files.read_bytes(link, 10)
    with pytest.raises(CnnstatError, match="not a file"):
        read_text(link)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="a file of Linux's kernel that never ends")
def test_a_link_to_a_file_that_never_ends_is_no_spec(run: Run, tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").symlink_to("/proc/kmsg")
    code, out, err = run("analyze", "endless.yaml")
    assert code == 2 and not out and "endless.yaml" in err and "internal error" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", "tiny.yaml", "--format", "json", "-o", "tiny.yaml"),
        ("explain", "tiny.yaml", "conv", "-o", "./tiny.yaml"),
        ("export", "tiny.yaml", "-o", "link.yaml"),
        ("compare", "vgg16", "tiny.yaml", "-o", "tiny.yaml"),
        ("check", "tiny.yaml", "--max-params", "1M", "-o", "json:link.yaml"),
        ("verify", "tiny.yaml", "-o", "tiny.yaml"),
        ("profile", "tiny.yaml", "-o", "tiny.yaml"),
        ("profile", "tiny.yaml", "--trace", "tiny.yaml"),
    ],
    ids=" ".join,
)
@unix
def test_a_source_is_never_overwritten(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "link.yaml").symlink_to("tiny.yaml")
    code, out, err = run(*arguments)
    assert code == 2 and not out and "would overwrite tiny.yaml, which is read" in err and err.count("\n") == 1
    assert (tmp_path / "tiny.yaml").read_text() == TINY


@unix
def test_a_python_file_is_a_source_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("")
    for source in ("net.py:Net", "net.py::Net", f"{tmp_path}/net.py:Net"):
        with pytest.raises(CnnstatError, match="would overwrite"):
            files.check_output(Path("net.py"), [source])
    files.check_output(Path("other.py"), ["net.py:Net"])


def test_what_a_spec_extends_and_other_options_read_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"input": [3, 8, 8], "layers": ["ReLU"]}')
    (tmp_path / "net.yaml").write_text("extends: base.json\n")
    for written, arguments in {
        "base.json": ("analyze", "net.yaml"),
        "points.csv": ("sweep", "tiny.yaml", "--accuracy", "points.csv"),
        "recording.json": ("profile", "tiny.yaml", "--from", "recording.json"),
    }.items():
        (tmp_path / written).touch()
        before = (tmp_path / written).read_text()
        code, out, err = run(*arguments, "-o", written)
        assert code == 2 and not out and f"would overwrite {written}, which is read" in err
        assert (tmp_path / written).read_text() == before


def test_two_options_do_not_write_one_file(run: Run) -> None:
    for options in (("-o", "a.svg", "--chart", "a.svg"), ("-o", "a.json", "--trace", "a.json")):
        code, out, err = run("profile", "tiny.yaml", *options)
        assert code == 2 and not out and f"{options[2]} {options[1]}: --output writes the same file" in err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder of Linux's kernel, which takes no files")
def test_a_folder_that_takes_no_file_is_told_before_the_work(run: Run) -> None:
    for option in ("--output", "--trace"):
        code, out, err = run("profile", "tiny.yaml", option, "/proc/x.json")
        assert code == 2 and not out and err.startswith(f"cnnstat: {option} /proc/x.json: ") and err.count("\n") == 1
        assert "measuring" not in err and "PyTorch" not in err


def test_a_hyphen_is_standard_output(run: Run, tmp_path: Path) -> None:
    for arguments in (("analyze", "tiny.yaml"), ("export", "tiny.yaml"), ("draw", "tiny.yaml")):
        assert run(*arguments, "-o", "-") == run(*arguments)
    assert not (tmp_path / "-").exists()


def test_every_command_makes_the_folder(run: Run, tmp_path: Path) -> None:
    assert run("analyze", "tiny.yaml", "-o", "a/b/report.txt")[0] == 0
    assert run("check", "tiny.yaml", "--max-params", "1M", "-o", "json:c/d/report.json")[0] == 0
    assert (tmp_path / "a/b/report.txt").stat().st_size and (tmp_path / "c/d/report.json").stat().st_size
    for arguments in (("analyze", "-o", "tiny.yaml/x"), ("check", "--max-params", "1M", "-o", "json:tiny.yaml/x")):
        code, out, err = run(arguments[0], "tiny.yaml", *arguments[1:])
        assert code == 2 and not out and "--output tiny.yaml/x: " in err and "is no folder" in err


def test_a_lock_keeps_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "baseline.json"
    with (
        files.locked(path),
        pytest.raises(CnnstatError, match="another run has been updating it"),
        files.locked(path, seconds=0.1),
    ):
        pass
    with files.locked(path, seconds=0.1):  # the first one is gone
        pass
    lock = tmp_path / ".baseline.json.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    with files.locked(path, seconds=0.1):  # of a run that was killed long ago
        pass
    assert not lock.exists()

"""The trace cache: a hit gives the same output without PyTorch, and whatever may change the model is a miss."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
if not hasattr(os, "fork") or sys.platform == "darwin":
    pytest.skip("each case needs a new process, which only a fork makes quickly", allow_module_level=True)

from cnnstat import cli
from cnnstat.sources import trace_cache

CHECKOUT = Path(__file__).resolve().parents[2]

NET = """
import helper
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, helper.width(width), 3)

    def forward(self, x):
        return self.conv(x).relu()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNSTAT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "helper.py").write_text("import second\n\n\ndef width(w):\n    return second.width(w)\n")
    (tmp_path / "second.py").write_text("from third import width\n")
    (tmp_path / "third.py").write_text("def width(w):\n    return w\n")
    return tmp_path


def _run(arguments, channel):
    """Run the command line in a forked process, whose modules of models nobody has imported yet."""
    from cnnstat.pytorch import model_loader
    from cnnstat.sources import dependencies

    # What other tests have imported or asked is nothing that a new process would know.
    dependencies._notes = None
    others = (CHECKOUT / "tests", CHECKOUT / "benchmarks", Path.cwd().parent)  # beside the folder of this test
    for name, module in [*sys.modules.items()]:
        path = Path(getattr(module, "__file__", None) or "/")
        if any(path.is_relative_to(home) for home in others):
            del sys.modules[name]
    traced = []
    original = model_loader.load_code
    model_loader.load_code = lambda *options: traced.append(1) or original(*options)
    sys.argv = ["cnnstat", *arguments]
    path = Path(f"out-{os.getpid()}")
    with path.open("w+b") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # ends with the process
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
    channel.send((code, path.read_text(), bool(traced)))
    path.unlink()
    os._exit(0)


def run(*arguments):
    """Return exit code, output, and whether the model was traced."""
    import torch  # noqa: F401  # before the fork

    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_run, args=(arguments, there))
    process.start()
    assert here.poll(120)
    result = here.recv()
    process.join()
    return result


NAMED = ("net.py:Net", "--input", "3x16x16")


def test_the_second_command_is_not_traced_and_prints_the_same(folder):
    outputs = [run("analyze", *NAMED, "-f", "json") for _ in range(3)]
    assert [traced for _, _, traced in outputs] == [True, False, False]
    assert len({text for _, text, _ in outputs}) == 1 and json.loads(outputs[0][1])["totals"]["params"] == 224
    for command in (("explain", "net.py:Net", "conv", "--input", "3x16x16"), ("check", *NAMED, "--max-params", "1k")):
        assert run(*command)[2] is False
    assert not run("compare", "net.py:Net", "lenet5", "--input", "3x32x32")[1].startswith("cnnstat: internal")


@pytest.mark.parametrize("source", ["torchvision:resnet18", "torchvision:swin_t", "torchvision:deeplabv3_resnet50"])
def test_library_models_print_the_same(folder, source):
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    first, second = (run("analyze", source, "-f", "json") for _ in range(2))
    assert first[2] and not second[2] and first[:2] == second[:2]
    assert run("analyze", source, "--depth", "1")[1] == run("analyze", source, "--depth", "1", "--no-cache")[1]


@pytest.mark.parametrize(
    "change",
    ["default", "third", "second", "argument", "input", "batch", "dtype", "mode", "seed", "shadow", "same size"],
)
def test_whatever_changes_the_model_is_a_miss(folder, change):
    assert run("analyze", *NAMED)[2] and not run("analyze", *NAMED)[2]
    extra = {
        "argument": ("--arg", "width=9"), "batch": ("--batch", "2"), "dtype": ("--dtype", "float16"),
        "mode": ("--mode", "train"), "seed": ("--seed", "1"),
    }  # fmt: skip
    arguments = list(NAMED)
    if change == "default":
        (folder / "net.py").write_text(NET.replace("width=8", "width=10"))
    elif change == "third":
        (folder / "third.py").write_text("def width(w):\n    return w + 1\n")
    elif change == "same size":
        stamp = (folder / "third.py").stat()
        (folder / "third.py").write_text("def width(w):\n    return 9\n")
        os.utime(folder / "third.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    elif change == "second":
        (folder / "second.py").write_text("def width(w):\n    return 7\n")
    elif change == "shadow":
        (folder / "helper.py").unlink()
        (folder / "helper").mkdir()
        (folder / "helper" / "__init__.py").write_text("def width(w):\n    return 5\n")
    elif change == "input":
        arguments[-1] = "3x20x20"
    else:
        arguments += extra[change]
    code, text, traced = run("analyze", *arguments, "-f", "json")
    fresh = run("analyze", *arguments, "-f", "json", "--no-cache")
    assert code == 0 and traced and text == fresh[1]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("w = int(open('data.txt').read())", lambda: Path("data.txt").write_text("6")),
        ("import json; w = json.load(open('data.txt'))", lambda: Path("data.txt").write_text("6")),
        ("import pathlib; w = len(pathlib.Path('data.txt').read_bytes())", lambda: Path("data.txt").write_text("666")),
        ("import os; w = int(os.environ.get('WIDTH', '4'))", lambda: os.environ.update(WIDTH="7")),
        ("import os; w = int(os.getenv('WIDTH') or 4)", lambda: os.environ.update(WIDTH="7")),
        ("import os; w = 4 + ('WIDTH' in os.environ)", lambda: os.environ.update(WIDTH="7")),
        ("import os; w = 4 + len([n for n in os.environ if n == 'WIDTH'])", lambda: os.environ.update(WIDTH="7")),
        ("try:\n    import extra\n    w = 5\nexcept ImportError:\n    w = 4", lambda: Path("extra.py").write_text("")),
        ("import os; w = len(os.listdir('.'))", lambda: Path("one_more").write_text("")),
        ("import glob; w = len(glob.glob('*'))", lambda: Path("one_more").write_text("")),
        ("import subprocess; w = len(subprocess.run(['ls'], capture_output=True).stdout.split())",
         lambda: Path("one_more").write_text("")),
        ("w = 4 if not __import__('os').path.exists('flag') else 5", lambda: Path("flag").write_text("")),
        ("import pathlib; w = 5 if pathlib.Path('flag').exists() else 4", lambda: Path("flag").write_text("")),
        ("import os; w = int(os.environb.get(b'WIDTH', b'4'))", lambda: os.environ.update(WIDTH="7")),
        ("import os; w = 3 + int(os.path.getmtime('data.txt')) % 7", lambda: os.utime("data.txt", (1, 1_000_003))),
        ("import numpy; w = int(numpy.memmap('data.txt', 'u1')[0]) - 40", lambda: Path("data.txt").write_text("6")),
        ("import importlib.util as u; w = 5 if u.find_spec('extra') else 4", lambda: Path("extra.py").write_text("")),
        ("import os; w = len(os.readlink('link'))", lambda: Path("longer").replace("link")),
    ],
)  # fmt: skip
def test_what_the_constructor_reads_is_part_of_the_model(folder, monkeypatch, code, change):
    monkeypatch.delenv("WIDTH", raising=False)
    (folder / "data.txt").write_text("4")
    (folder / "link").symlink_to("third.py")
    (folder / "longer").symlink_to("./third.py")
    body = "\n".join(f"    {line}" for line in code.splitlines())
    (folder / "third.py").write_text(f"def width(_):\n{body}\n    return w\n")
    run("analyze", *NAMED)
    run("analyze", *NAMED)
    change()
    try:
        text, fresh = (run("analyze", *NAMED, "-f", "json", *extra)[1] for extra in ((), ("--no-cache",)))
    finally:
        os.environ.pop("WIDTH", None)
    assert json.loads(text)["totals"]["params"] == json.loads(fresh)["totals"]["params"] and text == fresh


@pytest.mark.parametrize(
    "code",
    [
        "import sys; w = len(sys.argv)",
        "import os; w = 1 + os.urandom(1)[0]",
        "w = 1 + open('/dev/urandom', 'rb').read(1)[0]",
        "import secrets; w = 1 + secrets.randbelow(99)",
        "import time; w = 1 + int(time.time()) % 99",
        "import datetime as d; w = 1 + d.datetime.no" + "w().second",  # the test's own file asks no date
        "import os; w = 1 + os.getpid() % 99",
        "import sqlite3; sqlite3.connect(':memory:'); w = 4",
        "import ctypes; ctypes.CDLL(None).getenv(b'WIDTH'); w = 4",
        "import torch; w = int(torch.from_file('data.txt', size=1, dtype=torch.uint8)[0]) - 40",
    ],
)
def test_what_differs_from_run_to_run_is_never_kept(folder, code):
    (folder / "data.txt").write_text("4")
    (folder / "third.py").write_text(f"def width(_):\n    {code}\n    return w\n")
    assert run("analyze", *NAMED)[0] == 0
    assert not (folder / "cache" / "traces").exists()


@pytest.mark.parametrize(
    "code",
    [
        "import random; w = 1 + random.Random().randrange(99)",
        "import random; random.seed(); w = 1 + random.randrange(99)",
        "import torch; torch.seed(); w = 1 + int(torch.randint(99, (1,)))",
    ],
)
def test_generators_that_the_seed_option_seeds_give_what_a_fresh_trace_gives(folder, code):
    (folder / "third.py").write_text(f"def width(_):\n    {code}\n    return w\n")
    first, second = (run("analyze", *NAMED, "-f", "json")[1] for _ in range(2))
    assert first == second == run("analyze", *NAMED, "-f", "json", "--no-cache")[1]


def test_what_logs_and_measures_is_kept(folder):
    code = "import logging, tempfile, time, uuid, random\n"
    code += "def width(w):\n    start = time.perf_counter()\n    logging.getLogger('a').warning('%s', start)\n"
    code += "    random.seed(3)\n    return w + random.Random(3).randint(1, 3)\n"
    (folder / "third.py").write_text(code)
    assert [run("analyze", *NAMED, "-f", "json")[2] for _ in range(2)] == [True, False]


def test_a_model_of_timm_is_kept(folder):
    pytest.importorskip("timm", reason="timm is not installed")
    first, second = (run("analyze", "timm:resnet18", "-f", "json") for _ in range(2))
    assert first[2] and not second[2] and first[:2] == second[:2]


def test_a_random_path_is_seen_anew(folder):
    (folder / "third.py").write_text("def width(w):\n    return w\n")
    draws = "return self.conv(x) if __import__('random').random() < 0.5 else self.conv(self.conv.weight)"
    (folder / "net.py").write_text(NET.replace("return self.conv(x).relu()", draws))
    first, second = (run("analyze", *NAMED, "-f", "json") for _ in range(2))
    assert first[2] and second[2] and first[1] == second[1]


def test_another_version_of_a_package_is_a_miss(folder, monkeypatch):
    assert run("analyze", *NAMED)[2]
    monkeypatch.setattr(trace_cache, "versions", lambda: ("99",))
    assert run("analyze", *NAMED)[2]


def test_verify_and_python_never_use_it(folder):
    import cnnstat

    run("analyze", *NAMED)
    assert run("verify", *NAMED)[0] == 0
    entries = sorted((folder / "cache" / "traces").iterdir())
    sys.path.insert(0, str(folder))
    try:
        assert cnnstat.analyze("net.py:Net", (3, 16, 16), arguments={"width": 3}).totals.params == 84
    finally:
        sys.path.remove(str(folder))
        for name in ("net", "helper", "second", "third"):
            sys.modules.pop(name, None)
    assert sorted((folder / "cache" / "traces").iterdir()) == entries


def test_entries_are_for_the_owner_and_damaged_ones_are_misses(folder):
    run("analyze", *NAMED)
    (entry,) = (folder / "cache" / "traces").iterdir()
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    text = entry.read_bytes()
    draw = random.Random(0)
    damaged = [b"", b"{}", text[: len(text) // 2], b"[" * 100_000, text.replace(b"Conv2d(", b"Conf2d("), b"\xff" * 9]
    damaged += [json.dumps({**json.loads(text), key: None}).encode() for key in ("spec", "about", "dependencies")]
    for _ in range(4):
        place = draw.randrange(len(text))
        damaged.append(text[:place] + bytes([draw.randrange(256)]) + text[place + 1 :])
    wanted = run("analyze", *NAMED, "--no-cache")[1]
    for content in damaged[:-4]:
        entry.write_bytes(content)
        code, printed, traced = run("analyze", *NAMED)
        assert code == 0 and traced and printed == wanted
    entry.write_bytes(text)
    entry.chmod(0o666)  # anybody may have written it
    assert run("analyze", *NAMED)[2]
    entry.unlink()
    entry.symlink_to("/dev/zero")
    assert run("analyze", *NAMED)[2]


@pytest.mark.parametrize("place", ["file", "read-only", "missing home"])
def test_without_a_folder_nothing_is_kept_and_nothing_fails(folder, monkeypatch, place):
    if place == "file":
        (folder / "cache").write_text("")
    elif place == "read-only":
        (folder / "cache").mkdir(mode=0o500)
    else:
        monkeypatch.delenv("CNNSTAT_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", "/nonexistent/home")
    code, text, traced = run("analyze", *NAMED)
    assert code == 0 and traced and "conv" in text and "cnnstat:" not in text


def test_an_empty_variable_means_no_cache(folder, monkeypatch):
    monkeypatch.setenv("CNNSTAT_CACHE", "")
    assert run("analyze", *NAMED)[2] and run("analyze", *NAMED)[2]
    assert not (folder / "cache").exists()
    assert "CNNSTAT_CACHE is empty" in run("cache")[1]


def test_several_writers_at_once_leave_one_whole_entry(folder):
    command = [sys.executable, "-m", "cnnstat", "analyze", *NAMED]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert outputs[0] == outputs[1] and not outputs[0][1]
    (entry,) = (folder / "cache" / "traces").iterdir()
    assert json.loads(entry.read_text())["schema"] == trace_cache.SCHEMA


def test_the_folder_stays_within_its_limit_and_is_cleared(folder, monkeypatch):
    for width in range(3):
        run("analyze", *NAMED, "--arg", f"width={width + 2}")
        for path in (folder / "cache" / "traces").iterdir():
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**9))
    assert "3 traces" in run("cache")[1]
    size = max(path.stat().st_size for path in (folder / "cache" / "traces").iterdir())
    monkeypatch.setattr(trace_cache, "MAX_FOLDER", 2 * size + 100)
    run("analyze", *NAMED, "--arg", "width=9")
    assert "2 traces" in run("cache")[1]
    assert not run("analyze", *NAMED, "--arg", "width=9")[2] and run("analyze", *NAMED, "--arg", "width=2")[2]
    assert "removed 2 traces" in run("cache", "clear")[1] and "0 traces" in run("cache")[1]
    assert run("cache", "claer")[0] == 2

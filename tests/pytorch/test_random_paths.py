"""Forward passes that draw random numbers: the same figures every time, and a note where a draw decides the path."""

from __future__ import annotations

import datetime as dates
import functools
import os
import random
import secrets
import subprocess
import sys
import time
import uuid
from datetime import date, datetime
from pathlib import Path
from time import time as time_of_day
from typing import NamedTuple

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

from numpy.random import default_rng  # noqa: E402
from torch import nn  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat import cli  # noqa: E402
from cnnstat.pytorch.model_loader import load_code  # noqa: E402
from cnnstat.sources.python_code import locate  # noqa: E402
from cnnstat.sources.request import Request  # noqa: E402
from cnnstat.testing import assert_budget  # noqa: E402

X = (1, 4, 6, 6)
BLOCK = 4 * 4 * 9 * 36
"""Multiply-accumulates of one block."""


class Result(NamedTuple):
    code: int
    out: str


@pytest.fixture
def run(monkeypatch, capfd):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Result(int(stop.value.code or 0), capfd.readouterr().out)

    return call


class Skipping(nn.Module):
    """Skips each of its blocks with a probability of one half; `draw` returns a number between 0 and 1."""

    def __init__(self, draw, blocks=5):
        super().__init__()
        self.draw = draw
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(blocks))
        self.generator = torch.Generator()
        self.numpy = np.random.default_rng()
        self.python = [random.Random()]

    def forward(self, x):
        for block in self.blocks:
            if self.draw(self) < 0.5:
                x = x + block(x)
        return x


DRAWS = {
    "Python": lambda model: random.random(),
    "NumPy": lambda model: np.random.uniform(),
    "PyTorch": lambda model: torch.rand([]),
    "a PyTorch number": lambda model: torch.rand(1).item(),
    "a PyTorch list": lambda model: torch.rand(3).tolist()[1],
    "a PyTorch array": lambda model: torch.rand(1).numpy()[0],
    "a PyTorch generator": lambda model: torch.rand([], generator=model.generator),
    "a NumPy generator": lambda model: model.numpy.random(),
    "a new NumPy generator": lambda model: np.random.default_rng().random(),
    "a Python generator": lambda model: model.python[0].random(),
    "how many numbers are left": lambda model: float(len(torch.rand(9)[torch.rand(9) < 0.5]) < 5),
}


class OwnKind(random.Random):
    """A kind of generators of a model's author."""


SETTINGS = {"bits": np.random.PCG64(), "own": [OwnKind()]}


class Settings:
    """What all models have in common."""

    generator = np.random.default_rng()


def _in_closures():
    """Draws from generators that only functions hold."""
    python, numpy, torchs, old = random.Random(), np.random.default_rng(), torch.Generator(), np.random.RandomState()
    held = {"deep": [{"generator": random.Random()}]}
    return {
        "a Python generator in a closure": lambda model: python.random(),
        "a NumPy generator in a closure": lambda model: numpy.random(),
        "a PyTorch generator in a closure": lambda model: torch.rand([], generator=torchs),
        "an old NumPy generator in a closure": lambda model: old.rand(),
        "a generator in a partial": functools.partial(lambda generator, model: generator.random(), random.Random()),
        "a generator in a method": _Drawing().draw,
        "a generator deep in a closure": lambda model: held["deep"][0]["generator"].random(),
    }


class _Drawing:
    """An object with a generator of its own."""

    def __init__(self):
        self.generator = random.Random()

    def draw(self, model):
        return self.generator.random()


def after(seed, draw):
    """Draw after a generator has taken a new seed from the system."""
    seed()
    return draw()


DRAWS |= _in_closures() | {
    "a seed of the system for Python": lambda model: after(random.seed, random.random),
    "a seed of the system for NumPy": lambda model: after(np.random.seed, np.random.rand),
    "a seed of the system for PyTorch": lambda model: after(torch.seed, lambda: torch.rand([])),
    "a new Python generator": lambda model: random.Random().random(),
    "a new Python generator, named": lambda model: random.Random(x=None).random(),
    "a new old NumPy generator": lambda model: np.random.RandomState().rand(),
    "a new NumPy generator of bits": lambda model: np.random.Generator(np.random.PCG64()).random(),
    "a name imported before": lambda model: default_rng().random(),
    "a sequence of seeds of NumPy": lambda model: np.random.SeedSequence().entropy % 100 / 100,
    "a new PyTorch generator": lambda model: seeded_by_the_system(torch.Generator()),
    "the system": lambda model: os.urandom(1)[0] / 256,
    "the system's generator": lambda model: random.SystemRandom().random(),
    "secrets": lambda model: secrets.randbelow(100) / 100,
    "uuid": lambda model: uuid.uuid4().int % 100 / 100,
    "the time": lambda model: random.Random(time.time()).random(),
    "the time in ns": lambda model: time.time_ns() // 1000 % 100 / 100,
    "a stopwatch": lambda model: time.perf_counter_ns() // 1000 % 100 / 100,
    "the processor's time": lambda model: time.process_time_ns() // 1000 % 100 / 100,
    "a clock of the system": lambda model: time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000 % 100 / 100,
    "a time imported before": lambda model: random.Random(time_of_day()).random(),
    "the second of the day": lambda model: time.localtime().tm_sec / 60,
    "a date": lambda model: datetime.now().microsecond / 1e6,
    "a date of the module": lambda model: dates.datetime.now(dates.timezone.utc).timestamp() * 1e4 % 1,
    "a day": lambda model: dates.date.today().toordinal() % 10 / 10,
    "the number of the process": lambda model: random.Random(os.getpid()).random(),
    "uuid of the machine": lambda model: uuid.uuid1().time_low % 100 / 100,
    "a generator of bits": lambda model: np.random.Generator(SETTINGS["bits"]).random(),
    "a generator of one's own kind": lambda model: SETTINGS["own"][0].random(),
    "a generator of a class": lambda model: Settings.generator.random(),
}


def seeded_by_the_system(generator):
    generator.seed()
    return torch.rand([], generator=generator)


def states(model):
    numpy = np.random.get_state()
    return (
        random.getstate(), numpy[1].tobytes(), numpy[2], torch.get_rng_state().tolist(),
        model.generator.get_state().tolist(), str(model.numpy.bit_generator.state), model.python[0].getstate(),
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("how", DRAWS)
def test_the_same_seed_takes_the_same_path_and_the_range_is_told(how, mode):
    model = Skipping(DRAWS[how])
    before = states(model)
    first, again = (cnnstat.analyze(model, X, mode=mode) for _ in range(2))
    assert states(model) == before
    assert [layer.name for layer in first.layers] == [layer.name for layer in again.layers]
    assert first.totals.macs % BLOCK == 0
    (note,) = [note for note in first.notes if note.startswith("the path is random")]
    paths = [path.totals.macs for path in (first, *first.other_paths)]
    assert len(paths) == 8 and min(paths) < max(paths)
    assert f"MACs {min(paths):,} to {max(paths):,}" in note
    assert first.notes == again.notes


def test_other_seeds_take_other_paths():
    model = Skipping(DRAWS["Python"])
    assert len({cnnstat.analyze(model, X, seed=seed).totals.macs for seed in range(8)}) > 1


def test_draws_that_decide_no_path_are_no_random_path():
    noise = Skipping(lambda model: 0 * random.random())
    values = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Dropout(), nn.RReLU())
    for model in (noise, values):
        analysis = cnnstat.analyze(model, X, mode="train")
        assert analysis.notes == () and analysis.other_paths == ()


def test_a_pass_that_is_run_for_real_is_seeded_too():
    class Real(Skipping):
        def forward(self, x):
            # The sum of the input decides nothing here, but is asked for.
            return super().forward(x + float(x.sum() > 1e9))

    model = Real(DRAWS["PyTorch"])
    first, again = (cnnstat.analyze(model, X) for _ in range(2))
    assert first.totals.macs == again.totals.macs
    assert any("run for real" in note for note in first.notes)
    assert any("the path is random" in note for note in first.notes)


DRAWN = """
import os, random, secrets, time, uuid
import numpy as np
import torch
from numpy.random import default_rng
from torch import nn

GENERATORS = [np.random.default_rng(), random.Random(), np.random.RandomState(), np.random, random]
WIDTHS = [random.randint(1, 99), np.random.randint(1, 99), default_rng().integers(1, 99), torch.randint(1, 99, [])]
WIDTHS += [1 + each % 99 for each in (os.urandom(1)[0], secrets.randbelow(999), uuid.uuid4().int, time.time_ns())]


def net():
    own = [np.random.default_rng().integers(1, 99), 1 + time.time_ns() % 99, 1 + os.urandom(1)[0]]
    own += [1 + int(99 * each.random()) for each in GENERATORS[:2] + GENERATORS[4:]] + [GENERATORS[2].randint(1, 99)]
    return nn.ModuleDict({str(i): nn.Linear(8, int(width)) for i, width in enumerate(WIDTHS + own)})


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.generator = net(), np.random.default_rng()

    def forward(self, x):
        return [layer(x) for layer in self.layers.values() if self.generator.random() < 0.5]
"""


def test_what_a_file_draws_is_the_same_in_each_process_and_where_numpy_was_imported_before(tmp_path, run):
    file = tmp_path / "drawn.py"
    file.write_text(DRAWN)
    command = ("analyze", f"{file}:Net", "--input", "1x8", "-f", "json")
    here = {run(*command).out for _ in range(2)}
    # PyTorch imports NumPy, but not its generators.
    fresh = [sys.executable, "-c", "from cnnstat import cli; cli.main()", *command]
    env = {**os.environ, "PYTHONPATH": str(Path(cnnstat.__file__).parents[1])}
    here.add(subprocess.run(fresh, capture_output=True, text=True, env=env, check=True).stdout)
    assert len(here) == 1 and "the path is random" in here.pop()


def test_a_factory_that_draws_makes_the_same_model(tmp_path, run):
    file = tmp_path / "drawn.py"
    file.write_text(
        "import random\nfrom torch import nn\n"
        "def net():\n    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(random.randint(1, 99))))"
    )
    texts = {run("analyze", f"{file}:net", "--input", "1x8", "-f", "json").out for _ in range(3)}
    assert len(texts) == 1
    assert run("analyze", f"{file}:net", "--input", "1x8", "--seed", "3", "-f", "json").out not in texts


DEPTHS = {
    "Python": "random.randint(1, 9)",
    "NumPy": "np.random.randint(1, 9)",
    "PyTorch": "torch.randint(1, 9, ())",
    "a PyTorch list": "1 + max(torch.randperm(9).tolist()[:2])",
    "how many numbers are left": "1 + len(torch.nonzero(torch.rand(9) < 0.5))",
    "a new NumPy generator": "1 + default_rng().integers(9)",
    "a generator of the file": "OWN.randint(1, 9)",
    "a seeded generator of the file": "SEEDED.integers(1, 9)",
    "secrets": "1 + secrets.randbelow(9)",
    "the time": "1 + time.time_ns() // 1000 % 9",
    "a date": "1 + datetime.now().microsecond % 9",
    "the number of the process": "1 + os.getpid() % 9",
}

DEEP = """
import os, random, secrets, time
from datetime import datetime
import numpy as np
import torch
from numpy.random import default_rng
from torch import nn

OWN, SEEDED = random.Random(), default_rng(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(DEPTH))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x
"""


@pytest.mark.parametrize("how", DEPTHS)
def test_a_constructor_that_draws_the_depth_is_told_with_the_range(how, tmp_path):
    (tmp_path / "net.py").write_text(DEEP.replace("DEPTH", DEPTHS[how]))
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    first, again = (cnnstat.analyze(f"{tmp_path / 'net.py'}:Net", X) for _ in range(2))
    assert (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()) == before
    assert first.notes == again.notes and first.totals.macs == again.totals.macs
    assert first.totals.macs == first.totals.params // 144 * BLOCK
    params = [each.totals.params // 144 for each in (first, *first.other_paths)]
    assert len(params) == 8 and 1 <= min(params) < max(params) <= 10
    (note,) = [note for note in first.notes if note.startswith("the path is random")]
    assert f"in 8 draws: parameters {min(params) * 144:,} to {max(params) * 144:,}" in note
    if how.startswith("a seeded"):
        assert params[0] == default_rng(0).integers(1, 9)


@pytest.mark.parametrize(
    "depth", ["(random.seed(3), random.randint(1, 9))[1]", "len((random.random(), torch.rand(9)))"]
)
def test_a_constructor_that_always_makes_the_same_has_no_note(depth, tmp_path):
    (tmp_path / "net.py").write_text(DEEP.replace("DEPTH", depth))
    assert cnnstat.analyze(f"{tmp_path / 'net.py'}:Net", X).notes == ()


def test_a_constructor_draws_once_and_where_nothing_is_drawn_is_called_once(tmp_path):
    # Weights are drawn, and values are read, but none that were drawn.
    depth = "sum(int(each) for each in (CALLS.append(0), torch.ones(2).tolist())[1]) + 0 * len(torch.rand(5))"
    (tmp_path / "net.py").write_text(DEEP.replace("DEPTH", depth) + "\nCALLS = []\n")
    code = locate(f"{tmp_path / 'net.py'}:Net")
    assert load_code(code, Request(values=(X, None))).about == {}
    assert len(code.factory.__init__.__globals__["CALLS"]) == 1


def test_a_limit_within_the_range_of_a_drawn_constructor_is_not_verified(tmp_path, run):
    (tmp_path / "net.py").write_text(DEEP.replace("DEPTH", "random.randint(1, 9)"))
    source = f"{tmp_path / 'net.py'}:Net"
    paths = cnnstat.analyze(source, X)
    params = sorted(path.totals.params for path in (paths, *paths.other_paths))
    results = [run("check", source, "--input", "4x6x6", "--max-params", str(params[-1] - 1)) for _ in range(2)]
    assert {result.code for result in results} == {3} and "the path is random" in results[0].out
    assert run("check", source, "--input", "4x6x6", "--max-params", str(params[-1])).code == 0
    assert run("check", source, "--input", "4x6x6", "--max-params", str(params[0] - 1)).code == 1


def test_dates_and_the_process_are_what_a_model_takes_them_for():
    class Asking(nn.Conv2d):
        def __init__(self):
            super().__init__(4, 4, 3)
            self.process, self.day = os.getpid(), dates.date(2020, 1, 2)

        def forward(self, x):
            assert self.process == os.getpid() == os.getpid()
            assert (self.process != os.getpid()) is False
            assert isinstance(self.day, date) and isinstance(datetime(2020, 1, 2), dates.date)
            assert not isinstance(self.day, datetime) and isinstance(datetime.now(), datetime)
            assert dates.datetime.strptime("2020-01-02", "%Y-%m-%d").date() == self.day
            assert datetime.now() <= datetime.now() and datetime.utcnow().tzinfo is None
            return super().forward(x)

    real = datetime
    assert cnnstat.analyze(Asking(), X).notes == ()
    assert datetime is real is dates.datetime and type(real.now()) is real and os.getpid().__class__ is int


def test_files_of_one_name_have_their_own_generators(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.py").write_text(DEEP.replace("DEPTH", "OWN.randint(1, 9)"))
    sources = [f"{tmp_path / name / 'net.py'}:Net" for name in ("one", "two", "one", "two")]
    paths = [(each, *each.other_paths) for each in (cnnstat.analyze(source, X) for source in sources)]
    assert len({tuple(each.totals.params for each in path) for path in paths}) == 1


def test_a_seed_that_only_the_system_knows_is_told():
    model = Skipping(lambda model: seeded_by_the_system(model.generator), blocks=12)
    (note,) = [note for note in cnnstat.analyze(model, X).notes if "--seed" in note]
    assert note.endswith("figures may differ from run to run")


def test_a_model_that_measures_how_long_it_takes_is_not_random_and_waits_as_long():
    class Measuring(nn.Conv2d):
        def forward(self, x):
            start, end = time.time(), time.monotonic() + 0.02
            while time.monotonic() < end:
                time.sleep(0.001)
            self.seconds = time.time() - start
            return super().forward(x)

    before = time.perf_counter()
    assert cnnstat.analyze(Measuring(4, 4, 3), X).notes == ()
    assert time.perf_counter() > before


def test_a_limit_within_the_range_is_not_verified():
    model = Skipping(DRAWS["Python"], blocks=8)
    paths = cnnstat.analyze(model, X)
    macs = sorted({path.totals.macs for path in (paths, *paths.other_paths)})
    with pytest.raises(AssertionError, match=r"macs: the path is random: over several draws it is .* to "):
        assert_budget(model, input=X, macs=macs[0])
    with pytest.raises(AssertionError, match="the path is random"):
        assert_budget(model, input=X, macs=macs[-1] - 1)
    assert_budget(model, input=X, macs=macs[-1], params=8 * 144)
    with pytest.raises(AssertionError, match=r"macs .* > "):
        assert_budget(model, input=X, macs=macs[0] - 1)


CODE = """
import random
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(8))

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x) if random.random() < 0.5 else x
        return x
"""


def test_check_gives_exit_code_3_each_time(tmp_path, run):
    (tmp_path / "net.py").write_text(CODE)
    source = f"{tmp_path / 'net.py'}:Net"
    results = [run("check", source, "--input", "4x6x6", "--max-macs", "21k") for _ in range(3)]
    assert {result.code for result in results} == {3}
    assert "the path is random" in results[0].out
    assert run("check", source, "--input", "4x6x6", "--max-macs", "1M").code == 0


def test_verify_takes_the_path_of_the_trace():
    assert cnnstat.verify(Skipping(DRAWS["Python"]), X).exit_code == 0


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(cnnstat.CnnstatError, match="seed="):
        cnnstat.analyze("lenet5", seed=seed)

"""The configuration: where it is found, what it says, and how it is refused, with line and nearest right word."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from computing_time import ends_soon
from git_history import Command, History, params, spec

from cnnstat.check.configuration import find_settings
from cnnstat.check.configuration_file import toml_places as places
from cnnstat.errors import CnnstatError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FULL = """
[tool.other]
x = 1

[[tool.cnnstat.check.models]]
source = "models/tiny.yaml"
input = [3, 32, 32]
batch = 2
dtype = "float16"
optimizer = "adam"
[tool.cnnstat.check.models.budgets]
params = {max = "5 M", max_increase = "2%", min_delta = "1 k"}
macs = {max = 600_000_000}
peak_inference_bytes = {max = "16 MiB"}
file_size = {max = "20 MB", level = "warn"}
receptive_field = {min = 3}
latency = {max_increase = "10%", device = "cuda", level = "warn"}
"""


def limits_of(folder: Path) -> dict[tuple[str, str], Any]:
    settings = find_settings(folder)
    assert settings is not None
    return {(limit.metric.key, limit.bound): limit for limit in settings.models[0].limits}


def test_every_key_is_read(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(FULL)
    settings = find_settings(folder)
    assert settings is not None and settings.origin == "pyproject.toml"
    (model,) = settings.models
    assert model.request.inputs[""].sizes == (3, 32, 32)
    assert (model.request.batch, model.request.dtype, model.optimizer) == (2, "float16", "adam")
    limits = limits_of(folder)
    assert len(limits) == 7
    assert limits["params", "max"].threshold(None) == 5_000_000
    assert str(limits["params", "max"].setting) == "pyproject.toml:12"
    assert limits["macs", "max"].threshold(None) == 600_000_000
    assert not limits["file_size", "max"].is_blocking and not limits["latency", "max_increase"].is_blocking


def test_small_growth_is_overlooked(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(FULL)
    limit = limits_of(folder)["params", "max_increase"]
    assert limit.threshold(1000) == 2000  # 1 k is more than 2 %
    assert limit.threshold(1_000_000) == 1_020_000
    assert limit.threshold(0) == 1000


@pytest.mark.parametrize("name", ["cnnstat.toml", "cnnstat.yaml", "pyproject.toml"])
def test_three_files_say_the_same(check: Command, folder: Path, name: str) -> None:
    (folder / "tiny.yaml").write_text(spec(8))
    texts = {
        "cnnstat.toml": '[[check.models]]\nsource = "tiny.yaml"\nbudgets = {params = {max = 200}}\n',
        "cnnstat.yaml": "check:\n  models:\n    - source: tiny.yaml\n      budgets: {params: {max: 200}}\n",
        "pyproject.toml": '[[tool.cnnstat.check.models]]\nsource = "tiny.yaml"\nbudgets.params.max = 200\n',
    }
    (folder / name).write_text(texts[name])
    result = check("--format", "github")
    assert result.code == 1
    line = 4 if name == "cnnstat.yaml" else 3
    assert f"raise budgets.params.max at {name}:{line}" in result.out
    assert name in check("--format", "table").out


def test_the_nearest_configuration_up_to_the_repository_counts(
    check: Command, history: History, monkeypatch: Any
) -> None:
    outer = '[[check.models]]\nsource = "tiny.yaml"\nbudgets.params.max = 1\n'
    (history.root.parent / "cnnstat.toml").write_text(outer)
    below = history.root / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert check().code == 2  # the one outside of the repository is not ours
    history.write("cnnstat.toml", '[[check.models]]\nsource = "a/tiny.yaml"\nbudgets.params.max = 1000\n')
    history.write("a/tiny.yaml", spec(8))
    result = check()
    assert result.code == 0 and "../../cnnstat.toml" in result.out


def test_a_project_without_our_table_is_passed_over(check: Command, history: History, monkeypatch: Any) -> None:
    history.write("cnnstat.toml", '[[check.models]]\nsource = "tiny.yaml"\nbudgets.params.max = 1000\n')
    history.write("tiny.yaml", spec(8))
    history.write("a/pyproject.toml", '[project]\nname = "x"\n')
    monkeypatch.chdir(history.root / "a")
    assert check().code == 0


def test_two_configurations_in_one_folder_are_refused(check: Command, folder: Path) -> None:
    for name in ("cnnstat.toml", "cnnstat.yaml"):
        (folder / name).write_text("[check]\n" if name.endswith("toml") else "check: {}\n")
    result = check()
    assert result.code == 2 and "keep one" in result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgets.parms.max = 1", "cnnstat.toml:3:1: unknown key parms; did you mean params?"),
        ("budgets.params.mx = 1", "cnnstat.toml:3:1: unknown key mx; did you mean max?"),
        ('budgets.params = {max = "5 Mb"}', "cnnstat.toml:3:19: params.max: '5 Mb': there is no unit Mb here"),
        ('budgets.file_size = {max = "5 mib"}', "did you mean MiB?"),
        ('budgets.params = {max = "5%"}', "write it under max_increase"),
        ("budgets.params = 5", 'write params = {max = "…"}'),
        ("budgets.params = {}", "has no limit"),
        ('budgets.params = {min_delta = "1 k", max = 5}', "add max_increase"),
        ('budgets.params = {max = 5, level = "wran"}', "did you mean warn?"),
        ("budgets.receptive_field = {max = 5}", "unknown key max"),
        ("budgets.latency = {max = 5}", "5 has no unit"),
        ("bugets.params.max = 1", "unknown key bugets; did you mean budgets?"),
        ('dtype = "float31"', "did you mean float32?"),
        ("input = [3, 0, 5]", "at least 1"),
        ("input = 5", "write the sizes"),
        ("batch = 0", "integer of at least 1"),
        ('optimizer = "adamm"', "did you mean adam?"),
        ("set = 5", "set must be a table"),
        ("inputs = 5", "inputs must be a table"),
    ],
)
def test_faults_say_line_and_remedy(check: Command, folder: Path, text: str, said: str) -> None:
    (folder / "cnnstat.toml").write_text(f'[[check.models]]\nsource = "vgg16"\n{text}\n')
    result = check("--max-params", "1G")
    assert (result.code, result.out) == (2, "")
    assert said in result.err and "cnnstat.toml:3" in result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[chekc]\n", "cnnstat.toml:1:1: unknown key chekc; did you mean check?"),
        ("[check]\nmodel = 1\n", "cnnstat.toml:2:1: unknown key model; did you mean models?"),
        ("[check]\nmodels = 1\n", "must be a list of tables"),
        ("check = 1\n", "must be a table"),
        ("[[check.models]]\nname = 'x'\n", "a model needs a source"),
        ("[[check.models]]\nsource = 5\n", "source must be a text"),
        ("[[check.models]]\nsource = 'a/*.yaml'\n", "no file matches"),
        ("[[check.models]]\nsource = 'vgg16'\n[[check.models]]\nsource = 'vgg16'\n", "cnnstat.toml:4:1: two models"),
        ("[check]\nbaseline = 'a'\nbaseline_ref = 'b'\n", "exclude each other"),
        ("[check]\nrequire_baseline = 1\n", "must be true or false"),
        ("[check\n", "cnnstat.toml:1:7: not valid TOML"),
        ("a = \n", "not valid TOML"),
        ("[[check.models]]\nsource = 'vgg16'\n", "cnnstat.toml:2:1: vgg16 has no limit"),
        (
            "[[check.models]]\nsource = 'gone.yaml'\nbudgets.params.max = 1\n",
            "cnnstat.toml:2:1: gone.yaml: there is no such file",
        ),
    ],
)
def test_faults_of_the_whole(check: Command, folder: Path, text: str, said: str) -> None:
    (folder / "cnnstat.toml").write_text(text)
    result = check()
    assert result.code == 2 and said in result.err, result


def alias_bomb(levels: int, width: int, key: str) -> str:
    """Return YAML whose value of `key` stands for width^levels words."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + f"\n{key}: *a{levels - 1}\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("cnnstat.toml", f"[check]\nbaseline = {'9' * 5000}\n", "a number has too many digits; TOML's have 64 bits"),
        ("cnnstat.toml", f"[[check.models]]\nsource = 'vgg16'\nbatch = 0x{'f' * 9000}\n", "too many digits"),
        ("cnnstat.toml", f"[check]\n{'.'.join(['a'] * 100_000)} = 1\n", "cnnstat.toml:2:1: a key has more than 100"),
        ("cnnstat.toml", f"[check]\n'a' . {'.'.join(['b'] * 100)} = 1\n", "a key has more than 100 parts"),
        ("cnnstat.toml", f"[check]\nbaseline = {'[' * 5000}{']' * 5000}\n", "cnnstat.toml:1:1: nested too deeply"),
        ("cnnstat.toml", "#" * 2**20 + "\n", "cnnstat.toml: larger than 1 MiB; this is no configuration"),
        ("cnnstat.toml", "".join(f"[k{i}]\na = 1\n" for i in range(40_000)), "unknown key k49;"),
        ("cnnstat.toml", f"[[check.models]]\nsource = '{'a' * 5000}/*'\n", "no file matches"),
        ("cnnstat.toml", "[[check.models]]\nsource = '**/*/**/*/**/*.yaml'\n", "** stands more than 2 times"),
        ("cnnstat.yaml", f"check: {{models: [{'x, ' * 40_000}]}}\n", "must be a table with source"),
        ("cnnstat.yaml", alias_bomb(16, 2, "check"), "more than 50,000 values by here"),
    ],
    ids=lambda text: text[:20],
)
def test_faults_made_to_take_long(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with ends_soon(), pytest.raises(CnnstatError) as caught:
        find_settings(folder)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 50


def test_nesting_is_limited_whatever_the_recursion_limit_is(folder: Path) -> None:
    (folder / "cnnstat.toml").write_text(f"[check]\nbaseline = {'[' * 5000}{']' * 5000}\n")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(2**14)
    try:
        with pytest.raises(CnnstatError, match="nested too deeply"):
            find_settings(folder)
    finally:
        sys.setrecursionlimit(limit)


def test_all_faults_are_told_at_once(check: Command, folder: Path) -> None:
    (folder / "cnnstat.yaml").write_text("check:\n  budgets: {parms: {max: 1}, macs: {max: 5 x}}\n  model: []\n")
    lines = check().err.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["cnnstat.yaml:2:13:", "cnnstat.yaml:2:37:", "cnnstat.yaml:3:3:"]


def test_a_named_configuration(check: Command, folder: Path) -> None:
    (folder / "tiny.yaml").write_text(spec(8))
    (folder / "ours.toml").write_text('[[check.models]]\nsource = "tiny.yaml"\nbudgets.params.max = 1\n')
    assert check("--config", "ours.toml").code == 1
    assert "no such file" in check("--config", "nowhere.toml").err
    (folder / "pyproject.toml").write_text("[project]\n")
    assert "has no [tool.cnnstat.check]" in check("--config", "pyproject.toml").err


def test_wildcards_common_budgets_and_sources(check: Command, folder: Path) -> None:
    for width in (4, 8):
        (folder / f"w{width}.yaml").write_text(spec(width))
    common = f'[check.budgets]\nparams.max = {params(4)}\n[[check.models]]\nsource = "w*.yaml"\n'
    (folder / "cnnstat.toml").write_text(common)
    assert check().code == 1
    assert check("w4.yaml").code == 0
    assert check("./w8.yaml", "--max-params", "1k").code == 0  # the command line goes before the file
    assert check("vgg11", "--max-macs", "100G").code == 1  # common budgets hold for any source


def test_a_model_may_have_budgets_of_its_own(check: Command, folder: Path) -> None:
    (folder / "tiny.yaml").write_text(spec(8))
    text = '[check.budgets]\nparams.max = 1\n[[check.models]]\nsource = "tiny.yaml"\nbudgets.params.max = 1000\n'
    (folder / "cnnstat.toml").write_text(text)
    assert check().code == 0


def test_set_input_and_batch_reach_the_model(check: Command, folder: Path) -> None:
    (folder / "wide.yaml").write_text("input: [3, 8, 8]\nlet: {width: 4}\nlayers:\n  - Conv2d(width, 3)\n")
    text = (
        '[[check.models]]\nsource = "wide.yaml"\nvariables = {width = 10}\ninput = "3x9x9"\nbudgets.params.max = 279\n'
    )
    (folder / "cnnstat.toml").write_text(text)
    assert "params 280 > 279" in check("-f", "github").out.replace("%3E", ">")
    assert check("--variable", "width=9").code == 0


def located(values: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all keys and list entries of TOML values."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [inner for key, value in pairs for inner in ((*path, key), *located(value, (*path, key)))]


@pytest.mark.parametrize(
    "text",
    [
        FULL,
        'a.b."c.d" = [1, [2, {x = 1, y.z = "}"}], # ]\n  3,\n]\n',
        's = """\nk = 1\n"quoted" [x]\n"""\nt = \'\'\'\n[y]\'\'\'\nd = 1979-05-27T07:32:00Z\n',
        "[[a]]\nb = 1\n[[a.c]]\nd = 2\n[[a.c]]\nd = 3\n[a.e]\nf = 4\n[[a]]\n[[a.c]]\nd = 5\n",
        "x = [\n  {a = 1},\n  {a = 2},\n]\n",
        'empty = ""\nlist = []\ntable = {}\nescaped = "a\\"b"\n',
    ],
)
def test_places_know_every_key(text: str) -> None:
    found = places(text)
    assert set(located(tomllib.loads(text))) <= set(found)


def test_places_are_where_the_keys_stand() -> None:
    text = "# first\n[a]\n  b = {c = 1,\td = [\n  {e = 1},\n]}\n[[m]]\nx = 1\n[[m]]\nx = 2\n"
    found = places(text.replace("[\n  {e = 1},\n]", "[{e = 1}]"))
    assert found["a",] == (2, 1) and found["a", "b"] == (3, 3)
    assert found["a", "b", "c"] == (3, 8) and found["a", "b", "d"] == (3, 15)
    assert found["a", "b", "d", 0, "e"] == (3, 21)
    assert found["m", 0, "x"] == (5, 1) and found["m", 1, "x"] == (7, 1)


def test_errors_are_of_our_own_kind(folder: Path) -> None:
    (folder / "cnnstat.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CnnstatError, match="UTF-8"):
        find_settings(folder)


def test_the_strict_receptive_field_is_an_option_and_a_key(check: Command, folder: Path) -> None:
    gated = (
        "input: [3, 16, 16]\nlayers: [Conv2d(8, 3), multiply: [[], [AdaptiveAvgPool2d(1), Sigmoid]], Conv2d(8, 3)]\n"
    )
    (folder / "gated.yaml").write_text(gated)
    limit = ["gated.yaml", "--min-receptive-field", "5"]
    assert check(*limit).code == 0 and check(*limit, "--strict-receptive-field").code == 1
    (folder / "cnnstat.toml").write_text(
        '[[check.models]]\nsource = "gated.yaml"\nstrict_receptive_field = true\nbudgets.receptive_field.min = 5\n'
    )
    assert check().code == 1


def test_names_of_before_are_read_on_and_told(check: Command, folder: Path) -> None:
    text = "[[check.models]]\nsource = 'tiny.yaml'\n{} = {{width = 8}}\nbudgets.params.max = 300\n"
    (folder / "tiny.yaml").write_text("let: {width: 4}\n" + spec(8).replace("Conv2d(8", "Conv2d(width"))
    (folder / "cnnstat.toml").write_text(text.format("set"))
    old = check()
    assert old.code == 0 and "cnnstat.toml:3: set is called variables now" in " ".join(old.out.split())
    (folder / "cnnstat.toml").write_text(text.format("variables"))
    assert "is called" not in check().out

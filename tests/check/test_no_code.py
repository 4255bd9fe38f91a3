"""`check --no-code`: specs and the zoo only; nothing of an untrusted change runs, whatever its configuration says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

SPEC = "input: [3, 8, 8]\nlayers:\n  - Conv2d(4, 3)\n"
CODE = 'open("ran", "w").close()\n'


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that an attacker has written, as the current one."""
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(SPEC)
    for name in ("net.py", "yaml.py", "torchvision.py", "timm.py", "torch.py", "sitecustomize.py"):
        Path(name).write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(
    "source",
    [
        "net.py:Net", "./net.py:Net", "net:Net", "net.py::Net", "torchvision:resnet18", "torchvision.models.resnet18",
        "timm:resnet18", "timm/resnet18", "package.module:make",
    ],
)  # fmt: skip
def test_code_is_refused_in_one_line_before_anything_runs(check: Any, checkout: Path, source: str) -> None:
    text = f'[[check.models]]\nsource = "net.yaml"\nbudgets.params.max = 1\n[[check.models]]\nsource = "{source}"\n'
    Path("cnnstat.toml").write_text(text + "budgets.params.max = 1\n")
    for arguments in ((), (source, "--max-params", "1")):
        result = check(*arguments, "--no-code")
        assert result.code == 2 and result.out == "" and len(result.err.splitlines()) == 1
        assert "runs code, which --no-code refuses; name a spec or a network" in result.err
    assert "cnnstat.toml:5:" in check("--no-code").err
    assert not Path("ran").exists()


def test_specs_and_networks_are_checked_as_without(check: Any, checkout: Path) -> None:
    for arguments in (("net.yaml", "--max-params", "1k"), ("lenet5", "--max-params", "1")):
        assert check(*arguments, "--no-code")[:2] == check(*arguments)[:2]
    assert check("lenet5", "--max-params", "1", "--no-code").code == 1
    assert not Path("ran").exists()


def test_a_baseline_is_not_updated_from_code(check: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    result = check("net.py:Net", "--baseline", "base.json", "--update-baseline", "--no-code")
    assert result.code == 2 and not Path("base.json").exists() and not Path("ran").exists()


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("how", ["link", "extends", "repository"])
def test_what_leads_out_of_the_checkout_is_not_read(
    check: Any, checkout: Path, tmp_path_factory: pytest.TempPathFactory, how: str
) -> None:
    """A message on a spec quotes it, so that a log could show the keys of any YAML file, or git's settings."""
    secret = tmp_path_factory.mktemp("home") / "secret.yaml"
    secret.write_text("token: 123\n")
    (checkout / ".git").mkdir()
    (checkout / ".git" / "config").write_text("[http]\n  extraheader = token\n")
    if how == "extends":
        (checkout / "new.yaml").write_text(f"extends: {secret}\n")
    else:
        (checkout / "new.yaml").symlink_to(secret if how == "link" else checkout / ".git" / "config")
    assert how == "repository" or "token" in check("new.yaml", "--max-params", "1").err
    refused = check("new.yaml", "--max-params", "1", "--no-code")
    assert refused.code == 2 and "which --no-code does not read" in refused.err and len(refused.err.splitlines()) == 1
    assert "token" not in refused.err
    (checkout / "good.yaml").symlink_to("net.yaml")
    (checkout / "zoo.yaml").write_text("extends: lenet5\n")
    for name in ("good.yaml", "zoo.yaml"):
        assert check(name, "--max-params", "1M", "--no-code").code == 0

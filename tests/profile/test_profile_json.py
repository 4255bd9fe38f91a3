"""A profile survives JSON whole, and what is no profile is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from handmade_profiles import cpu_profile, gpu_profile, samples

from cnnstat.errors import CnnstatError
from cnnstat.profile.profile_json import MAX_BYTES, parse_profile, read_profile, to_json
from cnnstat.profile.profile_result import Profile
from cnnstat.report.formats.json import json_text


def everything() -> Profile:
    """Return a profile in which nothing is left out."""
    first, *rest = gpu_profile().layers
    full = replace(first, backward=samples(100, 2), warm=samples(50, 1), cold=samples(70, 1), counted=False)
    return gpu_profile(layers=(full, *rest), notes=("a note",), complete=False, lost_kernels=2)


@pytest.mark.parametrize("profile", [cpu_profile(), gpu_profile(), everything()], ids=["cpu", "gpu", "everything"])
def test_json_keeps_everything(profile: Profile) -> None:
    text = json_text(to_json(profile), "layers")
    again = parse_profile(text, "profile.json")
    for field in Profile.__dataclass_fields__:
        assert getattr(again, field) == getattr(profile, field), field


def test_the_contract() -> None:
    found = to_json(cpu_profile())
    assert found["schema"] == "cnnstat-profile/1"
    assert found["model"] == {
        "name": "tiny",
        "source": "tiny.yaml",
        "inputs": {"input": [1, 3, 64, 64]},
        "dtype": "float32",
    }
    assert found["identity"]["drift"] == pytest.approx(100e-6) and found["identity"]["adds_up"] is True
    assert found["layers"][0]["forward"]["count"] == 30
    assert found["layers"][0]["forward"]["median"] == pytest.approx(0.004)
    assert found["environment"]["threads"] == 2 and found["whole"]["enqueue"] is None


def changed(*path: Any, value: Any) -> str:
    found: Any = json.loads(json.dumps(to_json(cpu_profile())))
    inside = found
    for key in path[:-1]:
        inside = inside[key]
    if value is KeyError:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "it has no schema, this version reads cnnstat-profile/1"),
        ("3", "it has no schema"),
        ('{"schema": "cnnstat/1"}', "its schema is cnnstat/1"),
        ('{"schema": "cnnstat-profile/1"}', "damaged (KeyError: 'model')"),
        (changed("layers", value=3), "damaged"),
        (changed("layers", 0, "forward", "median", value="fast"), "damaged (ValueError: fast is no number)"),
        (changed("layers", 0, "macs", value=1.5), "1.5 is no integer"),
        (changed("layers", 0, "macs", value=True), "True is no integer"),
        (changed("layers", 0, "bound", value="speed"), "speed is none of compute, memory, latency"),
        (changed("layers", 0, "name", value=KeyError), "damaged (KeyError: 'name')"),
        (changed("environment", "device", value="tpu"), "tpu is none of cuda, cpu, mps"),
        (changed("environment", "device", value=[]), "damaged"),
        (changed("ceilings", "flops_per_second", value=0), "0 is not above 0"),
        (changed("whole", "plain", value=None), "damaged"),
        (changed("identity", "gaps", value=float("nan")), "nan is no number"),
        (changed("identity", "gaps", value=10**400), "damaged (OverflowError"),
        (changed("complete", value="yes"), "yes is neither true nor false"),
        (changed("notes", value=[1]), "1 is no text"),
    ],
)
def test_damaged_profiles_are_refused(text: str, said: str) -> None:
    with pytest.raises(CnnstatError) as error:
        parse_profile(text, "old.json")
    assert said in str(error.value) and str(error.value).startswith("old.json")
    assert "cnnstat profile SOURCE --format json" in str(error.value)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    with pytest.raises(CnnstatError, match="cannot be read: No such file"):
        read_profile(path)
    with pytest.raises(CnnstatError, match="cannot be read"):
        read_profile(tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CnnstatError, match="this is no text"):
        read_profile(path)
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(CnnstatError, match="larger than 64 MiB"):
        read_profile(path)
    path.write_text(json.dumps(to_json(cpu_profile())))
    assert read_profile(path).layers == cpu_profile().layers

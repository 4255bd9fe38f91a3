"""Architectures of papers that are not in the zoo, written as a user of docs/spec.md would write them."""

from __future__ import annotations

from pathlib import Path

import pytest

import cnnstat

FOLDER = Path(__file__).parent / "papers"

PARAMETERS = {
    "bifpn": 77_824,  # 2 layers of 8 nodes, each 64·9 + 64·64 + 64 and 128 of its norm
    "convnext_t": 28_589_128,  # timm 1.0: convnext_tiny
    "ghostnet": 5_182_508,  # timm 1.0: ghostnet_100
    "r2plus1d": 31_505_325,  # torchvision 0.29: r2plus1d_18
    "regnety_400mf": 4_344_144,  # timm 1.0: regnety_004
    "res2net50": 25_699_120,  # timm 1.0: res2net50_26w_4s
    "unetpp": 9_163_329,  # the authors' NestedUNet with 3 channels in and 1 class
    "vit_b16": 86_567_656,  # torchvision 0.29: vit_b_16
}
"""Trainable numbers of each, counted by the library that is named."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_other_libraries(name: str) -> None:
    assert cnnstat.analyze(FOLDER / f"{name}.yaml").totals.params == PARAMETERS[name]


def test_shufflenet_has_the_papers_complexity() -> None:
    analysis = cnnstat.analyze(FOLDER / "shufflenet_v1_g3.yaml")
    assert round(analysis.totals.macs / 1e6) == 137  # Zhang et al. 2017, table 2


def test_an_hourglass_ends_as_it_began() -> None:
    analysis = cnnstat.analyze(FOLDER / "hourglass.yaml")
    residual = 256 * 128 + 128 + 128 * 128 * 9 + 128 + 128 * 256 + 256 + 2 * (256 + 128 + 128)
    assert analysis.layers[-1].output_shape == (1, 256, 64, 64)
    assert analysis.totals.params == 13 * residual


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_export_keeps_their_figures(path: Path, tmp_path: Path) -> None:
    (tmp_path / "again.yaml").write_text(cnnstat.export(path), encoding="utf-8")
    assert cnnstat.analyze(tmp_path / "again.yaml").totals == cnnstat.analyze(path).totals

"""Verification needs PyTorch; its tests share one small limit, so that gradients stay cheap."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _cheap_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnstat.verify import receptive_field_check

    monkeypatch.setattr(receptive_field_check, "MAX_FIELD_BYTES", 16 * 2**20)


@pytest.fixture(autouse=True)
def _own_facets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facets that other tests remember are not those of ops that a test makes wrong."""
    from cnnstat.analysis import shapes

    monkeypatch.setattr(shapes, "_remembered", {})

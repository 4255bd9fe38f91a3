"""Ceilings of tests are kept apart from the user's."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep what is measured in a folder of the test."""
    monkeypatch.setenv("CNNSTAT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"

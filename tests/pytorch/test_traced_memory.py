"""Models are traced without memory for their weights."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
try:
    import torchvision
except (ImportError, RuntimeError) as error:  # RuntimeError: built for another PyTorch than the one there is
    pytest.skip(f"torchvision does not work here: {error}", allow_module_level=True)
resource = pytest.importorskip("resource")

PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
UNIT = 1 if sys.platform == "darwin" else 1024
MOST = 60 * 10**6
"""Bytes beyond the imports, for 553 MB of weights."""


def peak(code):
    """Peak memory of a fresh process that runs some code, in bytes."""
    run = subprocess.run([sys.executable, "-c", f"{code}\n{PEAK}"], capture_output=True, text=True, check=True)
    return int(run.stdout.split()[-1]) * UNIT


def test_vgg16_takes_hardly_more_than_the_imports():
    imports = peak("import torch, torchvision")
    analysis = peak("import cnnstat; assert cnnstat.analyze('torchvision:vgg16').totals.params == 138357544")
    assert analysis - imports < MOST
    assert torchvision.models.vgg16 is not None

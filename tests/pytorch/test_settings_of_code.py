"""Settings that a model's code changes hold for its model, and are put back when the call ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import cnnstat  # noqa: E402  # the model is one of PyTorch

CODE = """
import os
import random

import torch
from torch import nn

{at_import}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        {in_constructor}
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x) + torch.zeros(4, 1, 1)
"""

CHANGES = {
    "device": "torch.set_default_device('cuda')",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "deterministic": "torch.use_deterministic_algorithms(True)",
    "gradients": "torch.set_grad_enabled(False)",
    "threads": "torch.set_num_threads(torch.get_num_threads() + 1)",
    "fast path": "torch.backends.mha.set_fastpath_enabled(not torch.backends.mha.get_fastpath_enabled())",
    "attention": "torch.backends.cuda.enable_flash_sdp(not torch.backends.cuda.flash_sdp_enabled())",
    "oneDNN": "torch._C._set_mkldnn_enabled(not torch._C._get_mkldnn_enabled())",
    "quantization": "torch.backends.quantized.engine = torch.backends.quantized.supported_engines[0]",
    "numbers": "torch.manual_seed(7), random.seed(7)",
    "variable": "os.environ.update(CNNSTAT_TEST='1')",
}


def process() -> tuple[Any, ...]:
    """What code may change, and the function modes that are entered: a default device is one."""
    import os
    import random

    backends = torch.backends
    return (
        torch.get_default_dtype(), torch._C._len_torch_function_stack(), torch.get_deterministic_debug_mode(),
        torch.is_grad_enabled(), torch.get_num_threads(), backends.mha.get_fastpath_enabled(),
        backends.cuda.flash_sdp_enabled(), backends.quantized.engine, torch._C._get_mkldnn_enabled(),
        torch.get_rng_state().tolist(), random.getstate(), dict(os.environ), tuple(sys.path),
    )  # fmt: skip


def source(folder: Path, at_import: str = "", in_constructor: str = "") -> str:
    path = folder / "changing.py"
    path.write_text(CODE.format(at_import=at_import, in_constructor=in_constructor))
    return f"{path}:Net"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", ["at_import", "in_constructor"])
def test_the_process_is_as_it_was(tmp_path: Path, change: str, place: str) -> None:
    cnnstat.analyze(source(tmp_path), (1, 3, 8, 8))
    named = source(tmp_path, **{place: CHANGES[change]})
    before = process()
    for _ in range(2):
        # A file has its own settings each time that it is run.
        bytes_a_number = 8 if change == "dtype" else 4
        assert cnnstat.analyze(named, (1, 3, 8, 8)).totals.memory.params_bytes == bytes_a_number * 112
        assert process() == before


def test_settings_of_a_module_hold_when_it_is_imported_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("in_double", "also_in_double"):
        (tmp_path / f"{name}.py").write_text(CODE.format(at_import=CHANGES["dtype"], in_constructor=""))
    (tmp_path / "beside.py").write_text("from also_in_double import Net")
    for named in 2 * ("in_double:Net", f"{tmp_path / 'beside.py'}:Net"):
        assert cnnstat.analyze(named, (1, 3, 8, 8)).totals.memory.params_bytes == 8 * 112, named
        assert torch.get_default_dtype() == torch.float32


def test_one_model_of_a_comparison_does_not_change_the_next(tmp_path: Path) -> None:
    first = source(tmp_path, in_constructor=CHANGES["dtype"])
    (tmp_path / "other.py").write_text(CODE.format(at_import="", in_constructor=""))
    found = cnnstat.compare(first, f"{tmp_path / 'other.py'}:Net", input=(1, 3, 8, 8))
    assert [each.totals.memory.params_bytes for each in found.analyses] == [8 * 112, 4 * 112]


def test_verify_runs_a_model_with_the_settings_of_its_code(tmp_path: Path) -> None:
    named = source(tmp_path, at_import=CHANGES["dtype"] + "\n" + CHANGES["device"])
    before = process()
    found = cnnstat.verify(named, (1, 3, 8, 8))
    assert found.exit_code == 0 and found.analysis.totals.memory.params_bytes == 8 * 112
    assert process() == before

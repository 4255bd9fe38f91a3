"""FlopCounterMode: PyTorch's own counter, whose FLOPs are two for each multiply-accumulate."""

import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted_macs(model, *inputs, **named):
    """Half of what FlopCounterMode counts in a real pass, without the fused paths it does not know."""
    mkldnn, fast = torch.backends.mkldnn, torch.backends.mha
    before, was_fast = mkldnn.enabled, fast.get_fastpath_enabled()
    counter = FlopCounterMode(display=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mkldnn.set_flags(False)
            fast.set_fastpath_enabled(False)
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
                model.eval()(*inputs, **named)
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mkldnn.set_flags(before)
        fast.set_fastpath_enabled(was_fast)
    return counter.get_total_flops() // 2


def macs_of_run(run):
    """Half of what FlopCounterMode counts while `run` runs."""
    with FlopCounterMode(display=False) as counter:
        run()
    macs, odd = divmod(counter.get_total_flops(), 2)
    assert not odd
    return macs

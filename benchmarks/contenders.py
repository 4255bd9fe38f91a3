"""How each tool that counts a PyTorch model is called, as a whole process or again and again in one.

Run by peers.py; by hand:
    python benchmarks/contenders.py process "torchinfo, meta" resnet50    one process: import, build, count, print
    python benchmarks/contenders.py inside resnet50 --rounds 9            all of them in this process, after warm-up
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SIZES = {"vgg16": 224, "resnet50": 224, "resnet152": 224, "densenet201": 224, "efficientnet_b7": 600}
"""The models, with the side of the image each is counted for: that of torchvision's published figures."""

Figures = dict[str, int]
Counted = tuple[Figures, Any]
"""The totals, and the tool's own table, made when it is printed."""

WARM_UP = 3
CPU_ROUNDS = (1, 2, 3)
"""Rounds in which what takes a real forward pass takes part; there is little to warm up in one."""


class _Printed:
    """What becomes text when it is printed."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text()


def _torchinfo(model: Any, size: int, device: str) -> Counted:
    """Call torchinfo.summary."""
    import torchinfo

    found = torchinfo.summary(model, input_size=(1, 3, size, size), device=device, verbose=0)
    return {"params": found.total_params, "macs": found.total_mult_adds}, found


def _torch_counter(model: Any, size: int, device: str) -> Counted:
    """Call torch's FlopCounterMode."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, size, size, device=device))
    return {"params": sum(p.numel() for p in model.parameters()), "macs": counter.get_total_flops() // 2}, _Printed(
        counter.get_table
    )


def _fvcore(model: Any, size: int, device: str) -> Counted:
    """Call fvcore's FlopCountAnalysis."""
    import logging

    import torch
    from fvcore.nn import FlopCountAnalysis, flop_count_table

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    counted = FlopCountAnalysis(model, torch.empty(1, 3, size, size, device=device))
    return {"params": sum(p.numel() for p in model.parameters()), "macs": int(counted.total())}, _Printed(
        lambda: flop_count_table(counted)
    )


def _ptflops(model: Any, size: int, device: str) -> Counted:
    """Call ptflops for its totals; the figures behind every module would cost it more."""
    from ptflops import get_model_complexity_info

    macs, params = get_model_complexity_info(model, (3, size, size), as_strings=False, print_per_layer_stat=False)
    return {"params": int(params or 0), "macs": int(macs or 0)}, ""


def _thop(model: Any, size: int, device: str) -> Counted:
    """Call thop.profile, which knows totals only."""
    import thop
    import torch

    macs, params = thop.profile(model, inputs=(torch.empty(1, 3, size, size, device=device),), verbose=False)
    return {"params": int(params), "macs": int(macs)}, ""


def _calflops(model: Any, size: int, device: str) -> Counted:
    """Call calflops for its totals; the figures behind every module would cost it more."""
    from calflops import calculate_flops

    _, macs, params = calculate_flops(
        model, input_shape=(1, 3, size, size), output_as_string=False, print_results=False
    )
    return {"params": int(params), "macs": int(macs)}, ""


def _cnnstat(model: Any, size: int, device: str) -> Counted:
    """Call cnnstat.analyze."""
    import cnnstat

    found = cnnstat.analyze(model, (1, 3, size, size))
    return {"params": found.totals.params, "macs": found.totals.macs}, found


@dataclass(frozen=True)
class Contender:
    """One way to count a model; `package` is what has to be installed, `device` where the model is built."""

    package: str
    device: str
    count: Callable[[Any, int, str], Counted]


CONTENDERS = {
    "torchinfo": Contender("torchinfo", "cpu", _torchinfo),
    "torchinfo, meta": Contender("torchinfo", "meta", _torchinfo),
    "FlopCounterMode": Contender("torch", "cpu", _torch_counter),
    "FlopCounterMode, meta": Contender("torch", "meta", _torch_counter),
    "fvcore": Contender("fvcore", "cpu", _fvcore),
    "ptflops": Contender("ptflops", "cpu", _ptflops),
    "ptflops, meta": Contender("ptflops", "meta", _ptflops),
    "thop": Contender("thop", "cpu", _thop),
    "thop, meta": Contender("thop", "meta", _thop),
    "calflops": Contender("calflops", "cpu", _calflops),
    "calflops, meta": Contender("calflops", "meta", _calflops),
}
"""As each is documented, on the CPU, and on the meta device where that works (fvcore needs memory)."""


def build(name: str, device: str) -> Any:
    """Return a model of torchvision without pretrained weights."""
    import torch
    import torchvision

    with torch.device(device):
        return getattr(torchvision.models, name)().eval()


def process(name: str, model: str) -> None:
    """Import, build, count and print, with the figures as the last line."""
    if name == "import":
        importlib.import_module("torch")
        importlib.import_module("torchvision")
        return
    if name == "bare":
        build(model, "meta")
        return
    contender = CONTENDERS[name]
    figures, table = contender.count(build(model, contender.device), SIZES[model], contender.device)
    print(table, json.dumps(figures), sep="\n")


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def inside(model: str, rounds: int) -> dict[str, float]:
    """Return the median CPU seconds that each contender takes to count a model that is built; no table is made."""
    known = {"cnnstat": Contender("cnnstat", "meta", _cnnstat), "torchinfo": CONTENDERS["torchinfo"]}
    known |= {name: each for name, each in CONTENDERS.items() if each.device == "meta"}
    contenders = {name: each for name, each in known.items() if is_installed(each.package)}
    # Each has a model of its own: some leave attributes on its modules, which others would have to carry.
    built = {name: build(model, contender.device) for name, contender in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders.items())
    for number in range(WARM_UP + rounds):
        turn = number % len(order)  # so that none always follows the same
        for name, contender in (*order[turn:], *order[:turn]):
            if contender.device == "cpu" and number not in CPU_ROUNDS:
                continue
            with contextlib.redirect_stdout(io.StringIO()):
                start = time.process_time()
                contender.count(built[name], SIZES[model], contender.device)
                seconds = time.process_time() - start
            if number >= WARM_UP or contender.device == "cpu":
                times[name].append(seconds)
    return {name: statistics.median(measured) for name, measured in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("process", "inside"))
    parser.add_argument("names", nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.what == "process":
        process(*arguments.names)
    else:
        print("\n" + json.dumps(inside(arguments.names[0], arguments.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

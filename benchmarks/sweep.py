"""Every model of torchvision and timm: does it trace, how long does it take, and do its figures agree with others'.

    python benchmarks/sweep.py torchvision            # all of torchvision
    python benchmarks/sweep.py timm --slice 0/4       # a quarter of timm
    python benchmarks/sweep.py timm --match resnet    # those whose name contains a word

Each model is compared with sum(p.numel()), with torch's FlopCounterMode on fake tensors (halved), and with the
published figure where there is one. A disagreement is printed with its reason; a count of both follows.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from collections import Counter

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import cnnstat
from cnnstat.frontends.request import InputShape, Request
from cnnstat.frontends.torch.construct import construct
from cnnstat.frontends.torch.defaults import default_example
from cnnstat.frontends.torch.locate import locate

SEGMENTERS = ("deeplabv3", "fcn", "lraspp")
TRANSPOSED = "FlopCounterMode counts a transposed convolution differently"


def models(library):
    """The names of all models of a library."""
    if library == "timm":
        import timm

        return timm.list_models()
    from torchvision import models as torchvision_models

    return torchvision_models.list_models()


def arguments_of(library, name):
    """Arguments with which a model is the published one."""
    has_helper = library == "torchvision" and name.startswith(SEGMENTERS) and not name.startswith("lraspp")
    return {"aux_loss": True} if has_helper else {}


def published(library, name):
    """The published MACs in units of 10^9, if there are any."""
    if library != "torchvision":
        return []
    from torchvision.models import get_model_weights

    return [weights.meta["_ops"] for weights in get_model_weights(name) if "_ops" in weights.meta]


def flop_counter(library, name):
    """Half of FlopCounterMode's count of a forward pass on fake tensors; None where it does not run."""
    located = locate(f"{library}:{name}")
    arguments = {**dict(located.fixed), **arguments_of(library, name)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model, _ = construct(located.factory, arguments, name)
            model.eval()
            example = default_example(model, library, name)
            with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
                given = [_fake(value) for value in example.arguments]
                for module in model.modules():
                    for table in (module._parameters, module._buffers):
                        for key, tensor in table.items():
                            if tensor is not None:
                                table[key] = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
                counter = FlopCounterMode(display=False)
                del fake
                with counter:
                    model(*given)
            return counter.get_total_flops() // 2
        except Exception:
            return None


def _fake(value):
    """Tensors in the place of shapes."""
    if isinstance(value, InputShape):
        return torch.empty(value.sizes)
    return [_fake(item) for item in value]


def check(library, name, with_counter):
    """One model: (status, line)."""
    from cnnstat.frontends.torch.load import load_torch_source

    started = time.perf_counter()
    try:
        graph = load_torch_source(f"{library}:{name}", Request(arguments=arguments_of(library, name)))
        analysis = cnnstat.analyze(graph)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    said = [f"{analysis.totals.params:>13,} {analysis.totals.macs:>18,} {seconds:6.2f} s {len(graph.nodes):5} ops"]
    status = "agrees"
    figures = published(library, name)
    if figures and round(analysis.totals.macs / 1e9, 3) not in [round(figure, 3) for figure in figures]:
        status = "differs"
        said.append(f"published {figures[0]}: {reason(graph)}")
    counted = flop_counter(library, name) if with_counter else None
    if counted is not None and counted != analysis.totals.macs:
        status = "differs"
        said.append(f"FlopCounterMode {counted:,}: {reason(graph)}")
    if analysis.uncounted:
        said.append(
            f"not modelled: {', '.join(sorted({layer.op.kind for layer in analysis.layers if not layer.op.modelled}))}"
        )
    said += list(graph.about.get("notes_torch", ()))
    return status, " | ".join(said)


def reason(graph):
    """Why another count may differ: the first that applies."""
    notes = " ".join(graph.about.get("notes_torch", ()))
    if "upper bound" in notes:
        return "how many boxes are kept depends on the image; ours is the upper bound"
    if "for real" in notes:
        return "the path depends on values"
    kinds = {node.op.kind for node in graph.nodes}
    if any(kind.startswith("ConvTranspose") for kind in kinds):
        return TRANSPOSED
    if "MultiheadAttention" in kinds:
        return "FlopCounterMode does not see the products of nn.MultiheadAttention's fast path"
    return "not explained"


def main():
    """Print one line for each model and a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=("torchvision", "timm"))
    parser.add_argument("--match", default="")
    parser.add_argument("--slice", default="0/1", help="which part of how many, as in 2/8")
    parser.add_argument("--no-counter", action="store_true", help="leave FlopCounterMode out")
    options = parser.parse_args()
    part, parts = map(int, options.slice.split("/"))
    names = [name for name in models(options.library) if options.match in name][part::parts]
    count = Counter()
    for name in names:
        status, line = check(options.library, name, not options.no_counter)
        count[status] += 1
        print(f"{status:8} {name:40} {line}", flush=True)
        gc.collect()
    print(f"{len(names)} models: " + ", ".join(f"{number} {status}" for status, number in count.items()))


if __name__ == "__main__":
    main()

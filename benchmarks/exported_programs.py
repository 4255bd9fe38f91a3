"""Exported programs read without PyTorch beside the analysis of the module that was exported, for torchvision's models.

    python benchmarks/exported_programs.py [-o benchmarks/exported_programs.md]

Exports each model, reads the .pt2 file, analyzes `torch.export.load(file).module()`, and holds parameters, buffers,
MACs, FLOPs, receptive field, the bytes of all outputs and the peak of inference against each other.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

MODELS = """
    alexnet convnext_tiny convnext_small densenet121 densenet169 efficientnet_b0 efficientnet_b1 efficientnet_v2_s
    googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet1_0 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small
    regnet_x_400mf regnet_y_400mf regnet_y_800mf resnet18 resnet34 resnet50 resnext50_32x4d shufflenet_v2_x0_5
    shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vgg16 vit_b_16 vit_b_32
    wide_resnet50_2 fcn_resnet50 deeplabv3_resnet50 lraspp_mobilenet_v3_large r3d_18 mc3_18 mvit_v1_b
"""
"""The models of torchvision that are compared."""

FIGURES = ("params", "buffers", "macs", "flops")
BYTES = ("activation_bytes", "peak_inference_bytes")


def input_of(name: str) -> tuple[int, ...]:
    if name in ("r3d_18", "mc3_18"):
        return (1, 3, 8, 112, 112)
    return (
        (1, 3, 16, 224, 224) if name == "mvit_v1_b" else (1, 3, 299, 299) if "inception" in name else (1, 3, 224, 224)
    )


def built(name: str) -> Any:
    import torchvision

    options: dict[str, Any] = {"weights": None}
    if name in ("fcn_resnet50", "deeplabv3_resnet50", "lraspp_mobilenet_v3_large"):
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True
    return torchvision.models.get_model(name, **options).eval()


def compared(name: str, folder: Path) -> list[str]:
    import torch

    import cnnstat

    path, shape = folder / f"{name}.pt2", input_of(name)
    torch.export.save(torch.export.export(built(name), (torch.zeros(shape),)), path)
    read = cnnstat.analyze(str(path))
    live = cnnstat.analyze(torch.export.load(path).module(), shape)
    ours, theirs = ([getattr(each.totals, figure) for figure in FIGURES] for each in (read, live))
    for figure in BYTES:
        ours.append(getattr(read.totals.memory, figure))
        theirs.append(getattr(live.totals.memory, figure))
    names = (*FIGURES, *BYTES)
    differs = [f"{figure} {one - other:+,}" for figure, one, other in zip(names, ours, theirs) if one != other]
    if read.totals.receptive_field != live.totals.receptive_field:
        differs.append("receptive field")
    path.unlink()
    return [name, f"{read.totals.params:,}", f"{read.totals.macs:,}", ", ".join(differs) or "equal"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=MODELS.split())
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = ["| model | parameters | MACs | figures |", "|---|--:|--:|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            lines.append(f"| {' | '.join(compared(name, Path(folder)))} |")
            print(lines[-1], flush=True)
    equal = sum(line.endswith("| equal |") for line in lines)
    if options.output is not None:
        import torch

        head = (
            "# Exported programs\n\nMeasured by `python benchmarks/exported_programs.py` with PyTorch "
            f"{torch.__version__.partition('+')[0]}: parameters, buffers, MACs, FLOPs, receptive field, bytes "
            f"of outputs and peak of inference of {equal} of {len(options.models)} models equal those of the "
            "exported module.\n\n"
        )
        options.output.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

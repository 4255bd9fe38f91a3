"""What training keeps for the backward pass against the storages of a real pass on the CPU.

Every model runs in training mode under `torch.autograd.graph.saved_tensors_hooks`; each storage counts once and whole,
parameters and buffers are left out. A difference above 0.1 % needs a reason. Exits with 1 where one has none.
    python benchmarks/saved_tensors.py [MODEL ...] [--size 64] [--batch 2]
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import cnnstat

LIMIT = 0.001
DROPOUT = "dropout keeps one number an element on a CPU, our rule the byte of a fused kernel"
LSTM = "oneDNN's workspace of a recurrent layer"

NAMES = (  # noqa: SIM905  # a list of 38 lines reads no better
    "alexnet vgg11 vgg16 vgg16_bn resnet18 resnet34 resnet50 resnet101 resnext50_32x4d wide_resnet50_2 densenet121 "
    "densenet169 squeezenet1_0 squeezenet1_1 googlenet mobilenet_v2 mobilenet_v3_small mobilenet_v3_large "
    "mnasnet0_5 mnasnet1_0 mnasnet1_3 shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x2_0 efficientnet_b0 "
    "efficientnet_b1 efficientnet_v2_s regnet_x_400mf regnet_y_400mf regnet_y_800mf regnet_x_1_6gf convnext_tiny "
    "convnext_small swin_t swin_v2_t vit_b_16 vit_b_32 maxvit_t "
).split()
SEGMENTATION = ["fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
TIMM = (  # noqa: SIM905  # a list of 67 lines reads no better
    "poolformer_s12 efficientformer_l1 twins_pcpvt_small nest_tiny hiera_tiny_224 caformer_s18 cait_xxs24_224 "
    "coat_lite_mini coatnet_nano_cc_224 convit_tiny convnext_atto crossvit_9_240 davit_tiny efficientformerv2_s0 "
    "efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny "
    "mambaout_femto mobilevit_xxs mvitv2_tiny levit_128s gmlp_ti16_224 ghostnet_050 inception_next_atto iformer_s "
    "beit_base_patch16_224 botnet26t_256 edgenext_xx_small efficientvim_m1 hieradet_small mixer_s32_224 "
    "resmlp_12_224 nextvit_small pit_ti_224 pvt_v2_b0 res2net50_14w_8s resnest14d sequencer2d_s skresnet18 "
    "starnet_s1 swiftformer_xs swinv2_cr_tiny_224 test_vit_relpos tiny_vit_5m_224 tnt_s_legacy_patch16_224 "
    "twins_svt_small visformer_tiny volo_d1_224 xcit_nano_12_p8_224 rdnet_tiny repvit_m0_9 shvit_s1 dla34 dpn48b "
    "nf_regnet_b0 hrnet_w18_small lcnet_035 lowformer_b0 regnetv_040 deit3_small_patch16_224 convmixer_768_32 "
    "vitamin_small_224 cs3darknet_focus_s fasternet_t0 "
).split()
"""Small models of timm from 63 of its files, at their own sizes."""
FIXED = {"vit_b_16": 224, "vit_b_32": 224, "maxvit_t": 224}
"""Models that take one size only."""


class Small(nn.Module):
    """A function of some layers and the input."""

    def __init__(self, function: Callable[..., torch.Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the function makes."""
        return self.function(self.layers, x)


class Standardised(nn.Conv2d):
    """A convolution with standardised filters (arXiv:1903.10520)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise the filters, then convolve."""
        mean, deviation = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / deviation, self.bias)


class LowRank(nn.Module):
    """A frozen linear layer plus a learnt product of thin matrices (arXiv:2106.09685)."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(256, 256).requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.rand(4, 256)), nn.Parameter(torch.rand(256, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the product to the weight, then multiply."""
        return functional.linear(x, self.base.weight + self.up @ self.down, self.base.bias)


class Swish(torch.autograd.Function):
    """x·σ(x), of which only x is kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Keep x."""
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Compute the rest again."""
        (x,) = ctx.saved_tensors
        y = torch.sigmoid(x)
        return gradient * y * (1 + x * (1 - y))


def small_models() -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Yield small models with calls that have no rule of their own."""

    def linear() -> nn.Module:
        return nn.Linear(256, 256)

    def conv() -> nn.Module:
        return nn.Conv2d(4, 8, 3)

    vectors, images = (16, 256), (2, 4, 16, 16)
    places = torch.arange(16 * 256).view(16, 256) % 256
    stack = nn.Sequential(linear(), nn.GELU(), linear(), nn.GELU())
    block = nn.Sequential(linear(), nn.GELU(), linear())
    yield "where", Small(lambda m, x: torch.where(x > 0.5, m[0](x), m[1](x)), linear(), linear()), vectors
    yield "sort", Small(lambda m, x: m[0](x).sort(-1).values, linear()), vectors
    yield "cumprod", Small(lambda m, x: m[0](x).cumprod(-1), linear()), vectors
    yield "max", Small(lambda m, x: m[0](x).max(-1).values, linear()), vectors
    yield "topk", Small(lambda m, x: m[0](x).topk(5).values, linear()), vectors
    yield "gather", Small(lambda m, x: m[0](x).gather(1, places), linear()), vectors
    yield "masked_fill", Small(lambda m, x: m[0](x).masked_fill(x > 0.5, 0.0), linear()), vectors
    yield "lerp", Small(lambda m, x: torch.lerp(m[0](x), m[1](x), x), linear(), linear()), vectors
    yield "logsumexp", Small(lambda m, x: m[0](x).logsumexp(1), linear()), vectors
    yield "normalize", Small(lambda m, x: functional.normalize(m[0](x)), linear()), vectors
    yield "cdist", Small(lambda m, x: torch.cdist(m[0](x), m[1](x)), linear(), linear()), vectors
    yield "detach", Small(lambda m, x: m[1](m[0](x).tanh().detach()), linear(), linear()), vectors
    yield "rfft2", Small(lambda m, x: torch.fft.rfft2(m[0](x)).abs(), conv()), images
    yield "checkpoint", Small(lambda m, x: checkpoint(m[1], m[0](x), use_reentrant=False), linear(), block), vectors
    yield (
        "checkpoint, reentrant",
        Small(lambda m, x: checkpoint(m[1], m[0](x), use_reentrant=True), linear(), block),
        vectors,
    )
    yield (
        "checkpoint_sequential",
        Small(lambda m, x: checkpoint_sequential(m[1], 2, m[0](x), use_reentrant=False), linear(), stack),
        vectors,
    )
    yield "weight_norm", parametrizations.weight_norm(conv()), images
    yield "spectral_norm", parametrizations.spectral_norm(conv()), images
    yield "orthogonal", parametrizations.orthogonal(linear()), vectors
    yield "weight standardisation", Standardised(4, 8, 3), images
    yield "low rank", LowRank(), vectors
    yield "own gradient", Small(lambda m, x: m[1](Swish.apply(m[0](x))), linear(), linear()), vectors
    yield (
        "filters of a layer",
        Small(lambda m, x: functional.conv2d(x, m[0](x.mean((0, 2, 3))).view(4, 4, 3, 3)), nn.Linear(4, 144)),
        images,
    )
    yield "constant filters", Small(lambda m, x: functional.conv2d(m[0](x), torch.ones(4, 8, 3, 3)), conv()), images
    biases = [linear(), linear()]
    for layer in biases:
        layer.weight.requires_grad_(False)
    yield "biases alone", Small(lambda m, x: m[1](m[0](x).relu()), *biases), vectors
    heads = nn.MultiheadAttention(256, 4).requires_grad_(False)
    yield (
        "frozen attention",
        Small(lambda m, x: m[1](y := m[0](x), y, y, need_weights=False)[0], linear(), heads),
        vectors,
    )
    mask = torch.ones(16, 16).triu(1).bool()
    yield (
        "masked attention",
        Small(
            lambda m, x: m[0](x, x, x, need_weights=False, attn_mask=mask)[0],
            nn.MultiheadAttention(256, 4, batch_first=True),
        ),
        (2, 16, 256),
    )
    yield "dropout", Small(lambda m, x: m[1](m[0](x)), linear(), nn.Dropout()), vectors
    yield "LSTM", Small(lambda m, x: m[0](x[None])[0], nn.LSTM(256, 64)), vectors


REASONS = {"LSTM": LSTM, "sequencer2d_s": LSTM}


def models(names: list[str], size: int, batch: int) -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Yield the models with the shapes of their inputs; all of them if no name is given."""
    for name in NAMES:
        if not names or name in names:
            extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
            own = FIXED.get(name, size)
            yield name, torchvision.models.get_model(name, **extra), (batch, 3, own, own)
    for name in SEGMENTATION:
        if not names or name in names:
            model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
            yield name, model, (batch, 3, size, size)
    if importlib.util.find_spec("timm"):
        import timm  # these models are left out without it

        for name in TIMM:
            if not names or name in names:
                yield name, timm.create_model(name), (batch, *timm.get_pretrained_cfg(name).input_size)
    for name, model, shape in small_models():
        if not names or name in names:
            yield name, model, shape


def kept(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the bytes of the storages that autograd keeps in a real pass."""
    saved: list[torch.Tensor] = []

    def save(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    model.train()
    owned = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        result = model(torch.rand(shape))
    del result
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in saved}
    return sum(size for key, size in storages.items() if key not in owned)


def reason_of(name: str, model: nn.Module) -> str:
    """Return why a model may differ; an empty text if there is no reason."""
    if name in REASONS:
        return REASONS[name]
    return DROPOUT if any(isinstance(module, nn.Dropout) and module.p for module in model.modules()) else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--size", type=int, default=64, help="pixels along each side, where a model takes any")
    parser.add_argument("--batch", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}\n")
    print("| model | input | cnnstat | real pass | difference | found by | reason |\n|---|---|---|---|---|---|---|")
    unexplained = 0
    for name, model, shape in models(arguments.models, arguments.size, arguments.batch):
        torch.manual_seed(0)
        memory = cnnstat.analyze(model, shape, mode="train")
        ours, theirs = memory.memory.saved_bytes, kept(model, shape)
        difference = ours / theirs - 1
        reason = reason_of(name, model) if abs(difference) > LIMIT else ""
        unexplained += abs(difference) > LIMIT and not reason
        way = "rules" if memory.graph.saved_bytes is None else "pass"
        sizes = "×".join(map(str, shape))
        print(
            f"| {name} | {sizes} | {ours:,} | {theirs:,} | {100 * difference:+.2f} % | {way} | {reason} |", flush=True
        )
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())

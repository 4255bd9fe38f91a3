"""Every op by name, one file a family; a family is imported when the first of its ops is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module

from cnnstat.errors import OpError, did_you_mean
from cnnstat.ir.op import Op

FAMILIES = {
    family: tuple(names.split())
    for family, names in {
        "conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
        "activation": "BinaryStep Sigmoid Logistic Tanh ScaledTanh Arctan Softsign LogSigmoid Hardsigmoid Hardtanh",
        "rectifier": "ReLU ReLU6 LeakyReLU PReLU ELU CELU SELU Softplus GELU SiLU Mish Hardswish",
        "softmax": "Softmax LogSoftmax GLU",
        "norm": "BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d",
        "scale_shift": "ScaleShift",
        "layer_norm": "LayerNorm RMSNorm GroupNorm LocalResponseNorm",
        "dropout": "Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout StochasticDepth",
        "shape": "Identity Flatten Unflatten Reshape",
        "reorder": "Permute Transpose Squeeze Unsqueeze ChannelShuffle PixelShuffle PixelUnshuffle",
        "columns": "Unfold Fold TensorUnfold",
        "slicing": "Slice Split Chunk Crop CenterCrop CropLike",
        "reduction": "Mean Sum Max",
        "join": "Add Subtract Multiply Divide Maximum Minimum Concat Stack Abs",
        "resize": "Upsample ResizeLike",
        "padding": (
            "ZeroPad1d ZeroPad2d ZeroPad3d ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d ReflectionPad2d "
            "ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d CircularPad1d CircularPad2d "
            "CircularPad3d"
        ),
        "pool": "MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d LPPool1d LPPool2d LPPool3d",
        "adaptive_pool": (
            "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d "
            "AdaptiveMaxPool3d GlobalAvgPool GlobalMaxPool"
        ),
        "linear": "Linear Bilinear",
        "matmul": "MatMul",
        "embedding": "Embedding",
        "lenet": "TrainableSubsampling2d ConnectionTableConv2d EuclideanRBF",
        "attention": "ScaledDotProductAttention",
        "multihead_attention": "MultiheadAttention",
        "recurrent": "RNN LSTM GRU",
    }.items()
}
"""The ops of each file of this package: adding an op is one class there and its name here."""

_FILES = {name: family for family, names in FAMILIES.items() for name in names}


_OTHER_NAMES = {
    "AvgPool2d": "averagepooling avgpooling",
    "BatchNorm2d": "bn batchnormalization",
    "Concat": "cat concatenate",
    "Conv2d": "conv convolution",
    "ConvTranspose2d": "conv2dtranspose deconv deconv2d deconvolution",
    "Linear": "dense fc fullyconnected innerproduct",
    "Conv2d with groups": "depthwiseconv2d",
    "Flatten": "view",
    "GlobalAvgPool": "gap globalaveragepooling2d",
    "GlobalMaxPool": "globalmaxpooling2d",
    "Hardsigmoid": "hsigmoid",
    "Hardswish": "hswish",
    "LeakyReLU": "lrelu",
    "LocalResponseNorm": "lrn",
    "MaxPool2d": "maxpooling pool",
    "Upsample": "resize interpolate upsampling2d",
    "SiLU": "swish",
}
"""What other libraries and papers call an op, in small letters, for the hints of errors."""

_SYNONYMS = {word: op for op, words in _OTHER_NAMES.items() for word in words.split()}


def names() -> tuple[str, ...]:
    """Return the name of every op, in the order of their families."""
    return tuple(_FILES)


@cache
def lookup(name: str) -> type[Op]:
    """Return the op class called `name`; raises OpError with the nearest right name if there is none."""
    if name not in _FILES:
        raise OpError(f"there is no layer called {name[:60]}{layer_hint(name, _FILES)}")
    op: type[Op] = getattr(import_module(f"cnnstat.ops.{_FILES[name]}"), name)
    return op


def meant_by(word: str) -> str:
    """Return the op of a name in any case, as `nn.Conv2d`, or of another library's name (`Dense`); empty for none."""
    folded = _folded(word)
    own = next((name for name in _FILES if name.lower() == folded), "")
    other = _SYNONYMS.get(folded, "")
    return own or (other if other in _FILES else "")


def search(text: str) -> tuple[str, ...]:
    """Return the ops that a text means: by name in any case, by another library's name, or by a part of the name.

    Raises OpError with the nearest right name if there is none.
    """
    folded, meant = _folded(text), meant_by(text)
    parts = tuple(name for name in _FILES if folded and folded in name.lower())
    if meant and (meant.lower() == folded or len(parts) < 2):
        return (meant,)
    if not parts:
        lookup(text)  # raises
    return parts


def _folded(text: str) -> str:
    return re.sub(r"[\s_-]|^(torch\.)?(nn\.)?(functional\.)?|^f\.", "", text.strip().lower())


def layer_hint(word: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean X?` for the op or block that a word means or is spelt like, or an empty string."""
    known = _SYNONYMS.get(word.lower().replace("_", ""))
    return f"; did you mean {known}?" if known else did_you_mean(word, candidates)

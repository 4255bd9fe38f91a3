"""Synonyms: what other libraries and papers call an op, for the hints of errors."""

from __future__ import annotations

from collections.abc import Iterable

from cnnstat.errors import did_you_mean

SYNONYMS = {
    "averagepooling": "AvgPool2d",
    "avgpooling": "AvgPool2d",
    "bn": "BatchNorm2d",
    "batchnormalization": "BatchNorm2d",
    "cat": "Concat",
    "concatenate": "Concat",
    "conv": "Conv2d",
    "convolution": "Conv2d",
    "conv2dtranspose": "ConvTranspose2d",
    "deconv": "ConvTranspose2d",
    "deconv2d": "ConvTranspose2d",
    "deconvolution": "ConvTranspose2d",
    "dense": "Linear",
    "depthwiseconv2d": "Conv2d with groups",
    "fc": "Linear",
    "fullyconnected": "Linear",
    "gap": "GlobalAvgPool",
    "globalaveragepooling2d": "GlobalAvgPool",
    "globalmaxpooling2d": "GlobalMaxPool",
    "hsigmoid": "Hardsigmoid",
    "hswish": "Hardswish",
    "innerproduct": "Linear",
    "lrelu": "LeakyReLU",
    "lrn": "LocalResponseNorm",
    "maxpooling": "MaxPool2d",
    "resize": "Upsample",
    "interpolate": "Upsample",
    "swish": "SiLU",
    "upsampling2d": "Upsample",
}
"""The op by each other name, in small letters."""


def layer_hint(word: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean X?` for the op or block that a word means or is spelt like, or an empty string."""
    known = SYNONYMS.get(word.lower().replace("_", ""))
    return f"; did you mean {known}?" if known else did_you_mean(word, candidates)

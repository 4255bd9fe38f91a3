"""Activations and dropout."""

from __future__ import annotations

from typing import Any

from cnnstat.ops import activation, dropout, rectifier, softmax
from cnnstat.pytorch.calls import Call, Handler, Match


def _simple(op: Any, *names: str, inplace: bool = False, **defaults: Any) -> Handler:
    """Return the handler of an op whose arguments follow the input in this order."""

    def handle(call: Call) -> Match:
        arguments = {name: call.get(place, name, defaults[name]) for place, name in enumerate(names, start=1)}
        if inplace:
            arguments["inplace"] = call.inplace
        return Match(op(**arguments), (call.get(0, "input"),))

    return handle


def _hardtanh(call: Call) -> Match:
    """hardtanh(input, min_val, max_val, inplace), which is how nn.ReLU6 calls itself."""
    low, high = call.get(1, "min_val", -1.0), call.get(2, "max_val", 1.0)
    inplace = call.inplace
    op: Any = rectifier.ReLU6(inplace=inplace) if (low, high) == (0, 6) else activation.Hardtanh(low, high, inplace)
    return Match(op, (call.get(0, "input"),))


def _prelu(call: Call) -> Match:
    """prelu(input, weight)."""
    weight = call.get(1, "weight")
    return Match(rectifier.PReLU(int(weight.numel())), (call.get(0, "input"),), {"weight": weight})


def _softmax(op: Any) -> Handler:
    """Return the handler of softmax and its logarithm; their axis may be left out."""

    def handle(call: Call) -> Match | None:
        dim = call.get(1, "dim")
        return Match(op(dim), (call.get(0, "input"),)) if dim is None or isinstance(dim, int) else None

    return handle


def _dropout(op: Any, default: float = 0.5) -> Handler:
    """Return the handler of a dropout: (input, p, training, inplace)."""

    def handle(call: Call) -> Match:
        return Match(op(float(call.get(1, "p", default))), (call.get(0, "input"),))

    return handle


HANDLERS: dict[str, Handler] = {
    "relu": _simple(rectifier.ReLU, inplace=True),
    "relu6": _simple(rectifier.ReLU6, inplace=True),
    "leaky_relu": _simple(rectifier.LeakyReLU, "negative_slope", inplace=True, negative_slope=0.01),
    "prelu": _prelu,
    "elu": _simple(rectifier.ELU, "alpha", inplace=True, alpha=1.0),
    "celu": _simple(rectifier.CELU, "alpha", inplace=True, alpha=1.0),
    "selu": _simple(rectifier.SELU, inplace=True),
    "softplus": _simple(rectifier.Softplus, "beta", "threshold", beta=1.0, threshold=20.0),
    "gelu": _simple(rectifier.GELU, "approximate", approximate="none"),
    "silu": _simple(rectifier.SiLU, inplace=True),
    "mish": _simple(rectifier.Mish, inplace=True),
    "hardswish": _simple(rectifier.Hardswish, inplace=True),
    "hardsigmoid": _simple(activation.Hardsigmoid, inplace=True),
    "hardtanh": _hardtanh,
    "sigmoid": _simple(activation.Sigmoid),
    "tanh": _simple(activation.Tanh),
    "atan": _simple(activation.Arctan),
    "arctan": _simple(activation.Arctan),
    "special_expit": _simple(activation.Logistic),
    "softsign": _simple(activation.Softsign),
    "log_sigmoid": _simple(activation.LogSigmoid),
    "logsigmoid": _simple(activation.LogSigmoid),
    "softmax": _softmax(softmax.Softmax),
    "log_softmax": _softmax(softmax.LogSoftmax),
    "glu": _simple(softmax.GLU, "dim", dim=-1),
    "dropout": _dropout(dropout.Dropout),
    "dropout1d": _dropout(dropout.Dropout1d),
    "dropout2d": _dropout(dropout.Dropout2d),
    "dropout3d": _dropout(dropout.Dropout3d),
    "feature_dropout": _dropout(dropout.Dropout2d),
    "alpha_dropout": _dropout(dropout.AlphaDropout),
    "feature_alpha_dropout": _dropout(dropout.FeatureAlphaDropout),
}

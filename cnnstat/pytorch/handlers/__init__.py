"""Calls as ops of the library: those that an op's class names itself, and the irregular ones, one file a kind."""

from __future__ import annotations

from cnnstat.choices import words
from cnnstat.ir.op import Op
from cnnstat.ops import lookup, names
from cnnstat.pytorch.calls import Handler
from cnnstat.pytorch.handlers import arithmetic, layers, layout
from cnnstat.pytorch.handlers.from_op import handler_from

IRREGULAR = (layers.HANDLERS, arithmetic.HANDLERS, layout.HANDLERS)
"""Handlers of calls that are more than the arguments of one op; a test says that no name has two."""


def handlers_of(op: type[Op]) -> dict[str, Handler]:
    """Return the handlers of the functions that an op's class names."""
    return {name: handler_from(op, text) for name, text in op.calls.items()}


HANDLERS: dict[str, Handler] = {
    **{name: handler for op in map(lookup, names()) for name, handler in handlers_of(op).items()},
    **{name: handler for handlers in IRREGULAR for name, handler in handlers.items()},
}
"""What turns a call of each name into an op; a handler returns None for a call that the op does not cover."""

_SAME_ARGUMENTS = words(
    """
    relu relu6 sigmoid tanh silu gelu mish hardtanh hardswish hardsigmoid leaky_relu elu celu selu softplus prelu glu
    softmax log_softmax dropout conv1d conv2d conv3d linear bilinear batch_norm layer_norm group_norm rms_norm
    max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean sum amax div maximum minimum matmul flatten
    reshape permute transpose swapaxes swapdims squeeze chunk unflatten pixel_shuffle pixel_unshuffle
    scaled_dot_product_attention contiguous
    """
)
"""Functions whose operations in aten take the same arguments in the same order."""

_ATEN = {
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
    "native_batch_norm": "batch_norm",
    "native_layer_norm": "layer_norm",
}
"""Operations in aten under another name than their function's."""


def handler_of(name: str) -> Handler | None:
    """Return the handler of a call: by its full name, or by that of the function behind `F.`, `aten.` and `_`."""
    result = HANDLERS.get(name)
    if result is None and name.startswith("aten."):
        plain = name.removeprefix("aten.").removesuffix("_")
        if (own := HANDLERS.get(f"aten.{plain}")) is not None:
            return own
        plain = _ATEN.get(plain, plain)
        return HANDLERS.get(plain) if plain in _SAME_ARGUMENTS else None
    if result is None:
        plain = name.removeprefix("F.")
        result = HANDLERS.get(plain) or HANDLERS.get(plain.removesuffix("_"))
    return result

"""Recurrent layers, by their gates' products at every step."""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.frontends.torch.calls import Call, Handler, Match
from cnnstat.frontends.torch.tensors import shape_of
from cnnstat.ir.op import Family, numel
from cnnstat.ops.traced import Recorded

_STEPS = {"lstm": (4, 9), "gru": (3, 7), "rnn_tanh": (1, 1), "rnn_relu": (1, 1)}
"""Gates of each cell, and its element-wise operations a unit beside the gates' sums and activations."""


def _recurrent(call: Call) -> Match | None:
    """lstm, gru, rnn_tanh, rnn_relu: (input, hidden, weights, …), packed (data, sizes, hidden, weights, …).

    Every weight matrix multiplies one vector for each step of each sequence. The sums of both products and the biases
    take 3 operations a gate and unit, its activation 4, and the cell's own products and sums the rest.
    """
    is_packed = isinstance(call.arguments[1], torch.Tensor) and isinstance(call.arguments[3], (list, tuple))
    x, weights = call.arguments[0], call.arguments[3 if is_packed else 2]
    steps = numel(shape_of(x)[:-1])
    matrices = [w for w in weights if w.dim() == 2]
    gates, others = _STEPS[call.name]
    units = sum(int(w.shape[0]) for w in weights if w.dim() == 2) // (2 * gates)
    states = call.arguments[2 if is_packed else 1]
    op = Recorded(
        function={"lstm": "LSTM", "gru": "GRU"}.get(call.name, "RNN"),
        outputs=tuple(map(shape_of, call.results)),
        work=steps * sum(numel(shape_of(w)) for w in matrices),
        flops=(("recurrent", steps * units * (7 * gates + others)),),
        family=Family.RECURRENT,
    )
    reads: list[Any] = [x, *(states if isinstance(states, (list, tuple)) else [states])]
    return Match(op, tuple(reads), {f"weight_{number}": weight for number, weight in enumerate(weights)})


HANDLERS: dict[str, Handler] = dict.fromkeys(_STEPS, _recurrent)

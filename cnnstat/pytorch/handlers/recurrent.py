"""Recurrent layers and cells."""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.ir.op import Family, Op, Shapes, numel
from cnnstat.ops.recurrent import GRU, LSTM, RNN
from cnnstat.ops.traced import Recorded
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.tensors import shape_of

_OPTIONS = ("has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first")
"""Arguments behind the weights; there is no batch_first for packed sequences."""


def _layer(call: Call) -> Match | None:
    """lstm, gru, rnn_tanh, rnn_relu: (input, hidden, weights, …), packed (data, sizes, hidden, weights, …)."""
    is_packed = isinstance(call.arguments[1], torch.Tensor) and isinstance(call.arguments[3], (list, tuple))
    start = 2 if is_packed else 1
    x, states, weights = call.arguments[0], call.arguments[start], call.arguments[start + 1]
    values = {name: call.get(start + 2 + place, name, False) for place, name in enumerate(_OPTIONS)}
    op, names = _op(call.name, weights, values)
    reads = (x, *(states if isinstance(states, (list, tuple)) else (states,)))
    named = dict(zip(names, weights))
    if not is_packed:
        return Match(op, reads, named, optional=len(reads) - 1)
    # Every step of every sequence works once, as if all were steps of one sequence.
    steps = ((1, *shape_of(x)),)
    return Match(_counted(op.kind, op, steps, call), reads, named, optional=len(reads) - 1)


def _op(name: str, weights: Any, values: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return the op of a layer, and the names of its weights in the order of the call."""
    kind: Any = {"lstm": LSTM, "gru": GRU}.get(name, RNN)
    bias, layers, both = bool(values["has_biases"]), int(values["num_layers"]), bool(values["bidirectional"])
    hidden = int(weights[0].shape[0]) // kind.gates
    options: dict[str, Any] = {
        "num_layers": layers,
        "bias": bias,
        "batch_first": bool(values["batch_first"]),
        "dropout": float(values["dropout"]),
        "bidirectional": both,
    }
    parts = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if bias else [])]
    if len(weights) > len(parts) * layers * (1 + both):
        parts.append("weight_hr")
        options["proj_size"] = int(weights[len(parts) - 1].shape[0])
    if kind is RNN:
        options["nonlinearity"] = name.removeprefix("rnn_")
    places = [f"l{layer}{side}" for layer in range(layers) for side in ("", "_reverse")[: 1 + both]]
    return kind(hidden, **options), [f"{part}_{place}" for place in places for part in parts]


def _counted(function: str, op: Op, inputs: Shapes, call: Call) -> Recorded:
    """Return a call that works as much as an op on these inputs, but has other shapes."""
    outputs = op.output(inputs)
    return Recorded(
        function=function,
        outputs=tuple(map(shape_of, call.results)),
        work=op.macs(inputs, outputs),
        flops=tuple(op.other_flops(inputs, outputs).items()),
        family=Family.RECURRENT,
    )


def _cell(call: Call) -> Match:
    """lstm_cell, gru_cell, rnn_tanh_cell, rnn_relu_cell: (input, hidden, w_ih, w_hh, b_ih, b_hh)."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {name: call.get(place, name) for place, name in enumerate(names, start=2)}
    x, states = call.get(0, "input"), call.get(1, "hx")
    kind = call.name.removesuffix("_cell")
    options = {"has_biases": weights["bias_ih"] is not None, "num_layers": 1, "bidirectional": False, "dropout": 0}
    op, _ = _op(kind, [weights["weight_ih"]], {**options, "batch_first": True})
    shown = {"lstm": "LSTMCell", "gru": "GRUCell"}.get(kind, "RNNCell")
    reads = (x, *(states if isinstance(states, (list, tuple)) else (states,)))
    inputs = ((numel(shape_of(x)[:-1]), 1, int(x.shape[-1])),)
    return Match(_counted(shown, op, inputs, call), reads, weights, optional=len(reads) - 1)


def _quantized(call: Call) -> Match:
    """quantized_lstm, quantized_gru: (input, hidden, packed weights, …), whose weights are no tensors."""
    x, states = call.arguments[0], call.arguments[1]
    first = states[0] if isinstance(states, (list, tuple)) else states
    kind = call.name.removeprefix("quantized_")
    gates = {"lstm": LSTM.gates, "gru": GRU.gates}[kind]
    values = {name: call.get(3 + place, name, False) for place, name in enumerate(_OPTIONS)}
    op, _ = _op(kind, [first.new_empty((gates * int(first.shape[-1]), 1))], values)
    reads = (x, *(states if isinstance(states, (list, tuple)) else (states,)))
    return Match(_counted(call.name, op, (shape_of(x),), call), reads, optional=len(reads) - 1)


_KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_KINDS, _layer),
    **{f"{kind}_cell": _cell for kind in _KINDS},
    **dict.fromkeys(("quantized_lstm", "quantized_gru"), _quantized),
}

"""Recurrent layers of ONNX files, whose results have an axis of their own for directions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import PREVIOUS, Call, Handler, Steps, need
from cnnstat.ir.op import Family, Storage
from cnnstat.ir.window import IDENTITY
from cnnstat.ir.work import Work
from cnnstat.ops.recurrent import GRU, LSTM, RNN
from cnnstat.ops.traced import Recorded

_PEEPHOLES = 7
_PLAIN_ACTIVATIONS: tuple[set[bytes], ...] = ({b"tanh"}, {b"sigmoid", b"tanh"}, {b"relu"}, set())


def _layer(kind: Any) -> Handler:
    def handle(call: Call) -> Match | Steps:
        attributes = call.attributes
        directions, rows, features = call.shape(1)
        if call.op_type == "DynamicQuantizeLSTM":
            directions, features, rows = call.shape(1)
        hidden = attributes.get("hidden_size") or rows // kind.gates
        need(rows == kind.gates * hidden, f"W has {rows} rows, but hidden_size={hidden} needs {kind.gates * hidden}")
        first = attributes.get("layout", 0)
        x = call.shape()
        need(x[-1] == features, f"the input has {x[-1]} features, but W takes {features}")
        options: dict[str, Any] = {
            "bias": call.has(3), "batch_first": bool(first), "bidirectional": directions == 2,
        }  # fmt: skip
        names = {each.lower() if isinstance(each, bytes) else each for each in attributes.get("activations", ())}
        if kind is RNN and b"relu" in names:
            options["nonlinearity"] = "relu"
        op = kind(hidden, **options)
        is_plain = directions in (1, 2) and names in _PLAIN_ACTIVATIONS
        states = [place for place in (5, 6)[: len(op.states(op.sizes((x,))))] if call.has(place)]
        is_plain &= not call.has(4) and not call.has(_PEEPHOLES) and not first and "clip" not in attributes
        made = op.output((x,))
        wanted = call.output
        is_plain &= len(states) in (0, len(op.states(op.sizes((x,))))) and wanted == (
            *made[0][:1],
            directions,
            made[0][1],
            hidden,
        )
        given = tuple(call.input(place) for place in states)
        if any(value.edge is None for value in given):
            given = ()  # a state of zeros, or one that is stored
        if not is_plain:
            return _counted(call, op, given)
        layer = Match(op, (call.input(0), *given), call.match(op, **_own(call)).weights)
        split = Recorded(
            function="split directions",
            outputs=call.output_shapes,
            family=Family.LAYOUT,
            place=Storage.VIEW,
            reads=(((0, IDENTITY), None, (1, IDENTITY), None),),
        )
        if directions == 1:
            split = replace(split, function="squeeze direction")
        return layer, Match(split, (PREVIOUS,))

    return handle


def _own(call: Call) -> dict[str, int]:
    """Return the packed tensors of the layer; they hold what the op's own tensors hold together."""
    return {
        name: place for name, place in (("weight_ih_l0", 1), ("weight_hh_l0", 2), ("bias_l0", 3)) if call.has(place)
    }


def _counted(call: Call, op: Any, states: tuple[Any, ...]) -> Match:
    """Return a layer that works as much as an op, but has other results, activations or sequence lengths."""
    shapes = (call.shape(),)
    recorded = call.recorded(Family.RECURRENT, Work.of(op, shapes, op.output(shapes)))
    return Match(recorded, (call.input(0), *states), call.match(recorded, **_own(call)).weights)


HANDLERS: dict[str, Handler] = {
    "LSTM": _layer(LSTM),
    "DynamicQuantizeLSTM": _layer(LSTM),
    "GRU": _layer(GRU),
    "RNN": _layer(RNN),
}

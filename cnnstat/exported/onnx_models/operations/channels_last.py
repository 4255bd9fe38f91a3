"""Operations of ONNX Runtime whose tensors have their channels last, as the op between two permutations."""

from __future__ import annotations

from dataclasses import replace

from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.operations.call import PREVIOUS, Call, Handler, Steps
from cnnstat.exported.onnx_models.runtime_ops import channels_first
from cnnstat.ops.reorder import Permute


def between_permutations(call: Call, handler: Handler) -> Steps | None:
    """Return the ops of a call of which the handler is that of the same operation with the channels in front."""
    x, rank = call.input(0), len(call.shape())
    inside = replace(x, shape=channels_first(call.shape()), _type=None)
    outputs = [replace(call.outputs[0], shape=channels_first(call.output), _type=None), *call.outputs[1:]]
    found = handler(replace(call, inputs=[inside, *call.inputs[1:]], outputs=outputs))
    if found is None:
        return None
    steps = found if isinstance(found, tuple) else (found,)
    middle = [replace(step, reads=tuple(PREVIOUS if read is inside else read for read in step.reads)) for step in steps]
    axes = tuple(range(rank))
    before, behind = Permute((0, rank - 1, *axes[1:-1])), Permute((0, *axes[2:], 1))
    return Match(before, (x,)), *middle, Match(behind, (PREVIOUS,))

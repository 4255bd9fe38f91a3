"""Operands: what a traced op works on, as far as its graph tells."""

from __future__ import annotations

from cnnstat.errors import OpError
from cnnstat.ir.op import Shape
from cnnstat.ops.traced import Applied


def operand_names(op: Applied, input_count: int) -> tuple[int | float | str, ...]:
    """Return each operand: the number of an input, a value, or the name of a learnt tensor.

    Raises OpError where an operand, or a weight, is computed in a way that the graph does not tell.
    """
    left: dict[str, Shape] = dict(op.tensors)
    values = (*op.values, *(None,) * len(op.operands))
    found: list[int | float | str] = []
    for operand, value in zip(op.operands, values):
        if isinstance(operand, int):
            found.append(operand)
        elif value is not None:
            found.append(float(value))
        else:
            names = [name for name, shape in left.items() if shape == operand]
            if len(names) != 1:
                raise OpError("one of its operands is computed beforehand, the graph does not tell how")
            found.append(names[0])
            del left[names[0]]
    if op.extra_macs or op.extra_flops or any(number not in found for number in range(input_count)):
        raise OpError("its weights are computed beforehand, the graph does not tell how")
    if left and any(isinstance(each, (float, str)) for each in found):
        raise OpError(f"it has {', '.join(left)} beside its operands, the graph does not tell what for")
    return tuple(found)

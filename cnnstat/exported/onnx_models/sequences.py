"""Sequences of tensors in ONNX graphs, whose elements are followed one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from cnnstat.exported.onnx_models.values import Value, of_array


def sequence_results(node: Any, inputs: Sequence[Value | None]) -> list[Value] | None:
    """Return the result of an operation on sequences whose elements are known; None for all others."""
    first = inputs[0] if inputs else None
    if node.op_type == "SequenceEmpty":
        return [Value(1, None, items=())]
    if node.op_type == "SequenceConstruct":
        return [Value(1, None, items=tuple(value for value in inputs if value is not None))]
    if first is None or first.items is None:
        return None
    if node.op_type == "SequenceLength":
        return [of_array(numpy.array(len(first.items)))]
    place = inputs[-1].numbers if inputs[-1] is not None and len(inputs) > 1 else None
    if node.op_type == "SequenceAt" and place is not None and first.items:
        number = int(place)
        return [first.items[number]] if -len(first.items) <= number < len(first.items) else None
    if node.op_type == "SequenceInsert" and len(inputs) > 1 and inputs[1] is not None:
        items = list(first.items)
        items.insert(int(place) if len(inputs) > 2 and place is not None else len(items), inputs[1])
        return [Value(1, None, items=tuple(items))]
    return None

"""The part of the JSON Schema about what a spec states of single layers: operands and opaque calls."""

from __future__ import annotations

from typing import Any

from cnnstat.ir.op import Family, Storage
from cnnstat.spec.layer_overrides import OPAQUE

Schema = dict[str, Any]
VALUE = {"$ref": "#/$defs/value"}


def _value(description: str) -> Schema:
    """Return the schema of any value, with what it means."""
    return {"description": description, **VALUE}


def operand_keys() -> Schema:
    """Return the keys that may stand beside a single layer."""
    operand = {"type": ["string", "number", "array", "object"], "items": VALUE}
    return {
        "operands": {
            "description": "What it works on: input, numbers, sizes, tensors.",
            "type": "array",
            "items": operand,
        },
        "parameters": {"description": "Learnt tensors by name, instead of its usual ones.", "type": "object"},
        "buffers": {"description": "Other stored tensors by name.", "type": "object"},
        "dtype": {"description": "Dtype of its output, or a list.", "type": ["string", "array"]},
        "weight_macs": _value("Multiply-accumulates on its weights."),
        "weight_flops": _value("Other operations on its weights."),
    }


def opaque_keys() -> Schema:
    """Return the keys of an opaque call."""
    stored = {key: rule for key, rule in operand_keys().items() if key in ("parameters", "buffers", "dtype")}
    return {
        OPAQUE: {"description": "What is called.", "type": "string"},
        "inputs": _value("Shapes it holds for, batch included."),
        "output": _value("Shape it makes, batch included."),
        "outputs": _value("Shapes it makes, batch included."),
        **stored,
        "macs": _value("Multiply-accumulates."),
        "flops": {"description": "Other operations, or a mapping by kind.", "type": ["integer", "string", "object"]},
        "family": {"description": "The kind of work.", "enum": [family.value for family in Family]},
        "storage": {"description": "Where its output is.", "enum": [place.value for place in Storage]},
        "reads": _value("How the axes of its output read each input."),
        "weighted": _value("Whether it belongs to the convolutions and linear layers."),
        "counted": _value("False if its work is not known; totals are then at least."),
    }

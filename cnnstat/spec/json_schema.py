"""JSON Schema of the spec language, so that an editor completes keys and marks what is wrong.

It accepts whatever loads, but for one form: a key that begins with a capital and holds a mapping must be an op, since
it is far more often a misspelt one than a block. What a schema cannot know (names, values of expressions) it lets pass.

Most keywords speak of one type only (`properties` of mappings, `items` of lists), so one schema often serves for all
the forms in which a thing may be written.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, get_args

from cnnstat import ops
from cnnstat.analysis.published import PUBLISHED
from cnnstat.choices import Precision
from cnnstat.ir.graph import DTYPE_BYTES
from cnnstat.ir.op import Family, Op, Storage
from cnnstat.spec.item_reader import JOINS
from cnnstat.spec.items import OPAQUE, op_signature

Schema = dict[str, Any]

_SCALAR = ["string", "number", "boolean", "null"]
_BEGINS_WITH_LETTER = r"^([A-Za-z_]|[^\x00-\x7f]|[^(]*\)$)"
_CALL = r"^\s*([A-Za-z_]|[^\x00-\x7f])[^\s()]*\s*(\([\s\S]*\))?\s*$"
_OPEN = r"\(([^()]|\([^()]*\))*$"
_CLOSE = r"^[^(]*\)"
"""YAML splits `[Conv2d(64, 3)]` at its comma; cnnstat joins the two halves again, a schema sees them apart."""

_WHOLE_NUMBER_OR_NULL = {"type": ["integer", "string", "null"], "minimum": 1}

_NO_LAYER = {"not": {"pattern": rf"^\s*({'|'.join(ops.names())})\s*(\(|$)"}}
"""A rule for names of variables and blocks."""


def schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a spec."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cnnstat spec",
        "description": "A neural network, layer by layer, as `cnnstat analyze` reads it.",
        "type": "object",
        **_closed(_document()),
        "if": {"required": ["extends"]},
        "else": {"required": ["layers"], "anyOf": [{"required": ["input"]}, {"required": ["inputs"]}]},
        "allOf": [{"not": {"required": pair}} for pair in (["input", "inputs"], ["output", "outputs"])],
        "$defs": {
            "text": {"type": _SCALAR, "maxLength": 5000},
            "value": {"type": [*_SCALAR, "array"], "items": _refer("value")},
            "call": {"anyOf": [{"enum": list(ops.names())}, {"pattern": _CALL}]},
            "names": {"type": ["string", "number", "array"], "items": {"type": ["string", "number"]}},
            "input": _input(),
            "items": _items(),
            "item": {
                "type": ["string", "array", "object"],
                "allOf": [
                    {"if": {"type": type}, "then": _refer(name)}
                    for type, name in (("string", "call"), ("array", "items"), ("object", "mapping"))
                ],
            },
            "mapping": _mapping(),
            "labelled": _labelled(),
            **{name: _op(ops.lookup(name)) for name in ops.names()},
        },
    }


def _refer(name: str, description: str = "") -> Schema:
    reference = {"$ref": f"#/$defs/{name}"}
    return {"description": description, **reference} if description else reference


def _typed(description: str, *types: str, **rules: Any) -> Schema:
    return {"description": description, "type": list(types) if len(types) > 1 else types[0], **rules}


def _closed(properties: Schema, **rules: Any) -> Schema:
    """Return a schema of mappings that have no other keys, but for what YAML split off a value."""
    split_off = {_CLOSE: {"type": "null"}}
    return {"properties": properties, **rules, "patternProperties": split_off, "additionalProperties": False}


def _document() -> Schema:
    return {
        "name": _refer("text", "Name of the network; the file's unless written."),
        "title": _refer("text", "One line that says what it is; `cnnstat list` shows it."),
        "cite": _refer("text", "Where the network is published."),
        "notes": _refer("text", "What a reader should know, over several lines if need be."),
        "extends": _typed("A network of the zoo or a .yaml file to start from.", "string"),
        "dtype": _dtype("Dtype of weights and activations; float32 unless written."),
        "let": _named("value", "Variables for expressions; `--variable name=value` changes them.", _NO_LAYER),
        "input": _refer("input", "Sizes of the input without the batch: [3, 224, 224]."),
        "inputs": _named("input", "Several inputs by name, each as in input:; layers read them with from:.")
        | {"minProperties": 1},
        "blocks": _named(
            "items", "Lists of layers by `name(parameter, parameter=default)`, to be called like layers.", _NO_LAYER
        ),
        "layers": _refer("items", "The network: layers, blocks, groups and branches one after the other."),
        "output": _refer("names", "Name of the layer that the network returns; the last one unless written."),
        "outputs": _refer("names", "Names of the layers that the network returns."),
        "published": _typed(
            "Figures as papers print them; `--published` shows them beside the exact ones.",
            "array",
            items={"type": "object", **_closed(_published(), required=["figure", "value", "source"])},
        ),
        "saved_bytes": _typed(
            "Bytes that a training pass keeps for the backward pass, measured at the sizes written here.",
            "integer",
            minimum=0,
        ),
        "further_file_bytes": _typed(
            "Bytes by which the file of a state dict is larger than its tensors one by one; below 0 if it is smaller.",
            "integer",
        ),
        "deploy": {
            "description": "The network as it is shipped: batch norm folded, in place, in this precision.",
            "enum": list(get_args(Precision)),
        },
    }


def _named(definition: str, description: str, rules: Schema | None = None) -> Schema:
    names = {"propertyNames": {"pattern": _BEGINS_WITH_LETTER, **(rules or {})}}
    return {"description": description, "type": "object", **names, "additionalProperties": _refer(definition)}


def _published() -> Schema:
    return {
        "figure": {"description": "What is counted.", "enum": list(PUBLISHED)},
        "layer": _refer("text", "The layer or block it is about; the whole network unless written."),
        "value": _refer("text", "The figure as it is printed."),
        "means": _refer("text", "The figure without ambiguity, such as 48.6 MiB where 48.6 MB is printed."),
        "source": _refer("text", "Where it is printed."),
        "cause": _refer("text", "Why it differs from the exact figure."),
        "ratio": _refer("text", "How many times the other network's figure it is, as printed."),
        "ratio_to": _refer("text", "The network that the ratio is to."),
    }


def _dtype(description: str) -> Schema:
    return {"description": description, "enum": list(DTYPE_BYTES)}


def _input() -> Schema:
    """Return the schema of an input: its sizes, or a mapping of sizes and dtype."""
    size = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}
    shape = {"anyOf": [*size["anyOf"], {"type": "array", "items": size, "minItems": 1}]}
    whole = {**shape, "anyOf": [*size["anyOf"], {"type": "array", "items": size}]}
    keys = {
        "shape": {"description": "Sizes without the batch.", **whole},
        "dtype": _dtype("Such as int64 for words."),
        "batch": {"description": "Batch unless asked for another; null if shape: is all.", **_WHOLE_NUMBER_OR_NULL},
    }
    return {"anyOf": [*shape["anyOf"], {"type": "object", **_closed(keys, required=["shape"])}]}


def _items() -> Schema:
    """Return the schema of a list of items; a single one needs no list, and nothing means an empty one."""
    return {
        "if": {"type": "array"},
        "then": _unless_split({"items": _refer("item")}),
        "else": {"anyOf": [{"type": "null"}, _refer("item")]},
    }


def _unless_split(rules: Schema) -> Schema:
    """Return rules for lists, to be kept where YAML did not split one of their values."""
    return {"if": {"type": "array", "contains": {"type": "string", "pattern": _OPEN}}, "else": rules}


def _mapping() -> Schema:
    """Return the schema of an item with keys, which tell what kind of item it is."""
    common = _common()
    choice = {"then": _refer("items", "Where the condition holds."), "else": _refer("items", "Where it does not.")}
    group: Schema = {
        "repeat": _typed(
            "How often, or a list of values to go through.",
            "integer",
            "string",
            "array",
            minimum=0,
            items=_refer("value"),
        ),
        "as": _typed("The variable that counts from 0, or takes the values of the list.", "string"),
        "layers": _refer("items", "The layers of the group."),
    }
    cases: list[tuple[tuple[str, ...], Schema]] = [
        ((OPAQUE,), _closed({**common, **_opaque_keys()})),
        (("then", "else"), _closed({**common, **choice}, required=["if"])),
        (("repeat", "layers"), _closed({**common, **group}, required=["layers"], dependentRequired={"as": ["repeat"]})),
        *(((key,), _closed({**common, **_join(key, op)})) for key, op in JOINS.items()),
    ]
    mapping = _single(common)
    for keys, case in reversed(cases):
        mapping = {"if": {"anyOf": [{"required": [key]} for key in keys]}, "then": case, "else": mapping}
    return mapping


def _common() -> Schema:
    return {
        "name": _typed("Its name, perhaps with {expressions}.", "string", "number"),
        "from": _refer("names", "What it reads instead of the item before: a name, name[1], or a list of them."),
        "share": _typed("The layer, block or named list whose weights it uses.", "string", "number"),
        "frozen": _refer("value", "Whether its weights are not trained."),
        "if": _refer("value", "A condition; the item is left out where it does not hold."),
    }


def _join(key: str, op: str) -> Schema:
    """Return the keys of parallel branches: the branches, and the arguments of the op that joins them."""
    branches = {
        "description": "Branches that start from the same tensor, each a list of layers; [] passes the tensor on.",
        "type": ["array", "object"],
        "additionalProperties": _refer("items"),
        **_unless_split({"items": _refer("items")}),
    }
    return {key: branches, **_arguments(ops.lookup(op))}


def _single(common: Schema) -> Schema:
    """Return the schema of `Layer: arguments`, `name: layers` and `block: arguments`."""
    common = {**common, **_operand_keys()}
    named = rf"^(?!({'|'.join(common)})$)[^A-Z]"
    return {
        "properties": {**common, **{name: _refer(name) for name in ops.names()}},
        "patternProperties": {named: _refer("labelled")},
        "additionalProperties": {
            "description": "A name in front of its layer, or a block; a mapping belongs behind the name of a layer.",
            "type": [*_SCALAR, "array"],
            "items": _refer("labelled"),
        },
        "not": {"propertyNames": {"enum": list(common)}},
    }


def _operand_keys() -> Schema:
    operand = {"type": ["string", "number", "array", "object"], "items": _refer("value")}
    return {
        "operands": _typed("What it works on: input, numbers, sizes, tensors.", "array", items=operand),
        "parameters": _typed("Learnt tensors by name, instead of its usual ones.", "object"),
        "buffers": _typed("Other stored tensors by name.", "object"),
        "dtype": _typed("Dtype of its output, or a list.", "string", "array"),
        "weight_macs": _refer("value", "Multiply-accumulates on its weights."),
        "weight_flops": _refer("value", "Other operations on its weights."),
        "weight_dtype": _typed("Dtype of its weights and buffers, or a mapping by their names.", "string", "object"),
        "weight_bytes": _refer(
            "value", "Bytes of the weights that are computed for it, which are alive while it runs."
        ),
        "copied_inputs": _typed(
            "Bytes of the copies that PyTorch makes of its inputs before it works on them, by their order.",
            "array",
            items=_refer("value"),
        ),
        "overwrites": _refer("value", "Number of the input whose place its output takes."),
    }


def _opaque_keys() -> Schema:
    stored = {
        key: rule
        for key, rule in _operand_keys().items()
        if key in ("parameters", "buffers", "dtype", "weight_bytes", "copied_inputs")
    }
    return {
        OPAQUE: _typed("What is called.", "string"),
        "inputs": _refer("value", "Shapes it holds for, batch included."),
        "output": _refer("value", "Shape it makes, batch included."),
        "outputs": _refer("value", "Shapes it makes, batch included."),
        **stored,
        "macs": _refer("value", "Multiply-accumulates."),
        "flops": _typed("Other operations, or a mapping by kind.", "integer", "string", "object"),
        "family": {"description": "The kind of work.", "enum": [family.value for family in Family]},
        "storage": {"description": "Where its output is.", "enum": [place.value for place in Storage]},
        "reads": _refer("value", "How the axes of its output read each input."),
        "weighted": _refer("value", "Whether it belongs to the convolutions and linear layers."),
        "counted": _refer("value", "False if its work is not known; totals are then at least."),
    }


def _labelled() -> Schema:
    """Return the schema of what stands behind a name: an item, a list of items, or a block's arguments."""
    arguments = {"propertyNames": {"not": {"enum": list(ops.names())}}, "additionalProperties": _refer("value")}
    return {
        "type": [*_SCALAR, "array", "object"],
        "items": _refer("labelled"),
        "if": {"type": "object"},
        "then": {"anyOf": [_refer("mapping"), arguments]},
    }


def _op(op: type[Op]) -> Schema:
    """Return the schema of an op's arguments: a mapping, a list, a single value, or nothing."""
    known = op_signature(op.__name__)
    required = list(known.required)
    listed: Schema = {"minItems": len(set(required) & set(known.positional))}
    if len(known.positional) > 1:  # a single one may take the whole list
        each = [_refer(f"{op.__name__}/properties/{name}") for name in known.positional]
        listed |= {"prefixItems": each, "maxItems": len(each)}
    elif not known.positional:
        listed["maxItems"] = 0
    types = ["object", "array"]
    if known.positional and len(required) < 2:
        types += ["string", "number", "boolean"]
    return {
        "description": (op.__doc__ or "").partition("\n")[0],
        "type": types if required else [*types, "null"],
        **_closed(_arguments(op), required=required),
        **_unless_split(listed),
    }


def _arguments(op: type[Op]) -> Schema:
    return {f.name: _argument(f) for f in fields(op)}  # type: ignore[arg-type]  # every registered op is a dataclass


def _argument(field: Field[Any]) -> Schema:
    default = {} if field.default is MISSING else {"default": field.default}
    return {"description": field.metadata["doc"], **_or_expression(field.metadata["kind"].schema), **default}


def _or_expression(schema: Schema) -> Schema:
    """Return the schema that also takes an expression, which is a text, in the place of every value."""
    # In lists, too, every entry may be an expression; a schema that took only whole texts would mark [2 * n, 3].
    choices = []
    for choice in schema.get("anyOf", [schema]):
        choices.append({**choice, "items": _or_expression(choice["items"])} if "items" in choice else choice)
    return {"anyOf": [*choices, {"type": "string"}]}

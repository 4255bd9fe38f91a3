"""Specs as YAML, in the style in which people write them, or as JSON; read back before they are handed out."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.analysis.figures import LAYER_FIGURES
from cnnstat.errors import CnnstatError
from cnnstat.export.spec_data import Data, Document, document_of
from cnnstat.ir.graph import Graph
from cnnstat.spec.spec_graph import parse_spec

Render = Callable[[Document], str]


def spec_text(graph: Graph, render: Render) -> str:
    """Return a spec that analyzes to the figures of a graph, which is made sure of by reading it.

    Blocks are written out where calling them would not mean the same. Raises CnnstatError that names the first layer
    whose figures no spec can have, SpecError where an op of the graph refuses its inputs.
    """
    wanted = analyze_graph(graph)
    difference = ""
    for with_blocks in (True, False):
        text = render(document_of(graph, with_blocks=with_blocks))
        try:
            difference = _difference(wanted, analyze_graph(parse_spec(text, file="<export>")))
        except CnnstatError as error:
            difference = str(error).partition("\n")[0]
        if not difference:
            return text
    raise CnnstatError(f"{graph.name} cannot be written as a spec that means the same: {difference}")


def _difference(wanted: Analysis, reread: Analysis) -> str:
    """Return what two analyses do not agree in, names of layers apart; an empty text if nothing."""
    if len(wanted.layers) != len(reread.layers):
        return f"it has {len(reread.layers)} layers instead of {len(wanted.layers)}"
    for one, other in zip(wanted.layers, reread.layers):
        for figure in (
            "input_shapes",
            "output_shapes",
            *(f.layer for f in LAYER_FIGURES if f.adds_up and not f.is_part),
            "receptive_field",
        ):
            if getattr(one, figure) != getattr(other, figure):
                return f"{figure} of {one.name} ({one.op.kind})"
    # A file holds the names of tensors, which may be others here.
    if replace(wanted.memory, file_size=0) != replace(reread.memory, file_size=0):
        return "its memory"
    return "" if wanted.graph.outputs == reread.graph.outputs else "what it returns"


def json_text(document: Document) -> str:
    """Return a document as JSON; remarks, for which JSON has no comments, are added to its notes."""
    data = dict(document.data)
    if document.remarks:
        own = str(data.get("notes", ""))
        data["notes"] = " ".join(filter(None, (own.strip(), *(f"{remark}." for remark in document.remarks))))[:5000]
        data = {key: data[key] for key in ("name", "title", "cite", "notes", *data) if key in data}
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


WIDTH = 116
"""Longest line that is not one long value."""

_PLAIN = re.compile(r"[^\W\d][\w .,()=+*/'\[\]×-]*\Z")
_IN_FLOW = re.compile(r"[^\W\d][\w .()=+*/×-]*\Z")
_CONSTANTS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"))
_LISTS = ("layers", "add", "concat", "multiply")


def yaml_text(document: Document, title: str = "") -> str:
    """Return a document as YAML; `title` and remarks are comments above it."""
    comments = [line for text in (title, *document.remarks) if text for line in _comment(text)]
    parts = ["\n".join(_top(key, value)) for key, value in document.data.items()]
    return "\n".join((*comments, *parts)) + "\n"


def _comment(text: str) -> list[str]:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return textwrap.wrap(printable, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _top(key: str, value: Any) -> list[str]:
    if key == "notes":
        return _prose(key, value)
    if key == "layers":
        return [f"{key}:", *_items(value, 2)]
    if key == "blocks":
        blocks = ([f"  {head.removesuffix('()')}:", *_items(body, 4)] for head, body in value.items())
        return [f"{key}:", *chain.from_iterable(blocks)]
    if key == "published":
        return [f"{key}:", *(f"  - {flow(figure)}" for figure in value)]
    if key == "inputs" and len(f"{key}: {flow(value)}") > WIDTH:
        return [f"{key}:", *(f"  {scalar(name)}: {flow(each)}" for name, each in value.items())]
    return _flowing(f"{key}: ", value, 2)


def _prose(key: str, text: str) -> list[str]:
    """Return a text over several lines, so that the same text is read."""
    words = " ".join(text.split())
    is_one_paragraph = text == words or text == f"{words}\n"
    if not is_one_paragraph or len(words) <= WIDTH - 10:
        return [f"{key}: {scalar(text)}"]
    mark = ">" if text.endswith("\n") else ">-"
    return [
        f"{key}: {mark}",
        *textwrap.wrap(
            words, WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        ),
    ]


# Items ---------------------------------------------------------------------------------------------------------------


def _items(items: list[Any], indent: int) -> list[str]:
    return [line for item in items for line in _item(item, indent)]


def _item(item: Any, indent: int) -> list[str]:
    """Return the lines of one item, the first of them with its dash."""
    margin = " " * indent
    if isinstance(item, str):
        return _text(f"{margin}- ", item, indent + 4)
    if isinstance(item, list):
        if not item:
            return [f"{margin}- []"]
        inner = _items(item, indent + 2)
        return [f"{margin}- {inner[0].lstrip()}", *inner[1:]]
    if len(item) > 1 and not _holds_items(item) and _fits_flow(item, indent):
        return [f"{margin}- {flow(item)}"]
    lines = [line for key, value in item.items() for line in _entry(key, value, indent + 2)]
    return [f"{margin}- {lines[0].lstrip()}", *lines[1:]]


def _entry(key: str, value: Any, indent: int) -> list[str]:
    margin = " " * indent
    if isinstance(value, list) and value and _is_list_of_items(key, value):
        return [f"{margin}{scalar(key)}:", *_items(value, indent + 2)]
    return _flowing(f"{margin}{scalar(key)}: ", value, indent + 2)


def _is_list_of_items(key: str, value: list[Any]) -> bool:
    return key in _LISTS or key not in _VALUES


_VALUES = (
    "from", "operands", "parameters", "buffers", "dtype", "inputs", "output", "outputs", "reads", "dim",
    "copied_inputs",
)  # fmt: skip
"""Keys of items whose lists hold values."""


def _holds_items(item: Data) -> bool:
    return any(isinstance(value, list) and _is_list_of_items(key, value) for key, value in item.items())


def _fits_flow(item: Data, indent: int) -> bool:
    """Whether an item may stand in braces on one line: it is short, and no layer in it needs quotes for it."""
    texts = [value for value in item.values() if isinstance(value, str)]
    return all(_IN_FLOW.match(text) or "(" not in text for text in texts) and indent + len(flow(item)) + 2 <= WIDTH


# Values --------------------------------------------------------------------------------------------------------------


def _flowing(start: str, value: Any, indent: int) -> list[str]:
    """Return `start` and a value on one line, or over several where it is a long list or mapping."""
    if isinstance(value, str):
        return _text(start, value, indent)
    text = flow(value)
    if len(start) + len(text) <= WIDTH or not isinstance(value, (list, dict)) or not value:
        return [start + text]
    parts = (
        list(map(flow, value))
        if isinstance(value, list)
        else [f"{scalar(k, True)}: {flow(v)}" for k, v in value.items()]
    )
    opening, closing = "[]" if isinstance(value, list) else "{}"
    lines, current = [], start + opening
    for number, part in enumerate(parts):
        piece = part + (closing if number == len(parts) - 1 else ",")
        if len(current) + len(piece) + 1 > WIDTH and current.strip():
            lines.append(current.rstrip())
            current = " " * indent
        current += piece if current.endswith((opening, "  ")) else f" {piece}"
    return [*lines, current]


def _text(start: str, text: str, indent: int) -> list[str]:
    """Return `start` and a text; a long call goes on in further lines, which YAML joins by a blank each."""
    written = scalar(text)
    if len(start) + len(written) <= WIDTH or written != text or "  " in text:
        return [start + written]
    return textwrap.wrap(
        written,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def flow(value: Any) -> str:
    """Return a value on one line, lists and mappings in brackets."""
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{scalar(key, True)}: {flow(each)}' for key, each in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return scalar(value, True) if isinstance(value, str) else repr(value)


def scalar(text: str, is_in_flow: bool = False) -> str:
    """Return a text with quotes only where YAML would take it for something else without them."""
    is_plain = (_IN_FLOW if is_in_flow else _PLAIN).match(text) and text == text.strip()
    if is_plain and text.lower() not in _CONSTANTS:
        return text
    return json.dumps(text, ensure_ascii=False)

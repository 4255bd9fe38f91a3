"""The document around the layers: name, inputs, variables, blocks, extends, published figures."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnstat import ops
from cnnstat.errors import Location, Problem, SpecError, did_you_mean
from cnnstat.frontends.items import fail, identifier, parsed
from cnnstat.frontends.yaml_tree import Mapping, Scalar, Sequence, Tree, parse, read_text

KEYS = (
    "name", "title", "cite", "notes", "extends", "dtype", "let", "input", "inputs", "blocks", "layers", "output",
    "outputs", "published",
)  # fmt: skip
FIGURE_KEYS = ("figure", "layer", "value", "means", "source", "cause")
MAX_EXTENDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block: parameters with their defaults (None where there is none) and the items of its body."""

    name: str
    parameters: tuple[tuple[str, ast.expr | None], ...]
    body: Tree
    location: Location


@dataclass(slots=True, kw_only=True)
class Document:
    """A spec as written, with everything it extends merged in; nothing is evaluated yet."""

    file: str
    name: str
    location: Location
    title: str = ""
    cite: str = ""
    notes: str = ""
    dtype: Scalar | None = None
    variables: dict[str, Tree] = field(default_factory=dict)
    inputs: dict[str, tuple[Location, Tree]] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)
    layers: Tree | None = None
    outputs: Tree | None = None
    published: tuple[dict[str, Any], ...] = ()
    problems: list[Problem] = field(default_factory=list)


def read_document(path: Path, find: Any, name: str = "", depth: int = 0) -> Document:
    """Return the document in a file, with what it extends.

    find: maps the text behind `extends:` and the directory of the spec to a path, or raises SourceError.
    Raises SpecError; faults that leave the rest readable are collected in `problems` instead.
    """
    return _document(parse(read_text(path), str(path)), path, find, name or path.stem, depth)


def parse_document(text: str, file: str, find: Any) -> Document:
    """Return the document in a text, as `read_document` does for a file."""
    return _document(parse(text, file), Path(file), find, Path(file).stem, 0)


def _document(tree: Tree, path: Path, find: Any, name: str, depth: int) -> Document:
    """Return the document that a tree means."""
    if not isinstance(tree, Mapping):
        fail(tree.location, "a spec is a mapping with at least input: and layers:")
    document = Document(file=str(path), name=name, location=tree.location)
    extends = tree.get("extends")
    if extends is not None:
        document = _base(extends, path, find, depth)
        document.file, document.name, document.location, document.published = str(path), name, tree.location, ()
    document.problems.extend(tree.unknown_keys(KEYS))
    readers = {"let": _read_variables, "input": _read_input, "inputs": _read_inputs, "blocks": _read_blocks}
    for key, (_, value) in tree.entries.items():
        try:
            if key in readers:
                readers[key](document, value)
            elif key in ("name", "title", "cite", "notes"):
                setattr(document, key, _text(value, key))
            elif key in ("layers", "outputs", "output"):
                setattr(document, key.replace("output", "outputs").replace("ss", "s"), value)
            elif key == "dtype":
                document.dtype = value if isinstance(value, Scalar) else fail(value.location, "dtype is a word")
            elif key == "published":
                document.published = tuple(_figures(value, document.problems))
        except SpecError as error:
            document.problems.extend(error.problems)
    return document


def _base(tree: Tree, path: Path, find: Any, depth: int) -> Document:
    """Return the document that this one extends."""
    if not isinstance(tree, Scalar) or not tree.text:
        fail(tree.location, "extends: takes the name of a network or a .yaml file")
    if depth >= MAX_EXTENDS:
        fail(tree.location, f"more than {MAX_EXTENDS} specs extend each other; does one extend itself?")
    try:
        base = find(tree.text, path.parent)
    except SpecError:
        raise
    except Exception as error:  # SourceError of the finder: placed where the spec names it
        fail(tree.location, str(error))
    return read_document(base, find, depth=depth + 1)


def _text(tree: Tree, key: str) -> str:
    """Return the text of a scalar."""
    if not isinstance(tree, Scalar) or len(tree.text) > 5000:
        fail(tree.location, f"{key}: takes a text")
    return " ".join(tree.text.split()) if key != "notes" else tree.text


def _read_variables(document: Document, tree: Tree) -> None:
    """Read `let:`; later variables may use earlier ones."""
    if not isinstance(tree, Mapping):
        fail(tree.location, "let: takes variables with their values, as in let: {classes: 1000}")
    for key, value in tree.entries.values():
        document.variables[identifier(key)] = value


def _read_input(document: Document, tree: Tree) -> None:
    """Read `input:`, the one input of most networks."""
    document.inputs = {"input": (tree.location, tree)}


def _read_inputs(document: Document, tree: Tree) -> None:
    """Read `inputs:`, several inputs by name."""
    if not isinstance(tree, Mapping) or not tree.entries:
        fail(tree.location, "inputs: takes names with shapes, as in inputs: {left: [3, 64, 64], right: [3, 64, 64]}")
    document.inputs = {identifier(key): (key.location, value) for key, value in tree.entries.values()}


def _read_blocks(document: Document, tree: Tree) -> None:
    """Read `blocks:`."""
    if not isinstance(tree, Mapping):
        fail(tree.location, "blocks: takes names with parameters and layers, as in blocks: {stage(channels): […]}")
    own: set[str] = set()
    for key, body in tree.entries.values():
        try:
            block = _block(key, body)
            if block.name in own:
                fail(key.location, f"the block {block.name} is written twice")
            own.add(block.name)
            document.blocks[block.name] = block
        except SpecError as error:
            document.problems.extend(error.problems)


def _block(key: Scalar, body: Tree) -> Block:
    """Return the block of one `name(parameters): layers`."""
    node = parsed(key)
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name) or not all(isinstance(argument, ast.Name) for argument in call.args):
        fail(key.location, "a block is written as name(parameter, parameter=default)")
    if call.func.id in ops.names():
        fail(key.location, f"{call.func.id} is a layer; give the block another name")
    required = [(a.id, None) for a in call.args if isinstance(a, ast.Name)]
    optional = [(k.arg or "", k.value) for k in call.keywords]
    names = [name for name, _ in (*required, *optional)]
    if len(set(names)) < len(names) or "" in names:
        fail(key.location, "a block's parameters need different names")
    return Block(name=call.func.id, parameters=(*required, *optional), body=body, location=key.location)


def _figures(tree: Tree, problems: list[Problem]) -> list[dict[str, Any]]:
    """Return the entries of `published:`."""
    if not isinstance(tree, Sequence):
        fail(tree.location, "published: takes a list of entries with figure:, value: and source:")
    figures = []
    for entry in tree.items:
        if not isinstance(entry, Mapping) or not {"figure", "value", "source"} <= set(entry.entries):
            problems.append(Problem(entry.location, "a published figure needs figure:, value: and source:"))
            continue
        problems.extend(entry.unknown_keys(FIGURE_KEYS))
        texts = {key: v.text for key, (_, v) in entry.entries.items() if isinstance(v, Scalar)}
        if len(texts) < len(entry.entries):
            problems.append(Problem(entry.location, "a published figure holds texts and numbers only"))
            continue
        figures.append({**texts, "location": entry.location})
    return figures


def check_variable_names(given: dict[str, Any], document: Document) -> None:
    """Raise SpecError if a variable to override does not exist."""
    for name in given:
        if name not in document.variables:
            known = ", ".join(document.variables) or "this spec has none"
            hint = did_you_mean(name, document.variables) or f"; known: {known}"
            fail(document.location, f"there is no variable called {name[:60]} to set{hint}")

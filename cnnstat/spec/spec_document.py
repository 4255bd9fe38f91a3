"""Spec documents: what stands around the layers: name, inputs, variables, blocks, extends, published figures."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnstat import ops
from cnnstat.errors import CnnstatError, Location, SpecError
from cnnstat.spec import SUFFIXES
from cnnstat.spec.expression_syntax import parse_scalar
from cnnstat.spec.items import Block, Value, identifier, variable_name
from cnnstat.spec.tree import Mapping, Problems, Scalar, Sequence, Tree, fail
from cnnstat.spec.yaml_file import Finder, parse, read_text

KEYS = (
    "name", "title", "cite", "notes", "extends", "dtype", "let", "input", "inputs", "blocks", "layers", "output",
    "outputs", "published", "saved_bytes",
)  # fmt: skip
"""Keys of a spec."""
FIGURE_KEYS = ("figure", "layer", "value", "means", "source", "cause", "ratio", "ratio_to")
"""Keys of an entry of `published:`."""
MAX_EXTENDS = 16
MAX_PROSE = 5000


@dataclass(slots=True, kw_only=True)
class SpecDocument:
    """A spec as written, with everything it extends merged in; nothing is evaluated yet."""

    name: str
    location: Location
    title: str = ""
    cite: str = ""
    notes: str = ""
    dtype: Scalar | None = None
    variables: dict[str, Tree] = field(default_factory=dict)
    inputs: dict[str, Tree] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)
    broken_blocks: set[str] = field(default_factory=set)
    layers: Tree | None = None
    outputs: Tree | None = None
    published: tuple[dict[str, Any], ...] = ()
    saved_bytes: int | None = None
    problems: Problems


def read_document(
    path: Path, find: Finder, problems: Problems, file: str, chain: tuple[Path, ...] = ()
) -> SpecDocument:
    """Return the document in a file, which errors call `file`, with what it extends.

    chain: the files that extend this one. Raises SpecError; faults that leave the rest readable are added to
    `problems` instead.
    """
    return _document(parse(read_text(path, find=find), file), path, find, problems, (*chain, path.resolve()))


def parse_document(text: str, file: str, find: Finder, problems: Problems) -> SpecDocument:
    """Return the document in a text, as `read_document` does for a file."""
    return _document(parse(text, file), Path(file), find, problems, ())


def _document(tree: Tree, path: Path, find: Finder, problems: Problems, chain: tuple[Path, ...]) -> SpecDocument:
    """Return the document that a tree means."""
    if not isinstance(tree, Mapping):
        fail(tree.location, "a spec is a mapping with at least input: and layers:")
    extends = tree.get("extends")
    if extends is None:
        document = SpecDocument(name=path.stem, location=tree.location, problems=problems)
    else:
        document = _base(extends, path, find, problems, chain)
        # What a paper prints of the base, or a pass of it keeps, does not hold for a network that differs from it.
        document.name, document.location, document.published = path.stem, tree.location, ()
        document.saved_bytes = None
    problems.extend(tree.unknown_keys(KEYS))
    for one, several in (("input", "inputs"), ("output", "outputs")):
        if one in tree and several in tree:
            problems.add(tree.entries[several][0].location, f"{one}: and {several}:; keep one")
    for key, (_, value) in tree.entries.items():
        try:
            if key in _READERS:
                _READERS[key](document, value)
        except SpecError as error:
            problems.extend(error.problems)
    return document


def _base(tree: Tree, path: Path, find: Finder, problems: Problems, chain: tuple[Path, ...]) -> SpecDocument:
    """Return the document that this one extends."""
    if not isinstance(tree, Scalar) or not tree.text:
        fail(tree.location, "extends: takes the name of a network or a .yaml file")
    if len(chain) > MAX_EXTENDS:
        fail(tree.location, f"more than {MAX_EXTENDS} specs extend each other")
    try:
        base = find(tree.text, path.parent)
        is_circle = base.resolve() in chain
    except (CnnstatError, OSError, RuntimeError, ValueError) as error:
        fail(tree.location, f"extends: {error}")
    if is_circle:
        fail(tree.location, f"{tree.text[:60]} extends itself, by way of this spec; name another one")
    try:
        file = str(base) if tree.text.endswith(SUFFIXES) else base.name  # a network of the zoo
        return read_document(base, find, problems, file, chain)
    except SpecError as error:
        nothing_read = {Location(str(base), 0, 0), Location(str(base), 1, 1)}
        if error.problems[0].location in nothing_read:
            fail(tree.location, f"extends: {str(error.problems[0])[-300:]}")
        raise


def _prose(tree: Tree, key: str) -> str:
    if not isinstance(tree, Scalar) or len(tree.text) > MAX_PROSE:
        fail(tree.location, f"{key}: takes a text of at most {MAX_PROSE} characters; put it into quotes")
    return " ".join(tree.text.split())


def _read_name(document: SpecDocument, tree: Tree) -> None:
    document.name = _prose(tree, "name") or document.name


def _read_notes(document: SpecDocument, tree: Tree) -> None:
    """Read `notes:`, the only text whose lines are kept."""
    _prose(tree, "notes")
    assert isinstance(tree, Scalar)
    document.notes = tree.text


def _read_dtype(document: SpecDocument, tree: Tree) -> None:
    document.dtype = tree if isinstance(tree, Scalar) else fail(tree.location, "dtype: takes a word, as in float16")


def _read_variables(document: SpecDocument, tree: Tree) -> None:
    if not isinstance(tree, Mapping):
        fail(tree.location, "let: takes variables with their values, as in let: {classes: 1000}")
    for key, value in tree.entries.values():
        document.variables[variable_name(key)] = value


def _read_inputs(document: SpecDocument, tree: Tree) -> None:
    if not isinstance(tree, Mapping) or not tree.entries:
        fail(tree.location, "inputs: takes names with shapes, as in inputs: {left: [3, 64, 64], right: [3, 64, 64]}")
    document.inputs = {identifier(key): value for key, value in tree.entries.values()}


def _read_blocks(document: SpecDocument, tree: Tree) -> None:
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
            document.broken_blocks.add(key.text.partition("(")[0].strip())
            document.problems.extend(error.problems)


def _block(key: Scalar, body: Tree) -> Block:
    """Return the block of one `name(parameters): layers`."""
    node = parse_scalar(key)
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    required = [argument.id for argument in call.args if isinstance(argument, ast.Name)]
    if not isinstance(call.func, ast.Name) or len(required) < len(call.args):
        fail(key.location, "a block is written as name(parameter, parameter=default)")
    if call.func.id in ops.names():
        fail(key.location, f"{call.func.id} is a layer; give the block another name")
    defaults = {k.arg or "": Value(k.value, key, k.col_offset) for k in call.keywords}
    if len({*required, *defaults} - {""}) < len(required) + len(call.keywords):
        fail(key.location, "a block's parameters need different names")
    for name in (*required, *defaults):
        if name in ops.names():
            fail(key.location, f"{name} is a layer; give the parameter another name")
    return Block(call.func.id, (*((name, None) for name in required), *defaults.items()), body)


def _read_published(document: SpecDocument, tree: Tree) -> None:
    if not isinstance(tree, Sequence):
        fail(tree.location, "published: takes a list of entries with figure:, value: and source:")
    document.published = tuple(figure for entry in tree.items for figure in _figures(entry, document.problems))


def _figures(entry: Tree, problems: Problems) -> tuple[dict[str, Any], ...]:
    """Return one entry of `published:`, or nothing after noting its faults."""
    unknown = list(entry.unknown_keys(FIGURE_KEYS)) if isinstance(entry, Mapping) else []
    problems.extend(unknown)
    if not isinstance(entry, Mapping) or not {"figure", "value", "source"} <= set(entry.entries):
        if not unknown:
            problems.add(entry.location, "a published figure needs figure:, value: and source:")
        return ()
    texts = {key: _prose(value, key) for key, (_, value) in entry.entries.items()}
    return ({**texts, "location": entry.location},)


def _read_saved_bytes(document: SpecDocument, tree: Tree) -> None:
    # No expression: the number was measured, it follows from nothing.
    if not isinstance(tree, Scalar) or not re.fullmatch(r"\d{1,18}", tree.text):
        fail(tree.location, "saved_bytes: takes a whole number, what a pass of the model keeps for the backward pass")
    document.saved_bytes = int(tree.text)


_READERS: dict[str, Callable[[SpecDocument, Tree], None]] = {
    "name": _read_name,
    "title": lambda document, tree: setattr(document, "title", _prose(tree, "title")),
    "cite": lambda document, tree: setattr(document, "cite", _prose(tree, "cite")),
    "notes": _read_notes,
    "dtype": _read_dtype,
    "let": _read_variables,
    "input": lambda document, tree: setattr(document, "inputs", {"input": tree}),
    "inputs": _read_inputs,
    "blocks": _read_blocks,
    "layers": lambda document, tree: setattr(document, "layers", tree),
    "output": lambda document, tree: setattr(document, "outputs", tree),
    "outputs": lambda document, tree: setattr(document, "outputs", tree),
    "published": _read_published,
    "saved_bytes": _read_saved_bytes,
}

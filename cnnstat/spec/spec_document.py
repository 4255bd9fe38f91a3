"""Spec documents: what stands around the layers, as it is written, and what inputs and variables come to."""

from __future__ import annotations

import ast
import re
from collections import abc
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, get_args

from cnnstat import ops
from cnnstat.choices import Precision
from cnnstat.errors import CnnstatError, Location, RequestError, SpecError, did_you_mean
from cnnstat.ir.graph import Input, check_dtype
from cnnstat.sources.request import DeclaredInput, Request, input_shape, resolve_inputs
from cnnstat.spec import SUFFIXES
from cnnstat.spec.expression_syntax import ExpressionError, bounded, parse_scalar, words_in
from cnnstat.spec.expressions import RESERVED
from cnnstat.spec.items import Block, Value, identifier, variable_name
from cnnstat.spec.scope import Scope
from cnnstat.spec.tree import Mapping, Problems, Scalar, Sequence, Tree, fail
from cnnstat.spec.yaml_file import LARGE_TEXT, Finder, parse, read_text

KEYS = (
    "name", "title", "cite", "notes", "extends", "dtype", "let", "input", "inputs", "blocks", "layers", "output",
    "outputs", "published", "saved_bytes", "further_file_bytes", "deploy",
)  # fmt: skip
"""Keys of a spec."""
FIGURE_KEYS = ("figure", "layer", "value", "means", "source", "cause", "ratio", "ratio_to")
"""Keys of an entry of `published:`."""
MAX_EXTENDS = 16
MAX_PROSE = 5000
MAX_VARIABLES = 2_000

_CROSS = re.compile(r"\s*[x×]\s*")
_BY_CROSSES = re.compile(r"\d{1,12}(?:\s*[x×]\s*\d{1,12}){1,9}\Z")


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
    further_file_bytes: int | None = None
    deploy: str | None = None
    problems: Problems


def read_document(
    path: Path, find: Finder, problems: Problems, file: str, chain: tuple[Path, ...] = ()
) -> SpecDocument:
    """Return the document in a file, which errors call `file`, with what it extends.

    chain: the files that extend this one. Raises SpecError; faults that leave the rest readable are added to
    `problems` instead.
    """
    return _document(parse(read_text(path, find=find), file), path, find, problems, (*chain, path.resolve()))


def spec_trees(path: Path, find: Finder, file: str) -> tuple[Tree, ...]:
    """Return the trees of a spec file and of those that it extends; none where one of them is at fault, or is large.

    As long as the files hold the same text these are the same objects.
    """
    trees: list[Tree] = []
    try:
        while len(trees) <= MAX_EXTENDS:
            text = read_text(path)
            trees.append(tree := parse(text, file))
            extends = tree.get("extends") if isinstance(tree, Mapping) else None
            if len(text) >= LARGE_TEXT or not isinstance(extends, Scalar):
                return tuple(trees) if extends is None and len(text) < LARGE_TEXT else ()
            path, file = _extended(extends, path, find)
    except (CnnstatError, OSError, RuntimeError, ValueError):
        pass  # reading the document says what is wrong
    return ()


def _extended(extends: Scalar, path: Path, find: Finder) -> tuple[Path, str]:
    """Return the file that `extends:` names in the file at `path`, and what errors call it."""
    base = find(extends.text, path.parent)
    return base, str(base) if extends.text.endswith(SUFFIXES) else base.name  # a network of the zoo


def spec_files(path: Path, find: Finder) -> tuple[Path, ...]:
    """Return the file of a spec and those that it extends, as far as they can be read."""
    files = [path]

    def noting(name: str, beside: Path) -> Path:
        files.append(find(name, beside))
        return files[-1]

    with suppress(SpecError, CnnstatError):
        read_document(path, noting, Problems(), str(path))
    return tuple(files)


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
        document.saved_bytes = document.further_file_bytes = None
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
        base, file = _extended(tree, path, find)
        is_circle = base.resolve() in chain
    except (CnnstatError, OSError, RuntimeError, ValueError) as error:
        fail(tree.location, f"extends: {error}")
    if is_circle:
        fail(tree.location, f"{tree.text[:60]} extends itself, by way of this spec; name another one")
    try:
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


def _read_further_file_bytes(document: SpecDocument, tree: Tree) -> None:
    if not isinstance(tree, Scalar) or not re.fullmatch(r"-?\d{1,18}", tree.text):
        fail(tree.location, "further_file_bytes: takes a whole number of bytes, by which the file differs from the sum")
    document.further_file_bytes = int(tree.text)


def _read_deploy(document: SpecDocument, tree: Tree) -> None:
    precisions = get_args(Precision)
    if not isinstance(tree, Scalar) or tree.text not in precisions:
        fail(tree.location, f"deploy: takes the precision that the network is shipped in: {', '.join(precisions)}")
    document.deploy = tree.text


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
    "further_file_bytes": _read_further_file_bytes,
    "deploy": _read_deploy,
}


# Variables ------------------------------------------------------------------------------------------------------------


def document_scope(document: SpecDocument, requested: abc.Mapping[str, Any]) -> Scope:
    """Return the scope of a document: its variables with their values; they may use each other in any order.

    requested: values that replace the document's, as text (evaluated) or Python values.
    Raises RequestError for a requested variable that the document does not have, SpecError for faults of the document.
    """
    for name in requested:
        if name not in document.variables:
            known = ", ".join(document.variables) or "this spec has none"
            hint = did_you_mean(name, document.variables) or f"; known: {known}"
            raise RequestError(f"there is no variable called {name[:60]} to set{hint}")
    if len(document.variables) > MAX_VARIABLES:
        fail(document.location, f"let: holds more than {MAX_VARIABLES:,} variables")
    values: dict[str, Any] = {}  # the scope's own: what is evaluated later sees what was evaluated before
    scope = Scope(values, frozenset((*ops.names(), *document.blocks)))
    trees = {name: _requested_or(tree, name, requested) for name, tree in document.variables.items()}
    uses = {name: _uses(tree, trees) for name, tree in trees.items()}
    for name in _ordered(uses, trees):
        if any(used not in values for used in uses[name]):
            continue  # something it uses is at fault
        tree = trees[name]
        try:
            values[name] = _variable(tree, scope, document) if isinstance(tree, Tree) else tree
        except SpecError as error:
            document.problems.extend(error.problems)
    if len(values) < len(trees):
        raise document.problems.error()
    return scope


def _requested_or(tree: Tree, name: str, requested: abc.Mapping[str, Any]) -> Any:
    """Return what stands for a variable: a tree, or the value that the caller asks for."""
    if name not in requested:
        return tree
    value = requested[name]
    if isinstance(value, str):
        return Scalar(f"--variable {name}", 1, 1, value)
    try:
        return bounded(list(value) if isinstance(value, tuple) else value)
    except ExpressionError as error:
        raise RequestError(f"{name}: {error}") from None


def _uses(tree: Any, names: Container[str]) -> list[str]:
    return [word for word in words_in(tree) if word in names] if isinstance(tree, Tree) else []


def _ordered(uses: abc.Mapping[str, list[str]], trees: abc.Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names so that every variable comes after those it uses; raises SpecError if there is a circle."""
    try:
        return tuple(TopologicalSorter(uses).static_order())
    except CycleError as error:
        circle = [name for name in uses if name in error.args[1]]
        refer = "refers to itself" if len(circle) == 1 else "refer to each other"
        fail(trees[circle[0]].location, f"let: {', '.join(circle[:8])} {refer}; set one to a number")


def _variable(tree: Tree, scope: Scope, document: SpecDocument) -> Any:
    """Return the value of a variable; a bare word that is no variable means itself."""
    word = tree.text if isinstance(tree, Scalar) else ""
    is_word = word.isidentifier() and word not in document.variables and word not in RESERVED
    return scope.value_or_layer(tree, (word,) if is_word else ())


# Dtype and inputs -----------------------------------------------------------------------------------------------------


def network_dtype(document: SpecDocument, request: Request) -> str:
    """Return the dtype of weights and activations."""
    if request.dtype is not None:
        return check_dtype(request.dtype)
    return "float32" if document.dtype is None else _checked_dtype(document.dtype)


def _checked_dtype(tree: Tree) -> str:
    if not isinstance(tree, Scalar):
        fail(tree.location, "dtype: takes a word, as in float16")
    try:
        return check_dtype(tree.text)
    except CnnstatError as error:
        fail(tree.location, str(error))


def network_inputs(document: SpecDocument, scope: Scope, dtype: str, request: Request) -> tuple[Input, ...]:
    """Return the inputs of the network, batch included."""
    if not document.inputs and document.problems.faults:
        raise document.problems.error()  # among which is why
    if not document.inputs:
        fail(document.location, "the spec has no input:; write the sizes without the batch, as in input: [3, 224, 224]")
    declared = []
    for name, tree in document.inputs.items():
        if name in document.variables:
            fail(tree.location, f"{name} is both an input and a variable; rename one")
        declared.append(_declared_input(name, tree, scope, dtype))
    return resolve_inputs(declared, request)


def _declared_input(name: str, tree: Tree, scope: Scope, dtype: str) -> DeclaredInput:
    """Return the input of `[3, 224, 224]` or `{shape: [128], dtype: int64, batch: 8}`."""
    shape: Tree | None = tree
    batch: int | None = 1
    if isinstance(tree, Mapping):
        for unknown in tree.unknown_keys(("shape", "dtype", "batch")):
            raise SpecError([unknown])
        if (written := tree.get("batch")) is not None:
            batch = scope.value(written)
            if batch is not None and (type(batch) is not int or batch < 1):
                fail(written.location, "batch: takes a whole number, or null where shape: is all there is")
        shape, own_dtype = tree.get("shape"), tree.get("dtype")
        dtype = dtype if own_dtype is None else _checked_dtype(own_dtype)
    if shape is None:
        fail(tree.location, "an input needs shape:, as in {shape: [128], dtype: int64}")
    if isinstance(shape, Scalar) and _BY_CROSSES.match(shape.text):
        fail(shape.location, f"sizes are written as a list: [{', '.join(_CROSS.split(shape.text))}]")
    sizes = scope.value(shape)
    sizes = sizes if isinstance(sizes, list) else [sizes]
    try:
        is_number = batch is None and not sizes  # an input without any axis, which has no batch either
        return DeclaredInput(name, () if is_number else input_shape(sizes).sizes, dtype, batch)
    except CnnstatError as error:
        fail(shape.location, f"{error}; write the sizes without the batch, as in [3, 224, 224]")

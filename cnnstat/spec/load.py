"""Load: a spec, from a file or a text, to its layer graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from cnnstat import ops
from cnnstat.analysis.shapes import infer_shapes
from cnnstat.errors import CnnstatError, Location, Problem, RequestError, SpecError, did_you_mean
from cnnstat.ir.graph import Edge, Graph, Input, check_dtype, collector_paused
from cnnstat.sources.request import DeclaredInput, Request, input_shape, resolve_inputs
from cnnstat.spec import tree as yaml
from cnnstat.spec.expand import SEVERAL_INPUTS, Expander, Tensor
from cnnstat.spec.expression_syntax import ExpressionError, bounded, words_in
from cnnstat.spec.expressions import RESERVED
from cnnstat.spec.item_reader import ItemReader
from cnnstat.spec.items import Template
from cnnstat.spec.layer_count import LayerCount
from cnnstat.spec.scope import Scope
from cnnstat.spec.spec_document import SpecDocument, parse_document, read_document
from cnnstat.spec.tree import Abandoned, Problems, Scalar, Tree, fail
from cnnstat.spec.yaml_file import Finder


def read_spec(path: Path, request: Request, find: Finder, *, source: str = "", file: str = "") -> Graph:
    """Return the graph of a spec file; `file` is what errors call it, its path unless given.

    Raises SpecError with every fault that could be told apart.
    """
    file = file or str(path)
    return _compiled(lambda problems: read_document(path, find, problems, file), request, file, source or str(path))


def parse_spec(text: str, request: Request | None = None, *, file: str = "<text>", find: Finder | None = None) -> Graph:
    """Return the graph of a spec text; `file` is what errors call it."""
    return _compiled(
        lambda problems: parse_document(text, file, find or _nowhere, problems), request or Request(), file, file
    )


def _nowhere(name: str, directory: Path) -> Path:
    raise CnnstatError(f"{name[:60]} cannot be extended from a text; put the spec into a file")


def _compiled(read: Callable[[Problems], SpecDocument], request: Request, file: str, source: str) -> Graph:
    """Return the graph of a document under a request, or raise SpecError with all its faults."""
    problems = Problems()
    try:
        with collector_paused():
            graph = _graph(read(problems), request, source)
    except SpecError as error:
        raise SpecError([*problems.faults, *error.problems]) from None
    except Abandoned as stop:
        last = [Problem(stop.location or Location(file, 1, 1), str(stop))] if str(stop) else []
        raise SpecError([*problems.faults, *last]) from None
    except RecursionError:
        raise SpecError([Problem(Location(file, 1, 1), "blocks and lists are nested too deeply")]) from None
    if problems.faults:
        raise problems.error()
    return graph


def _graph(document: SpecDocument, request: Request, source: str) -> Graph:
    """Return the graph of a document; where faults are noted it holds the faultless parts."""
    scope = document_scope(document, request.variables)
    dtype = network_dtype(document, request)
    inputs = network_inputs(document, scope, dtype, request)
    reader = ItemReader(document)
    expander = Expander(reader, len(inputs), {i.name: Edge(index) for index, i in enumerate(inputs)})
    expander.shapes += [(each.shape,) for each in inputs]
    if document.layers is None:
        fail(document.location, "the spec has no layers:; write the list of layers")
    items = reader.items(document.layers)
    LayerCount(reader).items(items, scope)  # refuses what grows too large before a single node is made
    last = expander.items(items, scope, Edge(0) if len(inputs) == 1 else SEVERAL_INPUTS)
    outputs = _outputs(document, expander, scope, last)
    if not expander.nodes and not document.problems.faults:
        fail(document.layers.location, "layers: is empty; a network has at least one layer")
    graph = Graph(
        name=document.name,
        inputs=inputs,
        nodes=tuple(expander.nodes),
        outputs=tuple(edge for edge in outputs if edge is not None and edge.value >= 0),
        dtype=dtype,
        source=source,
        blocks=expander.labels,
        about=_about(document),
        saved_bytes=None if _is_changed(request) else document.saved_bytes,
    )
    if document.problems.faults:
        infer_shapes(graph)  # raises what is wrong with the faultless parts, so that one run reports both
    return graph


def _is_changed(request: Request) -> bool:
    """Whether a request changes sizes, for which what was measured does not hold."""
    return bool(request.inputs or request.batch or request.dtype or request.variables)


def _about(document: SpecDocument) -> dict[str, Any]:
    texts = {"title": document.title, "cite": document.cite, "notes": document.notes}
    return {**{key: text for key, text in texts.items() if text}, "published": document.published}


def _outputs(document: SpecDocument, expander: Expander, scope: Scope, last: Tensor) -> list[Tensor]:
    """Return the tensors the network returns: those of `outputs:`, else the last one."""
    if document.outputs is None:
        return [last]
    outputs: list[Tensor] = []
    for template in Template.read_all(document.outputs):
        try:
            outputs.append(expander.reference(template, scope))
        except SpecError as error:
            document.problems.extend(error.problems)
    return outputs


MAX_VARIABLES = 2_000

_CROSS = re.compile(r"\s*[x×]\s*")
_BY_CROSSES = re.compile(r"\d{1,12}(?:\s*[x×]\s*\d{1,12}){1,9}\Z")

# Variables ------------------------------------------------------------------------------------------------------------


def document_scope(document: SpecDocument, requested: Mapping[str, Any]) -> Scope:
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


def _requested_or(tree: Tree, name: str, requested: Mapping[str, Any]) -> Any:
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


def _ordered(uses: Mapping[str, list[str]], trees: Mapping[str, Any]) -> tuple[str, ...]:
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
    if isinstance(tree, yaml.Mapping):
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

"""Specs: a YAML document to a layer graph."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnnstat import ops
from cnnstat.analysis.shapes import infer_shapes
from cnnstat.errors import CnnstatError, Location, Problem, SpecError
from cnnstat.garbage_collection import collector_paused
from cnnstat.ir.graph import Edge, Graph, Input
from cnnstat.sources.request import DeclaredInput, Request, input_shape, resolve_inputs
from cnnstat.spec.binding import tree_value
from cnnstat.spec.document import Document, Finder, parse_document, read_document
from cnnstat.spec.expand import SEVERAL_INPUTS, Expander, Scope, Tensor
from cnnstat.spec.item_reader import ItemReader
from cnnstat.spec.let import let_variables
from cnnstat.spec.measure import Measure
from cnnstat.spec.names import templates
from cnnstat.spec.problems import Abandoned, Problems, fail
from cnnstat.spec.tree import Mapping, Scalar, Tree
from cnnstat.spec.variables import Variables
from cnnstat.units import check_dtype

_CROSS = re.compile(r"\s*[x×]\s*")
_BY_CROSSES = re.compile(r"\d{1,12}(?:\s*[x×]\s*\d{1,12}){1,9}\Z")


def read_spec(path: Path, request: Request, find: Finder, *, source: str = "", shown: str = "") -> Graph:
    """Return the graph of a spec file, which errors call `shown`, by its path unless given.

    Raises SpecError with every fault that could be told apart.
    """
    named = shown or str(path)
    return _compiled(lambda problems: read_document(path, find, problems, named), request, named, source or str(path))


def parse_spec(text: str, request: Request | None = None, *, file: str = "<text>", find: Finder | None = None) -> Graph:
    """Return the graph of a spec text; `file` is what errors call it."""
    return _compiled(
        lambda problems: parse_document(text, file, find or _nowhere, problems), request or Request(), file, file
    )


def _nowhere(name: str, directory: Path) -> Path:
    """Refuse to extend anything."""
    raise CnnstatError(f"{name[:60]} cannot be extended from a text; put the spec into a file")


def _compiled(read: Callable[[Problems], Document], request: Request, file: str, source: str) -> Graph:
    """Return the graph of a document under a request, or raise SpecError with all its faults."""
    problems = Problems()
    try:
        with collector_paused():
            graph = _graph(read(problems), request, source)
    except SpecError as error:
        raise SpecError([*problems.found, *error.problems]) from None
    except Abandoned as stop:
        last = [Problem(stop.location or Location(file, 1, 1), str(stop))] if str(stop) else []
        raise SpecError([*problems.found, *last]) from None
    except RecursionError:
        raise SpecError([Problem(Location(file, 1, 1), "blocks and lists are nested too deeply")]) from None
    if problems.found:
        raise problems.error()
    return graph


def _graph(document: Document, request: Request, source: str) -> Graph:
    """Return the graph of a document; where faults are noted it holds the faultless parts."""
    variables = let_variables(document, request.variables)
    dtype = _dtype(document, request)
    inputs = _inputs(document, variables, dtype, request)
    callables = (*ops.names(), *document.blocks)
    reader = ItemReader({*callables}, callables, document.problems)
    expander = Expander(
        reader=reader,
        blocks=document.blocks,
        broken_blocks=document.broken_blocks,
        variables=variables,
        arity=len(inputs),
        values={i.name: Edge(index) for index, i in enumerate(inputs)},
        problems=document.problems,
    )
    if document.layers is None:
        fail(document.location, "the spec has no layers:; write the list of layers")
    items = reader.items(document.layers)
    Measure(reader, document.blocks, variables).items(items, variables)
    last = expander.items(items, variables, Scope(), Edge(0) if len(inputs) == 1 else SEVERAL_INPUTS)
    outputs = _outputs(document, expander, variables, last)
    if not expander.nodes and not document.problems.found:
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
    )
    if document.problems.found:
        infer_shapes(graph)  # raises what is wrong with the faultless parts
    return graph


def _about(document: Document) -> dict[str, Any]:
    """Return title, citation, notes and published figures."""
    texts = {"title": document.title, "cite": document.cite, "notes": document.notes}
    return {**{key: text for key, text in texts.items() if text}, "published": document.published}


def _dtype(document: Document, request: Request) -> str:
    """Return the dtype of weights and activations."""
    if request.dtype is not None:
        return check_dtype(request.dtype)
    return "float32" if document.dtype is None else _checked_dtype(document.dtype)


def _checked_dtype(tree: Tree) -> str:
    """Return the dtype that a word means; raises SpecError."""
    if not isinstance(tree, Scalar):
        fail(tree.location, "dtype: takes a word, as in float16")
    try:
        return check_dtype(tree.text)
    except CnnstatError as error:
        fail(tree.location, str(error))


def _inputs(document: Document, variables: Variables, dtype: str, request: Request) -> tuple[Input, ...]:
    """Return the inputs of the network, batch included."""
    if not document.inputs and document.problems.found:
        raise document.problems.error()  # among which is why
    if not document.inputs:
        fail(document.location, "the spec has no input:; write the sizes without the batch, as in input: [3, 224, 224]")
    declared = []
    for name, tree in document.inputs.items():
        if name in document.variables:
            fail(tree.location, f"{name} is both an input and a variable; rename one")
        declared.append(_declared_input(name, tree, variables, dtype))
    return resolve_inputs(declared, request)


def _declared_input(name: str, tree: Tree, variables: Variables, dtype: str) -> DeclaredInput:
    """Return the input of `[3, 224, 224]` or `{shape: [128], dtype: int64, batch: 8}`."""
    shape: Tree | None = tree
    batch: int | None = 1
    if isinstance(tree, Mapping):
        for unknown in tree.unknown_keys(("shape", "dtype", "batch")):
            raise SpecError([unknown])
        if (written := tree.get("batch")) is not None:
            batch = tree_value(written, variables)
            if batch is not None and (type(batch) is not int or batch < 1):
                fail(written.location, "batch: takes a whole number, or null where shape: is all there is")
        shape, own_dtype = tree.get("shape"), tree.get("dtype")
        dtype = dtype if own_dtype is None else _checked_dtype(own_dtype)
    if shape is None:
        fail(tree.location, "an input needs shape:, as in {shape: [128], dtype: int64}")
    if isinstance(shape, Scalar) and _BY_CROSSES.match(shape.text):
        fail(shape.location, f"sizes are written as a list: [{', '.join(_CROSS.split(shape.text))}]")
    sizes = tree_value(shape, variables)
    try:
        found = (
            () if batch is None and sizes == [] else input_shape(sizes if isinstance(sizes, list) else [sizes]).sizes
        )
        return DeclaredInput(name, found, dtype, batch)
    except CnnstatError as error:
        fail(shape.location, f"{error}; write the sizes without the batch, as in [3, 224, 224]")


def _outputs(document: Document, expander: Expander, variables: Variables, last: Tensor) -> list[Tensor]:
    """Return the tensors the network returns: those of `outputs:`, else the last one."""
    if document.outputs is None:
        return [last]
    found: list[Tensor] = []
    for template in templates(document.outputs):
        try:
            found.append(expander.reference(template, variables, Scope()))
        except SpecError as error:
            document.problems.extend(error.problems)
    return found

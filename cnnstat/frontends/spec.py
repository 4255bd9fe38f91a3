"""Specs: a YAML document to a layer graph."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnnstat import ops
from cnnstat.errors import CnnstatError, Location, Problem, SpecError
from cnnstat.frontends.binding import tree_value
from cnnstat.frontends.document import Document, check_variable_names, parse_document, read_document
from cnnstat.frontends.expand import Expander, Scope, Tensor
from cnnstat.frontends.expression import ExpressionError, evaluate, parse_expression
from cnnstat.frontends.items import ItemReader, fail, shifted, templates
from cnnstat.frontends.measure import Measure
from cnnstat.frontends.request import Request, input_shape, resolve_inputs
from cnnstat.frontends.yaml_tree import Mapping, Scalar, Tree
from cnnstat.ir.graph import Edge, Graph, Input
from cnnstat.passes.shapes import infer_shapes
from cnnstat.units import check_dtype

Finder = Callable[[str, Path], Path]
"""Maps what stands behind `extends:` and the directory of the spec to a path."""

_SEVERAL_INPUTS = Edge(-1)
"""Stands before the first layer of a network with several inputs: nothing may read it without saying which."""


def read_spec(path: Path, request: Request, find: Finder, *, name: str = "", source: str = "") -> Graph:
    """Return the graph of a spec file; raises SpecError with every fault that could be told apart."""
    return _compile(read_document(path, find, name), request, source or str(path))


def parse_spec(text: str, request: Request | None = None, *, file: str = "<text>", find: Finder | None = None) -> Graph:
    """Return the graph of a spec text; `file` is what errors call it."""
    return _compile(parse_document(text, file, find or _nowhere), request or Request(), file)


def _nowhere(name: str, directory: Path) -> Path:
    """Refuse to extend anything."""
    raise CnnstatError(f"{name[:60]} cannot be extended from a text; put the spec into a file")


def _compile(document: Document, request: Request, source: str) -> Graph:
    """Return the graph of a document under a request."""
    try:
        return _graph(document, request, source)
    except RecursionError:
        fail(document.location, "blocks and lists are nested too deeply")


def _graph(document: Document, request: Request, source: str) -> Graph:
    """Return the graph of a document, or raise SpecError with all its faults."""
    problems = document.problems
    variables = _variables(document, request)
    dtype = _dtype(document, request)
    inputs = _inputs(document, variables, dtype, request)
    callables = {*ops.names(), *document.blocks}
    reader = ItemReader(callables, (*ops.names(), *document.blocks), problems)
    expander = Expander(
        reader=reader,
        blocks=document.blocks,
        variables=variables,
        arity=len(inputs),
        values={i.name: Edge(index) for index, i in enumerate(inputs)},
        problems=problems,
    )
    if document.layers is None:
        fail(document.location, "the spec has no layers:; write the list of layers")
    items = reader.items(document.layers)
    Measure(reader, document.blocks, variables).items(items, variables)
    start: Tensor = Edge(0) if len(inputs) == 1 else _SEVERAL_INPUTS
    last = expander.items(items, variables, Scope(), start)
    outputs = _outputs(document, expander, last)
    if not expander.nodes and not problems:
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
    if problems:
        raise SpecError(_sorted(problems, graph))
    return graph


def _about(document: Document) -> dict[str, Any]:
    """Return title, citation, notes and published figures."""
    texts = {"title": document.title, "cite": document.cite, "notes": document.notes}
    return {**{key: text for key, text in texts.items() if text}, "published": document.published}


def _sorted(problems: list[Problem], graph: Graph) -> list[Problem]:
    """Return all faults in the order of the file, those of shapes in the faultless parts included, each once."""
    try:
        infer_shapes(graph)
    except SpecError as error:
        problems = [*problems, *error.problems]
    unique = dict.fromkeys(problems)
    nowhere = Location("", 0, 0)
    return sorted(unique, key=lambda p: ((w := p.location or nowhere).file, w.line, w.column))


def _variables(document: Document, request: Request) -> dict[str, Any]:
    """Return the values of `let:`, later ones using earlier ones, overridden by the request."""
    check_variable_names(dict(request.variables), document)
    variables: dict[str, Any] = {}
    for name, tree in document.variables.items():
        try:
            variables[name] = (
                _override(request.variables[name], variables) if name in request.variables else _let(tree, variables)
            )
        except ExpressionError as error:
            where = shifted(tree, error.offset) if isinstance(tree, Scalar) else tree.location
            place = None if name in request.variables else where
            document.problems.append(Problem(place, f"{name}: {error}"))
    if document.problems:
        raise SpecError(document.problems)
    return variables


def _override(value: Any, variables: dict[str, Any]) -> Any:
    """Return what a value given by the caller means: text as an expression, or as a layer's name."""
    if isinstance(value, tuple):
        return list(value)
    return value if not isinstance(value, str) else _expression_or_word(value, variables)


def _let(tree: Tree, variables: dict[str, Any]) -> Any:
    """Return the value of a variable; quoted text and names of layers mean themselves."""
    if isinstance(tree, Scalar) and isinstance(tree.value, str):
        return _expression_or_word(tree.text, variables)
    if isinstance(tree, Mapping):
        fail(tree.location, "a variable holds a number, a word or a list")
    return tree_value(tree, variables)


def _expression_or_word(text: str, variables: dict[str, Any]) -> Any:
    """Return the value of an expression; a bare word or a layer that is no variable means its text."""
    node = parse_expression(text)
    head = node.func if isinstance(node, ast.Call) else node
    is_word = isinstance(head, ast.Name) and head.id not in variables
    is_layer = isinstance(head, ast.Name) and head.id in ops.names()
    if is_layer or (is_word and node is head and text not in ("true", "false", "null", "none")):
        return text
    return evaluate(text, variables)


def _dtype(document: Document, request: Request) -> str:
    """Return the dtype of weights and activations."""
    if request.dtype is not None:
        return check_dtype(request.dtype)
    if document.dtype is None:
        return "float32"
    try:
        return check_dtype(document.dtype.text)
    except CnnstatError as error:
        fail(document.dtype.location, str(error))


def _inputs(document: Document, variables: dict[str, Any], dtype: str, request: Request) -> tuple[Input, ...]:
    """Return the inputs of the network, batch included."""
    if not document.inputs:
        fail(document.location, "the spec has no input:; write the sizes without the batch, as in input: [3, 224, 224]")
    declared = []
    for name, (location, tree) in document.inputs.items():
        if name in document.variables:
            fail(location, f"{name} is both an input and a variable; rename one")
        declared.append((name, *_declared_input(tree, variables, dtype)))
    return resolve_inputs(declared, request)


def _declared_input(tree: Tree, variables: dict[str, Any], dtype: str) -> tuple[tuple[int, ...], str]:
    """Return sizes and dtype of `[3, 224, 224]` or `{shape: [128], dtype: int64}`."""
    shape, kind = tree, None
    if isinstance(tree, Mapping):
        for problem in tree.unknown_keys(("shape", "dtype")):
            raise SpecError([problem])
        shape, kind = tree.get("shape") or tree, tree.get("dtype")
    try:
        sizes = tree_value(shape, variables)
        sizes = sizes if isinstance(sizes, list) else [sizes]
        checked = input_shape(sizes, kind.text if isinstance(kind, Scalar) else None)
    except (ExpressionError, CnnstatError) as error:
        if isinstance(error, SpecError):
            raise
        fail(tree.location, f"{error}; write the sizes without the batch, as in [3, 224, 224]")
    return checked.sizes, checked.dtype or dtype


def _outputs(document: Document, expander: Expander, last: Tensor) -> list[Tensor]:
    """Return the tensors the network returns: those of `outputs:`, else the last one."""
    if document.outputs is None:
        return [last]
    try:
        return [expander.reference(t, {}, Scope()) for t in templates(document.outputs)]
    except SpecError as error:
        expander.problems.extend(error.problems)
        return []

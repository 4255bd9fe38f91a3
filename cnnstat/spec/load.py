"""Load: a spec, from a file or a text, to its layer graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnnstat.analysis.shapes import infer_shapes
from cnnstat.errors import CnnstatError, Location, Problem, SpecError
from cnnstat.garbage_collection import collector_paused
from cnnstat.ir.graph import Edge, Graph
from cnnstat.sources.request import Request
from cnnstat.spec.declarations import document_scope, network_dtype, network_inputs
from cnnstat.spec.expand import SEVERAL_INPUTS, Expander, Tensor
from cnnstat.spec.item_reader import ItemReader
from cnnstat.spec.items import Template
from cnnstat.spec.layer_count import LayerCount
from cnnstat.spec.problems import Abandoned, Problems, fail
from cnnstat.spec.scope import Scope
from cnnstat.spec.spec_document import SpecDocument, parse_document, read_document
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
    )
    if document.problems.faults:
        infer_shapes(graph)  # raises what is wrong with the faultless parts, so that one run reports both
    return graph


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

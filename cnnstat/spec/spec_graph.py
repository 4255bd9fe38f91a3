"""Load: a spec, from a file or a text, to its layer graph; what would grow too large is refused before.

Layers are counted before anything is built: blocks once for each set of arguments, and repeats are multiplied, so that
nested repeats and blocks that double each other cost nothing to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from cnnstat.analysis.shapes import infer_shapes
from cnnstat.errors import CnnstatError, Location, Problem, RequestError, SpecError
from cnnstat.ir.graph import Edge, Graph, Node, collector_paused
from cnnstat.ir.op import Op
from cnnstat.sources.request import Request
from cnnstat.spec.expand import SEVERAL_INPUTS, Expander, Tensor
from cnnstat.spec.expression_syntax import words_in
from cnnstat.spec.item_reader import ItemReader
from cnnstat.spec.items import Block, Call, Choice, Group, Item, Join, Meta, Template
from cnnstat.spec.scope import MAX_LAYERS, Scope
from cnnstat.spec.spec_document import (
    SpecDocument,
    document_scope,
    network_dtype,
    network_inputs,
    parse_document,
    read_document,
    spec_trees,
)
from cnnstat.spec.tree import Abandoned, Problems, Tree, fail
from cnnstat.spec.yaml_file import Finder

MAX_DEPTH = 100
"""Deepest nesting of lists within blocks within lists."""
MAX_STEPS = 5 * MAX_LAYERS
"""Most items to go through, those included that add no layer, and names behind `from:`."""
MAX_LISTS = 150_000
"""Most lists that are gone through while counting."""
MAX_EXAMINED = 3
"""Most blocks within blocks whose bodies are searched for the arguments that decide a size."""
MAX_KEPT = 16
"""Most specs that stay read for variants of them."""
MAX_KEPT_SIZES = 4096
"""Most combinations of values whose number of layers is known to be allowed."""


def read_spec(path: Path, request: Request, find: Finder, *, source: str = "", file: str = "") -> Graph:
    """Return the graph of a spec file; `file` is what errors call it, its path unless given.

    Raises SpecError with every fault that could be told apart.
    """
    file = file or str(path)
    trees = spec_trees(path, find, file)
    return _compiled(lambda problems: read_document(path, find, problems, file), request, file, source or str(path),
                     (path, trees) if trees else None)  # fmt: skip


def parse_spec(text: str, request: Request | None = None, *, file: str = "<text>", find: Finder | None = None) -> Graph:
    """Return the graph of a spec text; `file` is what errors call it."""
    return _compiled(
        lambda problems: parse_document(text, file, find or _nowhere, problems), request or Request(), file, file, None
    )


def _nowhere(name: str, directory: Path) -> Path:
    raise CnnstatError(f"{name[:60]} cannot be extended from a text; put the spec into a file")


class _ReadSpec:
    """A document with what is found out once for all its variants, which differ in values of its variables.

    ops: those that calls have made. nodes, scope: of the last variant. sizes: values of `deciding`, the variables that
    the number of layers may depend on, for which it is known to be allowed.
    """

    def __init__(self, document: SpecDocument) -> None:
        self.document = document
        self.reader = ItemReader(document)
        self.ops: dict[Hashable, Op] = {}
        self.nodes: list[Node] = []
        self.scope: Scope | None = None
        self.sizes: set[Hashable] = set()
        self.deciding: tuple[str, ...] = ()
        self._lists = 0

    def before(self) -> dict[str, Node]:
        """Return the nodes of the last variant by name."""
        return {node.name: node for node in self.nodes}

    def check_size(self, items: tuple[Item, ...], scope: Scope) -> None:
        """Refuse what grows too large, before a single node is made."""
        if self.scope is not None:
            if self._lists != self.reader.count:  # the last variant read blocks that none had read before
                self._lists, self.deciding = self.reader.count, self._deciding()
                self.sizes.clear()
            if len(self.sizes) < MAX_KEPT_SIZES:
                self.sizes.add(self._size(self.scope))
            if self._size(scope) in self.sizes:
                return
        LayerCount(self.reader).items(items, scope)

    def _size(self, scope: Scope) -> Hashable:
        return scope.key("", [scope[name] for name in self.deciding])

    def _deciding(self) -> tuple[str, ...]:
        reader, count = self.reader, LayerCount(self.reader)
        blocks = [block for block in reader.blocks.values() if reader.has_read(block.body)]
        lists = [reader.items(each) for each in (self.document.layers, *(block.body for block in blocks))]
        words = {word for each in lists for word in count.deciding_words(each)}
        defaults = [default for block in blocks for _, default in block.parameters if default is not None]
        words.update(word for default in defaults for word in words_in(default.written))
        return tuple(name for name in self.document.variables if name in words)


_kept: dict[Hashable, tuple[Any, _ReadSpec]] = {}
"""Specs that were read without a fault, by their paths and trees; taken out while a graph is made of one."""


def _compiled(
    read: Callable[[Problems], SpecDocument],
    request: Request,
    file: str,
    source: str,
    known_as: tuple[Path, tuple[Tree, ...]] | None,
) -> Graph:
    """Return the graph of a document under a request, or raise SpecError with all its faults.

    known_as: file and trees of the document, if it is to stay read.
    """
    problems = Problems()
    key = None if known_as is None else (known_as[0], *map(id, known_as[1]))  # the trees are kept with it
    try:
        with collector_paused():
            _, spec = _kept.pop(key, None) or (None, _ReadSpec(read(problems)))
            problems = spec.document.problems
            graph = _graph(spec, request, source)
    except SpecError as error:
        raise SpecError([*problems.faults, *error.problems]) from None
    except Abandoned as stop:
        last = [Problem(stop.location or Location(file, 1, 1), str(stop))] if str(stop) else []
        raise SpecError([*problems.faults, *last]) from None
    except RecursionError:
        raise SpecError([Problem(Location(file, 1, 1), "blocks and lists are nested too deeply")]) from None
    if problems.faults:
        raise problems.error()
    if key is not None:
        _kept[key] = known_as, spec
        if len(_kept) > MAX_KEPT:
            _kept.clear()
    return graph


def _graph(spec: _ReadSpec, request: Request, source: str) -> Graph:
    """Return the graph of a document; where faults are noted it holds the faultless parts."""
    document, reader = spec.document, spec.reader
    scope = document_scope(document, request.variables)
    dtype = network_dtype(document, request)
    inputs = network_inputs(document, scope, dtype, request)
    expander = Expander(
        reader, len(inputs), {i.name: Edge(index) for index, i in enumerate(inputs)}, spec.ops, spec.before()
    )
    expander.shapes += [(each.shape,) for each in inputs]
    if document.layers is None:
        fail(document.location, "the spec has no layers:; write the list of layers")
    items = reader.items(document.layers)
    spec.check_size(items, scope)
    last = expander.items(items, scope, Edge(0) if len(inputs) == 1 else SEVERAL_INPUTS)
    outputs = _outputs(document, expander, scope, last)
    spec.nodes, spec.scope = expander.nodes, scope
    if not expander.nodes and not document.problems.faults:
        fail(document.layers.location, "layers: is empty; a network has at least one layer")
    graph = Graph(
        name=document.name,
        inputs=inputs,
        nodes=tuple(map(_without_copies, expander.nodes) if _is_changed(request) else expander.nodes),
        outputs=tuple(edge for edge in outputs if edge is not None and edge.value >= 0),
        dtype=dtype,
        source=source,
        blocks=expander.labels,
        about=_about(document, request),
        saved_bytes=None if _is_changed(request) else document.saved_bytes,
    )
    if document.problems.faults:
        infer_shapes(graph)  # raises what is wrong with the faultless parts, so that one run reports both
    return graph if document.deploy is None else _deployed(graph, document.deploy, request)


def _deployed(graph: Graph, precision: str, request: Request) -> Graph:
    """Return the network as its spec says it is shipped."""
    from cnnstat.analysis.transforms.deploy import deploy  # seldom asked for

    if request.dtype is not None:
        raise RequestError(f"--dtype {request.dtype}: the spec says deploy: {precision}; change it there")
    return deploy(graph, precision)


def _without_copies(node: Node) -> Node:
    """Return a node without the copies of its inputs, whose bytes hold for the sizes that the spec was exported at."""
    return replace(node, copies=()) if node.copies else node


def _is_changed(request: Request) -> bool:
    """Whether a request changes sizes, for which what was measured does not hold."""
    return bool(request.inputs or request.batch or request.dtype or request.variables)


def _about(document: SpecDocument, request: Request) -> dict[str, Any]:
    said: dict[str, Any] = {"title": document.title, "cite": document.cite, "notes": document.notes}
    if not (request.dtype or request.variables):
        said["further_file_bytes"] = document.further_file_bytes
    return {**{key: value for key, value in said.items() if value}, "published": document.published}


def _outputs(document: SpecDocument, expander: Expander, scope: Scope, last: Tensor) -> list[Tensor]:
    """Return the tensors the network returns: those of `outputs:`, else the last one."""
    if document.outputs is None:
        return [last]
    outputs: list[Tensor] = []
    for template in Template.read_all(document.outputs):
        try:
            edge = expander.reference(template, scope)
            if edge is not None and edge.output and 0 <= edge.value < expander.arity:
                fail(template.location, "an input is one tensor; write its name alone")
            outputs.append(edge)
        except SpecError as error:
            document.problems.extend(error.problems)
    return outputs


# How many layers -----------------------------------------------------------------------------------------------------


class Size(NamedTuple):
    """What an item expands to: layers, and steps that are taken on the way, at least one."""

    layers: int
    steps: int


class LayerCount:
    """Counts layers; raises Abandoned where a spec has too many or a block calls itself.

    known: sizes of blocks by their arguments. deciding: the words that the size of each list depends on. examined: the
    blocks that are being searched for such words. active: the blocks that are being counted. faults: items that could
    not be evaluated.
    """

    def __init__(self, reader: ItemReader) -> None:
        self.reader = reader
        self.blocks = reader.blocks
        self.known: dict[Hashable, Size] = {}
        self.deciding: dict[int, frozenset[str]] = {}
        self.examined: set[str] = set()
        self.active: list[str] = []
        self.depth = 0
        self.lists = 0
        self.faults = 0

    def items(self, items: tuple[Item, ...], scope: Scope) -> Size:
        """Return the size of a list."""
        self.lists += 1
        if self.lists > MAX_LISTS and items:
            raise Abandoned("more repetitions and blocks than can be counted, by here", items[0].meta.location)
        scope.budget.spend(len(items))
        layers, steps = 0, 1
        self.depth += 1
        for item in items:
            # Plain layers, which are nearly all items, are counted without a call for each.
            if isinstance(item, Call) and item.callee not in self.blocks and item.callee not in scope:
                layers, steps = layers + 1, steps + _steps(item)
                continue
            if self.depth > MAX_DEPTH:
                raise Abandoned(f"lists and blocks are nested more than {MAX_DEPTH} deep here", item.meta.location)
            size = self.item(item, scope)
            layers, steps = layers + size.layers, steps + size.steps
            _check(layers, steps, item.meta)
        self.depth -= 1
        if items:
            _check(layers, steps, items[-1].meta)
        return Size(layers, steps)

    def item(self, item: Item, scope: Scope) -> Size:
        """Return the size of one item; what cannot be evaluated counts once and is reported later."""
        depth, active = self.depth, len(self.active)
        try:
            match scope.chosen(item):
                case Call() as call:
                    return self._call(call, scope)
                case Group() as group:
                    return self._group(group, scope)
                case Join() as join:
                    return self._join(join, scope)
            return Size(0, 1)
        except SpecError:
            # The fault is reported when the item is expanded; here only the counters are put back.
            self.faults += 1
            self.depth = depth
            del self.active[active:]
            return Size(1, 1)

    def _call(self, call: Call, scope: Scope) -> Size:
        """Return the size of a layer or a block."""
        name = scope.callee(call, self.blocks)
        if name not in self.blocks:
            return Size(1, _steps(call))
        block = self.blocks[name]
        if name in self.active:
            raise Abandoned(f"the block {name} calls itself; write the repetition with repeat:", call.meta.location)
        body = scope.body(block, call)
        # By its arguments: a block that doubles itself through others would be counted 2ⁿ times otherwise.
        key = scope.key(name, [body[parameter] for parameter, _ in block.parameters])
        if key in self.known:
            return self.known[key]
        self.active.append(name)
        size = self.items(self.reader.items(block.body), body)
        self.active.pop()
        self.known[key] = size
        return size

    def _group(self, group: Group, scope: Scope) -> Size:
        """Return the size of a group with its repetitions."""
        values = scope.repetitions(group)
        # Where the variable decides nothing, one repetition is counted and multiplied: nested repeats of 100,000 would
        # otherwise take the time that the bound is there to save.
        if values and (group.variable is None or group.variable not in self.deciding_words(group.items)):
            faults = self.faults
            size = self.items(group.items, next(scope.rounds(group, values)))
            if group.variable is None or self.faults == faults:  # a fault of one round tells nothing of the others
                layers, steps = len(values) * size.layers, len(values) * size.steps
                _check(layers, steps, group.meta)
                return Size(layers, steps)
        layers, steps = 0, 1
        for inner in scope.rounds(group, values):
            size = self.items(group.items, inner)
            layers, steps = layers + size.layers, steps + size.steps
            _check(layers, steps, group.meta)
        return Size(layers, steps)

    def deciding_words(self, items: tuple[Item, ...]) -> frozenset[str]:
        """Return the words that the size of a list may depend on."""
        if id(items) not in self.deciding:
            self.deciding[id(items)] = frozenset(word for item in items for word in self._words(item))
        return self.deciding[id(items)]

    def _words(self, item: Item) -> Iterator[str]:
        """Yield the words that decide the size of an item: of conditions, repeats and arguments of blocks."""
        if item.meta.condition is not None:
            yield from words_in(item.meta.condition.written)
        if isinstance(item, Call) and item.callee in self.blocks:
            yield from self._argument_words(item, self.blocks[item.callee])
        elif isinstance(item, Call) and item.callee not in self.reader.callables:
            yield item.callee  # a variable, which may hold the name of a block
            yield from item.names
        groups: tuple[Group, ...] = ()
        if isinstance(item, Group):
            groups = (item,)
        elif isinstance(item, Join):
            groups = item.branches
        elif isinstance(item, Choice):
            groups = (item.then, item.otherwise)
        for group in groups:
            if group.repeat is not None:
                yield from words_in(group.repeat.written)
            yield from self.deciding_words(group.items)

    def _argument_words(self, call: Call, block: Block) -> Iterator[str]:
        """Yield the words of those arguments that the size of a block may depend on: depths, and seldom widths."""
        if block.name in self.examined or len(self.examined) == MAX_EXAMINED:
            # Too many words only cost time; one too few would let a network through that fills the memory.
            yield from call.names
            return
        self.examined.add(block.name)
        deciding = set(self.deciding_words(self.reader.items(block.body)))
        self.examined.discard(block.name)
        for _, default in block.parameters:  # which may mention other parameters
            if default is not None:
                deciding.update(words_in(default.written))
        names = [name for name, _ in block.parameters]
        for name, value in (*zip(names, call.positional), *call.keywords):
            if name in deciding:
                yield from words_in(value.written)

    def _join(self, join: Join, scope: Scope) -> Size:
        sizes = [self._group(branch, scope) for branch in join.branches]
        return Size(1 + sum(size.layers for size in sizes), 1 + sum(size.steps for size in sizes))


def _steps(call: Call) -> int:
    return 1 if call.meta.reads is None else 1 + len(call.meta.reads)


def _check(layers: int, steps: int, meta: Meta) -> None:
    if layers > MAX_LAYERS:
        raise Abandoned(f"the network grows to more than {MAX_LAYERS:,} layers here", meta.location)
    if steps > MAX_STEPS:
        message = f"more than {MAX_STEPS:,} items and names behind from: by here, all repetitions counted"
        raise Abandoned(message, meta.location)

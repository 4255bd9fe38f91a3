"""PyTorch: a graph as a file of modules that needs nothing but torch."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from cnnstat.analysis.shapes import infer_shapes
from cnnstat.export.blocks import block_kind
from cnnstat.export.entries import Argument, Entry, unused
from cnnstat.export.pytorch.layer_code import call_text, code_of, custom_modules, value_text
from cnnstat.export.pytorch.module_state import (
    IMPORTS,
    UNPACK,
    Tables,
    access_text,
    broken_scopes,
    has_mixed_dtypes,
    is_attribute,
    quoted,
)
from cnnstat.export.pytorch.module_tree import MODULE_NAMES, Scope, Scopes
from cnnstat.export.spec_names import with_variable_inputs
from cnnstat.export.template_slots import MOST_PARAMETERS, body_of, call_groups, sharing, structure
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ir.recorded_call import RecordedCalls
from cnnstat.ir.scopes import grouped

Instance = tuple[Entry, Scope]
"""A group as its parent holds it, and how it works."""


@dataclass(eq=False)
class Class:
    """A class of the file: what it is called, what its constructor takes, and a scope that shows how it works."""

    name: str
    parameters: tuple[Argument, ...]
    children: list[Entry]
    scope: Scope
    paths: list[str]


@dataclass
class Classes:
    """The classes found so far; kinds: what kind of module each scope is; taken: names that no class can have."""

    kinds: Mapping[str, str]
    taken: set[str]
    defined: list[Class] = field(default_factory=list)

    def define(self, groups: list[Instance]) -> None:
        """Define classes for all groups, those within others first, and make calls of the groups."""
        left = list(groups)
        while left:
            waiting = {id(entry) for entry, _ in left}
            ready = [each for each in left if not _holds(each[0], waiting)]
            left = [each for each in left if _holds(each[0], waiting)]
            alike: dict[Hashable, list[Instance]] = {}
            for entry, scope in ready:
                works = (tuple(scope.setup), tuple(scope.lines), tuple(scope.arguments))
                alike.setdefault((structure(entry, is_outermost=True), works), []).append((entry, scope))
            for instances in sorted(alike.values(), key=len, reverse=True):
                self._define(instances)

    def _define(self, instances: list[Instance]) -> None:
        """Define a class for groups that work alike; where too much differs, one for each set of equal ones."""
        scopes = {id(entry): scope for entry, scope in instances}
        entries = [entry for entry, _ in instances]
        for same, parameters in sharing(entries, MOST_PARAMETERS, {"self", "nn", "torch", "F"}):
            children = body_of(same[0], parameters)
            name = self._name(same[0].path)
            arguments = call_groups(name, same, parameters, is_text=False).arguments
            paths = [entry.path for entry in same]
            self.defined.append(Class(name, arguments, children, scopes[id(same[0])], paths))

    def _name(self, path: str) -> str:
        """Return a name for the class of a group that nothing else has."""
        kind = block_kind(path, self.kinds)
        name = kind[:1].upper() + kind[1:]
        name = unused(name, self.taken, "")
        self.taken.add(name)
        return name


def _holds(entry: Entry, groups: set[int]) -> bool:
    """Whether a group holds others that still have to become instances of classes."""
    return any(id(each) in groups for inner in entry.inner for each in inner.walk())


_PLACE = '''def place(root, path, what, persistent=True):
    """Register a module, parameter or buffer under a dotted path."""
    *above, name = path.split(".")
    for part in above:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]
    if isinstance(what, nn.Module):
        root.add_module(name, what)
    elif isinstance(what, nn.Parameter):
        root.register_parameter(name, what)
    else:
        root.register_buffer(name, what, persistent=persistent)
'''

LONGEST_LINE = 100
SHORTEST_RUN = 3
_INDENT = "    "


def _without_constant_products(graph: Graph) -> Graph:
    """Return a graph without the rows of products of constants, which are computed where they are read."""
    read = {edge.value - graph.arity for node in graph.nodes for edge in node.inputs}
    read |= {edge.value - graph.arity for edge in graph.outputs}
    read |= {node.shares for node in graph.nodes if node.shares is not None}
    places: list[int] = list(range(graph.arity))
    remaining: list[Node] = []
    for index, node in enumerate(graph.nodes):
        places.append(graph.arity + len(remaining))
        is_computed = isinstance(node.recorded, RecordedCalls) and node.recorded.calls and not node.recorded.stored
        if node.inputs or index in read or not is_computed:
            remaining.append(node)
    if len(remaining) == len(graph.nodes):
        return graph

    def moved(edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
        return tuple(Edge(places[value], output) for value, output in edges)

    nodes = (
        replace(
            node,
            inputs=moved(node.inputs),
            shares=None if node.shares is None else places[graph.arity + node.shares] - graph.arity,
        )
        for node in remaining
    )
    return replace(graph, nodes=tuple(nodes), outputs=moved(graph.outputs))


def torch_text(graph: Graph, title: str) -> str:
    """Return a graph as a Python file with one class for the network and one for each kind of group in it.

    Raises CnnstatError for a layer of which it is not known what it computes, SpecError where an op refuses its inputs.
    """
    sound, remarks = with_variable_inputs(_without_constant_products(graph))
    tables = Tables({"F", "Place"})
    scopes = Scopes(sound, infer_shapes(sound), set(MODULE_NAMES), tables)
    root = scopes.root(grouped(sound, broken_scopes(sound)))
    taken = {"Tensor", "F", "Place", *custom_modules()}
    name = _network_name(graph.name, taken)
    definitions = Classes(sound.blocks, taken)
    definitions.define(scopes.known)
    classes = [*definitions.defined, Class(name, (), root.children, root, [])]
    imports, helpers = code_of(scopes.built & custom_modules())
    bodies = [*helpers, *(_class_text(each, sound, remarks) for each in classes)]
    if any("place(self" in body for body in bodies):
        bodies.insert(0, _PLACE.rstrip())
    if any("OrderedDict(" in body for body in bodies):
        imports = ["from collections import OrderedDict", *imports]
    if tables.texts:
        bodies[:0] = [UNPACK.rstrip(), "\n".join(f"{table} = {text}" for table, text in tables.texts.items())]
        imports = [*IMPORTS, *imports]
    bodies.append(_demo(name, sound))
    tensor = "Tensor, " * ("from torch import Tensor" in imports)
    further = [line for line in imports if line.startswith("from torch.")]
    lines = ["import torch", f"from torch import {tensor}nn"]
    lines += ["from torch.nn import functional as F"] if any("F." in body for body in bodies) else []
    if any("torch.ops.torchvision." in body for body in bodies):
        lines.append("import torchvision  # noqa: F401  # for its operations")
    lines = [*(line for line in imports if "torch" not in line), "", *lines, *further]
    return (
        f'"""{_docstring(sound, title)}\n"""\n\n'
        + "\n".join(lines).lstrip("\n")
        + "\n\n\n"
        + "\n\n\n".join(bodies)
        + "\n"
    )


def _network_name(name: str, taken: set[str]) -> str:
    words = re.findall(r"[A-Za-z0-9]+", name)
    class_name = "".join(word[:1].upper() + word[1:] for word in words)
    class_name = class_name if class_name[:1].isalpha() else f"Network{class_name}"
    while class_name in taken:
        class_name += "_"
    taken.add(class_name)
    return class_name


def _docstring(graph: Graph, title: str) -> str:
    texts = [str(graph.about.get(key, "")) for key in ("title", "cite")]
    paragraphs = [" ".join(text.split()) for text in (*filter(None, texts), title)]
    return "\n\n".join(_safe(text) + "." * (not text.endswith(".")) for text in paragraphs)


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).replace("\\", "/").replace('"""', "'''").rstrip('"')


# Classes -------------------------------------------------------------------------------------------------------------


def _class_text(each: Class, graph: Graph, remarks: list[str]) -> str:
    summary = _uses(each.paths) if each.paths else "The network."
    lines = [f"class {each.name}(nn.Module):", f'{_INDENT}"""{summary}"""', ""]
    lines += [f"{_INDENT}# {_safe(remark)}" for remark in remarks if not each.paths]
    taken = ", ".join(("self", *map(_parameter_text, each.parameters)))
    lines += [f"{_INDENT}def __init__({taken}):", f"{_INDENT * 2}super().__init__()"]
    lines += [line for entry in each.children for line in _child(entry)]
    lines += [f"{_INDENT * 2}{line}" for line in each.scope.setup]
    if not each.paths and graph.dtype != "float32" and not has_mixed_dtypes(graph):
        lines.append(f"{_INDENT * 2}self.to(torch.{graph.dtype})")
    lines += ["", f"{_INDENT}def forward({', '.join(('self', *each.scope.arguments))}):"]
    return "\n".join((*lines, *(f"{_INDENT * 2}{line}" for line in each.scope.lines)))


def _uses(paths: list[str]) -> str:
    """Return where a class is used, as far as a line reaches."""
    count = next(n for n in range(4, 0, -1) if n == 1 or sum(map(len, paths[:n])) < LONGEST_LINE - 30)
    return f"Used as {', '.join(paths[:count])}{', …' if len(paths) > count else '.'}"


def _parameter_text(parameter: Argument) -> str:
    return parameter.name if parameter.is_positional else f"{parameter.name}={value_text(parameter.default)}"


def _child(entry: Entry) -> list[str]:
    label = entry.label or ""
    built = _built(entry, _INDENT * 2)
    if is_attribute(label):
        lines = [f"self.{label} = {built}"]
    elif "." in label:
        lines = [f"place(self, {quoted(label)}, {built})"]
    else:
        lines = [f"self.add_module({quoted(label)}, {built})"]
    if entry.keys.get("frozen"):
        lines.append(f"{access_text(label)}.requires_grad_(False)")
    return [f"{_INDENT * 2}{line}" for line in lines]


def _built(entry: Entry, margin: str) -> str:
    """Return the expression that makes a module; a sequence of several lines is indented by `margin`."""
    if entry.call is not None:
        return call_text(entry.call)
    labels = [each.label or "" for each in entry.inner]
    if labels != list(map(str, range(len(labels)))):
        return _named_sequence(labels, [_built(each, margin + _INDENT) for each in entry.inner], margin)
    inner = _with_runs([_built(each, margin + _INDENT) for each in entry.inner])
    text = f"nn.Sequential({', '.join(inner)})"
    if len(margin) + len(text) + 16 <= LONGEST_LINE and "\n" not in text:
        return text
    lines = "".join(f"{margin}{_INDENT}{each},\n" for each in inner)
    return f"nn.Sequential(\n{lines}{margin})"


def _named_sequence(labels: list[str], texts: list[str], margin: str) -> str:
    stem = labels[0].rstrip("0123456789")
    first = labels[0].removeprefix(stem)
    if len(set(texts)) == 1 and len(texts) >= SHORTEST_RUN and first.isdecimal() and "\n" not in texts[0]:
        numbers = range(int(first), int(first) + len(labels))
        if labels == [f"{stem}{number}" for number in numbers]:
            counted = f"range({len(labels)})" if first == "0" else f"range({first}, {numbers.stop})"
            return f'nn.Sequential(OrderedDict((f"{stem}{{i}}", {texts[0]}) for i in {counted}))'
    lines = "".join(f"{margin}{_INDENT}{label}={text},\n" for label, text in zip(labels, texts))
    return f"nn.Sequential(OrderedDict(\n{lines}{margin}))"


def _with_runs(texts: list[str]) -> list[str]:
    """Return the members of a sequence, runs of equal ones as comprehensions."""
    members: list[str] = []
    for text, run in groupby(texts):
        count = len(list(run))
        is_long = count >= SHORTEST_RUN and "\n" not in text
        members += [f"*({text} for _ in range({count}))"] if is_long else [text] * count
    return members


def _demo(name: str, graph: Graph) -> str:
    examples = ", ".join(map(_example, graph.inputs))
    result = "[tuple(y.shape) for y in model({})]" if len(graph.outputs) != 1 else "tuple(model({}).shape)"
    lines = ["model = " + f"{name}().eval()", "with torch.no_grad():", f"{_INDENT}print({result.format(examples)})"]
    return "\n".join(('if __name__ == "__main__":', *(f"{_INDENT}{line}" for line in lines)))


def _example(declared: Input) -> str:
    sizes = ", ".join(map(str, declared.shape))
    if not declared.dtype.startswith(("float", "bfloat")):
        return f"torch.zeros(({sizes}{',' * (len(declared.shape) == 1)}), dtype=torch.{declared.dtype})"
    return f"torch.rand({sizes or '()'}" + (f", dtype=torch.{declared.dtype})" if declared.dtype != "float32" else ")")

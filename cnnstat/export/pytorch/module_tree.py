"""The module tree: every group of a graph with its children and the lines of its forward method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cnnstat.analysis.shapes import Values
from cnnstat.export.entries import Argument, Call, Entry, Expression
from cnnstat.export.outline import JOINS
from cnnstat.export.pytorch.layer_code import constructor_of, function_call
from cnnstat.export.pytorch.local_variables import (
    ARGUMENTS,
    LIST,
    Step,
    Variables,
    assignment,
    collapsed,
    growing_run,
    in_a_row,
    variable_name,
)
from cnnstat.export.pytorch.module_state import (
    Tables,
    access_text,
    constant_label,
    dtype_lines,
    dtype_to_build,
    has_mixed_dtypes,
    is_attribute,
    module_tensors,
    not_exported,
    operands_of,
    quoted,
    register_stored,
    stated_tensors,
    stored_access,
)
from cnnstat.export.pytorch.recorded_code import Lines, foreign_operation
from cnnstat.ir.graph import Edge, Graph, Node
from cnnstat.ir.op import Shapes
from cnnstat.ir.recorded_call import NotRecorded, RecordedCalls
from cnnstat.ir.scopes import Unit, nodes_of, prefixes
from cnnstat.ops.traced import UNUSED, Applied, Recorded

_NAMES = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules
mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule
share_memory state_dict to to_empty train training type xpu zero_grad
"""
MODULE_NAMES = frozenset(_NAMES.split())
"""Attributes of every module, which no child can be called."""


@dataclass(eq=False)
class Scope:
    """A group: its children, parameters of its own, the arguments and lines of its forward method, and its results."""

    path: str
    children: list[Entry] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    reads: tuple[Edge, ...] = ()
    makes: tuple[Edge, ...] = ()
    is_chain: bool = True


@dataclass
class Scopes:
    """Turns the groups of a graph into scopes.

    reserved: names that no child can have. tables: gets values of buffers and constants. built: the kinds of modules
    that are built. known: all groups but those that are mere sequences. is_mixed: whether tensors are made in dtypes of
    their own.
    """

    graph: Graph
    values: Values
    reserved: set[str]
    tables: Tables
    built: set[str] = field(default_factory=set)
    known: list[tuple[Entry, Scope]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find out who reads what."""
        self._readers: dict[Edge, int] = {}
        for index, node in enumerate(self.graph.nodes):
            for edge in node.inputs:
                self._readers[edge] = index
        self._placed = module_tensors(self.graph, self.values)
        self.is_mixed = has_mixed_dtypes(self.graph)
        # Where all tensors have one dtype, they are made in float32 and converted together at the end.
        self._stated_dtype = self.graph.dtype if self.is_mixed else "float32"

    def root(self, units: tuple[Unit, ...]) -> Scope:
        """Return the scope of the whole network."""
        scope = self._scope(units, "", tuple(map(Edge, range(self.graph.arity))), self.graph.outputs)
        scope.setup += self._aliases()
        return scope

    def _aliases(self) -> Iterator[str]:
        """Yield the lines that give modules and stored tensors their further names, as a state dict has them."""
        recorded = [node.recorded for node in self.graph.nodes if isinstance(node.recorded, RecordedCalls)]
        names = self._placed | {stored.name for calls in recorded for stored in calls.stored}
        modules = {path for name in names for path in prefixes(name)}
        for alias, first in self.graph.aliases.items():
            label, path = self._attribute(alias), self._attribute(first)
            if first in modules and alias not in modules:
                module = access_text(path)
                yield f"self.{label} = {module}" if is_attribute(label) else f"place(self, {quoted(label)}, {module})"
            elif first in names and alias not in names:
                home, _, own = path.rpartition(".")
                home = access_text(home) if home else "self"
                tensor = f"{home}.{own}" if is_attribute(own) else f"getattr({home}, {quoted(own)})"
                yield f"place(self, {quoted(label)}, {tensor})"

    def _scope(self, units: Iterable[Unit], path: str, reads: tuple[Edge, ...], makes: tuple[Edge, ...]) -> Scope:
        """Return a scope: first what is inside it, then the lines that call that."""
        scope = Scope(path, reads=reads, makes=makes)
        inside = f"{path}." if path else ""
        steps: list[tuple[Step, Unit]] = []
        for unit in units:
            steps.append((self._group(unit, scope, inside) if unit.scope else self._leaf(unit, scope, inside), unit))
        plain = [step for step, _ in steps]
        variables = Variables(plain, makes, self._input_variables(scope, plain))
        variables.lists |= {ARGUMENTS: len(scope.reads)} if scope.arguments == [f"*{ARGUMENTS}"] else {}
        before, run = scope.reads, 0
        for number, (step, unit) in enumerate(steps):
            run = run - 1 if run else growing_run(plain, number, variables.live)
            is_module = self._write(scope, step, unit, inside, variables, grows=run > 0)
            scope.is_chain &= is_module and len(step.reads) == len(step.makes) == 1 and step.reads == before
            before = step.makes
        scope.is_chain &= before == scope.makes
        self._finish(scope, variables)
        return scope

    def _input_variables(self, scope: Scope, steps: Sequence[Step]) -> dict[Edge, str]:
        names: dict[Edge, str] = {}
        if scope.path and self._only_joins(scope, steps):
            scope.arguments = [f"*{ARGUMENTS}"]
            return {edge: f"{ARGUMENTS}[{number}]" for number, edge in enumerate(scope.reads)}
        for number, edge in enumerate(scope.reads):
            # Groups that work alike share one class only if their arguments are called alike.
            name = variable_name(self.graph.value_name(edge.value)) if not scope.path else ""
            name = name or ("xyzwvu"[number] if number < 6 else f"x{number}")
            while name in names.values():
                name += "_"
            names[edge] = name
        scope.arguments = list(names.values())
        return names

    def _only_joins(self, scope: Scope, steps: Sequence[Step]) -> bool:
        """Whether a group takes any number of tensors, concatenates them, and needs them no more."""
        first = self.graph.nodes[steps[0].makes[0].value - self.graph.arity] if steps and steps[0].makes else None
        if first is None or JOINS.get(first.op.kind) != "concat" or first.recorded is not None:
            return False
        return steps[0].reads == scope.reads and not any(set(step.reads) & set(scope.reads) for step in steps[1:])

    def _group(self, unit: Unit, scope: Scope, inside: str) -> Step:
        """Add a group as a child, and return the step that calls it."""
        nodes = list(nodes_of(unit))
        first, last = nodes[0], nodes[-1]
        results_within = {
            Edge(self.graph.arity + n, k) for n in nodes for k in range(len(self.values.outputs[self.graph.arity + n]))
        }
        reads = tuple(dict.fromkeys(e for n in nodes for e in self.graph.nodes[n].inputs if e not in results_within))
        results = set(self.graph.outputs)
        makes = tuple(
            e for e in sorted(results_within, reverse=True) if e in results or self._readers.get(e, first) > last
        )
        inner = self._scope(unit.lists[0], unit.scope, reads, makes)
        entry = Entry(label=self._attribute(unit.scope[len(inside) :]), lists=[inner.children], path=unit.scope)
        scope.children.append(entry)
        if not inner.is_chain:
            self.known.append((entry, inner))
        return Step(unit.scope[len(inside) :], reads, makes, in_a_row(len(makes)))

    def _leaf(self, unit: Unit, scope: Scope, inside: str) -> Step:
        """Add a layer as a child where it has a module, and return the step that calls it."""
        assert unit.node is not None
        node = self.graph.nodes[unit.node]
        op, inputs = node.op, self.values.inputs[unit.node]
        makes = tuple(Edge(unit.out.value, number) for number in range(len(self.values.outputs[unit.out.value])))
        if isinstance(node.recorded, NotRecorded):
            raise not_exported(node, node.recorded.reason)
        if isinstance(node.recorded, RecordedCalls) and (foreign := foreign_operation(node.recorded)):
            raise not_exported(node, f"{foreign} is of a library that PyTorch does not bring along")
        label = node.name[len(inside) :]
        if node.home.startswith(inside):
            label = node.home[len(inside) :] or label
        if isinstance(node.recorded, RecordedCalls) and not self._is_at_home(node, inside):
            self._register(node, node.recorded, scope, inside)
            return Step(label, node.inputs, makes if node.recorded.results else (), in_a_row(len(makes)))
        if isinstance(op, Recorded):
            self._register(node, stated_tensors(node, op, (), self._stated_dtype), scope, inside)
            if op.function == UNUSED:
                return Step(label, (), (), "")
            return Step(label, node.inputs, makes, in_a_row(len(makes)))
        if isinstance(op, Applied):
            inputs = tuple(inputs[o] if isinstance(o, int) else o for o in op.operands)
            names = operands_of(node, op, len(self.values.inputs[unit.node]))
            self._register(node, stated_tensors(node, op, names, self._stated_dtype), scope, inside)
            op = op.op
        constructor = constructor_of(op, inputs)
        if constructor is not None:
            self.built.add(constructor.callee)
            if not self._is_called_again(unit.node):
                if self.is_mixed and node.shares is None:
                    constructor = self._in_own_dtype(constructor, node, inputs, label, scope)
                entry = Entry(label=self._attribute(label), call=constructor)
                if not node.trainable and op.weights(inputs):
                    entry.keys["frozen"] = True
                scope.children.append(entry)
                if node.shares is not None:
                    own, theirs = self._access(label), self._access(self.graph.nodes[node.shares].name[len(inside) :])
                    tied = (*op.weights(inputs), *op.buffers(inputs))
                    scope.setup += [f"{own}.{name} = {theirs}.{name}" for name in tied]
        return Step(label, node.inputs, makes, op.torch_results(len(makes)))

    def _register(self, node: Node, recorded: RecordedCalls, scope: Scope, inside: str) -> None:
        """Add what registers the stored tensors of a call, as far as no layer has them."""
        scope.setup += register_stored(
            node, recorded, inside, self._placed, self.tables, self._attribute, is_mixed=self.is_mixed
        )

    def _in_own_dtype(self, constructor: Call, node: Node, inputs: Shapes, label: str, scope: Scope) -> Call:
        """Return a call that builds a layer in its own dtype; what it cannot build so is added to the scope's setup."""
        built = "float32"
        if constructor.callee.startswith("nn.") and node.op.weights(inputs):
            built = dtype_to_build(node, inputs, self.graph.dtype)
            dtype = Argument("dtype", Expression(f"torch.{built}"), Expression("torch.float32"))
            constructor = constructor._replace(arguments=(*constructor.arguments, dtype))
        scope.setup += dtype_lines(node, inputs, self.graph.dtype, self._access(label), built)
        return constructor

    def _is_at_home(self, node: Node, inside: str) -> bool:
        """Whether a layer stands as a module within its scope, under the path that its weights have."""
        return bool(node.home) and node.home.startswith(inside)

    # Lines -----------------------------------------------------------------------------------------------------------

    def _write(self, scope: Scope, step: Step, unit: Unit, inside: str, variables: Variables, *, grows: bool) -> bool:
        """Add the line that takes one step; whether that calls a module with what it reads, and nothing more.

        grows: whether a list of all that the next steps read gets its result.
        """
        reads = [variables[edge] for edge in step.reads]
        if grows and LIST not in variables.lists:
            scope.lines.append(f"{LIST} = [{', '.join(reads)}]")
            variables.collect(step.reads, LIST)
            reads = [variables[edge] for edge in step.reads]
        if unit.scope:
            text = f"{self._access(step.label)}({', '.join(reads)})"
        else:
            assert unit.node is not None
            step, text = self._leaf_text(unit.node, step, reads, inside, scope, variables)
        is_module = text == f"{self._access(step.label)}({', '.join(reads)})"
        for name, count in variables.lists.items():
            text = collapsed(text, name, count)
        targets = variables.targets(step)
        if grows:
            variables.collect((*step.reads, *step.makes), LIST)
            scope.lines.append(f"{LIST}.append({text})")
        elif text and text != targets:
            scope.lines.append(assignment(targets, text))
        return is_module

    def _leaf_text(
        self, index: int, step: Step, reads: list[str], inside: str, scope: Scope, variables: Variables
    ) -> tuple[Step, str]:
        """Return the expression of a layer and its step; lines that come before it are added."""
        node = self.graph.nodes[index]
        if not isinstance(node.recorded, RecordedCalls) or self._is_at_home(node, inside):
            return step, self._expression(index, step, reads, inside)
        kinds = {each.name: "parameter" if each.is_parameter else "buffer" for each in node.recorded.stored}
        lines, text, pattern = Lines(
            node.recorded,
            reads,
            lambda name: stored_access(self._attribute(name.removeprefix(inside)), kinds[name]),
            lambda number: f"self.{constant_label(node, number)}",
            variables.live,
        ).written()
        scope.lines += lines
        return step._replace(pattern=pattern), text

    def _expression(self, index: int, step: Step, reads: list[str], inside: str) -> str:
        node = self.graph.nodes[index]
        op, shapes = node.op, self.values.inputs[index]
        if isinstance(op, Recorded):
            if op.function == UNUSED:
                return ""
            raise not_exported(node, "only its shapes and its work are known, not what it computes")
        if isinstance(op, Applied):
            names = operands_of(node, op, len(shapes))
            shapes = tuple(shapes[o] if isinstance(o, int) else o for o in op.operands)
            reads = [self._operand(name, reads, inside) for name in names]
            op = op.op
        if not op.is_torch_module:
            return function_call(op, reads, shapes)
        label = step.label
        if node.shares is not None and self._is_called_again(index):
            label = self.graph.nodes[node.shares].name[len(inside) :]
        return op.torch_code(self._access(label), reads, {})

    def _is_called_again(self, index: int) -> bool:
        """Whether a node calls the very module of the node whose weights it shares."""
        node = self.graph.nodes[index]
        owner = None if node.shares is None else self.graph.nodes[node.shares]
        if owner is None or node.shares is None or owner.recorded is not None:
            return False
        theirs, own = self.values.inputs[node.shares], self.values.inputs[index]
        return owner.op == node.op and owner.op.torch_arguments(theirs) == node.op.torch_arguments(own)

    def _operand(self, name: int | float | str, reads: list[str], inside: str) -> str:
        if isinstance(name, str):
            return self._access(name.removeprefix(inside))
        return reads[name] if isinstance(name, int) else repr(name)

    def _finish(self, scope: Scope, variables: Variables) -> None:
        """Add the line that returns the results."""
        # What is placed inside another child needs it to be there.
        scope.children.sort(key=lambda entry: (entry.label or "").count("."))
        results = ", ".join(variables[edge] for edge in scope.makes)
        names = [entry.label for entry in scope.children]
        scope.is_chain = (
            scope.is_chain
            and bool(scope.path)
            and not scope.setup
            and self._is_sequence(scope.path, [name or "" for name in names])
            and len(names) == len(scope.lines)
            and not any(entry.keys for entry in scope.children)
        )
        if scope.lines and scope.lines[-1].startswith(f"{results} = ") and len(scope.makes) == 1:
            scope.lines[-1] = f"return {scope.lines[-1].partition(' = ')[2]}"
        else:
            scope.lines.append(f"return {results}" if results else "return ()")

    def _is_sequence(self, path: str, labels: list[str]) -> bool:
        """Whether children are called as those of nn.Sequential: by numbers, or by names if it is one in the model."""
        if labels == list(map(str, range(len(labels)))):
            return True
        return self.graph.blocks.get(path) == "Sequential" and all(map(is_attribute, labels))

    # Names -----------------------------------------------------------------------------------------------------------

    def _attribute(self, label: str) -> str:
        """Return a label as modules can have it; what nn.Module uses itself gets a `_`, as in `cnnstat.build`."""
        return ".".join(f"{part}_" if part in self.reserved else part for part in label.split("."))

    def _access(self, label: str) -> str:
        return access_text(self._attribute(label))

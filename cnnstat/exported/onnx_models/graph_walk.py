"""The walk over an ONNX graph: shapes node by node, and a layer for each node that an input of the model decides."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
import onnx

from cnnstat.choices import words
from cnnstat.errors import CnnstatError, OpError, printable
from cnnstat.exported.layer_builder import LayerBuilder, Match, Operand
from cnnstat.exported.onnx_models.call import PREVIOUS, Call
from cnnstat.exported.onnx_models.constants import constant_sources, sequence_results, tensor_uses
from cnnstat.exported.onnx_models.node_names import classes_of, label_of, scopes_in
from cnnstat.exported.onnx_models.node_shapes import ShapeError, ShapeRules
from cnnstat.exported.onnx_models.operations import counted_as, recorded, steps_of
from cnnstat.exported.onnx_models.runtime_ops import COPIES
from cnnstat.exported.onnx_models.topological_order import OrderError, in_order
from cnnstat.exported.onnx_models.values import STRING, Value, of_array, of_tensor
from cnnstat.exported.stored_tensors import Source, StoredTensor, Use
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Shape
from cnnstat.ops.traced import Recorded

MAX_STEPS = 200_000
"""Most nodes that are read, those of called functions and of unrolled loops each time."""
MAX_CALLS = 60
"""Deepest nesting of subgraphs and functions."""

Values = MutableMapping[str, Value]

_ALIASES = words("Identity Dropout Optional OptionalGetElement")
"""Operations that hand on their first operand as it is."""


_BLOCKED = (
    "ONNX Runtime has laid this file out in blocks of channels (nchwc) and padded channels to whole blocks; the "
    "padding is counted, as it is computed: the model's own work is at most this, as the file before that has it"
)


class WalkError(CnnstatError):
    """A node does not fit; the message lacks the file."""


@dataclass(eq=False)
class GraphWalk:
    """One walk over a model.

    tensor_of: the name of the first result of layers of the main graph, by their number.
    source: the file, for messages. dtype: what floating-point tensors are counted in, where another is asked for.
    """

    source: str
    model: Any
    builder: LayerBuilder
    dtype: str | None = None
    bounded: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    unsized: dict[str, None] = field(default_factory=dict)
    blocks: dict[str, str] = field(default_factory=dict)
    constants: list[StoredTensor] = field(default_factory=list)
    steps: int = 0
    depth: int = 0
    inside: str = ""
    is_told: set[str] = field(default_factory=set)
    name_counts: dict[str, int] = field(default_factory=dict)
    tensor_of: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read what the file imports and defines."""
        opsets = {("" if each.domain == "ai.onnx" else each.domain): each.version for each in self.model.opset_import}
        opsets.setdefault("", 1)
        self.rules = ShapeRules(opsets, self.bounded)
        self.functions = {(each.domain, each.name): each for each in self.model.functions}
        self.scopes = scopes_in(self.model.graph.node)

    # Graphs ----------------------------------------------------------------------------------------------------

    def graph(self, graph: Any, values: Values, *, names: Iterable[str]) -> list[Value]:
        """Walk over a graph and return the values of these names."""
        self.depth += 1
        if self.depth > MAX_CALLS:
            raise WalkError(f"its functions and subgraphs call each other more than {MAX_CALLS} deep")
        initializers = getattr(graph, "initializer", ())
        for tensor in initializers:
            values[tensor.name] = self._constant(tensor, tensor.name)
        for sparse in getattr(graph, "sparse_initializer", ()):
            values[sparse.values.name] = self._sparse(sparse, sparse.values.name)
        try:
            nodes = in_order(graph.node, values)
        except OrderError as error:
            raise WalkError(str(error)) from None
        for node in nodes:
            try:
                self._visit(node, values)
            except (LookupError, AttributeError, TypeError, ValueError, ArithmeticError, AssertionError) as error:
                reason = f"its arguments are not those of its operation ({type(error).__name__})"
                raise self._failed(node, reason) from error
        self.depth -= 1
        return [self._value(values, name, "the graph returns") for name in names]

    def _value(self, values: Values, name: str, who: str) -> Value:
        try:
            return values[name]
        except KeyError:
            raise WalkError(f"{who} {_quoted(name)}, which nothing makes") from None

    def _read(self, values: Values, name: str, node: Any) -> Value:
        value = values.get(name)
        return self._value(values, name, f"{node_name(node)} reads") if value is None else value

    def _constant(self, tensor: Any, name: str) -> Value:
        if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > 2**62:
            raise WalkError(f"the tensor {_quoted(name)} has sizes that no tensor has")
        value = of_tensor(tensor, None)
        return self._stored(value, name)

    def _stored(self, value: Value, name: str, is_generated: bool = False) -> Value:
        """Return a value as a constant of its own; numbers of 64 bits and truth values are sizes, places or masks."""
        if value.element_type in _NO_WEIGHTS:
            return value
        dtype = self._dtype(value)
        stored = StoredTensor(self._tensor_name(name), value.shape or (), dtype, is_generated)
        self.constants.append(stored)
        value.sources = (Source(stored),)
        return value

    def _tensor_name(self, name: str) -> str:
        """Return the name of a stored tensor as a path of modules, which no other tensor has."""
        *above, own = re.sub(r"[^\w.-]", "_", name)[:200].strip(".").split(".")
        own = own.replace("-", "_")
        own = own if own.isidentifier() else f"_{own}"
        path = result = ".".join((*filter(None, above), own))
        count = self.name_counts.get(path, 1)
        while result in self.is_told:
            count += 1
            result = f"{path}_{count}"
        self.name_counts[path] = count
        self.is_told.add(result)
        return result

    def _sparse(self, sparse: Any, name: str) -> Value:
        return self._stored(Value(sparse.values.data_type, tuple(sparse.dims)), name)

    def _dtype(self, value: Value) -> str:
        return self.dtype if self.dtype is not None and value.is_float else value.dtype

    # Nodes ----------------------------------------------------------------------------------------------------

    def _visit(self, node: Any, values: Values) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise WalkError(f"it has more than {MAX_STEPS:,} nodes, those of functions and loops each time")
        if node.domain == "com.microsoft.nchwc" and node.op_type == "Conv":
            self._tell(_BLOCKED)
        is_onnx = node.domain == "ai.onnx" or (node.domain == "com.microsoft" and node.op_type in COPIES)
        domain = "" if is_onnx else node.domain
        attributes = _attributes(node)
        inputs = [self._read(values, name, node) if name else None for name in node.input]
        call = Call(node, domain, attributes, inputs, self.rules.opset)
        if (results := self._by_parts(call, values)) is not None:
            pass
        elif domain == "" and node.op_type == "Constant":
            results = [self._constant_node(node, attributes)]
        elif domain == "" and node.op_type in _ALIASES and call.has(0) and not self._trains(inputs):
            results = [call.input(0), *(Value(9, call.input(0).shape) for _ in node.output[1:])]
        elif "Sequence" in node.op_type and domain == "" and (items := sequence_results(call)) is not None:
            results = items
        else:
            results = self._operation(call)
        for name, value in zip(node.output, results):
            if name:
                values[name] = value

    def _by_parts(self, call: Call, values: Values) -> list[Value] | None:
        """Return what a node makes that has nodes of its own, as a loop; None for all others."""
        return None

    def _trains(self, inputs: Sequence[Value | None]) -> bool:
        """Whether a dropout is told to work."""
        flag = inputs[2] if len(inputs) > 2 else None
        return flag is not None and (flag.numbers is None or bool(numpy.ravel(flag.numbers)[0]))

    def _constant_node(self, node: Any, attributes: Mapping[str, Any]) -> Value:
        name = node.output[0] if node.output else node.name
        for key, value in attributes.items():
            if key == "value":
                return self._constant(value, name)
            if key == "sparse_value":
                return self._sparse(value, name)
            if key in ("value_int", "value_ints", "value_float", "value_floats"):
                dtype = numpy.int64 if "int" in key else numpy.float32
                return self._stored(of_array(numpy.array(value, dtype)), name)
        return Value(STRING, (1,))

    def _operation(self, call: Call) -> list[Value]:
        """Return what a node of ONNX or of a runtime makes, and add its layer if an input of the model decides it."""
        try:
            results = self.rules.results(call)
        except ShapeError as error:
            raise self._failed(call.node, str(error)) from None
        self._check_elements(call, results)
        if not any(value is not None and value.edge is not None for value in call.inputs):
            self._from_constants(call, results)
        elif not all(result.known is not None for result in results):
            self._layer(call, results)
        return results

    def _check_elements(self, call: Call, results: list[Value]) -> None:
        """Refuse a reshape to sizes that hold other elements: they were fixed when the model was exported."""
        if call.domain or call.op_type != "Reshape" or not call.has(0) or not results:
            return
        before, after = call.input(0).shape, results[0].shape
        if before is not None and after is not None and math.prod(before) != math.prod(after):
            raise self._failed(
                call.node,
                f"makes {_sizes(after)} of {_sizes(before)}, which has other elements; the file fixes these "
                "sizes: it was exported for the input sizes that it states, and for no others",
            )

    def _failed(self, node: Any, message: str) -> WalkError:
        return WalkError(f"{node_name(node)} ({printable(node.op_type)[:60]}): {message}")

    # Constants ----------------------------------------------------------------------------------------------------

    def _from_constants(self, call: Call, results: list[Value]) -> None:
        """Say of results of constants which stored tensors they are made of; count products as work of their own."""
        sources = constant_sources(call)
        for result in results:
            result.sources = sources
        if call.op_type == "ConstantOfShape" and results[0].is_float:
            self._stored(results[0], call.node.output[0], is_generated=True)
        if call.op_type in _PRODUCTS and results[0].shape is not None:
            self._layer(call, results, is_constant=True)

    # Layers ----------------------------------------------------------------------------------------------------

    def _layer(self, call: Call, results: list[Value], is_constant: bool = False) -> None:
        call.outputs = _listed(call.node, results)
        try:
            value = self._emit(call, steps_of(call), tensor_uses(call))
        except OpError as error:
            raise self._failed(call.node, str(error)) from None
        if any(result.shape is None for result in call.outputs):
            self.unsized[call.op_type] = None
        if not is_constant:
            for number, result in enumerate(results):
                result.edge = Edge(value, number) if number < max(1, len(call.outputs)) else None
                result.sources = ()

    def _emit(self, call: Call, steps: tuple[Match, ...], uses: list[Use]) -> int:
        """Add the ops of a call and return the value of the last."""
        node = call.node
        has_weights = any(stored.kind_as(role) == "parameters" for stored, role in uses)
        tensors = [stored.name for stored, _ in uses]
        label = label_of(node, tensors, has_weights, self.scopes, self.inside)
        for stored, _ in uses:
            stored.readers.add(label.path or label.exact or next(iter(node.output), ""))
        self.blocks.update(classes_of(node))
        outputs = call.output_shapes
        dtypes = tuple(map(self._dtype, call.outputs))
        before: Operand | None = None
        value = 0
        for place, step in enumerate(steps):
            reads = tuple(before if read is PREVIOUS and before is not None else read for read in step.reads)
            is_last = place == len(steps) - 1
            step = replace(step, reads=tuple(map(self._as_counted, reads)))
            if isinstance(step.op, Recorded) and any(each.shape is None for each in call.outputs):
                step = replace(step, op=replace(step.op, modelled=False))
            if is_last:
                made, made_dtypes = outputs, dtypes
            else:
                made = step.op.output(tuple(read.shape or () for read in reads))
                made_dtypes = (dtypes[0],) * len(made)
            owner = next((number for number, each in enumerate(steps) if each.weights), len(steps) - 1)
            own_uses = uses if place == owner else []
            label_here = label if place == owner else label._replace(function=_function(step), is_main=False)
            try:
                value = self.builder.emit(label_here, step, own_uses, made, made_dtypes)
            except OpError:
                if len(steps) > 1:
                    raise
                try:
                    step = counted_as(call, step)
                except OpError:
                    if node.op_type in _STRICT:
                        raise
                    step = recorded(call)
                value = self.builder.emit(label_here, step, own_uses, made, made_dtypes)
            before = _Made(made[0], made_dtypes[0], Edge(value, 0))
        if self.depth == 1 and not self.inside and node.output:
            self.tensor_of[value - self.builder.arity] = node.output[0]
        return value

    def _as_counted(self, read: Operand) -> Operand:
        """Return an operand in the dtype that it is counted in."""
        if self.dtype is None or not read.dtype.startswith(("float", "bfloat")):
            return read
        return _Made(read.shape, self.dtype, read.edge, read.number, read.stored)

    def _tell(self, note: str) -> None:
        if note not in self.is_told:
            self.is_told.add(note)
            self.notes.append(note)


@dataclass(slots=True)
class _Made:
    """A result within a call, or an operand in another dtype."""

    shape: Shape | None
    dtype: str
    edge: Edge | None = None
    number: float | None = None
    stored: StoredTensor | None = None


_NO_WEIGHTS = (7, 9)
"""Element types of tensors that are no weights: int64 and bool."""

_PRODUCTS = words("MatMul Gemm Conv ConvTranspose MatMulInteger ConvInteger Einsum")
_STRICT = words("Conv ConvTranspose ConvInteger QLinearConv FusedConv Gemm MatMul BatchNormalization")


def _attributes(node: Any) -> dict[str, Any]:
    return {each.name: _attribute(each) for each in node.attribute if not each.ref_attr_name}


def _attribute(attribute: Any) -> Any:
    """Return a value; a number of 32 bits as the shortest that is the same: 1e-05 for 9.99999975e-06."""
    value = onnx.helper.get_attribute_value(attribute)
    return float(str(numpy.float32(value))) if attribute.type == onnx.AttributeProto.FLOAT else value


def _listed(node: Any, results: Sequence[Value]) -> list[Value]:
    """Return results without those behind the last that has a name."""
    names = list(node.output)
    while len(names) > 1 and not names[-1]:
        names.pop()
    return list(results[: max(1, len(names))])


def _function(step: Match) -> str:
    from cnnstat.exported.layer_names import snake_case

    return snake_case(step.op.kind).replace(" ", "_")


def _quoted(name: str) -> str:
    return printable(str(name))[:80] or "a tensor without a name"


def node_name(node: Any) -> str:
    """Return what a message calls a node."""
    return printable(node.name or (node.output[0] if node.output else "") or node.op_type)[:120]


def _sizes(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single number"

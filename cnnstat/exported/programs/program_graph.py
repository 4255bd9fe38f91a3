"""Loading an exported program: its nodes one after another, with the shapes that the archive has for every tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnstat.choices import words
from cnnstat.errors import OpError, RequestError, SourceError, printable
from cnnstat.exported.layer_builder import LayerBuilder, Operand
from cnnstat.exported.layer_names import Label
from cnnstat.exported.programs.archive import read_program
from cnnstat.exported.programs.aten_call import AtenCall, ProgramValue
from cnnstat.exported.programs.aten_handlers import match_of, recorded
from cnnstat.exported.programs.code_places import code_place
from cnnstat.exported.programs.symbolic_sizes import computed, symbol_name
from cnnstat.exported.stored_tensors import Role, StoredTensor, Use, main_dtype
from cnnstat.ir.graph import Edge, Graph, Input, collector_paused
from cnnstat.ir.op import Shape, numel
from cnnstat.ir.work import Work
from cnnstat.sources.request import Request, inputs_by_name

_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn", 30: "float8_e5m2",
}  # fmt: skip
"""PyTorch's names of torch._export.serde.schema.ScalarType."""

MAX_NODES = 200_000
"""Most nodes of a program."""

_CONSTANTS = words("new_zeros new_ones new_full new_empty zeros_like ones_like full_like empty_like")
"""Operations that read no number of their operand."""

_SAME = words("alias detach lift_fresh_copy lift_fresh")
"""Operations that hand on their operand."""

_REDUCTIONS = words("sum mean amax softmax log_softmax")

_MAYBE_SAME = words("slice expand expand_as view _unsafe_view view_as")
"""Operations that hand on their operand where they leave its shape as it is."""


@collector_paused()
def load_program(source: str, request: Request) -> Graph:
    """Return the layer graph of an exported program; raises SourceError, or RequestError for sizes it cannot have."""
    program = read_program(source)
    try:
        return _Program(source, program, request).graph()
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise SourceError(
            f"{source[:200]}: the program is damaged, or not what its schema says ({type(error).__name__}: "
            f"{printable(str(error))[:80]}); export it again"
        ) from None


@dataclass
class _Program:
    source: str
    program: Mapping[str, Any]
    request: Request
    values: dict[str, ProgramValue] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    roles: dict[int, Role] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)
    blocks: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    places: dict[int, str] = field(default_factory=dict)

    def graph(self) -> Graph:
        module = self.program["graph_module"]
        content = module["graph"]
        self.meta = content["tensor_values"]
        self.numbers = content.get("sym_int_values", {})
        if len(content["nodes"]) > MAX_NODES:
            raise SourceError(f"{self.source[:200]}: the program has more than {MAX_NODES:,} nodes")
        self._read_inputs(module["signature"]["input_specs"])
        dtype = main_dtype((each.dtype, numel(each.shape)) for each in self.tensors.values())
        self.builder = LayerBuilder(len(self.inputs), dtype or "float32")
        for node in content["nodes"]:
            self._node(node)
        outputs = tuple(self._outputs(module["signature"]["output_specs"]))
        self._unused()
        nodes = self.builder.named()
        about: dict[str, Any] = {"code": {nodes[index].name: place for index, place in self.places.items() if place}}
        if self.unread:
            about["notes_torch"] = (f"not read: {', '.join(sorted(set(self.unread)))[:200]}",)
        return Graph(
            name=Path(self.source).stem,
            inputs=tuple(self.inputs),
            nodes=nodes,
            outputs=outputs,
            dtype=self.builder.dtype,
            source=self.source,
            blocks=self.blocks,
            about=about,
        )

    # Inputs ----------------------------------------------------------------------------------------------------------

    def _read_inputs(self, specs: list[Mapping[str, Any]]) -> None:
        """Read what the graph gets: stored tensors, and the inputs with the sizes that are asked for."""
        users = [each["user_input"]["arg"]["as_tensor"]["name"] for each in specs if "as_tensor" in _user(each)]
        requested = self._requested(users)
        for name in users:
            self._bind(name, requested.get(name))
        for each in specs:
            (kind, spec), *_ = each.items()
            if kind == "user_input":
                continue
            name = spec.get("arg", {}).get("name")
            if name is None or name not in self.meta:
                continue
            full = spec.get("parameter_name") or spec.get("buffer_name") or spec.get("tensor_constant_name") or name
            stored = StoredTensor(printable(full)[:200], self._shape(name), self._dtype(name))
            self.tensors[full] = stored
            self.roles[id(stored)] = {"parameter": Role.WEIGHT, "buffer": Role.STATISTIC}.get(kind, Role.SETTING)
            self.values[name] = ProgramValue(
                name, stored.shape, stored.dtype, stored=stored, is_learnt=kind != "tensor_constant"
            )
        for name in users:
            shape = self._shape(name)
            self.values[name] = ProgramValue(name, shape, self._dtype(name), Edge(len(self.inputs)))
            self.inputs.append(Input(printable(name)[:100], shape, self._dtype(name)))

    def _requested(self, users: list[str]) -> dict[str, Shape]:
        shapes = {}
        for name, shape in inputs_by_name(self.request, users).items():
            rank = len(self.meta[name]["sizes"])
            sizes = shape.sizes
            if len(sizes) == rank - 1:
                first = self._size(self.meta[name]["sizes"][0])
                sizes = (self.request.batch or first or 1, *sizes)
            if len(sizes) != rank:
                raise RequestError(f"--input {'x'.join(map(str, sizes))}: {printable(name)[:60]} has {rank} sizes")
            shapes[name] = sizes
        return shapes

    def _bind(self, name: str, sizes: Shape | None) -> None:
        """Give symbols the sizes that are asked for, else those that the program was exported with."""
        shown = printable(name)[:60]
        for place, each in enumerate(self.meta[name]["sizes"]):
            wanted = None if sizes is None else sizes[place]
            if sizes is None and place == 0 and self.request.batch is not None:
                wanted = self.request.batch
            symbol = each.get("as_expr", {}).get("expr_str")
            if symbol is None:
                if wanted is not None and wanted != each.get("as_int"):
                    raise RequestError(
                        f"--input: axis {place} of {shown} is {each.get('as_int')} in the program: it was"
                        " exported for that size; export it again with dynamic_shapes"
                    )
                continue
            value = wanted if wanted is not None else self._hint(each)
            symbol = symbol_name(symbol)
            if value is not None and symbol and self.symbols.setdefault(symbol, value) != value:
                raise RequestError(f"--input: {symbol} is {self.symbols[symbol]} in one place and {value} in another")

    @staticmethod
    def _hint(size: Mapping[str, Any]) -> int | None:
        hint = size.get("as_expr", {}).get("hint") or {}
        value = hint.get("as_int")
        return value if isinstance(value, int) else None

    # Tensors ---------------------------------------------------------------------------------------------------------

    def _size(self, size: Mapping[str, Any]) -> int:
        if "as_int" in size:
            return int(size["as_int"])
        value = computed(str(size["as_expr"]["expr_str"]), self.symbols)
        value = self._hint(size) if value is None else value
        if value is None:
            raise SourceError(
                f"{self.source[:200]}: the size {printable(str(size['as_expr']['expr_str']))[:60]} depends on values; "
                "name the PyTorch model instead"
            )
        return value

    def _shape(self, name: str) -> Shape:
        return tuple(self._size(each) for each in self.meta[name]["sizes"])

    def _dtype(self, name: str) -> str:
        own = _DTYPES.get(self.meta[name]["dtype"], "float32")
        return self.request.dtype if self.request.dtype and own.startswith(("float", "bfloat")) else own

    # Nodes -----------------------------------------------------------------------------------------------------------

    def _node(self, node: Mapping[str, Any]) -> None:
        target = str(node["target"])
        names = [name for output in node["outputs"] for name in self._names_of(output)]
        if target.startswith("_operator.") or not names or any(name not in self.meta for name in names):
            if (
                names
                and target not in ("_operator.getitem",)
                and not target.startswith(("torch.ops.aten.sym_", "_operator.", "math."))
            ):
                self.unread.append(printable(target)[:60])
            return
        results = tuple(ProgramValue(name, self._shape(name), self._dtype(name)) for name in names)
        arguments = {each["name"]: self._argument(each["arg"]) for each in node["inputs"]}
        parts = target.removeprefix("torch.ops.").split(".")
        base = parts[1] if len(parts) > 1 else target
        plain = base.rstrip("_") if not base.startswith("_") else base
        call = AtenCall(plain, parts[-1], base.endswith("_"), arguments, results)
        reads = [each for each in call.tensors if isinstance(each, ProgramValue)]
        uses: list[Use] = [(stored, self.roles[id(stored)]) for each in reads for stored in each.sources]
        alias = arguments.get("self")
        if isinstance(alias, ProgramValue) and (
            (plain in _SAME and len(results) == 1) or (plain in _MAYBE_SAME and results[0].shape == alias.shape)
        ):
            self.values[results[0].name] = alias
            return
        if reads and not any(each.edge is not None for each in reads) and plain != "embedding":
            self._on_weights(call, reads, results)
            return
        if not reads or plain in _CONSTANTS:
            for result in results:
                self.values[result.name] = result
            return
        self._emit(node, call, uses, results)

    def _on_weights(self, call: AtenCall, reads: list[ProgramValue], results: tuple[ProgramValue, ...]) -> None:
        """Hand stored tensors on through what is computed of them alone."""
        sources = tuple(dict.fromkeys(stored for each in reads for stored in each.sources))
        match = match_of(call)
        op, shapes = match.op, tuple(each.shape or () for each in match.reads)
        is_learnt = any(each.is_learnt for each in reads)
        try:
            work = Work.of(op, shapes, call.outputs)
            if call.name in _REDUCTIONS:
                # As the tracer counts what reduces weights: a step for each element.
                work = Work(work.macs) + Work.other("pooling", numel(shapes[0]))
        except (ArithmeticError, LookupError, ValueError):
            work = Work()
        if not is_learnt:
            work = Work(work.macs)  # numbers that are made of constants are constants
        results[0].waiting = work + _taken_work(reads)
        for result in results:
            result.stored = sources[0] if len(sources) == 1 else None
            result.made_of, result.is_learnt = sources, is_learnt
            self.values[result.name] = result

    def _emit(
        self, node: Mapping[str, Any], call: AtenCall, uses: list[Use], results: tuple[ProgramValue, ...]
    ) -> None:
        match = match_of(call)
        label = self._label(node, call, any(self.roles[id(stored)] is Role.WEIGHT for stored, _ in uses))
        if call.name == "batch_norm" and "running_mean" in match.weights:
            mean = match.weights["running_mean"].stored
            counter = None if mean is None else self.tensors.get(f"{mean.name.rpartition('.')[0]}.num_batches_tracked")
            if counter is not None and counter.owner is None:
                uses = [*uses, (counter, Role.STATISTIC)]
                own = ProgramValue(counter.name, counter.shape, counter.dtype, stored=counter)
                match = type(match)(match.op, match.reads, {**match.weights, "num_batches_tracked": own}, match.calls)
        dtypes = tuple(result.dtype for result in results)
        work = _taken_work(call.tensors).on_weights
        try:
            value = self.builder.emit(label, match, uses, call.outputs, dtypes, work)
        except OpError:
            value = self.builder.emit(label, recorded(call), uses, call.outputs, dtypes, work)
        self.places[value - self.builder.arity] = code_place(str(node.get("metadata", {}).get("stack_trace", "")))
        for number, result in enumerate(results):
            result.edge = Edge(value, number)
            self.values[result.name] = result

    def _names_of(self, output: Mapping[str, Any]) -> list[str]:
        if "as_tensor" in output:
            return [output["as_tensor"]["name"]]
        if "as_tensors" in output:
            return [each["name"] for each in output["as_tensors"]]
        return []

    def _argument(self, argument: Mapping[str, Any]) -> Any:
        """Return an argument as Python has it: numbers, texts, tensors, lists of them; None for what is left out."""
        ((kind, value),) = argument.items()
        if kind == "as_tensor":
            return self.values.get(value["name"])
        if kind == "as_tensors":
            return [self.values[each["name"]] for each in value]
        if kind == "as_optional_tensors":
            return [self.values[each["as_tensor"]["name"]] for each in value if "as_tensor" in each]
        if kind == "as_sym_int":
            return self._sym_int(value)
        if kind == "as_sym_ints":
            return [self._sym_int(each) for each in value]
        if kind in ("as_none", "as_device", "as_layout", "as_memory_format", "as_graph", "as_custom_obj"):
            return None
        if kind == "as_scalar_type":
            return None
        return value

    def _sym_int(self, value: Mapping[str, Any]) -> int | None:
        if "as_int" in value:
            return int(value["as_int"])
        known = self.numbers.get(value.get("as_name"), {})
        return self._size(known) if known else None

    def _label(self, node: Mapping[str, Any], call: AtenCall, has_weights: bool) -> Label:
        """Return what a node is called after: the module that its metadata names."""
        path, number = "", 0
        for entry in str(node.get("metadata", {}).get("nn_module_stack", "")).split(";"):
            _, _, rest = entry.partition(",")
            path, _, kind = rest.rpartition(",")
            path, _, turn = path.partition("@")
            number = int(turn) if turn.isdigit() else 0
            if path:
                self.blocks[path] = kind.rpartition(".")[2]
        return Label(path, call.name.strip("_"), number, has_weights)

    # Results ---------------------------------------------------------------------------------------------------------

    def _outputs(self, specs: list[Mapping[str, Any]]) -> Any:
        for each in specs:
            name = each.get("user_output", {}).get("arg", {}).get("as_tensor", {}).get("name")
            value = self.values.get(name) if name is not None else None
            if value is not None and value.edge is not None:
                yield value.edge

    def _unused(self) -> None:
        """Add a row for each module whose stored tensors no node reads."""
        rows: dict[str, list[Use]] = {}
        for full, stored in self.tensors.items():
            role = self.roles[id(stored)]
            if stored.owner is None and role is not Role.SETTING:
                rows.setdefault(full.rpartition(".")[0], []).append((stored, role))
        for path, uses in rows.items():
            self.builder.idle(Label(path, "unused"), uses)


def _taken_work(reads: Iterable[Operand]) -> Work:
    """Return the work that waits at values, which nobody counts again."""
    work = Work()
    for each in reads:
        if isinstance(each, ProgramValue):
            work += each.waiting
            each.waiting = Work()
    return work


def _user(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    argument: Mapping[str, Any] = spec.get("user_input", {}).get("arg", {})
    return argument

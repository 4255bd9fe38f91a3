"""Calls that no op of the library alone is: an op with operands that are no inputs, and calls known by their effect.

A trace makes them where an op of the library would not be true; a spec writes the last, `Opaque`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula
from cnnstat.ir.op import Example, Family, Int8, Linearity, Op, Saved, Shape, Shapes, Storage, numel, shape_text
from cnnstat.ir.window import Index, Reads, RowMajor, Unknown
from cnnstat.ir.work import Work
from cnnstat.ops.shape import regrouped

Tensors = tuple[tuple[str, Shape], ...]
"""Named tensors with their shapes."""


@dataclass(frozen=True, repr=False, kw_only=True)
class _Traced(Op):
    """What both share: the tensors the call owns, the dtypes it made, and work on weights before the call.

    tensors, stored: learnt and other stored tensors that belong to this call.
    frozen: names of those learnt tensors that are not trained although the call's others are.
    result_dtypes: dtypes of the outputs.
    """

    torch: ClassVar[str] = ""
    input_count: ClassVar[tuple[int, int | None]] = (0, None)

    tensors: Tensors = ()
    stored: Tensors = ()
    frozen: frozenset[str] = frozenset()  # type: ignore[misc]  # a class variable of other ops
    result_dtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Accept everything: the values come from a trace, not from a person."""

    def arguments(self) -> dict[str, Any]:
        return {}

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        return dict(self.tensors)

    def buffers(self, inputs: Shapes) -> Mapping[str, Shape]:
        return dict(self.stored)

    def dtypes(self, inputs: tuple[str, ...], model: str, count: int) -> tuple[str, ...]:
        return self.result_dtypes

    def with_dtypes(self, convert: Callable[[str], str]) -> Op:
        return replace(self, result_dtypes=tuple(map(convert, self.result_dtypes)))

    def without_scales(self) -> Op:
        """Return it without scales and zero points, which models store beside weights or as what is not learnt."""
        tensors = tuple(each for each in self.tensors if each[0].rpartition(".")[2] not in ("scale", "zero_point"))
        return replace(self, tensors=tensors, stored=()) if self.stored or tensors != self.tensors else self

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return ()


@dataclass(frozen=True, repr=False, kw_only=True)
class Applied(_Traced):
    """An op of the library, some operands of which are stored tensors, constants or results instead of its own.

    op: the op itself.
    operands: for each of its inputs the number of the node's input, or the shape of a tensor that is no input.
    values: for each operand its value, if it is a plain number.
    extra: work on the weights before the call (weight norm, merged kernels), or for a mask.
    learnt: numbers of the operands that are learnt parameters, or computed from them; None where only sizes tell.
    """

    op: Op
    operands: tuple[int | Shape, ...]
    values: tuple[float | None, ...] = ()
    extra: Work = Work()
    learnt: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return self._by_values(str(self.op))

    @property
    def compact(self) -> str:
        return self._by_values(self.op.compact)

    def _by_values(self, op: str) -> str:
        numbers = [f"{value:g}" for value in self.values if value is not None]
        return f"{op} by {', '.join(numbers)}" if numbers else op

    def with_bias(self, inputs: Shapes) -> Op | None:
        """Return the same with its op's bias, if it has a stored weight that nothing computes beforehand."""
        own = self.op.with_bias(self._operands(inputs))
        stored = {name.rpartition(".")[2]: (name, shape) for name, shape in self.tensors}
        if own is None or self.operands != (0,) or self.extra or "weight" not in stored:
            return None
        needed = own.weights(inputs)
        if stored["weight"][1] != needed["weight"]:
            return None
        name = stored["weight"][0].removesuffix("weight") + "bias"
        bias = () if "bias" in stored else ((name, needed["bias"]),)
        return replace(self, op=own, tensors=(*self.tensors, *bias))

    def as_scale_and_shift(self, inputs: Shapes) -> Op | None:
        """Return its op's, or the same by one number a channel that is stored, where constant tensors make that."""
        if self.operands == (0,):
            return self.op.as_scale_and_shift(inputs)
        if len(self.operands) != 2 or 0 not in self.operands or any(value is not None for value in self.values):
            return None
        place = self.operands.index(0)
        number = self.operands[1 - place]
        is_constant = bool(self.stored) or (self.extra.other_count > 0 and not (self.tensors or self.learnt))
        if isinstance(number, int) or place not in self.op.scaled_operands or not is_constant:
            return None
        by_channel = (inputs[0][1],) if len(inputs[0]) > 1 else ()
        aligned = (1,) * (len(inputs[0]) - len(number)) + number
        if aligned != (1, *by_channel, *(1,) * (len(inputs[0]) - 2)) and numel(number) != 1:
            return None
        name = (*self.tensors, *self.stored, ("constant", ()))[0][0]
        tensors = ((name, (numel(number),)),)
        return replace(self, tensors=tensors, stored=(), extra=Work(), learnt=(1 - place,))

    @property
    def linearity(self) -> Linearity:
        return self.op.linearity if not self.extra.macs else Linearity.NONE

    @property
    def storage(self) -> Storage:
        return self.op.storage if self.operands[:1] == (0,) else Storage.FRESH

    @property
    def training_storage(self) -> Storage:
        return self.op.training_storage if self.operands[:1] == (0,) else Storage.FRESH

    def dtypes(self, inputs: tuple[str, ...], model: str, count: int) -> tuple[str, ...]:
        if self.result_dtypes:
            return (*self.result_dtypes, *self.result_dtypes[-1:] * count)[:count]
        return self.op.dtypes(tuple(inputs[o] if isinstance(o, int) else model for o in self.operands), model, count)

    def operand_names(self, input_count: int) -> tuple[int | float | str, ...]:
        """Return each operand: the number of an input, a value, or the name of a learnt tensor.

        Raises OpError where an operand, or a weight, is computed in a way that the graph does not tell.
        """
        left: dict[str, Shape] = dict(self.tensors)
        values = (*self.values, *(None,) * len(self.operands))
        sources: list[int | float | str] = []
        for operand, value in zip(self.operands, values):
            if isinstance(operand, int):
                sources.append(operand)
            elif value is not None:
                sources.append(float(value))
            else:
                names = [name for name, shape in left.items() if shape == operand]
                if len(names) != 1:
                    raise OpError("one of its operands is computed beforehand, the graph does not tell how")
                sources.append(names[0])
                del left[names[0]]
        if self.extra or any(number not in sources for number in range(input_count)):
            raise OpError("its weights are computed beforehand, the graph does not tell how")
        if left and any(isinstance(each, (float, str)) for each in sources):
            raise OpError(f"it has {', '.join(left)} beside its operands, the graph does not tell what for")
        return tuple(sources)

    def _operands(self, inputs: Shapes) -> Shapes:
        return tuple(inputs[o] if isinstance(o, int) else o for o in self.operands)

    def full_names(self, inputs: Shapes) -> frozenset[str]:
        """Return those of stored operands; computed weights are told below the layer's path."""
        values = (*self.values, *(None,) * len(self.operands))
        if all(isinstance(operand, int) or value is not None for operand, value in zip(self.operands, values)):
            return frozenset()
        operands = self._operands(inputs)
        names = {name for name, _ in (*self.tensors, *self.stored)}
        return frozenset(names - {*self.op.weights(operands), *self.op.buffers(operands)})

    def output(self, inputs: Shapes) -> Shapes:
        return self.op.output(self._operands(inputs))

    def macs(self, inputs: Shapes, outputs: Shapes) -> int:
        return self.op.macs(self._operands(inputs), outputs) + self.extra.macs

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        own = self.op.other_flops(self._operands(inputs), outputs)
        return dict((Work(0, tuple(own.items())) + self.extra).others) if self.extra else own

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the op's reads of the node's inputs; inputs that became weights are read as a whole."""
        reads = self.op.window(self._operands(inputs), outputs, index)
        by_input: list[Reads] = [(None,) * len(outputs[index])] * len(inputs)
        for operand, read in zip(self.operands, reads):
            if isinstance(operand, int):
                by_input[operand] = read
        return tuple(by_input)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        return self._own(self.op.saved(self._operands(inputs), outputs))

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return the same; numbers and constants need no gradient, what is computed from learnt tensors does."""
        learnt = self._learnt_by_size(learns) if self.learnt is None else self.learnt
        known = tuple(
            needs[operand] if isinstance(operand, int) else number in learnt
            for number, operand in enumerate(self.operands)
        )
        # Weights may be results of other calls.
        return self._own(self.op.saved_for(self._operands(inputs), outputs, known, learns or any(needs)))

    def _learnt_by_size(self, learns: bool) -> tuple[int, ...]:
        """Return the operands that have the size of a tensor of this node: it may be a view of that, (C, 1, 1) of C."""
        sizes = {numel(shape) for _, shape in self.tensors} if learns else set()
        values = (*self.values, *(None,) * len(self.operands))
        return tuple(
            number
            for number, (operand, value) in enumerate(zip(self.operands, values))
            if not isinstance(operand, int) and value is None and numel(operand) in sizes
        )

    def _own(self, saved: Saved) -> Saved:
        """Return what is kept with the numbers of the node's inputs for those of the operands, others left out."""
        numbers = (self.operands[i] for i in saved.inputs)
        return Saved(tuple(n for n in numbers if isinstance(n, int)), saved.outputs, saved.extra)

    def arguments(self) -> dict[str, Any]:
        return self.op.arguments()

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        return self.op.torch_arguments(self._operands(inputs))

    def curve(self, x: float) -> float | None:
        return self.op.curve(x)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        lines = self.op.formulas(self._operands(inputs), outputs)
        macs, others = self.extra.macs, self.extra.other_count
        further = (
            Formula("further MACs", "measured", f"{macs}", macs, "on the weights before the call"),
            Formula("further FLOPs", "measured", f"{others}", others, "on the weights before the call, or for a mask"),
        )
        return *lines, *(line for line in further if line.value)


for _name in (
    "family", "counted_as_weighted", "feature_axis", "equation", "derivative", "kind", "computed_as", "complex_cost",
    "int8", "scales_by_channel", "passes_through", "uses_own_statistics", "is_ruled_when_learnt",
):  # fmt: skip
    # These are the same for every operand, so an applied op answers as its op does.
    setattr(Applied, _name, property(attrgetter(f"op.{_name}")))


ROUTES_BY_VALUE = frozenset((
    "where", "max", "min", "aminmax", "topk", "kthvalue", "median", "nanmedian", "mode", "sort", "msort", "argsort",
    "argmax", "argmin", "cummax", "cummin", "max_unpool1d", "max_unpool2d", "max_unpool3d", "gather", "take_along_dim",
    "index_select", "masked_scatter", "quantile", "nanquantile",
))  # fmt: skip
"""Calls that choose between what they read by its values."""

QUANTIZES = frozenset((
    "QuantizeLinear", "DequantizeLinear", "quantize_per_tensor", "quantize_per_channel", "dequantize",
    "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine", "dequantize_per_tensor",
    "dequantize_per_channel",
))  # fmt: skip
"""Calls that turn numbers into 8-bit ones or back, of ONNX, PyTorch and its exporters."""


@dataclass(frozen=True, repr=False, kw_only=True)
class Recorded(_Traced):
    """A call of which only the effect is known: the shapes it made, and the work of what it dispatched to.

    function: what was called.
    outputs: the shapes it made.
    reads: how the outputs read each input; None where it is not known.
    modelled: whether its work is known.
    keeps_inputs: whether autograd may look at its inputs again.
    """

    has_equals: ClassVar[bool] = False  # each tells what its own call read, position by position

    function: str
    outputs: Shapes
    work: Work = Work()
    family: Family = Family.OTHER  # type: ignore[misc]  # a class variable of other ops
    place: Storage = Storage.FRESH
    reads: tuple[Reads, ...] | None = None
    modelled: bool = True  # type: ignore[misc]
    keeps_inputs: bool = True
    counted_as_weighted: bool = False  # type: ignore[misc]

    @classmethod
    def of(cls, **fields: Any) -> Recorded:
        """Return one with these fields, those left out as they are in the class: loops make thousands of them."""
        made = object.__new__(cls)
        vars(made).update(fields)
        return made

    def reading(self, reads: tuple[Reads, ...] | None) -> Recorded:
        """Return the same with other reads."""
        return self.of(**{**vars(self), "reads": reads})

    @property
    def kind(self) -> str:
        return self.function

    def __str__(self) -> str:
        return self.function

    @property
    def routes_by_value(self) -> bool:  # type: ignore[override]
        return self.function.removeprefix("aten.").removeprefix("F.").removesuffix("_") in ROUTES_BY_VALUE

    @property
    def quantizes(self) -> bool:  # type: ignore[override]
        return self.function.rpartition(".")[2] in QUANTIZES and len(self.outputs) == 1

    @property
    def compact(self) -> str:
        return self.function

    @property
    def storage(self) -> Storage:
        return self.place

    @property
    def int8(self) -> Int8:
        """Whatever is known only by its effect has no kernel, unless it makes whole numbers already."""
        makes_integers = any(dtype in ("int8", "uint8") for dtype in self.result_dtypes)
        return Int8.FLOAT if super().int8 is Int8.KERNEL and not makes_integers else super().int8

    def output(self, inputs: Shapes) -> Shapes:
        return self.outputs

    def macs(self, inputs: Shapes, outputs: Shapes) -> int:
        return self.work.macs

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        return dict(self.work.others)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        rank = len(outputs[index])
        made: list[Reads] = []
        for reads, shape in zip(self.reads or (), inputs):
            if type(reads) is RowMajor:
                made.append(regrouped(shape, outputs[index]))
            elif _axes_of(reads) == rank:
                made.append(_of_output(reads, index) if index else reads)
            else:
                break
        return tuple(made) if len(made) == len(inputs) else (Unknown((None,) * rank),) * len(inputs)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        moves = self.family is Family.LAYOUT or not self.keeps_inputs
        return Saved() if moves else Saved(inputs=tuple(range(len(inputs))))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        shapes = ", ".join(map(shape_text, outputs))
        shape = Formula("output shape", "as traced", shapes, shapes)
        if not self.modelled:
            note = "counted from the convolutions and matrix products it dispatches to; not modelled further"
            return shape, Formula("MACs", "measured", f"{self.work.macs}", self.work.macs, note)
        return shape, *self._work_lines("measured")

    def _work_lines(self, how: str) -> list[Formula]:
        counts = [("MACs", self.work.macs), *((f"{kind} FLOPs", count) for kind, count in self.work.others)]
        return [Formula(name, how, f"{count}", count) for name, count in counts if count]


UNUSED = "Unused"
"""The function of rows that hold stored tensors which no call of a forward pass uses."""


def unused(**fields: Any) -> Recorded:
    """Return the op of such a row, with further fields: the tensors that it holds, or work of which nothing is used."""
    return Recorded(function=UNUSED, outputs=((0,),), result_dtypes=("float32",), family=Family.OTHER, **fields)


def _axes_of(reads: Reads) -> int:
    """Return the number of output axes that reads tell of."""
    return len([entry for entry in reads if entry is None or type(entry[1]) is not Index])


def _of_output(reads: Reads, index: int) -> Reads:
    """Return the reads of one output: each reads one position further than the one before it, as of unbind."""
    if _axes_of(reads) == len(reads):
        return reads
    return tuple(
        (entry[0], Index(entry[1].position + index)) if entry and isinstance(entry[1], Index) else entry
        for entry in reads
    )


@dataclass(frozen=True, repr=False, kw_only=True)
class Opaque(Recorded):
    """A call that is stated rather than modelled: its shapes, what it stores, and its work.

    inputs: the shapes it holds for, batch included, since none of its figures can follow others; None for any.
    """

    inputs: Shapes | None = None

    def output(self, inputs: Shapes) -> Shapes:
        if self.inputs is not None and inputs != self.inputs:
            held, actual = (", ".join(map(shape_text, shapes)) or "none" for shapes in (self.inputs, inputs))
            raise OpError(f"inputs={held} is what it is stated for, but it gets {actual}; state it for these")
        if self.reads is not None:
            self._check_reads(self.reads, inputs)
        return self.outputs

    def _check_reads(self, reads: tuple[Reads, ...], inputs: Shapes) -> None:
        if len(reads) != len(inputs):
            raise OpError(f"reads={len(reads)} entries, but there are {len(inputs)} inputs; write one for each")
        for read, shape in zip(reads, inputs):
            if isinstance(read, RowMajor) and numel(shape) != numel(self.outputs[0]):
                raise OpError(f"reads=row_major keeps all elements, but {shape_text(shape)} has others; write null")
            axes = [entry[0] for entry in read if entry is not None]
            if any(axis >= len(shape) for axis in axes):
                raise OpError(f"reads={max(axes)} is no axis of {shape_text(shape)}; they count from 0")

    def dtypes(self, inputs: tuple[str, ...], model: str, count: int) -> tuple[str, ...]:
        return (*self.result_dtypes, *(self.result_dtypes[-1:] or (model,)) * count)[:count]

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        shapes = ", ".join(map(shape_text, outputs))
        return Formula("output shape", "as stated", shapes, shapes), *self._work_lines("as stated")

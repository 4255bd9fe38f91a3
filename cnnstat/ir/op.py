"""Op: one operation of a network, with every fact about it (its facets) in one class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from typing import Any, ClassVar, NamedTuple, TypeVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, Terms, argument_text, arguments_of, json_value, value_of
from cnnstat.ir.window import Reads

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
Rows = tuple[tuple[int, ...], ...]
"""A small matrix."""


class Storage(Enum):
    """Where an op puts its output."""

    FRESH = "fresh"
    VIEW = "view"
    IN_PLACE = "in place"


class Int8(Enum):
    """How the usual runtimes run an op on 8-bit integers (the kernels of TFLite and PyTorch).

    KERNEL: with int8 inputs and weights, int32 sums, and a scale and zero point of its own for the output.
    SAME_SCALE: it moves or picks values, so that the output keeps its input's scale.
    MIXED: its products like KERNEL, a softmax between them in float32.
    FLOAT: not at all; it runs in float32.
    """

    KERNEL = "int8"
    SAME_SCALE = "keeps the scale"
    MIXED = "int8 with float32 inside"
    FLOAT = "float32"


class Linearity(Enum):
    """Whether an op is a linear map of its input, for the warning about linear layers in a row.

    DENSE maps every feature to every feature (an ungrouped convolution); AFFINE scales and shifts single features
    (identity, fixed batch norm).
    """

    DENSE = "dense"
    AFFINE = "affine"
    NONE = "none"


class Family(Enum):
    """The kinds of work that totals are broken down by."""

    CONVOLUTION = "convolution"
    LINEAR = "linear"
    ATTENTION = "attention"
    RECURRENT = "recurrent"
    NORMALIZATION = "normalization"
    ACTIVATION = "activation"
    POOLING = "pooling"
    ELEMENTWISE = "element-wise"
    RESAMPLING = "resampling"
    LAYOUT = "layout"
    EMBEDDING = "embedding"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Saved:
    """What training keeps of one op call until its backward pass has run (parameters not counted).

    inputs, outputs: indices of its own input and output tensors that are kept.
    extra: further tensors, each as (number of elements, dtype name or None for the model's).
    """

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    extra: tuple[tuple[int, str | None], ...] = ()


NOTHING_SAVED = Saved()


class Example(NamedTuple):
    """An op with input shapes that it accepts; every op has at least one, and the contract tests run them all."""

    op: Op
    inputs: Shapes


class Op:
    """One operation: a frozen dataclass whose fields are its arguments, under PyTorch's names.

    A facet is one fact about an op, stated as a method or a class variable; all of them are documented here, and an op
    adds a docstring of its own only for a formula, a rule or a source. (`cnnstat ops NAME` prints those of weights,
    MACs, other FLOPs and what training keeps.) For `Linear(10)` on an input of 2×84:
    `output` is ((2, 10),), `weights` {"weight": (10, 84), "bias": (10,)}, `buffers` {}, `macs` 2·10·84 = 1680,
    `other_flops` {"bias": 20}, `saved` the input, and `window` the batch axis alone.

    Shapes always include the batch as axis 0. Facets that take `inputs` and `outputs` get the shapes of all input and
    output tensors. Every facet is stated by the class or by one of its families (`ir/facets`); `register` refuses an op
    that leaves one out, so a forgotten facet never reads as "free".
    """

    family: ClassVar[Family]
    torch: ClassVar[str]
    """The PyTorch module or function (`torch.nn.Conv2d`, `torch.cat`), or an empty string where PyTorch has none."""
    inferred: ClassVar[tuple[str, ...]] = ()
    """Arguments of the PyTorch module that are not written because the graph knows them (`in_channels`)."""
    counted_as_weighted: ClassVar[bool] = False
    """Whether its output belongs to the classic "conv + linear outputs" memory figure."""
    has_equals: ClassVar[bool] = True
    """Whether a network has many equal ones as a rule, which then share what is worked out about them."""
    modelled: ClassVar[bool] = True
    """False for an op that keeps its shape but whose work could not be counted."""
    input_count: ClassVar[tuple[int, int | None]] = (1, 1)
    """Fewest and most input tensors; None for any number."""
    feature_axis: ClassVar[int] = 1
    """The axis that holds channels or features."""
    short_name: ClassVar[str] = ""
    """Stem of automatic layer names (`conv` gives conv1, conv2, …); the lower-case class name if empty."""
    frozen: ClassVar[frozenset[str]] = frozenset()
    """Names of weights that are not learnt although the node's others are; only traced models have any."""
    equation: ClassVar[str] = ""
    """What an activation computes (`f(x) = max(0, x)`); empty for every other op."""
    derivative: ClassVar[str] = ""
    """Its derivative (`f′(x) = 1 if x > 0, else 0`); empty for every other op."""
    flop_part: ClassVar[str] = ""
    """The kind of its FLOPs beyond 2 × MACs, where it states them as `flop_terms`."""
    calls: ClassVar[Mapping[str, str]] = {}
    """PyTorch functions that are this op, with their arguments in order: `{"elu": "input, alpha, inplace"}`.

    A name that is a field of the op is that field (`dim=0`: where the function has another default than the field);
    weight, bias, running_mean and running_var are its tensors; a name with a `_` in front is passed over; the others
    are what the op reads. An op that a call cannot be told from its arguments has a handler in `pytorch/handlers`.
    """
    routes_by_value: ClassVar[bool] = False
    """Whether values decide which positions of its window an output gets (a choice, the largest along an axis), so that
    the gradient of one run reaches less far than the window."""
    computed_as: ClassVar[str] = ""
    """How PyTorch computes an op that it does not have, where a count of what it runs differs for that reason alone:
    with a `dense filter` that is zero where this op has no weight, or `written out` element by element and summed."""
    complex_cost: ClassVar[int] = 2
    """Real operations that one of its operations beside products takes on complex numbers: an addition takes two."""
    passes_through: ClassVar[bool] = False
    """Whether inference returns its very input, so that a deployed network is without it."""
    quantizes: ClassVar[bool] = False
    """Whether it only turns numbers into 8-bit ones or back, which a network in int8 throughout is without."""
    scaled_operands: ClassVar[tuple[int, ...]] = ()
    """Numbers of the inputs that it only scales or shifts where all others are constant."""
    is_ruled_when_learnt: ClassVar[bool] = False
    """Whether what `saved` says holds only where its weights are learnt."""
    uses_own_statistics: ClassVar[bool] = False
    """Whether it is a norm that could store its statistics, and computes those of its input instead."""
    scales_by_channel: ClassVar[bool] = False
    """Whether its 8-bit weights have a scale for each output channel; else each weight tensor has one."""
    operator: ClassVar[str] = ""
    """Python's operator for it (`+`); empty where there is none."""
    takes_list: ClassVar[bool] = False
    """Whether its PyTorch function takes all inputs as one list (`torch.cat`)."""
    takes_two: ClassVar[bool] = False
    """Whether its PyTorch function takes two inputs, so that more are joined from left to right (`torch.add`)."""

    def __post_init__(self) -> None:
        """Check and normalize every argument; raises OpError that names the argument."""
        for name, kind, default in arguments_of(type(self)):
            value = getattr(self, name)
            if value is default:
                continue
            try:
                normal = kind.normalize(value)
            except ValueError as error:
                raise OpError(f"{name}={argument_text(value)} must be {error}") from None
            if normal is not value:
                object.__setattr__(self, name, normal)

    @property
    def kind(self) -> str:
        """The name of the op as specs write it."""
        return type(self).__name__

    def __repr__(self) -> str:
        """The same as its text."""
        return str(self)

    def __str__(self) -> str:
        """The op as a spec writes it: arguments that differ from their defaults."""
        return self._written()

    @property
    def compact(self) -> str:
        """The op for a narrow table, without what changes neither shapes nor the reading of an input."""
        return self._written(left_out=("bias", "inplace", "eps", "momentum"))

    def _written(self, left_out: Sequence[str] = ()) -> str:
        written = []
        for f in fields(self):  # type: ignore[arg-type]  # every registered op is a dataclass
            value = getattr(self, f.name)
            if f.name in left_out:
                continue
            if f.default is MISSING:
                written.append(argument_text(value))
            elif value != f.default or type(value) is not type(f.default):
                written.append(f"{f.name}={argument_text(value)}")
        return f"{self.kind}({', '.join(written)})" if written else self.kind

    def arguments(self) -> dict[str, Any]:
        """Return every argument with its value, as JSON-ready values; text for what JSON does not have."""
        return {name: json_value(getattr(self, name)) for name, _, _ in arguments_of(type(self))}

    # Facets ----------------------------------------------------------------------------------------------------------

    def output(self, inputs: Shapes) -> Shapes:
        """Return the output shapes, one for each result.

        Every rule that inputs and arguments must keep is checked here, and here alone: the other facets are asked only
        for inputs that passed. Raises OpError that names the argument to change, and what to.
        """
        raise AssertionError(f"{self.kind} states no output")

    def dtypes(self, inputs: tuple[str, ...], model: str, count: int) -> tuple[str, ...]:
        """Return the dtype of each of `count` outputs; views and in-place ops keep their input's."""
        own = model if self.storage is Storage.FRESH else inputs[0]
        return (own,) * count

    def full_names(self, inputs: Shapes) -> frozenset[str]:
        """Return those of its weights and buffers that are named as in a state dict, the layer's path included."""
        return frozenset()

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return the learnable tensors with their shapes, under the names they have in the PyTorch module's state."""
        raise AssertionError(f"{self.kind} states no weights")

    def buffers(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return the tensors that are stored but not learnt (running statistics), under their names in PyTorch."""
        raise AssertionError(f"{self.kind} states no buffers")

    def macs(self, inputs: Shapes, outputs: Shapes) -> int:
        """Return the multiply-accumulates of convolutions, linear maps and matrix products; 0 for all else."""
        return value_of(self.mac_terms(inputs, outputs))

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return the same as products of named factors, which `explain` prints; stated instead of `macs`."""
        raise AssertionError(f"{self.kind} states no macs")

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return the floating-point operations of inference beyond 2 × MACs, by kind (`bias`, `activation`, …).

        Every elementary operation of an element counts 1, a comparison and a logarithm too.
        """
        return {self.flop_part: value_of(self.flop_terms(inputs, outputs))}

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return those of ops that have one kind (`flop_part`) as products of named factors, which `explain` prints."""
        raise AssertionError(f"{self.kind} states no other_flops")

    def connections(self, inputs: Shapes, outputs: Shapes) -> int:
        """Return the connections as LeCun et al. 1998 count them: every use of a weight or a bias."""
        return self.macs(inputs, outputs) + self.other_flops(inputs, outputs).get("bias", 0)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return for each input how the axes of output `index` read it: for each output axis, an input axis and a rule.

        None stands for an output axis that belongs to no single input axis, such as the features of a linear layer.
        """
        raise AssertionError(f"{self.kind} states no window")

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return what training keeps for the backward pass: what PyTorch's autograd keeps, not what would suffice."""
        raise AssertionError(f"{self.kind} states no saved tensors")

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return the same where not all inputs need a gradient, or the op's own weights are not learnt.

        needs: for each input whether it needs a gradient; it does unless nothing before it is learnt. Only some ops
        care: a product keeps each factor for the gradient of the other.
        """
        return self.saved(inputs, outputs)

    @property
    def storage(self) -> Storage:
        """Where inference puts the first output: a fresh tensor, a view of input 0, or in place of input 0."""
        return Storage.FRESH

    @property
    def linearity(self) -> Linearity:
        """Whether inference applies a linear map that a neighbouring one could absorb."""
        return Linearity.NONE

    @property
    def int8(self) -> Int8:
        """How it runs where activations are 8-bit integers: what moves, pools or resizes keeps the scale."""
        moves = self.family in (Family.LAYOUT, Family.POOLING, Family.RESAMPLING)
        return Int8.SAME_SCALE if moves else Int8.KERNEL

    def with_bias(self, inputs: Shapes) -> Op | None:
        """Return the op with one learnt shift for each channel of its output, which is axis 1, itself if it has one.

        A fixed scale and shift of the channels behind such an op can be multiplied into its weight and bias. None for
        an op that has no weight for it.
        """
        return None

    def as_scale_and_shift(self, inputs: Shapes) -> Op | None:
        """Return the op that does the same with one scale and one shift a channel, and nothing else to store.

        None for all but norms by stored statistics, and what scales or shifts channels by numbers that are not learnt.
        """
        return None

    def with_dtypes(self, convert: Callable[[str], str]) -> Op:
        """Return the op whose outputs have converted dtypes, as far as it states them itself."""
        return self

    def without_scales(self) -> Op:
        """Return the op, whose weights are 8-bit integers, without the scales and zero points that it states itself."""
        return self

    @property
    def training_storage(self) -> Storage:
        """The same for training, where it differs (dropout copies in training and passes through in inference)."""
        return self.storage

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        """Return the keyword arguments that build the PyTorch module for these inputs: `inferred` ones, and all fields.

        An inferred argument is the number of channels or features of the input at the same place.
        """
        inferred = {name: shape[self.feature_axis] for name, shape in zip(self.inferred, inputs)}
        return inferred | {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    @property
    def is_torch_module(self) -> bool:
        """Whether code builds a module of it; if not, it is a function. What PyTorch lacks is a module of cnnstat's."""
        is_function = self.torch.startswith("torch.nn.functional.") or not self.torch.startswith("torch.nn.")
        return not (self.torch.startswith("torch.") and is_function)

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        """Return Python code that calls it.

        callee: the code of its module, or the name of its function. operands: the code of its inputs.
        arguments: those of its `torch_arguments` that are written; none for a module, which is built with them.
        """
        return f"{callee}({', '.join((*operands, *(f'{name}={value!r}' for name, value in arguments.items())))})"

    def torch_results(self, count: int) -> str:
        """Return how PyTorch nests `count` results, as the target of an assignment: `{0}, {1}`."""
        return ", ".join(f"{{{number}}}" for number in range(count))

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that follow from the shapes of a call's weights; `arguments` has the others.

        Raises OpError where no op has such weights.
        """
        return {}

    @classmethod
    def in_numbers(cls) -> tuple[Rows, Rows] | None:
        """Return a small input and what the op makes of it, rows by rows, to be shown; None where nothing is shown."""
        return None

    def second_reading(self, inputs: Shapes) -> str:
        """Return what else the arguments may have been meant for, in words for a warning; empty if nothing else."""
        return ""

    def curve(self, x: float) -> float | None:
        """Return an activation's value at x, to be plotted; None where no single number decides the output."""
        return None

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the arithmetic of output size, weights and work, in symbols and numbers, as `explain` prints it.

        Tests compute every line's numbers and hold them against the facets.
        """
        raise AssertionError(f"{self.kind} states no formulas")

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return example calls that cover the arguments; the contract tests hold each of them against PyTorch.

        The first is the one that `ops` and error messages show.
        """
        raise AssertionError(f"{cls.__name__} gives no examples")


def numel(shape: Shape) -> int:
    """Return the number of elements of a tensor."""
    return math.prod(shape)


def shape_text(shape: Shape) -> str:
    """Return a shape as people write it, `1×64×56×56`."""
    return "×".join(map(str, shape))


TERMS = {"mac_terms": "macs", "flop_terms": "other_flops"}
"""Facets that can be stated as named factors, instead of as numbers."""

_FACETS = ("output", "weights", "buffers", "macs", "other_flops", "window", "saved", "formulas", "examples")

OpType = TypeVar("OpType", bound=type[Op])


def register(cls: OpType) -> OpType:
    """Check that an op class states every facet, has a docstring and is a dataclass of declared arguments.

    Raises TypeError that lists what is missing.
    """
    stated = {name for base in cls.__mro__ if base is not Op for name in vars(base)}
    stated |= {facet for terms, facet in TERMS.items() if terms in stated}
    missing = [facet for facet in (*_FACETS, "family", "torch") if facet not in stated]
    # A dataclass without a docstring gets its signature for one.
    missing += ["docstring"] * (not cls.__doc__ or cls.__doc__.startswith(f"{cls.__name__}("))
    if missing:
        raise TypeError(f"{cls.__name__} states no {', '.join(missing)}")
    arguments_of(cls)
    return cls

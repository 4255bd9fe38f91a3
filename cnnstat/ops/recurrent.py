"""Recurrent layers: one step a position, each reading the state that the step before it left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from cnnstat.errors import OpError
from cnnstat.ir.declaration import (
    FLAG,
    Factor,
    Formula,
    Terms,
    Written,
    argument,
    choice,
    integer,
    number,
    product,
    value_of,
)
from cnnstat.ir.facets import FloatOnly, NoBuffers
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, WHOLE, AxisRule, Reads, up_to_itself

MAX_LAYERS = 1000
"""Most layers of one recurrent op; each has weights of its own that are listed by name."""


class Sizes(NamedTuple):
    """Batch, steps and features of the input; directions; outputs of one direction at one step."""

    batch: int
    steps: int
    features: int
    directions: int
    state: int


class _Recurrent(NoBuffers, Op):
    """What recurrent layers share; other than in PyTorch, batch_first is true unless written otherwise."""

    family: ClassVar[Family] = Family.RECURRENT
    inferred: ClassVar[tuple[str, ...]] = ("input_size",)
    input_count: ClassVar[tuple[int, int | None]] = (1, 2)
    feature_axis: ClassVar[int] = -1
    is_ruled_when_learnt: ClassVar[bool] = True
    gates: ClassVar[int]
    """Vectors of hidden_size that a step computes from its input and the state."""
    operations: ClassVar[Mapping[str, int]]
    """What a hidden unit takes in one step beside the matrix products and biases."""
    saved_vectors: ClassVar[int]
    """Vectors of hidden_size that one step keeps for training, beside the state before it."""
    saved_at_the_end: ClassVar[int] = 0
    """Vectors of hidden_size that are kept after the last step."""

    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool

    @property
    def projected(self) -> int:
        """Numbers that the state is projected to; 0 for no projection."""
        return 0

    def sizes(self, inputs: Shapes) -> Sizes:
        """Return the sizes of a call, or raise OpError where the inputs do not fit."""
        if len(inputs[0]) != 3:
            raise OpError(f"takes batch×steps×features, but its input is {shape_text(inputs[0])}; reshape it first")
        batch, steps, features = inputs[0] if self.batch_first else (inputs[0][1], inputs[0][0], inputs[0][2])
        if self.projected >= self.hidden_size:
            raise OpError(f"proj_size={self.projected} must be smaller than hidden_size={self.hidden_size}")
        return Sizes(batch, steps, features, 1 + self.bidirectional, self.projected or self.hidden_size)

    def states(self, sizes: Sizes) -> Shapes:
        """Return the shapes of the state, for all layers and directions."""
        return ((self.num_layers * sizes.directions, sizes.batch, sizes.state),)

    def output(self, inputs: Shapes) -> Shapes:
        sizes = self.sizes(inputs)
        states = self.states(sizes)
        if inputs[1:] not in ((), states):
            wanted, actual = (" and ".join(map(shape_text, shapes)) for shapes in (states, inputs[1:]))
            raise OpError(
                f"starts from a state of {wanted}, but gets {actual}; change it, or leave it out to start from 0"
            )
        return ((*inputs[0][:2], sizes.directions * sizes.state), *states)

    def _matrices(self, inputs: Shapes) -> Iterator[tuple[str, Shape]]:
        sizes = self.sizes(inputs)
        rows = self.gates * self.hidden_size
        for layer in range(self.num_layers):
            columns = sizes.directions * sizes.state if layer else sizes.features
            for name in (f"l{layer}", f"l{layer}_reverse")[: sizes.directions]:
                yield f"weight_ih_{name}", (rows, columns)
                yield f"weight_hh_{name}", (rows, sizes.state)
                if self.projected:
                    yield f"weight_hr_{name}", (self.projected, self.hidden_size)

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return for each layer and direction the matrices of input, state and projection, and two biases."""
        matrices = dict(self._matrices(inputs))
        squares = [name for name in matrices if not name.startswith("weight_hr")] if self.bias else []
        return {**matrices, **{name.replace("weight", "bias"): matrices[name][:1] for name in squares}}

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return batch × steps × elements of all matrices: each step multiplies every one once."""
        batch, steps, *_ = self.sizes(inputs)
        elements = sum(numel(shape) for _, shape in self._matrices(inputs))
        return product(("N", batch), ("steps", steps), ("weights", elements))

    def _units(self, sizes: Sizes) -> tuple[Factor, ...]:
        """Return the factors of the number of hidden units of all layers, directions and steps."""
        batch, steps, _, directions, _ = sizes
        layers: Factor = ("layers", self.num_layers)
        return ("N", batch), ("steps", steps), layers, ("D", directions), ("H", self.hidden_size)

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return two additions a gate for the biases, and the operations of the gates."""
        units = value_of(product(*self._units(self.sizes(inputs))))
        return {
            **({"bias": 2 * self.gates * units} if self.bias else {}),
            "recurrent": sum(self.operations.values()) * units,
        }

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity on the batch, and the steps before each, all where it goes both ways.

        A given state belongs to no position.
        """
        batch, steps = (0, 1) if self.batch_first else (1, 0)
        length = inputs[0][steps]
        rule: AxisRule = WHOLE if self.bidirectional or index else up_to_itself(length)
        along = (steps, IDENTITY if length == 1 else rule)
        if index:
            own: Reads = (None, (batch, IDENTITY), None)
            state: Reads = (None, (1, IDENTITY), None)
        else:
            own = ((batch, IDENTITY), along, None) if self.batch_first else (along, (batch, IDENTITY), None)
            state = ((1, IDENTITY), None, None) if self.batch_first else (None, (1, IDENTITY), None)
        return (own, *(state for _ in inputs[1:]))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return what PyTorch's own step-by-step code keeps: inputs of layers, gates and states of every step.

        With batch_first each direction of the first layer works on a transposed copy of the input; dropout adds its
        noise. It is what a CPU keeps, but for an LSTM without projection: that goes to oneDNN, and on a GPU all go to
        cuDNN, whose reserve holds about as much in a layout of its own.
        """
        sizes = self.sizes(inputs)
        # Transposing is free where one of the two axes has size 1.
        is_copied = self.batch_first and min(inputs[0][:2]) > 1
        copies = sizes.directions * numel(inputs[0]) if is_copied else 0
        between = (self.num_layers - 1) * numel(outputs[0]) * (2 if self.dropout else 1)
        state_elements = sum(map(numel, inputs[1:]))
        runs = sizes.batch * sizes.directions * self.num_layers
        vectors = sizes.steps * (self.saved_vectors + (self.projected > 0)) + self.saved_at_the_end
        stepwise = runs * (vectors * self.hidden_size + sizes.steps * sizes.state)
        saved_inputs = (() if is_copied else (0,)) + tuple(range(1, len(inputs)))
        return Saved(inputs=saved_inputs, extra=((copies + between + stepwise - state_elements, None),))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        _, _, features, directions, state = sizes = self.sizes(inputs)
        further = self.num_layers - 1
        layers: Factor = ("layers", self.num_layers)
        rows: tuple[Factor, Factor] = ("D", directions), ("G·H", (self.gates, self.hidden_size))
        columns = Written(features + state, f"({features} + {state})")
        further_columns = Written(directions * state + state, f"({directions}·{state} + {state})")
        operations = product(*self._units(sizes), ("operations", sum(self.operations.values())))
        lines = (
            ("weights of layer 1", product(*rows, ("(I + P)", columns)), True),
            (
                "weights of further layers",
                product(("(layers − 1)", further), *rows, ("(D·P + P)", further_columns)),
                further > 0,
            ),
            ("projections", product(layers, rows[0], ("P·H", (self.projected, self.hidden_size))), self.projected > 0),
            ("bias", product(layers, ("2", 2), *rows), self.bias),
            ("MACs", self.mac_terms(inputs, outputs), True),
        )
        note = ", ".join(f"{count} {name}" for name, count in self.operations.items())
        return (
            *(Formula.of(quantity, terms) for quantity, terms, is_there in lines if is_there),
            Formula.of("operations of the gates", operations, note),
        )


@register
@dataclass(frozen=True, repr=False)
class RNN(_Recurrent):
    """Recurrent layer (Elman 1990): h = tanh(W·x + b + U·h + c), or with relu.

    Takes the sequence and, if wanted, the first state; returns the states of all steps and the last state. Beside the
    products and biases, a hidden unit takes 2 operations a step: an addition and the non-linearity.
    """

    torch = "torch.nn.RNN"
    gates = 1
    operations = {"sum": 1, "non-linearity": 1}
    saved_vectors = 0
    saved_at_the_end = 1

    hidden_size: int = argument(integer(1), "numbers in the state of one layer and direction")
    num_layers: int = argument(integer(1, MAX_LAYERS), "layers, each reading the states of the one before", 1)
    nonlinearity: str = argument(choice("tanh", "relu"), "what bounds the state", "tanh")
    bias: bool = argument(FLAG, "whether both products of a step have a bias", True)
    batch_first: bool = argument(FLAG, "whether axis 0 is the batch; if false, it is the step", True)
    dropout: float = argument(number(0, 1), "share of the states between layers that training sets to 0", 0.0)
    bidirectional: bool = argument(FLAG, "whether a second pass reads the sequence from its end", False)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(7), ((2, 4, 5),)),
            Example(cls(6, 2, "relu", bidirectional=True), ((2, 4, 5),)),
            Example(cls(3, batch_first=False, bias=False), ((4, 2, 5), (1, 2, 3))),
        )


@dataclass(frozen=True, repr=False)
class _Gated(_Recurrent):
    """What LSTM and GRU share: the order of the arguments."""

    hidden_size: int = argument(integer(1), "numbers in the state of one layer and direction")
    num_layers: int = argument(integer(1, MAX_LAYERS), "layers, each reading the states of the one before", 1)
    bias: bool = argument(FLAG, "whether both products of a step have a bias", True)
    batch_first: bool = argument(FLAG, "whether axis 0 is the batch; if false, it is the step", True)
    dropout: float = argument(number(0, 1), "share of the states between layers that training sets to 0", 0.0)
    bidirectional: bool = argument(FLAG, "whether a second pass reads the sequence from its end", False)


@register
@dataclass(frozen=True, repr=False)
class LSTM(_Gated):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, forget gates Gers et al. 2000).

    i, f, o = σ(W·x + b + U·h + c), g = tanh(…), c = f·c + i·g, h = o·tanh(c). Takes the sequence and, if wanted, first
    state and cell; returns the states of all steps, last state and last cell. Beside products and biases, a hidden
    unit takes 22 operations a step: 4 sums, three σ of 4 (negate, exp, add, divide), 2 tanh, 3 for the cell, 1 for the
    state. Training keeps four gates, the cell before the step and the tanh of the one after it.
    """

    torch = "torch.nn.LSTM"
    input_count = (1, 3)
    gates = 4
    operations = {"sums": 4, "for three σ": 12, "tanh": 2, "for the cell": 3, "for the state": 1}
    saved_vectors = 6

    proj_size: int = argument(integer(0), "numbers the state is projected to; 0 for no projection", 0)

    @property
    def projected(self) -> int:
        return self.proj_size

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        first, *states = operands
        return f"{callee}({first}, ({', '.join(states)}))" if states else f"{callee}({first})"

    def torch_results(self, count: int) -> str:
        return "{0}, ({1}, {2})"

    def states(self, sizes: Sizes) -> Shapes:
        (state,) = super().states(sizes)
        return state, (*state[:2], self.hidden_size)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(7), ((2, 4, 5),)),
            Example(cls(6, 2, dropout=0.5, bidirectional=True), ((2, 4, 5),)),
            Example(cls(6, 2, proj_size=4), ((2, 4, 5),)),
            Example(cls(3, batch_first=False, bias=False), ((4, 2, 5), (1, 2, 3), (1, 2, 3))),
        )


@register
class GRU(FloatOnly, _Gated):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078).

    r, z = σ(W·x + b + U·h + c), n = tanh(W·x + b + r·(U·h + c)), h = (1 − z)·n + z·h. Takes the sequence and, if
    wanted, the first state; returns the states of all steps and the last state. Beside products and biases, a hidden
    unit takes 17 operations a step: 3 sums, two σ of 4 (negate, exp, add, divide), 1 product with r, 1 tanh, 4 for the
    state. Training keeps r, z and n, the product that r multiplies, and two vectors of the sum that makes h.
    """

    torch = "torch.nn.GRU"
    gates = 3
    operations = {"sums": 3, "for two σ": 8, "reset": 1, "tanh": 1, "for the state": 4}
    saved_vectors = 6

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(7), ((2, 4, 5),)),
            Example(cls(6, 2, bidirectional=True), ((2, 4, 5),)),
            Example(cls(3, batch_first=False, bias=False), ((4, 2, 5), (1, 2, 3))),
        )

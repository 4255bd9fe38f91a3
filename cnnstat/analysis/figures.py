"""Figures: every number that cnnstat computes of a layer or a network, declared once.

Columns of tables, keys of JSON, lines of comparisons, published figures and limits follow from FIGURES. A new figure
is a pass that computes it, a field of `Layer` or `Totals` that holds it, and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from cnnstat.numbers import Unit

ON_REQUEST = 99
"""Importance of a column that is shown only if asked for."""


class Figure(NamedTuple):
    """One number of a network, and of its layers where they have it.

    key: its name in JSON, comparisons, published figures and limits.
    title, name: what tables and limits call it, and what a line of a comparison does.
    doc: one line that says what is counted; unit: how it is printed.
    layer, total: where `Layer` and `Totals` hold it, empty where they do not; the last word is the key of a column
        or of the layers in JSON.
    adds_up: whether the layers' values add up to the total.
    column: the head of its column if that is not the title; importance: how long a narrow terminal keeps the
        column, 1 longest; share_importance: the same of its column of percentages, 0 for none.
    usually: what it says nothing beside: `0`, or the key of a figure that it mostly equals.
    is_part: whether it is only a part of another figure, which has no column, key or line of its own.
    in_layers: whether JSON has it for each layer.
    in_baseline: whether baseline files have it for each layer; their form is fixed.
    parts: where `Totals` hold its parts by name, if it is a sum of several kinds.
    scales_with_batch: whether it is proportional to the batch; published figures are for one input.
    limit: the option that limits it, without dashes; limit_help: the option's help; bounds: the limits that it may
        have, the first of them set by the option.
    description: one sentence for readers who do not know cnnstat. Both are made of `doc` where they are empty.
    explained_by: the figure of a layer that shows which layers are to blame for a broken limit; its own if empty.
    at_least: whether it is only a lower bound where a layer's work could not be counted.
    is_peak: whether it is of one moment, so that a block's is the largest of its layers' and one layer is to blame.
    ratio_of: the two figures of a layer that it is the ratio of, also that of a block.
    of_deployed: whether comparisons show it where a network is deployed only.
    """

    key: str
    title: str
    name: str
    doc: str
    unit: Unit = Unit.COUNT
    layer: str = ""
    total: str = ""
    adds_up: bool = True
    column: str = ""
    importance: int = ON_REQUEST
    share_importance: int = 0
    usually: str = ""
    is_part: bool = False
    in_layers: bool = True
    in_baseline: bool = False
    parts: str = ""
    scales_with_batch: bool = False
    limit: str = ""
    limit_help: str = ""
    description: str = ""
    bounds: tuple[str, ...] = ("max", "min", "max_increase")
    explained_by: str = ""
    at_least: bool = False
    is_peak: bool = False
    ratio_of: tuple[str, str] | tuple[()] = ()
    of_deployed: bool = False

    @property
    def sentence(self) -> str:
        """What is counted, as a sentence."""
        return f"{self.doc[:1].upper()}{self.doc[1:]}."

    @property
    def of(self) -> Callable[[Any], int]:
        """The function that reads it off the totals of a network."""
        return attrgetter(self.total)

    @property
    def of_layer(self) -> Callable[[Any], int]:
        """The function that reads it off a layer."""
        return attrgetter(self.layer)

    def of_layers(self, layers: Sequence[Any]) -> Any:
        """Return the figure of one layer, or of several together."""
        if self.ratio_of and len(layers) > 1:
            above, below = (sum(getattr(layer, name) for layer in layers) for name in self.ratio_of)
            return above / below if below else 0.0
        values = map(self.of_layer, layers)
        return max(values, default=0) if self.is_peak else sum(values)


FIGURES = (
    Figure(
        key="params", title="params", name="parameters", doc="parameters, frozen ones included",
        layer="params", total="params", importance=2, share_importance=11, in_baseline=True, limit="max-params",
        limit_help="Parameters, as in 5M.",
        description="Parameters: the elements of all trainable and frozen weights.",
    ),
    Figure(
        key="trainable_params", title="trainable", name="trainable parameters", doc="parameters that are learnt",
        layer="trainable_params", total="trainable_params", importance=15, usually="params", in_layers=False,
    ),
    Figure(
        key="buffers", title="buffers", name="buffers", doc="numbers that are stored but not learnt",
        layer="buffers", total="buffers", importance=16, usually="0", in_layers=False,
    ),
    Figure(
        key="macs", title="MACs", name="MACs",
        doc="multiply-accumulates of convolutions, linear layers and matrix products",
        layer="macs", total="macs", importance=3, share_importance=9, in_baseline=True, scales_with_batch=True,
        limit="max-macs", limit_help="Multiply-accumulates, as in 600M.", at_least=True,
        description="Multiply-accumulates of convolutions, linear layers and matrix products in one forward pass.",
    ),
    Figure(
        key="flops", title="FLOPs", name="FLOPs", doc="floating-point operations: 2 × MACs and everything else",
        layer="flops", total="flops", importance=10, in_baseline=True, parts="flop_parts", scales_with_batch=True,
        limit="max-flops", at_least=True, limit_help="Floating-point operations, as in 1.2G.",
        description="Floating-point operations of one forward pass: 2 × MACs and every other operation.",
    ),
    Figure(
        key="moved_bytes", title="moved", name="bytes moved", unit=Unit.BYTES,
        doc="bytes that one pass reads and writes: inputs, weights and outputs of every layer, each once",
        layer="moved_bytes", total="moved_bytes", limit="max-moved-memory", at_least=True,
    ),
    Figure(
        key="intensity", title="FLOPs/byte", name="arithmetic intensity", doc="FLOPs for each byte moved",
        unit=Unit.RATIO, layer="intensity", total="intensity", adds_up=False, ratio_of=("flops", "moved_bytes"),
        in_layers=False, of_deployed=True,
    ),
    Figure(
        key="bops", title="BOPs", name="bit operations", doc="MACs × bits of the weight × bits of the activation",
        layer="bops", total="bops", scales_with_batch=True, at_least=True, in_layers=False, of_deployed=True,
    ),
    Figure(key="layers", title="layers", name="layers", doc="calls of ops", unit=Unit.ITEMS, total="layers"),
    Figure(
        key="params_bytes", title="parameter memory", name="parameter memory", unit=Unit.BYTES,
        doc="bytes of all parameters", layer="weight_bytes", total="memory.params_bytes", column="weights",
    ),
    Figure(
        key="activation_bytes", title="activations", name="outputs of all layers", unit=Unit.BYTES,
        doc="bytes of all output tensors", layer="output_bytes", total="memory.activation_bytes", column="memory",
        importance=6, in_baseline=True, scales_with_batch=True, limit="max-activation-memory",
        limit_help="All layers' outputs together.", description="Memory of the outputs of all layers.",
    ),
    Figure(
        key="weighted_activation_bytes", title="conv + linear outputs", name="conv + linear outputs", unit=Unit.BYTES,
        doc="bytes of the outputs of convolutions and linear layers", total="memory.weighted_activation_bytes",
        scales_with_batch=True,
    ),
    Figure(
        key="peak_inference_bytes", title="peak inference", name="peak of inference", unit=Unit.BYTES,
        doc="most bytes of activations that inference holds at a time", layer="alive_bytes",
        total="memory.peak_inference_bytes", column="alive", is_peak=True, adds_up=False, scales_with_batch=True,
        limit="max-peak-memory", explained_by="output_bytes",
        limit_help="Activations alive at once in inference, as in 16MiB.",
        description="Most bytes of activations that inference holds at a time.",
    ),
    Figure(
        key="arena_bytes", title="arena", name="arena", unit=Unit.BYTES,
        doc="bytes of the smallest plan found that gives every activation an address, multiples of 16",
        total="memory.arena_bytes", adds_up=False, is_peak=True, scales_with_batch=True, limit="max-arena",
        explained_by="output_bytes", limit_help="Activations at their planned addresses, as in 1.5MB.",
        of_deployed=True,
    ),
    Figure(
        key="ram_bytes", title="RAM", name="RAM", unit=Unit.BYTES,
        doc="bytes that a pass writes while weights stay in flash: the arena", total="memory.ram_bytes", adds_up=False,
        is_peak=True, scales_with_batch=True, limit="max-ram", explained_by="output_bytes", of_deployed=True,
        limit_help="What a pass writes, weights staying in flash, as in 256KiB.",
    ),
    Figure(
        key="flash_bytes", title="flash", name="flash", unit=Unit.BYTES,
        doc="bytes that are stored: weights, biases and buffers, and in int8 scales and zero points",
        total="memory.flash_bytes", limit="max-flash", explained_by="params", of_deployed=True,
        limit_help="Weights, biases, scales and zero points, as in 1MiB.",
    ),
    Figure(
        key="training_bytes", title="training", name="training", unit=Unit.BYTES,
        doc="bytes of a training step: parameters, gradients, optimizer state and saved tensors",
        total="memory.training_bytes", adds_up=False, limit="max-training-memory", explained_by="output_bytes",
        at_least=True, limit_help="Parameters, gradients, optimizer and saved tensors.",
        description="Memory of one training step: parameters, gradients, optimizer state and saved tensors.",
    ),
    Figure(
        key="buffers_bytes", title="buffer memory", name="buffers", unit=Unit.BYTES, doc="bytes of all buffers",
        total="memory.buffers_bytes", is_part=True,
    ),
    Figure(
        key="gradient_bytes", title="gradients", name="gradients", unit=Unit.BYTES,
        doc="bytes of the gradients of all trainable parameters", total="memory.gradient_bytes", is_part=True,
    ),
    Figure(
        key="optimizer_bytes", title="optimizer state", name="optimizer state", unit=Unit.BYTES,
        doc="bytes that the optimizer keeps for each trainable parameter", total="memory.optimizer_bytes", is_part=True,
    ),
    Figure(
        key="saved_bytes", title="kept for backward", name="kept for backward", unit=Unit.BYTES,
        doc="bytes of the tensors that the backward pass needs", layer="saved_bytes", total="memory.saved_bytes",
        is_part=True,
    ),
    Figure(
        key="file_size", title="file size", name="file size", unit=Unit.BYTES,
        doc="bytes of the file that torch.save writes of the state_dict", total="memory.file_size", is_part=True,
        limit="max-file-size", explained_by="params",
        limit_help="Parameters and buffers of a state_dict file, as in 20MB.",
    ),
    Figure(
        key="receptive_field", title="receptive field", name="receptive field", unit=Unit.POSITIONS,
        doc="input positions along the smaller axis that one position of the last feature map sees", adds_up=False,
        limit="min-receptive-field", limit_help="Smaller side of the receptive field, as in 200.", bounds=("min",),
    ),
    Figure(
        key="latency", title="latency", name="latency", unit=Unit.TIME, doc="time of one forward pass",
        limit="max-latency", limit_help="Time of a forward pass, as in 5ms; a warning unless told otherwise.",
        bounds=("max", "max_increase"),
    ),
)  # fmt: skip
"""Every figure, in the order of columns and JSON."""

WORK_FIGURES = tuple(figure for figure in FIGURES if figure.key in ("macs", "flops"))
"""The figures that say how much is computed: where a layer's work is not known, they are only lower bounds."""

LAYER_FIGURES = tuple(figure for figure in FIGURES if figure.layer)
"""The figures of single layers."""

TOTAL_FIGURES = tuple(figure for figure in FIGURES if figure.total and not figure.is_part)
"""The figures of whole networks that have a key and a line of their own."""

_UNITS = (Unit.COUNT, Unit.ITEMS, Unit.RATIO, Unit.BYTES, Unit.POSITIONS, Unit.TIME)
LIMITED_FIGURES = tuple(
    sorted(
        (figure for figure in FIGURES if figure.limit), key=lambda figure: (_UNITS.index(figure.unit), figure.adds_up)
    )
)
"""The figures that can be limited: by unit, of one unit the peaks before the sums, which is their order in files."""

CONVENTION = "MACs are of convolutions, linear layers and matrix products; FLOPs are 2 × MACs and everything else"
"""What is counted, in one line."""

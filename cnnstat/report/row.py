"""Row: one line of a table, which is a layer, a block folded into one, or the rest that a table leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.receptive_field.fields import ReceptiveField
from cnnstat.ir.op import Shape, Shapes


class Row(NamedTuple):
    """Findings about one or several layers; counts of several are summed, shares are parts of the whole network.

    sees_whole_input: whether there is no receptive field because every output depends on the whole input.
    is_sum: whether it stands for rows that have nothing in common: those that `top` leaves out, or all.
    """

    name: str
    op: str
    kind: str
    inputs: tuple[str, ...]
    input_shapes: Shapes
    output_shape: Shape | None
    params: int
    trainable_params: int
    buffers: int
    macs: int
    flops: int
    output_bytes: int
    params_share: float
    macs_share: float
    receptive_field: ReceptiveField | None
    sees_whole_input: bool
    layers: int = 1
    is_sum: bool = False


def layer_rows(analysis: Analysis) -> tuple[Row, ...]:
    """Return one row for each op call, in execution order."""
    return tuple(layer_row(analysis, index) for index in range(len(analysis.layers)))


def layer_row(analysis: Analysis, index: int) -> Row:
    """Return the row of op call `index`."""
    layer, totals = analysis.layers[index], analysis.totals
    value = analysis.graph.arity + index
    return Row(
        name=layer.name,
        op=str(layer.op),
        kind=layer.op.kind,
        inputs=layer.inputs,
        input_shapes=layer.input_shapes,
        output_shape=layer.output_shape,
        params=layer.params,
        trainable_params=layer.trainable_params,
        buffers=layer.buffers,
        macs=layer.macs,
        flops=layer.flops,
        output_bytes=layer.output_bytes,
        params_share=layer.params / totals.params if totals.params else 0.0,
        macs_share=layer.macs / totals.macs if totals.macs else 0.0,
        receptive_field=layer.receptive_field,
        sees_whole_input=layer.receptive_field is None and analysis.fields.sees_whole_input(value),
    )


def fold_blocks(rows: Iterable[Row], depth: int, blocks: Mapping[str, str]) -> tuple[Row, ...]:
    """Return the rows with consecutive ones inside the same block folded into one.

    depth: components that a name keeps (`layer1.0.conv1` becomes `layer1` at depth 1).
    blocks: what each block is called.
    """
    folded: list[Row] = []
    for (path, is_inside), inside in groupby(rows, lambda row: block_of(row.name, depth)):
        if not is_inside:
            folded += [row._replace(inputs=_outer(row.inputs, depth)) for row in inside]
            continue
        row = _summed(tuple(inside), path, blocks.get(path, "block"))
        folded.append(row._replace(inputs=_outer(row.inputs, depth)))
    return tuple(folded)


def sum_of(rows: Sequence[Row], name: str, op: str = "") -> Row:
    """Return one row of sums, which has neither shapes nor a receptive field."""
    row = _summed(rows, name, "")
    return row._replace(
        op=op, inputs=(), input_shapes=(), output_shape=None, receptive_field=None, sees_whole_input=False, is_sum=True
    )


def block_of(name: str, depth: int) -> tuple[str, bool]:
    """Return the first `depth` components of a name, and whether there are more."""
    parts = name.split(".", depth)
    return ".".join(parts[:depth]), len(parts) > depth


def _outer(inputs: Iterable[str], depth: int) -> tuple[str, ...]:
    """Return the names of inputs as a folded table shows them."""
    return tuple(block_of(name, depth)[0] for name in inputs)


def _summed(rows: Sequence[Row], name: str, kind: str) -> Row:
    """Return one row for consecutive ones: sums, the input of the first, the output and field of the last."""
    first, last = rows[0], rows[-1]
    layers = sum(row.layers for row in rows)
    return Row(
        name=name,
        op=f"{kind} ({layers} layer{'s' * (layers != 1)})",
        kind=kind,
        inputs=first.inputs,
        input_shapes=first.input_shapes,
        output_shape=last.output_shape,
        params=sum(row.params for row in rows),
        trainable_params=sum(row.trainable_params for row in rows),
        buffers=sum(row.buffers for row in rows),
        macs=sum(row.macs for row in rows),
        flops=sum(row.flops for row in rows),
        output_bytes=sum(row.output_bytes for row in rows),
        params_share=sum(row.params_share for row in rows),
        macs_share=sum(row.macs_share for row in rows),
        receptive_field=last.receptive_field,
        sees_whole_input=last.sees_whole_input,
        layers=layers,
    )

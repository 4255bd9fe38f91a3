"""What two analyses of one network must have in common."""

FIGURES = (
    *("name", "inputs", "input_shapes", "output_shapes", "params", "trainable_params", "buffers", "macs", "flops"),
    *("output_bytes", "receptive_field"),
)


def rows(analysis, *left_out):
    """All figures of all layers."""
    kept = [figure for figure in FIGURES if figure not in left_out]
    return [tuple(getattr(layer, figure) for figure in kept) for layer in analysis.layers]


def figures(analysis):
    """The totals, memory and FLOPs by kind included."""
    totals = analysis.totals
    return totals, dict(totals.flop_parts), analysis.uncounted, analysis.graph.outputs, analysis.graph.inputs

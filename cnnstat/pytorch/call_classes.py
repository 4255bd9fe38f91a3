"""Names of calls that are no layers: other names for a tensor, factories, and calls with results that nobody reads."""

from __future__ import annotations

from cnnstat.pytorch.calls import words

SAME = words(
    """
    detach alias lift_fresh requires_grad_ data.get detach_ as_subclass cpu cuda retain_grad aten.detach aten.alias
    aten.lift_fresh pin_memory
    """
)
"""Calls whose result is the tensor they were given, under another name."""

MAYBE_SAME = words(
    """
    contiguous to type type_as float half double bfloat16 int long bool expand expand_as view reshape view_as
    reshape_as squeeze broadcast_to aten.view aten._to_copy aten.expand aten._unsafe_view getitem aten.slice flatten
    clone_ aten.view_as
    """
)
"""Calls that return the very memory and shape they were given where there is nothing to do."""

FACTORIES = words(
    """
    new_zeros new_ones new_full new_empty new_tensor zeros_like ones_like full_like empty_like rand_like randn_like
    randint_like zeros ones full empty rand randn arange
    aten.new_zeros aten.new_ones aten.new_full aten.new_empty aten.zeros_like aten.ones_like
    aten.full_like aten.empty_like aten.rand_like aten.randn_like aten.new_empty_strided
    """
)
"""Calls that take a tensor for its shape or dtype only."""

DROPOUTS = words(
    """
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout
    """
)

FIRST_ONLY = words(
    """
    _pack_padded_sequence aten._pack_padded_sequence aten.native_batch_norm aten.native_layer_norm
    aten.native_group_norm aten.cudnn_batch_norm
    """
)
"""Calls whose other results no call of the model computes with: statistics for training, how many sequences have each
step (a constant, as lengths are, or all steps are assumed)."""

"""Calls as ops of the library, one file a family; the first file that knows a call's name decides."""

from __future__ import annotations

from cnnstat.frontends.torch.calls import Handler
from cnnstat.frontends.torch.handlers import (
    activation,
    attention,
    conv,
    join,
    layout,
    linear,
    lookup,
    norm,
    own,
    pool,
    recurrent,
    resize,
)

HANDLERS: dict[str, Handler] = {
    **conv.HANDLERS,
    **linear.HANDLERS,
    **norm.HANDLERS,
    **activation.HANDLERS,
    **pool.HANDLERS,
    **resize.HANDLERS,
    **join.HANDLERS,
    **layout.HANDLERS,
    **lookup.HANDLERS,
    **attention.HANDLERS,
    **recurrent.HANDLERS,
    **own.HANDLERS,
}
"""What turns a call of each name into an op; a handler returns None for a call that the op does not cover."""


def handler_of(name: str) -> Handler | None:
    """Return the handler of a call: by its full name, or by that of the function behind `F.` and a trailing `_`."""
    found = HANDLERS.get(name)
    if found is None and not name.startswith("aten."):
        plain = name.removeprefix("F.")
        found = HANDLERS.get(plain) or HANDLERS.get(plain.removesuffix("_"))
    return found

"""`cnnstat cache`: the traces of PyTorch models that are kept."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def cache(
    action: Annotated[
        Literal["show", "clear"], typer.Argument(metavar="ACTION", help="show, or clear to remove them all.")
    ] = "show",
) -> None:
    """Show where traces of PyTorch models are kept and how large they are, or remove them."""
    from cnnstat.errors import printable
    from cnnstat.files import CACHE_VARIABLE, cache_folder
    from cnnstat.numbers import binary_bytes, plural
    from cnnstat.sources import trace_cache

    folder = cache_folder()
    if folder is None:
        print(f"nothing is kept, as {CACHE_VARIABLE} is empty")
        return
    if action == "clear":
        count, size = trace_cache.clear()
        print(f"removed {plural(count, 'trace')}, {binary_bytes(size)}")
        return
    entries = trace_cache.entries()
    size = sum(length for _, length in entries)
    print(printable(f"{folder / trace_cache.FOLDER}: {plural(len(entries), 'trace')}, {binary_bytes(size)}"))

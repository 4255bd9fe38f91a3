"""Progress: what a measurement tells while it runs."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of the stages of a measurement; the command line draws a bar with the time left from it."""

    def stage(self, title: str, steps: int) -> None:
        """A stage of so many steps begins."""

    def step(self) -> None:
        """One step of the stage is done."""


class Silent:
    """Draws nothing."""

    def stage(self, title: str, steps: int) -> None:
        """Do nothing."""

    def step(self) -> None:
        """Do nothing."""

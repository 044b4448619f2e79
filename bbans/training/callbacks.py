"""What a caller may learn of a run while it goes on, and its way to stop one. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Status:
    """How far a run is."""

    step: int
    steps: int
    """Of the whole run: an estimate where a time limit ends it."""
    rounding: bool
    remaining_seconds: float
    means: dict[str, float]
    """Since the last report, see `Trainer.means`."""


class Callbacks:
    """What a run calls. These do nothing and never stop it."""

    def note(self, message: str) -> None:
        """Something that the user should know."""

    def progress(self, what: str, done: int, total: int) -> None:
        """So many pictures of a total are read or measured: `what` says which."""

    def step(self, status: Callable[[], Status]) -> None:
        """After every step. To call the argument costs a wait for the device."""

    def report(self, row: dict[str, Any], status: Status) -> None:
        """A new row of the journal."""

    def stop(self) -> bool:
        """Whether to stop after this step, or this picture."""
        return False

    def check(self) -> None:
        """Raises: Stopped, if the run is to stop."""
        if self.stop():
            raise Stopped


class Stopped(Exception):
    """A callback stopped the run. The checkpoint holds `step`, the last one; None where this session took none."""

    def __init__(self, step: int | None = None, steps: int | None = None) -> None:
        super().__init__(step)
        self.step, self.steps = step, steps

"""What a caller may know of a run while it goes on, and its way to stop one. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bbans.training.schedule import Plan


@dataclass(frozen=True)
class Status:
    """How far a run is."""

    step: int
    plan: Plan
    remaining_seconds: float
    means: dict[str, float]
    """Since the last report, see Trainer.means."""


class Callbacks:
    """What a caller may know of a run, and its way to stop one. Does nothing."""

    def note(self, message: str) -> None:
        """Something that the user should know."""

    def status(self, status: Callable[[], Status]) -> None:
        """After every step. To call the argument costs a wait for the device."""

    def report(self, row: dict[str, Any], status: Status) -> None:
        """A new row of the journal."""

    def measured(self, name: str, count: int, total: int) -> None:
        """After each picture that is measured in real files at the end."""

    def stop(self) -> bool:
        """Whether to stop after this step."""
        return False


class Stopped(Exception):
    """The callbacks asked for it; ``step`` is in the checkpoint, None when there is none yet."""

    def __init__(self, step: int | None = None, steps: int | None = None) -> None:
        super().__init__(step)
        self.step, self.steps = step, steps

"""What the tests of training listen with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bbans.training.callbacks import Callbacks, Status


class Rows(Callbacks):
    """Keeps what it is told, and stops after a step if asked to."""

    def __init__(self, stop_after: int = -1) -> None:
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.stop_after, self.steps = stop_after, 0

    def note(self, message: str) -> None:
        self.notes.append(message)

    def status(self, status: Callable[[], Status]) -> None:
        self.steps = status().step

    def report(self, row: dict[str, Any], status: Status) -> None:
        self.rows.append(row)

    def stop(self) -> bool:
        return self.steps + 1 == self.stop_after

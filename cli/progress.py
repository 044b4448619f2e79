"""A line on stderr that changes where that is a terminal, and says how far a work is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable


class ProgressLine:
    """The line that changes. Without a terminal, or if it is to be quiet, there is none.

    Args:
        patience_seconds: from the start to the first line: what is done by then needs none.
        pause_seconds: between two lines.
    """

    def __init__(
        self,
        quiet: bool,
        patience_seconds: float = 1.0,
        pause_seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wanted = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._pause_seconds, self._clock = pause_seconds, clock
        self._next = clock() + patience_seconds
        self._shown = False

    @property
    def due(self) -> bool:
        """Whether the next text would be shown."""
        return self.wanted and self._clock() >= self._next

    def show(self, text: str) -> None:
        """Replace the line, unless the last one has just come. Longer texts are cut to the width of the terminal."""
        if self.due:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write(f"\r\x1b[K{text[: columns - 1]}")
            sys.stderr.flush()
            self._next, self._shown = self._clock() + self._pause_seconds, True

    def clear(self) -> None:
        """Take the line away, before another is written."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


class Ticker(ProgressLine):
    """Counts the steps of a work."""

    def __call__(self, what: str, done: int, total: int) -> None:
        self.show(f"{what}: {done} of {total}")

    def share_of(self, name: str) -> Callable[[str, int, int], None]:
        """Says what is done to a picture, and how far that is; to be called as `bbans.progress` says."""

        def tell(doing: str, done: int, total: int) -> None:
            self.show(f"{name}: {doing}, {100 * done / max(total, 1):.0f} %")

        return tell


def duration(seconds: float) -> str:
    """Such as `12 s`, `3 min 05 s`, `2 h 40 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"

"""A training run on the terminal: its progress, and the signals that end it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from bbans.training.callbacks import Callbacks, Status

from . import output

IMPATIENCE_SECONDS = 3.0
"""A signal counts as a second one only so much after the first: a terminal and torchrun both send it."""


class Interruption:
    """SIGINT and SIGTERM as a wish that the run looks at between two steps. A second signal ends the process at once."""

    def __init__(self) -> None:
        self.number = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.number:
            self.number, self._since = number, now
        elif now - self._since > IMPATIENCE_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class Console(Callbacks):
    """Progress on stderr: one line that changes where that is a terminal, a line for each report elsewhere."""

    def __init__(self, interruption: Interruption, quiet: bool) -> None:
        self.interruption, self.quiet = interruption, quiet
        self.in_place = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self.valid: float | None = None
        self._shown_at = 0.0

    def note(self, message: str) -> None:
        self.clear()
        if not self.quiet:
            output.note(message)

    def status(self, status: Callable[[], Status]) -> None:
        if self.in_place and time.monotonic() - self._shown_at > 1:
            now = status()
            if now.means["loss"]:  # there are none right after a report
                self._show(progress(now, now.means, self.valid))

    def report(self, row: Mapping[str, Any], status: Status) -> None:
        self.valid = row.get("valid_neg_elbo")
        line = progress(status, row, self.valid)
        if self.in_place:
            self._show(line)
        else:
            self.note(line)

    def measured(self, name: str, count: int, total: int) -> None:
        if self.in_place:
            self._show(f"compressing and decompressing {name} pictures: {count} of {total}")

    def stop(self) -> bool:
        return self.interruption.number != 0

    def clear(self) -> None:
        """Take the changing line away, before another is written."""
        if self.in_place and self._shown_at:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _show(self, line: str) -> None:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        sys.stderr.write(f"\r\x1b[K{line[: columns - 1]}")
        sys.stderr.flush()
        self._shown_at = time.monotonic()


class Worker(Console):
    """What a process that is not the first says: nothing."""

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(interruption, quiet=True)


def progress(status: Status, means: Mapping[str, Any], valid: float | None) -> str:
    """Such as `step 1200/9000, 52 min 10 s to go: loss 3.2014, train 3.1983 bits/dim, valid 3.1502`."""
    measured = "" if valid is None else f", valid {valid:.4f}"
    rounding = ", rounding" if status.plan.quantised(status.step - 1) else ""
    return (
        f"step {status.step}/{status.plan.steps}, {duration(status.remaining_seconds)} to go: "
        f"loss {means['loss']:.4f}, train {means['train']:.4f} bits/dim{measured}{rounding}"
    )


def duration(seconds: float) -> str:
    """Such as `12 s`, `3 min 05 s`, `2 h 40 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"

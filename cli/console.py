"""A training run on the terminal: how far it is, and the signals that end it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from bbans.training.callbacks import Callbacks, Status

from . import output
from .progress import ProgressLine, duration

IMPATIENCE_SECONDS = 3.0
"""A signal counts as a second one only so much after the first: a terminal and torchrun both send it."""
SILENCE_SECONDS = 5.0, 60.0
"""Without a terminal a line comes so long after the last one: at first, and later."""


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
    """Progress on stderr: one line that changes where that is a terminal; elsewhere a line for each report, and each minute.

    As a context it says so too when nothing new comes for long, as while a step is compiled.
    """

    def __init__(self, interruption: Interruption, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.interruption, self.quiet, self.clock = interruption, quiet, clock
        self.line = ProgressLine(quiet, patience_seconds=0.0, pause_seconds=1.0, clock=clock)
        self.valid: float | None = None
        self._silence = SILENCE_SECONDS[0]
        self._last, self._said_at, self._shown_at = "", clock(), clock()  # what was said last that was new, when, and any line
        self._lock = threading.RLock()
        self._ended = threading.Event()

    def __enter__(self) -> Console:
        threading.Thread(target=self._keep_saying, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with self._lock:
            self.line.clear()

    def note(self, message: str) -> None:
        self._say(message)

    def progress(self, what: str, done: int, total: int) -> None:
        self._show(lambda: f"{what}: {done} of {total}")

    def step(self, status: Callable[[], Status]) -> None:
        def text() -> str | None:
            now = status()
            return describe(now, now.means, self.valid) if now.means["loss"] else None  # there are none right after a report

        self._show(text)

    def report(self, row: Mapping[str, Any], status: Status) -> None:
        self.valid = row.get("valid_neg_elbo")
        text = describe(status, row, self.valid)
        if self.line.wanted:
            self._show(lambda: text)
        else:
            self._say(text)

    def stop(self) -> bool:
        return self.interruption.number != 0

    def still(self) -> None:
        """Say that the last thing goes on, if there has been no line for long."""
        with self._lock:
            text = f"{self._last}: {duration(self.clock() - self._said_at)} so far"
            if self.line.wanted and self.clock() - self._shown_at >= SILENCE_SECONDS[0]:
                self.line.show(text)
            elif not self.line.wanted and self.clock() - self._shown_at >= SILENCE_SECONDS[1]:
                self._say(text, new=False)

    def _show(self, text: Callable[[], str | None]) -> None:
        """Change the line, or write one if there has been none for some time."""
        late = not self.line.wanted and not self.quiet and self.clock() - self._shown_at >= self._silence
        shown = text() if self.line.due or late else None
        if shown and late:
            self._say(shown)
            self._silence = min(2 * self._silence, SILENCE_SECONDS[1])
        elif shown:
            with self._lock:
                self.line.show(shown)
                self._remember(shown)

    def _say(self, message: str, new: bool = True) -> None:
        """Write a line that stays."""
        with self._lock:
            self.line.clear()
            if new:
                self._remember(message)
            self._shown_at = self.clock()
            if not self.quiet:
                output.note(message)

    def _remember(self, message: str) -> None:
        self._last, self._said_at = message, self.clock()
        self._shown_at = self._said_at

    def _keep_saying(self) -> None:
        while not self._ended.wait(1.0):
            self.still()


def describe(status: Status, means: Mapping[str, Any], valid: float | None) -> str:
    """Such as `step 1200/9000, 52 min 10 s to go: loss 3.2014, train 3.1983 bits/dim, valid 3.1502`."""
    measured = "" if valid is None else f", valid {valid:.4f}"
    rounding = ", rounding" if status.rounding else ""
    return (
        f"step {status.step}/{status.steps}, {duration(status.remaining_seconds)} to go: "
        f"loss {means['loss']:.4f}, train {means['train']:.4f} bits/dim{measured}{rounding}"
    )

"""How far a run is, from 0 to 1: by its steps, or by the clock.

A run with a time limit has no plan of steps that a busy machine could upset. It looks at the clock before every step: the part of
the remaining time that the last step has taken is taken off the remaining share too. So the share follows the time, however fast
the steps are, and rate, KL weight and rounding follow the share (`bbans.training.schedule`). Loading and compiling use up time,
but no share.

With several processes the clock of the first one counts: `look` is what a process says, `advance` takes what the first one said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bbans.training.schedule import Schedule

ROWS, LEAST_EVERY = 50, 100  # reports of a run, unless it has fewer steps than so many for each
REPORTS_SHARE = 0.05  # of the time at most goes into reports, but for the last one
MOST_ADVANCE = 30.0  # over the number of steps so far: the largest share of a step, so that the rate falls in steps after a halt
RECENT = 50  # steps whose mean time is the pace


class Pace:
    """Seconds that recent steps and reports have taken."""

    def __init__(self) -> None:
        self.step = self.report = 0.0
        self._quantised: bool | None = None
        self._steps = self._reports = 0

    @property
    def compiled(self) -> bool:
        """Whether the last step was the first of its form."""
        return not self._steps

    def add_step(self, quantised: bool, seconds: float) -> None:
        """Add a step. The first without rounding and the first with it are left out: they may compile."""
        if quantised is not self._quantised:
            self._quantised, self._steps = quantised, 0
            return
        self._steps += 1
        self.step += (seconds - self.step) / min(self._steps, RECENT)

    def add_report(self, seconds: float) -> None:
        """Add a report."""
        self._reports += 1
        self.report += (seconds - self.report) / min(self._reports, 3)


class Budget(Protocol):
    """What a run may take: steps or time."""

    @property
    def share(self) -> float:
        """How much of the run is done: 1 at its end."""

    def look(self) -> list[float]:
        """What this process says before a step."""

    def advance(self, step: int, told: list[float]) -> bool:
        """After that step, counted from 1, with what the first process said. Returns whether a report is due."""

    def remaining(self, step: int) -> tuple[int, float]:
        """Steps of the whole run, and seconds that are left, as estimated after that step."""

    def state(self) -> dict[str, Any]:
        """For a checkpoint; `make_budget` takes it."""


class StepBudget:
    """A number of steps."""

    def __init__(self, steps: int, every: int | None, pace: Pace, step: int = 0) -> None:
        self.steps, self.pace, self.step = steps, pace, step
        self.every = every or max(LEAST_EVERY, -(-steps // ROWS))

    @property
    def share(self) -> float:
        return self.step / self.steps

    def look(self) -> list[float]:
        return []

    def advance(self, step: int, told: list[float]) -> bool:
        self.step = step
        return step % self.every == 0 or step == self.steps

    def remaining(self, step: int) -> tuple[int, float]:
        reports = -(-self.steps // self.every) - step // self.every
        return self.steps, (self.steps - step) * self.pace.step + reports * self.pace.report

    def state(self) -> dict[str, Any]:
        return {}


class TimeBudget:
    """A number of seconds.

    Args:
        seconds: from the start to the last checkpoint.
        elapsed: seconds since the start.
        every: steps between reports; None for ROWS reports, or fewer where they take long.
        share, reported: of the run that is done, and that was done when the last report came.
    """

    def __init__(
        self, seconds: float, elapsed: Callable[[], float], every: int | None, pace: Pace, share: float = 0.0, reported: float = 0.0
    ) -> None:
        self.seconds, self.elapsed, self.every, self.pace = seconds, elapsed, every, pace
        self.share, self.reported = share, reported
        self._looked: float | None = None

    def look(self) -> list[float]:
        """What the last step took of the time that was left before it, and whether a report is due."""
        end = self.seconds - self.pace.report - self.pace.step  # when the last step begins
        before, self._looked = self._looked, self.elapsed()
        if self._looked >= end:
            taken = 1.0
        else:
            taken = 0.0 if before is None or self.pace.compiled else (self._looked - before) / (end - before)
        least = max(1 / ROWS, self.pace.report / (REPORTS_SHARE * self.seconds))
        return [taken, float(self.share - self.reported >= least)]

    def advance(self, step: int, told: list[float]) -> bool:
        taken, due = told
        wanted, most = (1 - self.share) * taken, MOST_ADVANCE / step
        self.share = 1.0 if taken > 0.999 and wanted <= most else self.share + min(wanted, most)  # which came as float32
        if self.share == 1 or (step % self.every == 0 if self.every else due > 0):
            self.reported = self.share
            return True
        return False

    def remaining(self, step: int) -> tuple[int, float]:
        seconds = max(0.0, self.seconds - self.elapsed()) if self.share < 1 else 0.0
        return step + round(max(0.0, seconds - self.pace.report) / self.pace.step if self.pace.step else 0), seconds

    def state(self) -> dict[str, Any]:
        return {"share": self.share, "reported": self.reported}


def make_budget(schedule: Schedule, elapsed: Callable[[], float], pace: Pace, saved: dict[str, Any] | None = None) -> Budget:
    """The budget of a run, or of what is left of it.

    Args:
        elapsed: seconds since the start, in all sessions.
        saved: a checkpoint.
    """
    if schedule.steps is not None:
        return StepBudget(schedule.steps, schedule.every, pace, saved["step"] if saved else 0)
    state: dict[str, Any] = {}
    if saved:
        # Checkpoints once had a plan of the steps that the time would allow.
        share = min(1.0, saved["step"] / saved["plan"]["steps"]) if "plan" in saved else 0.0
        state = saved.get("budget") or {"share": share, "reported": share}
    return TimeBudget(schedule.minutes * 60, elapsed, schedule.every, pace, **state)

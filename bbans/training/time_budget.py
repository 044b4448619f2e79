"""How long steps and reports take, and how many steps that leaves for a time limit.

Steps with rounding take longer than those without, so both forms are timed. What is loaded and compiled first counts in the time
that has passed, not in the pace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bbans.training.schedule import ROWS, Plan, Schedule

REPORTS_SHARE = 0.05  # of the time at most goes into reports, but for the last one
LEAST_DECAY = 0.1  # of a planned decay is done in any case, though the time be up
OBSERVED_ENOUGH = 3  # steps of a form whose mean is better than what was measured before the run


@dataclass
class Pace:
    """Seconds of a step without and with rounding and of a report: measured at first, then as observed in the run."""

    plain: float = 0.0
    rounded: float = 0.0
    report: float = 0.0
    observed: dict[str, tuple[int, float]] = field(default_factory=dict)  # by name of a form: count, seconds

    def observe(self, name: str, seconds: float) -> None:
        """Add a ``report`` of the run or a step (``plain``, ``rounded``); the first of a form, which may compile, is left out."""
        if name not in self.observed and name != "report":
            self.observed[name] = (0, 0.0)
        else:
            count, total = self.observed.get(name, (0, 0.0))
            self.observed[name] = (count + 1, total + seconds)

    def measured(self) -> dict[str, float]:
        """What was measured before the run, for a checkpoint."""
        return {"plain": self.plain, "rounded": self.rounded, "report": self.report}

    def step(self, quantised: bool) -> float:
        """Seconds of a step. A form that has not run yet is as much slower or faster than the other as it was when measured."""
        own, other = ("rounded", "plain") if quantised else ("plain", "rounded")
        if self._enough(own):
            return self._mean(own)
        if self._enough(other):
            measured = getattr(self, own), getattr(self, other)
            return self._mean(other) * (measured[0] / measured[1] if min(measured) > 0 else 1.0)
        return float(getattr(self, own))

    def seconds_of_report(self) -> float:
        return self._mean("report") if self.observed.get("report", (0, 0.0))[0] > 0 else self.report

    def remaining(self, step: int, plan: Plan) -> float:
        """Seconds from that step to the end of the plan."""
        plain = max(0, min(plan.quantise_start, plan.steps) - step)
        rounded = plan.steps - step - plain
        reports = -(-plan.steps // plan.every) - step // plan.every
        return plain * self.step(False) + rounded * self.step(True) + reports * self.seconds_of_report()

    def _enough(self, name: str) -> bool:
        return self.observed.get(name, (0, 0.0))[0] >= OBSERVED_ENOUGH

    def _mean(self, name: str) -> float:
        count, total = self.observed[name]
        return total / count


def first_plan(schedule: Schedule, pace: Pace, seconds: float) -> Plan:
    """The plan of a run that has so many seconds left."""
    report = pace.seconds_of_report()
    reports = max(1, min(ROWS, int(REPORTS_SHARE * seconds / report))) if report > 0 else ROWS

    def made(steps: int) -> Plan:
        return schedule.plan(steps, every=-(-steps // reports))

    return _longest(made, lambda plan: pace.remaining(0, plan), seconds, least=1)


def second_plan(plan: Plan, pace: Pace, step: int, seconds: float) -> Plan:
    """The plan with as many steps as the seconds left allow at the pace observed; final."""
    least = step + max(1, round(LEAST_DECAY * (plan.steps - step)))
    return _longest(plan.replanned, lambda made: pace.remaining(step, made), seconds, least)


def _longest(made: Callable[[int], Plan], duration: Callable[[Plan], float], seconds: float, least: int) -> Plan:
    """The plan with the most steps whose duration is within the seconds, or with the least steps: by bisection."""
    low, high = least, least + 1
    while duration(made(high)) <= seconds and high < 1 << 40:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if duration(made(middle)) <= seconds else (low, middle)
    return made(low)

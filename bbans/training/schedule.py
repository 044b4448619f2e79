"""What a run is, apart from its pictures, and what happens at which step.

::

    rate      /-------------------\\__            warm-up, constant, half a cosine down
    KL      .-'----------------------             its weight, so that the latents are not shut off at once
    rounding                   |-----             activations and weights on the integer grids
    step    0 ...         decay_start    steps

A `Schedule` has shares of a run, a `Plan` the steps that they come to. The plan of a run with a time limit is made when the first
steps have been measured (`bbans.training.time_budget`), and once more a little after the decay has begun: until then the rate was
constant, so the steps behind are those of a longer or a shorter run as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

LEAST_RATE = 0.01  # of the full rate, at the last step
REPLAN_AFTER = 0.05  # share of the decay, in which the steps with rounding are timed and the rate falls by 0.6 %
ROWS, EVERY_LEAST = 50, 100  # reports of a run, unless it has fewer steps than so many for each


@dataclass(frozen=True)
class Schedule:
    """What a run is, apart from its pictures and its model. Shares are of all steps."""

    steps: int | None = None  # None: as many as the minutes allow
    minutes: float = 60.0
    batch: int = 16  # crops a step, of all processes together
    side: int = 64  # of a crop
    optimiser: str = "adam"
    rate: float = 1e-3
    warm_up: int = 200  # steps to the full rate
    decay_from: float = 0.5  # share after which the rate falls
    quantise_from: float = 0.5  # share after which activations and weights are rounded
    kl_from: float = 0.1  # weight of the KL term at the start; a full weight at once would shut the latents off
    kl_until: float = 0.2  # share after which the KL term has its full weight
    ema: float = 0.998  # of the weights: the average is what is exported
    clip: float = 1.0  # largest norm of a gradient
    every: int | None = None  # steps between two reports
    only: str = ""  # train the layers whose names begin so: those that were added to a trained model, say
    pixels: float = 1.0  # share of an image's pixels that a step looks at, of models with pixel layers
    seed: int = 0

    def plan(self, steps: int, every: int | None = None) -> Plan:
        """The plan of a run of so many steps. ``every`` is taken when the schedule has none."""
        return Plan(
            steps=steps,
            warm_up=self.warm_up,
            decay_start=round(self.decay_from * steps),
            quantise_start=round(self.quantise_from * steps),
            kl_full=round(self.kl_until * steps),
            every=self.every or every or max(EVERY_LEAST, -(-steps // ROWS)),
            final=self.steps is not None,
        )

    def rate_at(self, step: int, plan: Plan) -> float:
        """The rate of a step, counted from 0."""
        fall = 1.0
        if step > plan.decay_start:
            share = (step - plan.decay_start) / (plan.steps - plan.decay_start)
            fall = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * share))
        return self.rate * min(1.0, (step + 1) / plan.warm_up) * fall

    def kl_weight_at(self, step: int, plan: Plan) -> float:
        """The weight of the KL term at a step."""
        return min(1.0, self.kl_from + (1 - self.kl_from) * step / plan.kl_full) if plan.kl_full else 1.0


@dataclass(frozen=True)
class Plan:
    """The steps at which things change, and how many there are."""

    steps: int
    warm_up: int
    decay_start: int
    quantise_start: int
    kl_full: int
    every: int
    final: bool  # whether the number of steps stays as it is

    def quantised(self, step: int) -> bool:
        return step >= self.quantise_start

    @property
    def replan_at(self) -> int:
        """The step at which the number of steps is looked at once more, if it is not final."""
        return self.decay_start + max(1, round(REPLAN_AFTER * (self.steps - self.decay_start)))

    def replanned(self, steps: int) -> Plan:
        """The same plan with another end. Where rounding has not begun it keeps its share of what is left of the decay."""
        quantise_start = self.quantise_start
        if quantise_start > self.replan_at:
            share = (quantise_start - self.replan_at) / (self.steps - self.replan_at)
            quantise_start = self.replan_at + round(share * (steps - self.replan_at))
        return replace(self, steps=steps, quantise_start=quantise_start, final=True)

r"""What a run is, apart from its pictures, and what happens at which share of it.

::

    rate      /-------------------\__            warm-up, constant, half a cosine down
    KL      .-'----------------------            its weight, so that the latents are not shut off at once
    rounding                  |------            activations and weights on the integer grids
    share   0               0.5     1

The share is of the steps of a run, or of its time where that is limited (`bbans.training.time_budget`). Only the warm-up is counted
in steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_RATE = 0.01  # of the full rate, at the last step


@dataclass(frozen=True)
class Schedule:
    """What a run is, apart from its pictures and its model."""

    steps: int | None = None  # None: as many as the minutes allow
    minutes: float = 60.0
    batch: int = 16  # samples a step, of all processes together
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

    def rate_at(self, step: int, share: float) -> float:
        """The rate of a step, counted from 0, when that share of the run is done."""
        fall = 1.0
        if share > self.decay_from:
            decayed = (share - self.decay_from) / (1 - self.decay_from)
            fall = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * decayed))
        return self.rate * min(1.0, (step + 1) / self.warm_up) * fall

    def kl_weight_at(self, share: float) -> float:
        """The weight of the KL term."""
        return min(1.0, self.kl_from + (1 - self.kl_from) * share / self.kl_until) if self.kl_until else 1.0

    def quantised_at(self, share: float) -> bool:
        """Whether activations and weights are rounded."""
        return share >= self.quantise_from

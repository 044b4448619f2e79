"""Training, the same for every row: Muon for the square matrices in the networks, Adam for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from bbans.training.optimisers import Muon

from .data import Data
from .model import LatentModel

RATE = 4e-3
WARM_UP = 100  # steps
POOL = 1 << 20  # points that are drawn before, as drawing each batch anew takes longer than a step

Points = Callable[[int], Tensor]


def points_of(data: Data, seed: int) -> Points:
    """n -> n points of the data, (n, 2)."""
    pool = torch.from_numpy(data.sample(np.random.default_rng(seed), POOL)).float()
    return lambda n: pool[torch.randint(0, POOL, (n,))]


def fit(model: LatentModel, points: Points, steps: int) -> None:
    """Make model.loss small; the rate falls as half a cosine."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim == 2 and p.shape[0] == p.shape[1] > 2]
    rest = [p for p in trained if all(p is not matrix for matrix in matrices)]
    optimisers: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.Adam(rest, fused=True), 1.0),
        (Muon(matrices, lr=0.0, kind=torch.float32), 2.0),  # the matrices are small
    ]
    for step in range(steps):
        rate = RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        if model.warm_up:
            model.beta = min(1.0, (step + 1) / (model.warm_up * steps))
        for optimiser, share in optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = rate * share
        model.loss(points(model.batch)).backward()
        nn.utils.clip_grad_norm_(trained, 10.0)
        for optimiser, _ in optimisers:
            optimiser.step()
    model.settle(points)

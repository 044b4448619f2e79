"""A mixture of three normals of one number: the model whose posterior is known, so that its code length is -log2 p(x) exactly.

z is which of the three a number is from. With q(z|x) = p(z|x) the ELBO is log p(x) for every x and every z, not only in the mean:
popping z takes -log2 p(z|x) bits off the message, and pushing x and z adds -log2 p(x|z) p(z) = -log2 p(x) - log2 p(z|x).

Source: Frey and Hinton, "Efficient stochastic source coding and an application to a Bayesian network source model", 1997.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bbans import bitsback
from bbans.codecs import Codec, categorical
from bbans.combinators import sized
from bbans.tables import quantise_probabilities

from .coding import POINTS, PRECISION, vector
from .data import Floats, midpoints, normal_density
from .model import normal

NAME, TITLE = "3gaussians", "Mixture of three Gaussians"

WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([-0.25, 0.05, 0.3])
STDS = np.array([0.08, 0.03, 0.1])


def sample(rng: np.random.Generator, n: int) -> Floats:
    """(n, 1)"""
    z = rng.choice(3, n, p=WEIGHTS)
    return (MEANS[z] + STDS[z] * rng.standard_normal(n))[:, None]


def joint(x: Floats) -> Floats:
    """p(x, z) for each z: (n, 3) of numbers (n,)."""
    return WEIGHTS * normal_density(x[:, None] - MEANS, STDS)


def log2_density(x: Floats) -> Floats:
    """log2 p(x): (n,)."""
    return np.log2(joint(x).sum(1))


def entropy(limit: float = 1.0, cells: int = 1 << 16) -> float:
    """In bits."""
    p = joint(midpoints(limit, cells)).sum(1)
    return -float((p[p > 0] * np.log2(p[p > 0])).sum() * 2 * limit / cells)


def posterior(x: Floats) -> Floats:
    """p(z|x): (n, 3) of numbers (n,)."""
    p = joint(x)
    return p / p.sum(1, keepdims=True)


def codec(q: Callable[[Floats], Floats] = posterior) -> Codec[Any]:
    """Bits-back of numbers, as cells (rows, 1), with q(z|x): a function like `posterior`, which is the exact one."""
    freqs = quantise_probabilities(WEIGHTS, PRECISION)
    prior = sized(lambda rows: categorical(freqs, (rows,)))
    means, stds = torch.from_numpy(MEANS), torch.from_numpy(STDS)

    def likelihood(z: Any) -> Codec[Any]:
        return vector(POINTS, lambda before: normal(means[z], stds[z]), 1)

    def drawn(cells: Any) -> Codec[Any]:
        return categorical(quantise_probabilities(q(POINTS.middles(cells[:, 0]).numpy()), PRECISION))

    return bitsback.bb_ans(prior, likelihood, drawn)

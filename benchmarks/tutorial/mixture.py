"""Mixtures of normals of one number: models whose posterior is known, so that their code length is -log2 p(x) exactly.

z is which of the normals a number is from. With q(z|x) = p(z|x) the ELBO is log p(x) for every x and every z, not only in the mean:
popping z takes -log2 p(z|x) bits off the message, and pushing x and z adds -log2 p(x|z) p(z) = -log2 p(x) - log2 p(z|x).

That makes training easy: the expectation step of EM sets q(z|x) to p(z|x), the maximisation step makes -ELBO small with that q.

Sources: Frey and Hinton, "Efficient stochastic source coding and an application to a Bayesian network source model", 1997; Neal and
Hinton, "A view of the EM algorithm that justifies incremental, sparse, and other variants", 1998.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bbans import bitsback
from bbans.codecs import Codec, categorical
from bbans.combinators import sized
from bbans.tables import quantise_probabilities

from .coding import POINTS, PRECISION, code, standard_error, vector
from .data import Floats, midpoints, normal_density
from .model import normal

NAME, TITLE = "3gaussians", "Mixture of three Gaussians"
TRAINING_POINTS, EM_STEPS = 20_000, 300


@dataclass(frozen=True)
class Mixture:
    """p(z) = weights, p(x|z) = N(means[z], stds[z]^2). Shapes: (K,) each."""

    weights: Floats
    means: Floats
    stds: Floats

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """(n, 1)"""
        z = rng.choice(len(self.weights), n, p=self.weights)
        return (self.means[z] + self.stds[z] * rng.standard_normal(n))[:, None]

    def joint(self, x: Floats) -> Floats:
        """p(x, z) for each z: (n, K) of numbers (n,)."""
        return self.weights * normal_density(x[:, None] - self.means, self.stds)

    def log2_density(self, x: Floats) -> Floats:
        """log2 p(x): (n,)."""
        return np.log2(self.joint(x).sum(1))

    def posterior(self, x: Floats) -> Floats:
        """p(z|x): (n, K) of numbers (n,)."""
        p = self.joint(x)
        return p / p.sum(1, keepdims=True)

    def entropy(self, limit: float = 1.0, cells: int = 1 << 16) -> float:
        """In bits."""
        p = self.joint(midpoints(limit, cells)).sum(1)
        return -float((p[p > 0] * np.log2(p[p > 0])).sum() * 2 * limit / cells)

    def codec(self, q: Callable[[Floats], Floats] | None = None) -> Codec[Any]:
        """Bits-back of numbers, as cells (rows, 1), with q(z|x): a function like `posterior`, which is the exact one."""
        freqs = quantise_probabilities(self.weights, PRECISION)
        prior = sized(lambda rows: categorical(freqs, (rows,)))
        means, stds = torch.from_numpy(self.means), torch.from_numpy(self.stds)

        def likelihood(z: Any) -> Codec[Any]:
            return vector(POINTS, lambda before: normal(means[z], stds[z]), 1)

        def posterior(cells: Any) -> Codec[Any]:
            x = POINTS.middles(cells[:, 0]).numpy()
            return categorical(quantise_probabilities((q or self.posterior)(x), PRECISION))

        return bitsback.bb_ans(prior, likelihood, posterior)


THREE = Mixture(np.array([0.5, 0.3, 0.2]), np.array([-0.25, 0.05, 0.3]), np.array([0.08, 0.03, 0.1]))


def fit(x: Floats, components: int, steps: int) -> Mixture:
    """By EM from numbers (n,). One component is done in one step."""
    places = (np.arange(components) + 0.5) / components
    mixture = Mixture(np.full(components, 1 / components), np.quantile(x, places), np.full(components, x.std()))
    for _ in range(steps):
        q = mixture.posterior(x)
        share = q.mean(0)
        means = (q * x[:, None]).mean(0) / share
        mixture = Mixture(share, means, np.sqrt((q * (x[:, None] - means) ** 2).mean(0) / share))
    return mixture


def fits(points: int, steps: int) -> list[dict[str, Any]]:
    """One, two and three normals, each fitted to draws of THREE; what other draws take by them, and coded with bits-back."""
    training = THREE.sample(np.random.default_rng(2), TRAINING_POINTS)[:, 0]
    x = THREE.sample(np.random.default_rng(1), points)
    rows = []
    for components in (1, 2, 3):
        mixture = fit(training, components, steps)
        length = code(x, mixture.codec())
        bits = -mixture.log2_density(x[:, 0])
        rows.append(
            {
                "components": components,
                "entropy_bits": THREE.entropy(),
                "nll_bits": float(bits.mean()),
                "code_length_bits": length.bits,
                "beyond_error": standard_error(length.lengths - bits),
                "points": points,
                "decoded_equal": length.decoded_equal,
                "weights": mixture.weights.tolist(),
                "means": mixture.means.tolist(),
                "stds": mixture.stds.tolist(),
            }
        )
    return rows

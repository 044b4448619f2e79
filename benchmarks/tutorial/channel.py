"""Latents as a noisy channel, Section 4.3: the encoder sends z, the decoder hears it with noise.

A channel whose output has variance 1, sigma^2 of it noise, carries R = 1/2 log2(1 / sigma^2) = log2(1 / sigma) bits a use, and d
uses carry d R. In pictures: what is heard lies in a ball of radius sqrt(d), and the noise around a word in one of radius sqrt(d)
sigma. So there is room for (1 / sigma)^d = 2^(d R) balls of noise, that is for as many words that are heard apart.

Sources: Yu 2020, Section 4.3; Shannon, "Communication in the presence of noise", 1949.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from .data import PLANE
from .measuring import seeded
from .model import BITS, LatentModel, draw, log_prob

POINTS = 1000
SIGMA = 0.5  # of the packing: 1 bit a use
RATES = (0.5, 1.0, 1.5)  # bits that are sent by a use
USES = (2, 4, 6, 8, 12, 16, 24)  # d
MOST_BITS = 12  # of a word
TRIALS = 2000


@torch.no_grad()
def channel(model: LatentModel, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L_reg = KL(q(z|x) || p(z)), d R and the distortion -log2 p(x|z) of points (N, 2), in bits: (N,) each.

    For normals, with m(x) the posterior's mean, KL = R + (sigma^2 + m^2 - 1) / (2 ln 2) in each latent. When all q(z|x) together
    match p(z), sigma^2 + m^2 is 1 in the mean, and so L_reg is d R.
    """
    with seeded():
        q, p = model.posterior(x), model.prior()
        z = draw(q, x.shape[:-1], model.latents)
        cost, capacity = torch.zeros(len(x)), torch.zeros(len(x))
        for d in range(model.latents):
            of_latent, prior = q(z[..., :d]), p(z[..., :d])
            cost += BITS * kl_divergence(of_latent, prior)
            capacity += BITS * (prior.stddev / of_latent.stddev).log()
        return cost, capacity, -BITS * log_prob(model.likelihood(z), x)


def means(models: Mapping[str, Mapping[str, LatentModel]]) -> list[dict[str, Any]]:
    """The three in the mean over the data, of models by entry and data set, and the number of words that d R makes room for."""
    rows = []
    for of_entry in models.values():
        for dataset, model in of_entry.items():
            x = torch.from_numpy(PLANE[dataset].sample(np.random.default_rng(0), POINTS)).float()
            cost, capacity, distortion = (float(values.mean()) for values in channel(model, x))
            parts = {"cost_bits": cost, "capacity_bits": capacity, "distortion_bits": distortion, "words": 2**capacity}
            rows.append({"dataset": dataset, "model": model.title, **parts})
    return rows


def packing(most_bits: int, trials: int) -> list[dict[str, Any]]:
    """How often the nearest of 2^(d rate) random words is not the one that was sent through d uses of a channel of SIGMA.

    Below a rate of R it is ever less often as d grows, above it ever more often: so many balls do not fit.
    """
    rng = np.random.default_rng(0)
    rows = []
    for rate in RATES:
        for uses in (uses for uses in USES if uses * rate <= most_bits):
            words, wrong = 1 << int(uses * rate), 0
            for _ in range(trials // 100):  # another code every 100 words
                code = np.sqrt(1 - SIGMA**2) * rng.standard_normal((words, uses))
                sent = rng.integers(0, words, 100)
                heard = code[sent] + SIGMA * rng.standard_normal((100, uses))
                distance = (code**2).sum(1) - 2 * heard @ code.T
                wrong += int((distance.argmin(1) != sent).sum())
            rows.append({"rate": rate, "uses": uses, "words": words, "wrong": wrong / trials})
    return rows

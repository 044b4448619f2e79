"""The tutorial's errata. Each is computed, and where it is about a code length, with real code lengths of the library's codecs.

Source: R. Yu, "A tutorial on VAEs: from Bayes' rule to lossless compression", arXiv 2006.10273, 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.distributions import Normal, kl_divergence

from .coding import POINTS, CodeLength, Grid, code, vector
from .data import CENTRES, GAUSSIAN_STD, GAUSSIANS, Floats
from .model import BITS
from .priors import mixture

SIGMA = 0.5  # the concrete standard deviation of the first erratum
STD = 0.1  # of the residuals in the second and third: an MSE of 0.01
PIXEL_BITS = 8


@dataclass(frozen=True)
class Erratum:
    """What the tutorial says, what comes out, and the figures in it by name."""

    claim: str
    computed: str
    numbers: dict[str, float]


def errata(points: int = 4000) -> list[Erratum]:
    """All of them, in the tutorial's order. `points` are coded for each code length."""
    return [noise_scale(), halved_error(points), error_of_a_hundredth(points), signs(points)]


def noise_scale(draws: int = 1 << 18) -> Erratum:
    """z = mu + sigma^2 eps has variance sigma^4. The KL term still speaks of sigma^2, so it is not that of the draws."""
    mean, prior = torch.tensor(0.3), Normal(0.0, 1.0)  # any mean: it drops out of the difference
    z = mean.item() + SIGMA**2 * np.random.default_rng(0).standard_normal(draws)
    charged = BITS * kl_divergence(Normal(mean, SIGMA), prior).item()
    real = BITS * kl_divergence(Normal(mean, float(z.std())), prior).item()
    numbers = {"variance": float(z.var()), "charged_bits": charged, "real_bits": real, "missing_bits": real - charged}
    return Erratum(
        "Equation 3 as printed: z = mu + sigma^2 eps.",
        f"For sigma = {SIGMA} such draws have variance {z.var():.4f}, which is sigma^4 = {SIGMA**4:.4f} and not sigma^2 = "
        f"{SIGMA**2:.4f}. The KL term charges {charged:.3f} bits for z, but such draws take {real:.3f}: the ELBO is "
        f"{real - charged:.3f} bits too good for each latent. Meant is z = mu + sigma eps.",
        numbers,
    )


def halved_error(points: int) -> Erratum:
    """Residuals of half the MSE, each coded by the normal that fits them."""
    whole, half = coded(STD, STD, POINTS, points, seed=1), coded(STD / math.sqrt(2), STD / math.sqrt(2), POINTS, points, seed=2)
    saved, error = whole.bits - half.bits, math.hypot(whole.error, half.error)
    formula = 0.5 * math.log2(STD**2 / (STD**2 / 2))
    return Erratum(
        "Halving the MSE saves one bit per dimension.",
        f"It saves 1/2 log2(2) = {formula:g} bits. Coded, {points} normal residuals each of MSE {STD**2:g} and of half that differ "
        f"by {saved:.3f} +- {error:.3f} bits per dimension.",
        {"formula_bits": formula, "saved_bits": saved, "error": error},
    )


def error_of_a_hundredth(points: int) -> Erratum:
    """log MSE stands for the best variance, the MSE itself; the plain MSE for a variance of 1/2."""
    error, grid = STD**2, Grid(-1.0, 1.0, PIXEL_BITS + 1)
    best = 0.5 * math.log2(2 * math.pi * math.e * error)
    plain = 0.5 * math.log2(2 * math.pi * 0.5) + BITS * error / (2 * 0.5)
    best_coded, plain_coded = coded(STD, STD, grid, points, seed=3), coded(STD, math.sqrt(0.5), grid, points, seed=3)
    return Erratum(
        f"Equation 43, what an MSE of {error:g} costs.",
        f"By the best variance, 1/2 log2(2 pi e MSE) = {best:.2f} bits per dimension, where a uniform density on [0, 1] is 0: "
        f"{PIXEL_BITS + best:.2f} bits on a grid of {PIXEL_BITS} bits (coded: {PIXEL_BITS + best_coded.bits:.2f} +- "
        f"{best_coded.error:.2f}). By the variance 1/2 of the plain MSE, {plain:.2f} and so {PIXEL_BITS + plain:.2f} bits (coded: "
        f"{PIXEL_BITS + plain_coded.bits:.2f}): {plain - best:.2f} bits more, and more than the {PIXEL_BITS} of the bare number.",
        {
            "best_bits": best,
            "best_coded_bits": best_coded.bits,
            "plain_bits": plain,
            "plain_coded_bits": plain_coded.bits,
            "error": best_coded.error,
        },
    )


def signs(points: int) -> Erratum:
    """Points of the 8 Gaussians, coded by their own density: the first number by its mixture, the second given the first."""
    centres = torch.from_numpy(CENTRES)
    density = mixture(torch.zeros(8, dtype=torch.float64), centres, torch.full_like(centres, GAUSSIAN_STD))
    length = code(GAUSSIANS.sample(np.random.default_rng(4), points), vector(POINTS, density))
    n, entropy = round(-math.log2(POINTS.step)), GAUSSIANS.entropy()
    return Erratum(
        "Section 6.2's example: an entropy of -1.92 bits, at an accuracy of n bits, as 2n + 1.92 bits.",
        f"A density of {entropy:.2f} bits takes 2n - {-entropy:.2f}: for n = {n}, {2 * n + entropy:.2f} bits per point. Coded: "
        f"{2 * n + length.bits:.2f} +- {length.error:.2f}.",
        {"n": float(n), "entropy_bits": entropy, "coded_bits": 2 * n + length.bits, "error": length.error},
    )


def coded(true: float, claimed: float, grid: Grid, points: int, seed: int) -> CodeLength:
    """Of normal numbers of standard deviation `true`, one a point, by a normal of `claimed`."""
    residuals: Floats = true * np.random.default_rng(seed).standard_normal((points, 1))
    normal = Normal(torch.zeros((), dtype=torch.float64), claimed)
    return code(residuals, vector(grid, lambda before: normal, 1), grid)

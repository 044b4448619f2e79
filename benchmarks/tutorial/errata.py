"""The tutorial's errata. Each is computed, and where it is about a code length, with real code lengths of the library's codecs.

Source: R. Yu, "A tutorial on VAEs: from Bayes' rule to lossless compression", arXiv 2006.10273, 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.distributions import kl_divergence

from bbans.codecs import Codec, categorical
from bbans.tables import quantise_probabilities

from . import jensen, mixture
from .coding import POINTS, PRECISION, Cells, CodeLength, Grid, code, primed, sizes, standard_error, vector
from .data import Floats, normal_density
from .measuring import CODED_DRAWS
from .model import BITS, normal
from .posteriors import correlated

SIGMA = 0.5  # the concrete standard deviation of the erratum on Equation 3
STD = 0.1  # of residuals: an MSE of 0.01
PIXEL_BITS = 8
POINTS_CODED = 4000
CLAIMED_BITS = 7.4  # what the text says that an MSE of 0.01 costs
EPSILON = 0.05  # of the near-deterministic model in Section 3.3
AXES = math.radians(30), math.radians(70)  # of the columns of U and of V
STRETCH = np.array([3.0, 1.0])  # the singular values, D


@dataclass(frozen=True)
class Erratum:
    """Where it is, what the tutorial says there, what comes out, and the figures in it by name."""

    place: str
    claim: str
    computed: str
    numbers: dict[str, float]


def errata(points: int = POINTS_CODED) -> list[Erratum]:
    """All of them, in the tutorial's order. `points` are coded for each code length."""
    return [
        noise_scale(),
        scale_of_x(points),
        missing_term(points),
        axes_of_z(points),
        halved_error(points),
        error_of_a_hundredth(points),
        signs(points),
    ]


def noise_scale(draws: int = 1 << 18) -> Erratum:
    """z = mu + sigma^2 eps has variance sigma^4. The KL term still speaks of sigma^2, so it is not that of the draws."""
    mean, prior = 0.3, normal(torch.tensor(0.0), 1.0)  # any mean: it drops out of the difference
    z = mean + SIGMA**2 * np.random.default_rng(0).standard_normal(draws)
    charged = BITS * kl_divergence(normal(torch.tensor(mean), SIGMA), prior).item()
    real = BITS * kl_divergence(normal(torch.tensor(mean), float(z.std())), prior).item()
    return Erratum(
        "Equation 3",
        "z = mu + sigma^2 eps.",
        f"For mu = {mean:g} and sigma = {SIGMA} such draws have variance {z.var():.4f}, which is sigma^4 = {SIGMA**4:.4f} and not "
        f"sigma^2 = {SIGMA**2:.4f}. The KL term charges {charged:.3f} bits for z, but such draws take {real:.3f}: the ELBO is "
        f"{real - charged:.3f} bits too good for each latent. It should be z = mu + sigma eps.",
        {"variance": float(z.var()), "charged_bits": charged, "real_bits": real, "missing_bits": real - charged},
    )


def scale_of_x(points: int) -> Erratum:
    """A likelihood whose deviation is a function of x has a mass other than 1, so no code has its lengths.

    The deviation here is 0.05 + |x|/4 around a mean of 0, on a grid of [-1, 1]. Its shares of cells are made to sum to 1 before
    they can be coded, and that costs the logarithm of their sum.
    """
    grid = Grid(-1.0, 1.0, PIXEL_BITS + 1)
    x = grid.middles(np.arange(1 << grid.bits)).numpy()
    shares = grid.step * normal_density(x, 0.05 + np.abs(x) / 4)
    mass = float(shares.sum())
    symbols = np.random.default_rng(5).choice(len(x), points, p=shares / mass)
    coded = pushed(categorical(quantise_probabilities(shares, PRECISION), (points,)), symbols) / points
    claimed = -float(np.log2(shares[symbols]).mean())
    return Erratum(
        "Equation 5",
        "log p(x|z) with the deviation sigma(x).",
        f"It should be sigma(z). The receiver does not know x yet, and with x in the deviation p(x|z) is no density: with "
        f"sigma(x) = 0.05 + |x|/4 around 0 the cells of a grid have shares that sum to {mass:.3f}. They promise {claimed:.3f} "
        f"bits for a number; coded, with shares that sum to 1: {coded:.3f}, which is log2({mass:.3f}) = {math.log2(mass):.3f} "
        f"more.",
        {"mass": mass, "claimed_bits": claimed, "coded_bits": coded, "more_bits": math.log2(mass)},
    )


def missing_term(points: int) -> Erratum:
    """The ELBO is log p(x) - KL(q(z|x) || p(z|x)); here of the mixture of three normals, with a q that is not p(z|x)."""
    x = mixture.THREE.sample(np.random.default_rng(6), points)
    q = rough_posterior(x[:, 0])
    joint = mixture.THREE.joint(x[:, 0])
    evidence = joint.sum(1)
    kl = (q * np.log2(q * evidence[:, None] / joint)).sum(1)
    elbo = (q * np.log2(joint / q)).sum(1)
    cells = np.tile(POINTS.cells(x), (CODED_DRAWS, 1))
    batch = primed(len(cells), words=8)  # a message for each of them, so that each z is drawn from fresh bits
    before = sizes(batch)
    mixture.THREE.codec(rough_posterior).push(batch, cells)
    lengths = (sizes(batch) - before).reshape(CODED_DRAWS, points).mean(0) - math.log2(1 / POINTS.step)
    numbers = {
        "nll_bits": -float(np.log2(evidence).mean()),
        "kl_bits": float(kl.mean()),
        "neg_elbo_bits": -float(elbo.mean()),
        "coded_bits": float(lengths.mean()),
        "error": standard_error(lengths + elbo),
    }
    return Erratum(
        "Equation 11",
        "log p(x) = E log p(x|z) - KL(q(z|x) || p(z)).",
        "The left side lacks -KL(q(z|x) || p(z|x)). For a mixture of three normals and a q(z|x) less sure than "
        "p(z|x), -log p(x) = {nll_bits:.3f} bits in the mean and -ELBO = {neg_elbo_bits:.3f}; KL(q(z|x) || "
        "p(z|x)) = {kl_bits:.3f} is what lies between them. Coded by bits-back with this q: {coded_bits:.3f} ± "
        "{error:.3f}.".format(**numbers),
        numbers,
    )


def rough_posterior(x: Floats) -> Floats:
    """The square root of p(z|x), made to sum to 1: less sure than p(z|x). (n, 3) of numbers (n,)."""
    root = np.sqrt(mixture.THREE.joint(x))
    return root / root.sum(1, keepdims=True)


def axes_of_z(points: int) -> Erratum:
    """With x = f(z) + eps noise, z is spread by eps J^-1 noise. For J^-1 = U D V^T its covariance is eps^2 U D^2 U^T: no V in "
    "it."""
    u, v = (np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) for angle in AXES)
    inverse = u @ np.diag(STRETCH) @ v.T
    z = EPSILON * np.random.default_rng(7).standard_normal((points, 2)) @ inverse.T
    along_u, along_v = (float(np.corrcoef((z @ axes).T)[0, 1]) for axes in (u, v))
    true, wrong = (EPSILON**2 * axes @ np.diag(STRETCH**2) @ axes.T for axes in (u, v))
    kl = float(BITS * 0.5 * (np.trace(np.linalg.solve(wrong, true)) - 2))  # their determinants are equal
    by_u, by_v = (coded_by(z, covariance) for covariance in (true, wrong))
    more = by_v.lengths - by_u.lengths
    return Erratum(
        "Section 3.3",
        "For J^-1 = U D V^T, the posterior's axes are the columns of V.",
        f"They are the columns of U: z - f^-1(x) = J^-1 eps n has covariance eps^2 U D^2 U^T. Of {points} such draws, with U "
        f"turned by {math.degrees(AXES[0]):.0f} degrees, V by {math.degrees(AXES[1]):.0f} and D = ({STRETCH[0]:g}, "
        f"{STRETCH[1]:g}), the two coordinates along U correlate by {along_u:.2f}, along V by {along_v:.2f}. A normal with the "
        f"axes of V takes {kl:.2f} bits more for each z; coded: {more.mean():.2f} ± {standard_error(more):.2f}.",
        {"along_u": along_u, "along_v": along_v, "kl_bits": kl, "coded_bits": float(more.mean()), "error": standard_error(more)},
    )


def coded_by(z: Floats, covariance: Floats) -> CodeLength:
    """Numbers (N, 2) by a normal around 0: the first, and the second given the first."""
    first, between, second = covariance[0, 0], covariance[0, 1], covariance[1, 1]
    deviation = torch.tensor([first, second - between**2 / first], dtype=torch.float64).sqrt()
    return code(z, vector(POINTS, correlated(torch.zeros(2, dtype=torch.float64), deviation, torch.tensor(between / first))))


def halved_error(points: int) -> Erratum:
    """Residuals of half the MSE, each coded by the normal that fits them."""
    whole, half = coded(STD, STD, POINTS, points, seed=1), coded(STD / math.sqrt(2), STD / math.sqrt(2), POINTS, points, seed=2)
    saved, error = whole.bits - half.bits, math.hypot(whole.error, half.error)
    formula = 0.5 * math.log2(STD**2 / (STD**2 / 2))
    return Erratum(
        "Section 5.1",
        "Halving the MSE saves one bit per dimension.",
        f"It saves 1/2 log2(2) = {formula:g} bits. Coded, {points} normal residuals of MSE {STD**2:g} and as many of half that "
        f"differ by {saved:.3f} ± {error:.3f} bits per dimension.",
        {"formula_bits": formula, "saved_bits": saved, "error": error},
    )


def error_of_a_hundredth(points: int) -> Erratum:
    """log MSE stands for the best variance, the MSE itself; the plain MSE for a variance of 1/2."""
    error, grid = STD**2, Grid(-1.0, 1.0, PIXEL_BITS + 1)
    best = 0.5 * math.log2(2 * math.pi * math.e * error)
    plain = 0.5 * math.log2(2 * math.pi * 0.5) + BITS * error / (2 * 0.5)
    best_coded, plain_coded = coded(STD, STD, grid, points, seed=3), coded(STD, math.sqrt(0.5), grid, points, seed=3)
    return Erratum(
        "Equation 43",
        f"An MSE of {error:g} costs {CLAIMED_BITS} bits per dimension of {PIXEL_BITS} bits.",
        f"Equation 43 itself gives {PIXEL_BITS} + 1/2 log2(2 pi e MSE) = {PIXEL_BITS} - {-best:.2f} = {PIXEL_BITS + best:.2f} "
        f"bits, not {CLAIMED_BITS}. Coded on a grid of {PIXEL_BITS} bits: {PIXEL_BITS + best_coded.bits:.2f} ± "
        f"{best_coded.error:.2f}. That is with the best variance. With the plain MSE's variance of 1/2 it is {PIXEL_BITS} + "
        f"{plain:.2f} = {PIXEL_BITS + plain:.2f} (coded: {PIXEL_BITS + plain_coded.bits:.2f}), more than the {PIXEL_BITS} bits of "
        f"the bare number.",
        {
            "claimed_bits": CLAIMED_BITS,
            "best_bits": PIXEL_BITS + best,
            "best_coded_bits": PIXEL_BITS + best_coded.bits,
            "plain_bits": PIXEL_BITS + plain,
            "plain_coded_bits": PIXEL_BITS + plain_coded.bits,
            "error": best_coded.error,
        },
    )


def signs(points: int) -> Erratum:
    """The example of `jensen`."""
    by_q, by_posterior = (jensen.coded(points, q=q) for q in (jensen.Q, jensen.POSTERIOR))
    numbers = {
        "of_logs_bits": -jensen.CHANCE * math.log2(1) - (1 - jensen.CHANCE) * math.log2(jensen.RARE),
        "log_of_bits": -math.log2(jensen.CHANCE + (1 - jensen.CHANCE) * jensen.RARE),
        "coded_bits": float(by_q.mean()),
        "error": standard_error(by_q),
        "exact_coded_bits": float(by_posterior.mean()),
    }
    return Erratum(
        "Section 6.2",
        "-0.9 log 1 - 0.1 log 2^-10 = -1 and -log(0.9 + 0.1 x 2^-10) = -0.15.",
        "They are {of_logs_bits:+.2f} and {log_of_bits:+.2f} bits: lengths, so positive. Coded {points} times by bits-back: "
        "{coded_bits:.2f} ± {error:.2f} bits with that q, and {exact_coded_bits:.2f} with the true posterior.".format(
            points=points, **numbers
        ),
        numbers,
    )


def pushed(codec: Codec[Any], symbols: Cells) -> float:
    """The bits that symbols take on a message."""
    batch = primed(1, words=1)
    before = sizes(batch)[0]
    codec.push(batch.messages[0], symbols)
    return float(sizes(batch)[0] - before)


def coded(true: float, claimed: float, grid: Grid, points: int, seed: int) -> CodeLength:
    """Of normal numbers of standard deviation `true`, one a point, by a normal of `claimed`."""
    residuals: Floats = true * np.random.default_rng(seed).standard_normal((points, 1))
    by = normal(torch.zeros((), dtype=torch.float64), claimed)
    return code(residuals, vector(grid, lambda before: by, 1), grid)

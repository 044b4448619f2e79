"""Computations for the page: how fine a grid has to be, two optima with the same code length."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bbans import bitsback
from bbans.codecs import Codec

from . import flow
from .coding import Grid, code, point_codec, primed, sizes, vector
from .data import Data, Floats
from .likelihoods import log_mse, plain_mse
from .measuring import CODED_DRAWS, default, neg_elbo, seeded
from .model import LatentModel, normal

GAUSSIAN_STD = 1 / 8  # s, of the one Gaussian
FINE_POINTS = Grid(-1.0, 1.0, 18)
CELLS_IN_STD = 16
OPTIMA_POINTS = 2000
ERROR = 0.1  # of decoded numbers, before it falls
LEAST_EPSILON = 2.0**-10  # for which FINE_POINTS and flow.LATENTS have 16 cells or more in a standard deviation


def accuracy(model: LatentModel, data: Data, points: Floats, ns: Sequence[int]) -> list[dict[str, Any]]:
    """The code length of points (N, 2) on grids of 2**n cells in a unit, less 2 n bits: Section 4.2 of the tutorial.

    Once cells are smaller than what the density has to show, a bit more of accuracy costs a bit for each number, and what is left
    is the code length of the density. `neg_elbo_bits` is that of the points as they are, on no grid: the same for all n.
    """
    model = copy.deepcopy(model).double().eval()
    with default(torch.float64), torch.no_grad(), seeded():
        bound = float(neg_elbo(model, torch.from_numpy(points)).mean())
    return [{"dataset": data.name, "n": n, "code_length_bits": bits_on_grid(model, points, n), "neg_elbo_bits": bound} for n in ns]


def bits_on_grid(model: LatentModel, points: Floats, n: int) -> float:
    """The code length of points (N, 2) by a float64 model, on a grid of 2**n cells in a unit, less 2 n bits."""
    grid = Grid(-1.0, 1.0, n + 1)  # its bits are of the whole range of 2
    with default(torch.float64):
        return code(points, point_codec(model, grid=grid), grid, CODED_DRAWS).bits


def two_optima(epsilons: Sequence[float], points: int = OPTIMA_POINTS) -> list[dict[str, Any]]:
    """One Gaussian of one number, N(0, s^2), by linear VAEs with exact posteriors, for every epsilon in (0, 1] the same p(x)::

        p(x|z) = N(k s z, epsilon^2 s^2)     q(z|x) = N(k x/s, epsilon^2)     p(z) = N(0, 1)     k^2 = 1 - epsilon^2

    The two ends are Section 5.2's optima. At 1 the latent is ignored, and the row says None for epsilon; near 0 likelihood and
    posterior are near-deterministic. Bits-back codes the same points by all of them, with latents on one grid.

    Units: bits per number. `initial_bits` and `kl_bits` are those of `latent_bits`; `own_grid_initial_bits` are on a grid that has
    CELLS_IN_STD cells in an epsilon.
    Raises: ValueError for an epsilon above 1, or one that the grids are too coarse for.
    """
    if not all(LEAST_EPSILON <= epsilon <= 1 for epsilon in epsilons):
        raise ValueError(f"epsilons are {LEAST_EPSILON:g} to 1, not {min(epsilons):g} to {max(epsilons):g}")
    x = GAUSSIAN_STD * np.random.default_rng(0).standard_normal((points, 1))
    rows = []
    for epsilon in epsilons:
        prior, likelihood, posterior = linear_vae(epsilon, flow.LATENTS)
        length = code(x, bitsback.bb_ans(prior, likelihood, posterior), FINE_POINTS)
        initial, kl = latent_bits(prior, posterior, x)
        own_prior, _, own_posterior = linear_vae(epsilon, own_grid(epsilon))
        rows.append(
            {
                "epsilon": epsilon if epsilon < 1 else None,
                "code_length_bits": length.bits,
                "code_length_error": length.error,
                "entropy_bits": 0.5 * math.log2(2 * math.pi * math.e * GAUSSIAN_STD**2),
                "initial_bits": initial,
                "own_grid_initial_bits": latent_bits(own_prior, own_posterior, x)[0],
                "kl_bits": kl,
            }
        )
    return rows


def gradients(factors: Sequence[float], points: int = 1000) -> list[dict[str, Any]]:
    """Section 5.1: the gradient of both losses by what the decoder says, in the mean over points, once all errors are c times less.

    That of the plain MSE falls by c, and less and less is left of it beside the KL term's, which knows nothing of errors. That of
    log MSE grows by c: the variance falls with the errors, and the same share of them counts as much as before.
    """
    errors = ERROR * torch.from_numpy(np.random.default_rng(0).standard_normal((points, 2)))
    rows = []
    for factor in factors:
        row: dict[str, Any] = {"factor": factor}
        for name, loss in (("mse", plain_mse), ("log_mse", log_mse)):
            decoded = (errors / factor).requires_grad_()  # the point is 0
            [gradient] = torch.autograd.grad(loss(decoded.square()), decoded)
            row[f"{name}_gradient"] = float(gradient.norm(dim=-1).mean()) * points
        rows.append(row)
    return rows


def own_grid(epsilon: float) -> Grid:
    """With CELLS_IN_STD cells in an epsilon, and as many as it takes to reach to 8 on both sides."""
    step = epsilon / CELLS_IN_STD
    bits = math.ceil(math.log2(2 * 8 / step))
    return Grid(-(2.0 ** (bits - 1)) * step, 2.0 ** (bits - 1) * step, bits)


def linear_vae(epsilon: float, latents: Grid) -> tuple[Codec[Any], bitsback.Conditional[Any, Any], bitsback.Conditional[Any, Any]]:
    """Prior, likelihood and posterior of cells (rows, 1): of FINE_POINTS for x, of `latents` for z."""
    k, s = math.sqrt(1 - epsilon**2), GAUSSIAN_STD

    def likelihood(z: Any) -> Codec[Any]:
        mean = k * s * latents.middles(z)
        return vector(FINE_POINTS, lambda before: normal(mean[:, 0], epsilon * s), 1)

    def posterior(x: Any) -> Codec[Any]:
        mean = k / s * FINE_POINTS.middles(x)
        return vector(latents, lambda before: normal(mean[:, 0], epsilon), 1)

    standard = normal(torch.zeros((), dtype=torch.float64), 1.0)
    return vector(latents, lambda before: standard, 1), likelihood, posterior


def latent_bits(prior: Codec[Any], posterior: bitsback.Conditional[Any, Any], x: Floats) -> tuple[float, float]:
    """What z takes from a message by q(z|x), and what more it gives by p(z): the initial bits of a first point, and the KL term.

    The first is the entropy of q on the grid of z, log2(epsilon / cell) and 2.05, the second log2(1/epsilon). In the mean over
    points (N, 1), each on a message of its own. (On one message at epsilon 1, every z would be the one that was pushed last.)
    """
    batch = primed(len(x), words=4)
    before = sizes(batch)
    _, z = posterior(FINE_POINTS.cells(x)).pop(batch)
    taken = before - sizes(batch)
    prior.push(batch, z)
    more = sizes(batch) - before
    return float(taken.mean()), float(more.mean())

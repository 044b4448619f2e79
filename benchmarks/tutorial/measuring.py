"""The columns of the table: what a model claims, and what its files take.

All in bits per point, less the grid's constant, so that a uniform density on the unit square is 0.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from bbans.codecs import Codec
from bbans.tables import LOG_BITS

from .coding import LATENTS, POINTS, Cells, Grid, code, parts, point_codec, standard_error, vector
from .data import Data, Floats, midpoints
from .deterministic import TwoPart
from .flow import NearDeterministic
from .model import BITS, LatentModel, draw

NLL_PARTICLES = 250  # the tutorial's
FLOW_NLL_PARTICLES = 50  # of the VAEs near a flow, whose q(z|x) is nearly p(z|x)
IWAE_PARTICLES = 10
DRAWS = 16  # of z for each point, for its ELBO: one in ten thousand costs hundreds of bits where densities have edges
CODED_DRAWS = 4  # of z for each point, over all the times that it is coded: one draw makes code lengths 0.01 uncertain
NLL_GRID = 0.5, 128  # half a side and cells a side
ACTIVE_VARIANCE = 0.01  # of a latent's posterior mean over the data (Burda et al. 2016)
HALF = 32  # draws of z for each of two estimates of its mean
CODED_ROWS = 250  # points whose freqs are in memory at once
CHUNK = 1 << 13  # points times particles at once: what stays in the cache


@dataclass(frozen=True)
class Row:
    """A row of the table and of tutorial.json. None: there is no such figure.

    Args:
        neg_elbo_bits: of the points that are coded, as is `iwae_bits`; `nll_bits` is of the density on a grid, and its
            error that of importance sampling.
        particles: of Monte Carlo bits-back and of `iwae_bits`; 1 is bits-back, beside the bound of 10.
        coded_bound_bits: the bound that is coded, -ELBO or of K particles, by the integer freqs of the code, whose tails are
            never below one freq a digit.
        beyond_error: of the difference of code length and `coded_bound_bits`, for these very points: what draws of z leave open.
        flow_bits: of the same points by the flow that the model becomes in the limit.
        plain_bits: their code length without what keeps latents random in all others, see `coding.dithered`.
        blur: the share of the variance of points that p(x|z) leaves to noise, for z ~ q(z|x).
        latent_bits: the KL term of each latent, the largest first.
        reading: what was coded, where the objective is no code length.
    """

    dataset: str
    model: str
    source: str
    entropy_bits: float
    neg_elbo_bits: float
    neg_elbo_error: float
    coded_bound_bits: float
    nll_bits: float | None
    nll_error: float | None
    iwae_bits: float | None
    iwae_error: float | None
    active_latents: int | None
    particles: int
    code_length_bits: float
    code_length_error: float
    beyond_error: float
    initial_bits: int
    points: int
    decoded_equal: bool
    reading: str = ""
    flow_bits: float | None = None
    plain_bits: float | None = None
    blur: float | None = None
    latent_bits: list[float] | None = None

    def json(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """New tensors are of this kind."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def seeded() -> Iterator[None]:
    """The same random numbers every time, and none taken from those outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def measure(
    model: LatentModel,
    data: Data,
    points: Floats,
    *,
    particles: int = 1,
    latents: Grid = LATENTS,
    plain: bool = False,
    blurred: bool = False,
    known_nll: tuple[float, float] | None = None,
) -> Row:
    """Everything about a trained model and points (N, 2) that it has not seen. The model is left as it is, in float32.

    Args:
        plain: whether to measure `Row.plain_bits`.
        blurred: whether to measure `Row.blur` and `Row.latent_bits`.
        known_nll: what `nll` gave for the same model.
    """
    model = copy.deepcopy(model).double().eval()
    nll_bits, nll_error = known_nll or nll(model, data)
    with default(torch.float64), torch.no_grad():
        cells = POINTS.cells(points)
        x = POINTS.middles(cells)
        elbo, iwae = neg_elbo(model, x), bits(model, x, particles if particles > 1 else IWAE_PARTICLES)
        codec: Codec[Any] = model.codec() if isinstance(model, TwoPart) else point_codec(model, particles, latents)
        as_coded = coded_bound(model, cells, particles, latents)
        times = 1 if isinstance(model, TwoPart) else draws_of(particles)
        length = code(points, codec, times=times)
        return Row(
            dataset=data.name,
            model=model.title,
            source=model.source,
            entropy_bits=data.entropy(),
            neg_elbo_bits=float(elbo.mean()),
            neg_elbo_error=standard_error(elbo),
            coded_bound_bits=float(as_coded.mean()),
            nll_bits=nll_bits,
            nll_error=nll_error,
            iwae_bits=float(iwae.mean()),
            iwae_error=standard_error(iwae),
            active_latents=active(model, x),
            particles=particles,
            code_length_bits=length.bits,
            code_length_error=length.error,
            beyond_error=standard_error(length.lengths - as_coded),
            initial_bits=length.initial_bits,
            points=len(points),
            decoded_equal=length.decoded_equal,
            reading=model.reading,
            flow_bits=float(bits(model.flow, x, 1).mean()) if isinstance(model, NearDeterministic) else None,
            plain_bits=code(points, point_codec(model, particles, latents, clean=False), times=times).bits if plain else None,
            blur=blur(model, x) if blurred else None,
            latent_bits=latent_bits(model, x) if blurred else None,
        )


def bits(model: LatentModel, x: Tensor, particles: int) -> Tensor:
    """The negative bound of each point (N, 2), in bits: (N,)."""
    return torch.cat([-BITS * model.bound(part, particles) for part in x.split(max(1, CHUNK // particles))])


def neg_elbo(model: LatentModel, x: Tensor) -> Tensor:
    """Of each point (N, 2), in bits, the mean of DRAWS: (N,)."""
    if isinstance(model, TwoPart):
        return bits(model, x, 1)
    return torch.cat([-BITS * model.log_weights(part, DRAWS).mean(0) for part in x.split(CHUNK // DRAWS)])


def draws_of(particles: int) -> int:
    """How many times a point is coded, with so many particles each time."""
    return max(1, CODED_DRAWS // particles)


def coded_bound(model: LatentModel, cells: Cells, particles: int, latents: Grid) -> Floats:
    """`bits` of points as cells (N, 2) by the freqs of their codecs, less the grid's bits: (N,). By draws of its own."""
    if isinstance(model, TwoPart):
        log_weights = model.codec().log_freqs(cells, True)[:, None, None]
    else:
        prior, likelihood, _ = parts(model, latents, POINTS, clean=True)
        log2_weights = []
        for part in np.array_split(cells, max(1, len(cells) // CODED_ROWS)):
            x = np.repeat(part, draws_of(particles) * particles, 0)
            q = model.posterior(POINTS.middles(x))
            z = latents.cells(draw(q, torch.Size([len(x)]), model.latents).numpy())
            posterior = vector(latents, q, model.latents)
            log2_weights.append(likelihood(z).log_freqs(x, True) + prior.log_freqs(z, True) - posterior.log_freqs(z, True))
        log_weights = np.concatenate(log2_weights).reshape(len(cells), -1, particles)
    of_each_draw: Floats = np.logaddexp2.reduce(log_weights / (1 << LOG_BITS), -1) - np.log2(log_weights.shape[-1])
    return -of_each_draw.mean(1) - cells.shape[1] * np.log2(1 / POINTS.step)


@torch.no_grad()
def nll(model: LatentModel, data: Data) -> tuple[float, float]:
    """-log2 p(x) of the model in the mean over the data, and its standard error: a sum over a grid, weighted by the true density.

    The draws of z are in two halves, whose difference tells how far their mean may be off. The model is of any dtype.
    """
    limit, cells = NLL_GRID
    middles = midpoints(limit, cells)
    density = data.density(middles, middles)
    chosen = np.argwhere(density > 1e-6 * density.max())
    x = torch.from_numpy(middles[chosen])
    weight = torch.from_numpy(density[tuple(chosen.T)] / density[tuple(chosen.T)].sum())
    particles = FLOW_NLL_PARTICLES if isinstance(model, NearDeterministic) else NLL_PARTICLES
    with default(torch.float32):
        model = copy.deepcopy(model).float()
        halves = [bits(model, x.float(), particles // 2).double() for _ in range(2)]
    mean = 1 - torch.logaddexp2(-halves[0], -halves[1])
    return float((weight * mean).sum()), float((weight * (halves[0] - halves[1]) / 2).square().sum().sqrt())


def blur(model: LatentModel, x: Tensor) -> float:
    """Of a model whose p(x|z) is of normals, and points (N, 2): see `Row`."""
    likelihood = model.likelihood(draw(model.posterior(x), x.shape[:-1], model.latents))
    left = torch.stack([likelihood(x[..., :d]).variance.mean() for d in range(2)])
    return float(left.sum() / x.var(0).sum())


def latent_bits(model: LatentModel, x: Tensor) -> list[float]:
    """Of a model whose prior and posterior are of normals, and points (N, 2): see `Row`."""
    q, p = model.posterior(x), model.prior()
    z = draw(q, x.shape[:-1], model.latents)
    terms = [BITS * float(kl_divergence(q(z[..., :d]), p(z[..., :d])).mean()) for d in range(model.latents)]
    return sorted(terms, reverse=True)


def active(model: LatentModel, x: Tensor) -> int | None:
    """How many latents have posterior means that move with the point."""
    if isinstance(model, TwoPart):
        return None
    draws = draw(model.posterior(x), torch.Size([2 * HALF, *x.shape[:-1]]), model.latents).unflatten(0, (2, HALF)).mean(1)
    first, second = draws - draws.mean(1, keepdim=True)  # their covariance has no share of the noise of draws
    return int(((first * second).mean(0) > ACTIVE_VARIANCE).sum())

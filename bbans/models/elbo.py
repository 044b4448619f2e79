"""What an integer model could code images in, without the coder: the negative ELBO and the IWAE-K bounds.

Masses are float64: no tables, no rounding of frequencies, no floor of them. z is drawn from q by a seeded generator of its own, in
several independent draws an image. With log-weights w = log2 p(x, z) - log2 q(z|x)::

    negative ELBO    mean of -w                          what bits-back with one sample costs
    IWAE-K           mean of -log2 (mean of 2**w over K draws)      what Monte Carlo bits-back with K particles costs

Sources: Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", ICLR 2016; Ruan et al., "Improving lossless compression
rates via Monte Carlo bits-back coding", ICML 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbans.models.batches import MAX_BATCH, BatchNetwork
from bbans.models.config import ImageConfig
from bbans.models.grids import COLOURS, LATENT_LEVELS, LOG_SCALE_MAX, LOG_SCALE_MIN, SLOPE_LIMIT, Latent, Levels, Samples

Floats = NDArray[np.float64]
NATS = math.log(2)
BINARY_LOGIT_LIMIT = 15.0


@dataclass
class Draws:
    """Bits (draws, N) of every image: -log2 p(x|z), -log2 p(z), -log2 q(z|x)."""

    likelihood: Floats
    prior: Floats
    posterior: Floats

    @cached_property
    def bits(self) -> Floats:
        """-w of every draw and image."""
        return self.likelihood + self.prior - self.posterior

    @property
    def neg_elbo(self) -> Floats:
        """Bits (N,) of every image."""
        return np.asarray(self.bits.mean(0))

    @property
    def standard_error(self) -> float:
        """Of the sum of neg_elbo over the images, in bits, given the images."""
        return float(np.sqrt(self.bits.var(0, ddof=1).sum() / len(self.bits)))

    def iwae(self, particles: int) -> Floats:
        """The bound in bits (N,) by groups of so many draws. Raises: ValueError when there are fewer."""
        groups = len(self.bits) // particles
        if not groups:
            raise ValueError(f"{len(self.bits)} draws are fewer than {particles} particles")
        grouped = self.bits[: groups * particles].reshape(groups, particles, -1)
        return np.asarray(-np.logaddexp2.reduce(-grouped, 1).mean(0) + math.log2(particles))


def draw(network: BatchNetwork, images: Samples, draws: int = 10, seed: int = 0) -> Draws:
    """Independent draws for images (N, H, W, C) of 0 .. symbols - 1."""
    rng = np.random.default_rng(seed)
    bits = np.zeros((3, draws, len(images)))
    for start in range(0, len(images), MAX_BATCH):
        x = images[start : start + MAX_BATCH]
        for index, walk in zip(range(draws), network.walks(x, lambda posterior: draw_latents(posterior, rng)), strict=False):
            likelihood, prior, posterior = bits[:, index, start : start + len(x)]
            likelihood += sample_bits(network.config, x, walk.outputs)
            for step in walk.latents:
                prior += latent_bits(step.prior, step.z).sum(1)
                posterior += latent_bits(step.posterior, step.z).sum(1)
    return Draws(*bits)


def draw_latents(posterior: Latent, rng: np.random.Generator) -> Levels:
    """z ~ q, by the inverse of the CDF."""
    u = rng.uniform(1e-12, 1 - 1e-12, posterior.mean.shape)
    z = posterior.mean / 64 + np.exp(LOG_SCALE_MIN + posterior.scale / 16) * (np.log(u) - np.log1p(-u))
    levels: Levels = np.clip(np.rint(z), 0, LATENT_LEVELS - 1).astype(np.int64)
    return levels


def latent_bits(latent: Latent, z: NDArray[np.integer[Any]]) -> Floats:
    """-log2 of the mass of each latent, of the shape of z."""
    mass = log_mass(z.astype(np.float64), latent.mean / 64, LOG_SCALE_MIN + latent.scale / 16, LATENT_LEVELS - 1)
    return np.asarray(-mass / NATS)


def sample_bits(config: ImageConfig, x: Samples, outputs: NDArray[np.float32]) -> Floats:
    """-log2 p(x|z) of every image (B,), given the head's outputs (B, outputs, H * W), rounded as the coder rounds them."""
    v = outputs.astype(np.float64)
    flat = x.reshape(len(x), -1, config.channels).astype(np.float64)
    if config.binary:
        logit = np.clip(np.rint(4 * v[:, 0]) / 64, -BINARY_LOGIT_LIMIT, BINARY_LOGIT_LIMIT)
        return np.asarray(np.logaddexp(0, np.where(flat[..., 0] > 0, -logit, logit)).sum(1) / NATS)
    parameters = mixture(config, outputs)
    if config.channels == 1:
        return np.asarray(mixture_bits(flat, np.zeros_like(flat), *parameters).sum((1, 2)))
    k, order = config.components, list(COLOURS)
    base = references(config, x).reshape(flat.shape)
    slopes = np.clip(np.rint(4 * v[:, 9 * k :]), -SLOPE_LIMIT, SLOPE_LIMIT) / 64
    slopes = slopes.reshape(len(x), 3, k, -1).transpose(0, 3, 1, 2)
    return np.asarray(mixture_bits(flat[..., order], base[..., order], *parameters, slopes).sum((1, 2)))


def mixture_bits(
    x: Floats, base: Floats, means: Floats, log_scales: Floats, log_weights: Floats, slopes: Floats | None = None
) -> Floats:
    """-log2 of the mass of each 8-bit sample under a mixture of logistics.

    Shapes: x and base, which means are relative to, (.., C), colours in coding order; means, log_scales, log_weights (.., C, K);
    slopes of R|G, B|G and B|R (.., 3, K), none for gray. Returns (.., C).
    """
    means = means + base[..., None]
    if slopes is not None:
        green, red = ((x - base)[..., i, None] for i in (0, 1))
        means[..., 1, :] += slopes[..., 0, :] * green
        means[..., 2, :] += slopes[..., 1, :] * green + slopes[..., 2, :] * red
    return np.asarray(-np.logaddexp.reduce(log_mass(x[..., None], means, log_scales, 255) + log_weights, -1) / NATS)


def mixture(config: ImageConfig, outputs: NDArray[np.float32]) -> tuple[Floats, Floats, Floats]:
    """Means, log scales and log weights (B, H * W, C, K) of 8-bit samples; colours' means not yet relative to anything."""
    k, colours = config.components, config.channels
    v = outputs[:, : 3 * colours * k].astype(np.float64).reshape(len(outputs), 3, colours, k, -1)
    logits, means, scales = v.transpose(1, 0, 4, 2, 3)
    log_weights = np.rint(logits) / 16
    log_weights -= np.logaddexp.reduce(log_weights, -1, keepdims=True)
    return np.rint(64 * means) / 64, np.clip(np.rint(scales) / 16, LOG_SCALE_MIN, LOG_SCALE_MAX), log_weights


def references(config: ImageConfig, x: Samples) -> Floats:
    """What the means of colours are relative to (B, H, W, C): the mean of left and above, at the borders the other, or 128."""
    base = np.full(x.shape, 128.0)
    if config.reference:
        left, above = np.full(x.shape, 128.0), np.full(x.shape, 128.0)
        left[:, :, 1:], above[:, 1:] = x[:, :, :-1], x[:, :-1]
        left[:, 1:, 0], above[:, 0, 1:] = above[:, 1:, 0], left[:, 0, 1:]
        base = (left + above) / 2
    return base


def log_mass(x: Floats, mean: Floats, log_scale: Floats, top: int) -> Floats:
    """log of the mass of x under a discretised logistic whose tails belong to 0 and top."""
    inverse = np.exp(-log_scale)
    upper, lower = (x + 0.5 - mean) * inverse, (x - 0.5 - mean) * inverse
    log_upper, log_lower = -np.logaddexp(0, -upper), -np.logaddexp(0, lower)
    inner = log_upper + log_lower + np.log(-np.expm1(-inverse))
    return np.where(x < 0.5, log_upper, np.where(x > top - 0.5, log_lower, inner))

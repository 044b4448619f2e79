"""The negative ELBO of a picture under the integer photo model, without the coder.

Masses are float64, without tables, rounding or a floor of frequencies; z is drawn from q by a seeded generator of its own. The
code length of a file is compared with this: their difference is the price of coding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bbans.models.elbo import Floats, log_mass, sample
from bbans.models.grids import COLOURS, LATENT_LEVELS, LOG_SCALE_MIN, Latent
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.geometry import Bytes, pyramid, regions
from bbans.models.photo.level import Level
from bbans.models.photo.network import Params


@dataclass
class Elbo:
    """Bits of a picture: -log p(x|z), -log p(z), -log q(z|x), each a mean over draws of z; and the standard error of their sum."""

    likelihood_bits: float
    prior_bits: float
    posterior_bits: float
    standard_error_bits: float

    @property
    def neg_elbo_bits(self) -> float:
        return self.likelihood_bits + self.prior_bits - self.posterior_bits


def neg_elbo(codec: PhotoCodec, pixels: Bytes, draws: int = 2, seed: int = 0) -> Elbo:
    """The negative ELBO of a picture (H, W, 3) or (H, W, 1) uint8, by `draws` independent samples of z, two at least."""
    rng = np.random.default_rng(seed)
    colours = pixels.shape[2]
    rgb = np.repeat(pixels, 3, axis=2) if colours == 1 else pixels
    sums = np.zeros((draws, 3))
    for rows, columns in regions(*pixels.shape[:2]):
        region = rgb[rows, columns]
        height, width, _ = pyramid(region)[-1].shape
        sums[:, 0] += 8.0 * height * width * colours
        for level in codec.levels(region):
            sums += _level_bits(level, colours, draws, rng)
    totals = sums[:, 0] + sums[:, 1] - sums[:, 2]
    error = float(totals.std(ddof=1) / math.sqrt(draws))
    likelihood, prior, posterior = (float(v) for v in sums.mean(axis=0))
    return Elbo(likelihood, prior, posterior, error)


def _level_bits(level: Level, colours: int, draws: int, rng: np.random.Generator) -> Floats:
    """Bits (draws, 3) of a level: likelihood, prior, posterior."""
    bits = np.zeros((draws, 3))
    mode = level.posterior.mode() if level.has_latents else None
    bits[:, 0] += _phase_bits(level, 2, mode, colours)
    for draw in range(draws):
        z = None
        if level.has_latents:
            z = sample(level.posterior.mean / 64, LOG_SCALE_MIN + level.posterior.scale / 16, LATENT_LEVELS, rng)
            bits[draw, 1] = _latent_bits(z, level.prior)
            bits[draw, 2] = _latent_bits(z, level.posterior)
        bits[draw, 0] += sum(_phase_bits(level, phase, z, colours) for phase in (0, 1))
    return bits


def _phase_bits(level: Level, phase: int, z: Bytes | None, colours: int) -> float:
    height, width = level.size(phase)
    params: Params = level.params(phase, z)[:height, :width]
    k = params.shape[2] // 12
    order = list(COLOURS)
    pixels = level.phases[phase][:height, :width][..., order].astype(np.float64)
    references = level.references(phase)[:height, :width][..., order] / 4
    values = params.astype(np.float64)
    logits, means, scales = (values[..., i * 3 * k : (i + 1) * 3 * k].reshape(height, width, 3, k) for i in range(3))
    slopes = values[..., 9 * k :].reshape(height, width, 3, k) / 64
    green, red = ((pixels - references)[..., i, None] for i in (0, 1))
    red_green, blue_green, blue_red = (slopes[..., i, :] for i in range(3))
    shift = np.stack([np.zeros_like(red_green), red_green * green, blue_green * green + blue_red * red], 2)
    mean = references[..., None] + means / 64 + shift
    log_masses = log_mass(pixels[..., None], mean, LOG_SCALE_MIN + scales / 16, 255)
    log_weight = logits / 16 - np.logaddexp.reduce(logits / 16, axis=-1, keepdims=True)
    total = np.logaddexp.reduce(log_masses + log_weight, axis=-1)
    return float(-total[..., :colours].sum() / math.log(2))


def _latent_bits(z: Bytes, latent: Latent) -> float:
    mass = log_mass(z.astype(np.float64), latent.mean / 64, LOG_SCALE_MIN + latent.scale / 16, LATENT_LEVELS - 1)
    return float(-mass.sum() / math.log(2))

"""What the integer photo model could code pictures in, without the coder and its adaptive stage: see bbans.models.elbo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bbans.models.elbo import Draws, Floats, draw_latents, latent_bits, mixture_bits
from bbans.models.grids import COLOURS, LOG_SCALE_MIN
from bbans.models.photo.geometry import Bytes, pyramid, regions
from bbans.models.photo.level import Level, known_levels
from bbans.models.photo.network import PhotoNetwork


def draw(network: PhotoNetwork, images: Sequence[Bytes], draws: int = 2, seed: int = 0) -> Draws:
    """Independent draws for pictures, each (H, W, 3) or (H, W, 1)."""
    rng = np.random.default_rng(seed)
    bits = np.zeros((3, draws, len(images)))
    for index, pixels in enumerate(images):
        colours = pixels.shape[2]
        rgb = np.repeat(pixels, 3, axis=2) if colours == 1 else pixels
        for rows, columns in regions(*pixels.shape[:2]):
            region = rgb[rows, columns]
            height, width, _ = pyramid(region)[-1].shape
            bits[0, :, index] += 8.0 * height * width * colours
            for level in known_levels(network, region):
                bits[:, :, index] += _level_bits(level, colours, draws, rng)
    return Draws(*bits)


def _level_bits(level: Level, colours: int, draws: int, rng: np.random.Generator) -> Floats:
    """Bits (3, draws) of a level: likelihood, prior, posterior."""
    bits = np.zeros((3, draws))
    bits[0] += _phase_bits(level, 2, level.posterior.mode() if level.has_latents else None, colours)
    for draw in range(draws):
        z = None
        if level.has_latents:
            z = draw_latents(level.posterior, rng).astype(np.uint8)
            bits[1, draw] = latent_bits(level.prior, z).sum()
            bits[2, draw] = latent_bits(level.posterior, z).sum()
        bits[0, draw] += sum(_phase_bits(level, phase, z, colours) for phase in (0, 1))
    return bits


def _phase_bits(level: Level, phase: int, z: Bytes | None, colours: int) -> float:
    """-log2 p of the pixels of a phase that the picture has."""
    height, width = level.size(phase)
    params = level.params(phase, z)[:height, :width].astype(np.float64)
    pixels, references = (array[:height, :width][..., list(COLOURS)] for array in (level.phases[phase], level.references(phase)))
    logits, means, scales, slopes = params.reshape(height, width, 4, 3, -1).transpose(2, 0, 1, 3, 4)
    log_weights = logits / 16 - np.logaddexp.reduce(logits / 16, axis=-1, keepdims=True)
    mixtures = means / 64, LOG_SCALE_MIN + scales / 16, log_weights, slopes / 64
    return float(mixture_bits(pixels.astype(np.float64), references / 4, *mixtures)[..., :colours].sum())

"""What the integer photo model could code pictures in, without the coder and its adaptive stage: see bbans.models.elbo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bbans.models.elbo import Draws, Floats, draw_latents, latent_bits, mixture_bits
from bbans.models.grids import COLOURS, LOG_SCALE_MIN
from bbans.models.photo.config import BLOCK, PHASES
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
    bits[0] += _phase_bits(level, 2, level.posterior.mode() if level.has_latents else None, colours).sum()
    for draw in range(draws):
        z = None
        if level.has_latents:
            z = draw_latents(level.posterior, rng).astype(np.uint8)
            bits[1, draw] = latent_bits(level.prior, z).sum()
            bits[2, draw] = latent_bits(level.posterior, z).sum()
        bits[0, draw] += sum(_phase_bits(level, phase, z, colours).sum() for phase in (0, 1))
    return bits


def pixel_bits(network: PhotoNetwork, pixels: Bytes, seed: int = 0) -> tuple[Floats, Floats]:
    """Where the bits of a picture (H, W, 3) or (H, W, 1) go, by one draw: (of pixels, of latents), each (H, W).

    Bits of pixels are those of p(x|z). Those of latents, -log2 p(z) + log2 q(z|x), are spread evenly over their block.
    The adaptive stage of the coder, which is not looked at, takes off a little everywhere.
    """
    rng = np.random.default_rng(seed)
    colours = pixels.shape[2]
    rgb = np.repeat(pixels, 3, axis=2) if colours == 1 else pixels
    of_pixels, of_latents = np.zeros(pixels.shape[:2]), np.zeros(pixels.shape[:2])
    for rows, columns in regions(*pixels.shape[:2]):
        here, latents = of_pixels[rows, columns], of_latents[rows, columns]
        step = 1 << len(pyramid(rgb[rows, columns])) - 1
        here[::step, ::step] = 8.0 * colours
        for level in known_levels(network, rgb[rows, columns]):
            z = draw_latents(level.posterior, rng).astype(np.uint8) if level.has_latents else None
            for phase, (row, column) in enumerate(PHASES):
                shown = level.posterior.mode() if phase == 2 and level.has_latents else z
                at = here[:: 1 << level.index, :: 1 << level.index][row::2, column::2]
                at += _phase_bits(level, phase, shown, colours)
            if z is not None:
                blocks = (latent_bits(level.prior, z) - latent_bits(level.posterior, z)).sum(-1)
                _spread(latents, blocks, 2 * BLOCK << level.index)
    return of_pixels, of_latents


def _spread(out: Floats, blocks: Floats, side: int) -> None:
    """Add the bits of blocks of so many pixels a side to the pixels that the picture has of them."""
    for row, column in np.ndindex(blocks.shape):
        part = out[row * side : (row + 1) * side, column * side : (column + 1) * side]
        part += blocks[row, column] / part.size


def _phase_bits(level: Level, phase: int, z: Bytes | None, colours: int) -> Floats:
    """-log2 p of each pixel of a phase that the picture has: (rows, columns)."""
    height, width = level.size(phase)
    if not height or not width:  # of a picture of a single row or column
        return np.zeros((height, width))
    params = level.params(phase, z)[:height, :width].astype(np.float64)
    pixels, references = (array[:height, :width][..., list(COLOURS)] for array in (level.phases[phase], level.references(phase)))
    logits, means, scales, slopes = params.reshape(height, width, 4, 3, -1).transpose(2, 0, 1, 3, 4)
    log_weights = logits / 16 - np.logaddexp.reduce(logits / 16, axis=-1, keepdims=True)
    mixtures = means / 64, LOG_SCALE_MIN + scales / 16, log_weights, slopes / 64
    return np.asarray(mixture_bits(pixels.astype(np.float64), references / 4, *mixtures)[..., :colours].sum(-1))

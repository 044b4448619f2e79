"""The integer grids that all models share: latents, scales, and what the outputs of a head mean. No torch.

In training an output of 1.0 is a logit or a log scale of one nat, a mean of `LEVELS_PER_UNIT` levels or sample values, or a slope
of 1. The integer form has logits and log scales in 1/16 nat, means and slopes in 1/64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint8]
Levels = NDArray[np.int64]

LATENT_LEVELS = 128
LATENT_CENTRE = 64
LEVELS_PER_UNIT = 16  # a head's output of 1.0 moves a mean by so many latent levels or sample values
LOG_SCALE_MIN = -3.0
LOG_SCALE_MAX = LOG_SCALE_MIN + 127 / 16
LOG_SCALE_OFFSET = 48  # index of log scale 0: (0 - LOG_SCALE_MIN) * 16
COLOURS = (1, 0, 2)  # G, then R given G, then B given G and R

LOGIT_LIMIT = 16383  # of a mixture's logits, in 1/16 nat
MEAN_LIMIT = 32767  # of a mixture's means, in 1/64: twice the range of samples
SLOPE_LIMIT = 128  # of the slopes between colours, in 1/64


@dataclass
class Latent:
    """Discretised logistics of latents: means in 1/64 of a level and scale indices, int64 arrays of the latents' shape."""

    mean: Levels
    scale: Levels

    def mode(self) -> Samples:
        """The likeliest levels."""
        nearest: Samples = np.clip((self.mean + 32) >> 6, 0, LATENT_LEVELS - 1).astype(np.uint8)
        return nearest

    def first(self, count: int) -> Latent:
        """Those of the first `count` images."""
        return Latent(self.mean[:count], self.scale[:count])


Number = TypeVar("Number", bound=np.generic)


def pixel_shuffle(x: NDArray[Number], ratio: int) -> NDArray[Number]:
    """Channels to positions: (B, h, w, C ratio**2) -> (B, h ratio, w ratio, C), as torch has it.

    Inverse: pixel_unshuffle.
    """
    batch, height, width, channels = x.shape
    parts = x.reshape(batch, height, width, channels // ratio**2, ratio, ratio).transpose(0, 1, 4, 2, 5, 3)
    return np.ascontiguousarray(parts.reshape(batch, height * ratio, width * ratio, -1))


def pixel_unshuffle(x: NDArray[Number], ratio: int) -> NDArray[Number]:
    """Positions to channels: (B, h ratio, w ratio, C) -> (B, h, w, C ratio**2). Inverse: pixel_shuffle."""
    batch, height, width, channels = x.shape
    parts = x.reshape(batch, height // ratio, ratio, width // ratio, ratio, channels).transpose(0, 1, 3, 5, 2, 4)
    return np.ascontiguousarray(parts.reshape(batch, height // ratio, width // ratio, -1))

"""Crops of photos, flipped, scaled and changed as other cameras and files would have them (`acquisition`).

Every crop and its noise are a function of (seed, sample index) alone, so a run does not depend on how it is cut into batches,
processes or sessions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbans.training.data.acquisition import change_acquisition
from bbans.training.data.pictures import Pixels

P_DOWNSCALE = 0.25


class RandomCrops:
    """Random square crops of photos, by sample index, flipped and transposed.

    Args:
        photos: arrays (H, W, 3).
        side: of a crop, in pixels.
        augment: imitate other acquisitions too.
    """

    def __init__(self, photos: Sequence[Pixels], side: int, seed: int, augment: bool = True) -> None:
        self.photos, self.side, self.seed, self.augment = photos, side, seed, augment
        areas = np.array([p.shape[0] * p.shape[1] for p in photos], dtype=np.float64)
        self._edges = np.cumsum(areas) / areas.sum()

    def sample(self, index: int, noise_size: int) -> tuple[Pixels, NDArray[np.float32]]:
        """The crop (side, side, 3) of that index and its noise (noise_size,), uniform in (0, 1)."""
        rng = np.random.default_rng((self.seed, index))
        # from its own generator: models with latents and without get the same crops
        noise = np.random.default_rng((self.seed, index, 1)).uniform(1e-6, 1 - 1e-6, noise_size).astype(np.float32)
        photo = self.photos[min(int(np.searchsorted(self._edges, rng.random())), len(self.photos) - 1)]
        scale = 1.0
        if self.augment and rng.random() < P_DOWNSCALE:
            scale = float(rng.uniform(1.0, min(2.0, min(photo.shape[:2]) / self.side)))
        size = int(self.side * scale)
        top, left = (int(rng.integers(0, n - size + 1)) for n in photo.shape[:2])
        crop = photo[top : top + size, left : left + size]
        if size != self.side:
            method = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)[rng.integers(3)]
            crop = np.asarray(Image.fromarray(crop).resize((self.side, self.side), method))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < 0.5:
            crop = crop.transpose(1, 0, 2)
        if self.augment:
            crop = change_acquisition(crop, rng)
        return np.ascontiguousarray(crop), noise

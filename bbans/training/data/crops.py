"""Crops of photos, and changes to them that imitate how other cameras and files treat a picture.

Every crop and its noise are a function of (seed, sample index) alone, so a run does not depend on how it is cut into batches,
processes or sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bbans.training.data.pictures import Pixels

# How often a crop is changed in each way; independent of each other.
P_CHROMA, P_GRAIN, P_BLUR, P_SHARPEN, P_DOWNSCALE, P_COLOUR = 0.2, 0.22, 0.12, 0.1, 0.25, 0.15


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


def change_acquisition(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """The crop as another camera or file might have it: colour, blur, sharpening, chroma resolution, grain. Same shape."""
    colour, blur, sharpen, chroma, grain = rng.random(5) < (P_COLOUR, P_BLUR, P_SHARPEN, P_CHROMA, P_GRAIN)
    if blur:
        crop = _filtered(crop, ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if sharpen:
        crop = _filtered(crop, ImageFilter.UnsharpMask(rng.uniform(0.6, 1.5), int(rng.integers(40, 160)), 0))
    if not (colour or chroma or grain):
        return crop
    x = crop.astype(np.float32)
    if colour:
        mix = np.eye(3, dtype=np.float32) + rng.normal(0, 0.08, (3, 3)).astype(np.float32)
        x = np.clip(x @ mix.T, 0, 255) / 255
        x = 255 * x ** np.float32(np.exp(rng.normal(0, 0.25)))
    if chroma:
        x = _chroma_subsampled(x, rng)
    if grain:
        x = x + _grain(x.shape, rng)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _filtered(crop: Pixels, effect: Any) -> Pixels:
    return np.asarray(Image.fromarray(crop).filter(effect))


def _chroma_subsampled(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Chroma at half resolution, as JPEG and PhotoCD store it (BT.601)."""
    luma = x @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    blue, red = x[..., 2] - luma, x[..., 0] - luma
    method = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST)[rng.integers(3)]
    height, width = luma.shape

    def halved(c: NDArray[np.float32]) -> NDArray[np.float32]:
        small = Image.fromarray(c).resize((width // 2, height // 2), Image.Resampling.BOX)
        return np.asarray(small.resize((width, height), method))

    b, r = luma + halved(blue), luma + halved(red)
    return np.stack([r, (luma - 0.299 * r - 0.114 * b) / 0.587, b], -1).astype(np.float32)


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of one grain size, partly common to the colours."""
    sigma = np.exp(rng.uniform(np.log(0.5), np.log(6.0)))
    common = rng.random()
    noise = rng.normal(0, 1, shape).astype(np.float32)
    grey = rng.normal(0, 1, (*shape[:2], 1)).astype(np.float32)
    noise = np.sqrt(common) * grey + np.sqrt(1 - common) * noise
    if rng.random() < 0.5:  # coarser grain: neighbours share it
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
    return np.asarray(noise * sigma, dtype=np.float32)

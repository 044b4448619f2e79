"""What cameras, scanners and files do to a picture, imitated on crops: a model trained on photos that were scaled down shall know
pictures that were not, and luma and chroma in the place of RGB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bbans.training.data.pictures import Pixels

# How often a crop is changed in each way; independent of each other.
P_CHROMA, P_GRAIN, P_BLUR, P_SHARPEN, P_COLOUR, P_CONVERTED = 0.2, 0.22, 0.12, 0.1, 0.15, 0.35

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # BT.601
PHOTOCD_RANGE = 1.36  # of a full range of luma, 8 bits of PhotoCD are one part

Picture = NDArray[np.float32]  # (H, W, 3)
Plane = NDArray[np.float32]  # (H, W)


def change_acquisition(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """The crop as another camera or file might have it: optics, sharpening, colour, chroma at half resolution, grain; at times as
    the coder sees a picture that was luma and chroma. Same shape."""
    chosen = rng.random(6) < (P_COLOUR, P_BLUR, P_SHARPEN, P_CHROMA, P_GRAIN, P_CONVERTED)
    colour, blur, sharpen, chroma, grain, converted = chosen
    if blur:
        crop = _filtered(crop, ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if sharpen:
        crop = _filtered(crop, ImageFilter.UnsharpMask(rng.uniform(0.6, 1.5), int(rng.integers(40, 160)), 0))
    if colour or chroma or grain:
        crop = _changed(crop, rng, colour, chroma, grain)
    return luma_and_chroma(crop, rng) if converted else crop


def _changed(crop: Pixels, rng: np.random.Generator, colour: bool, chroma: bool, grain: bool) -> Pixels:
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


def luma_and_chroma(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """What the coder sees of a crop that was luma and chroma once (`bbans.images.conversion`). Same shape.

    Chroma has the full resolution, or half of it, drawn larger by linear interpolation as JPEG decoders or PhotoCD do; PhotoCD's
    luma has a smaller range.
    """
    x = crop.astype(np.float32)
    luma = np.rint(x @ LUMA)
    scale = np.float32((1.0, 1.0, PHOTOCD_RANGE)[rng.integers(3)])
    drawn = (np.rint, _linear_between, _linear_from_corners)[rng.integers(3)]
    red, blue = (np.rint(drawn((x[..., i] - luma) / (by * scale))) for i, by in ((0, 1.402), (2, 1.772)))
    luma = np.rint(luma / scale)
    return np.asarray(np.clip(np.stack([luma + red, luma, luma + blue], -1), 0, 255), np.uint8)


def _halved(plane: Plane) -> Plane:
    height, width = plane.shape
    small = np.asarray(Image.fromarray(plane).resize((width // 2, height // 2), Image.Resampling.BOX), np.float32)
    return np.asarray(np.rint(small))


def _linear_between(plane: Plane) -> Plane:
    """A plane at half resolution and back, its samples between four pixels each."""
    size = plane.shape[1], plane.shape[0]
    return np.asarray(Image.fromarray(_halved(plane)).resize(size, Image.Resampling.BILINEAR))


def _linear_from_corners(plane: Plane) -> Plane:
    """A plane at half resolution and back, its samples where every second pixel of every second row is."""
    height, width = plane.shape
    small = np.pad(_halved(plane), ((0, 1 + height % 2), (0, 1 + width % 2)), mode="edge")
    here, right, below, across = small[:-1, :-1], small[:-1, 1:], small[1:, :-1], small[1:, 1:]
    out = np.empty((2 * len(here), 2 * here.shape[1]), np.float32)
    out[::2, ::2], out[::2, 1::2], out[1::2, ::2] = here, (here + right) / 2, (here + below) / 2
    out[1::2, 1::2] = (here + right + below + across) / 4
    return out[:height, :width]


def _filtered(crop: Pixels, effect: Any) -> Pixels:
    return np.asarray(Image.fromarray(crop).filter(effect))


def _chroma_subsampled(x: Picture, rng: np.random.Generator) -> Picture:
    """Chroma at half resolution, as JPEG and PhotoCD store it (BT.601)."""
    luma = x @ LUMA
    blue, red = x[..., 2] - luma, x[..., 0] - luma
    method = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST)[rng.integers(3)]
    height, width = luma.shape

    def halved(c: Plane) -> Picture:
        small = Image.fromarray(c).resize((width // 2, height // 2), Image.Resampling.BOX)
        return np.asarray(small.resize((width, height), method))

    b, r = luma + halved(blue), luma + halved(red)
    return np.stack([r, (luma - 0.299 * r - 0.114 * b) / 0.587, b], -1).astype(np.float32)


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> Picture:
    """Noise of one grain size, partly common to the colours."""
    sigma = np.exp(rng.uniform(np.log(0.5), np.log(6.0)))
    common = rng.random()
    noise = rng.normal(0, 1, shape).astype(np.float32)
    grey = rng.normal(0, 1, (*shape[:2], 1)).astype(np.float32)
    noise = np.sqrt(common) * grey + np.sqrt(1 - common) * noise
    if rng.random() < 0.5:  # coarser grain: neighbours share it
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
    return np.asarray(noise * sigma, dtype=np.float32)

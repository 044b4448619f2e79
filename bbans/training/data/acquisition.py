"""What cameras, scanners and files do to a picture, imitated on crops: a model trained on photos that were scaled down shall know
pictures that were not.

Sources of the demosaicing: Malvar, He and Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color
images", ICASSP 2004; Hamilton and Adams, US patent 5,629,734 (1997, expired).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bbans.training.data.pictures import Pixels

# How often a crop is changed in each way; independent of each other.
P_CHROMA, P_GRAIN, P_BLUR, P_SHARPEN, P_COLOUR, P_CAMERA = 0.2, 0.22, 0.12, 0.1, 0.15, 0.2

Picture = NDArray[np.float32]  # (H, W, 3)
Plane = NDArray[np.float32]  # (H, W)
Mask = NDArray[np.bool_]


def _kernel(divisor: int, *rows: tuple[int, ...]) -> Plane:
    return np.asarray(np.array(rows, np.float32) / np.float32(divisor))


_MEAN = _kernel(9, (1, 1, 1), (1, 1, 1), (1, 1, 1))
_CROSS = _kernel(4, (0, 1, 0), (1, 4, 1), (0, 1, 0))
_SQUARE = _kernel(4, (1, 2, 1), (2, 4, 2), (1, 2, 1))
# figure 2 of Malvar, He and Cutler: green at red and blue; red at green, with red beside it, and at blue
_GREEN = _kernel(8, (0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))
_BESIDE = _kernel(16, (0, 0, 1, 0, 0), (0, -2, 0, -2, 0), (-2, 8, 10, 8, -2), (0, -2, 0, -2, 0), (0, 0, 1, 0, 0))
_ACROSS = _kernel(16, (0, 0, -3, 0, 0), (0, 4, 0, 4, 0), (-3, 0, 12, 0, -3), (0, 4, 0, 4, 0), (0, 0, -3, 0, 0))


def change_acquisition(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """The crop as another camera or file might have it: its optics, sensor and processing, colour, chroma at half
    resolution, film grain. Same shape."""
    colour, camera, blur, sharpen, chroma, grain = rng.random(6) < (P_COLOUR, P_CAMERA, P_BLUR, P_SHARPEN, P_CHROMA, P_GRAIN)
    if blur or (camera and rng.random() < 0.5):  # lenses are less sharp than photos scaled down
        crop = _filtered(crop, ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if camera:
        crop = _seen_by_camera(crop, rng)
    if sharpen or (camera and rng.random() < 0.5):
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


def _seen_by_camera(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """The crop through a sensor with a Bayer pattern: its noise, its mosaic, demosaicing, at times less noise in the chroma."""
    x = crop.astype(np.float32)
    if rng.random() < 0.6:  # more of it where there is more light
        sigma = np.exp(rng.uniform(np.log(0.3), np.log(4.0))) * np.sqrt(0.3 + 0.7 * x / 255)
        x = x + rng.normal(0, 1, x.shape).astype(np.float32) * sigma
    red = rng.integers(2), rng.integers(2)
    x = demosaiced(x, (int(red[0]), int(red[1])), DEMOSAICING[rng.integers(len(DEMOSAICING))])
    if rng.random() < 0.25:
        luma = x @ LUMA
        chroma = x - luma[..., None]
        x = luma[..., None] + np.stack([_filtered_plane(chroma[..., i], _MEAN) for i in range(3)], -1)
    return np.asarray(np.clip(np.rint(x), 0, 255).astype(np.uint8))


DEMOSAICING = ("bilinear", "malvar", "hamilton-adams")


def demosaiced(x: Picture, red: tuple[int, int], method: str) -> Picture:
    """What demosaicing makes of the samples of x (H, W, 3) that a Bayer sensor sees. Its first red one is in row and column `red`.

    Same shape; even height and width. Samples that the sensor sees stay as they are.
    """
    height, width, _ = x.shape
    rows, columns = np.arange(height)[:, None] % 2, np.arange(width)[None] % 2
    at_red = (rows == red[0]) & (columns == red[1])
    at_blue = (rows != red[0]) & (columns != red[1])
    mosaic = np.where(at_red, x[..., 0], np.where(at_blue, x[..., 2], x[..., 1])).astype(np.float32)
    if method == "malvar":
        return _malvar(mosaic, at_red, at_blue, rows == red[0])
    green = np.where(at_red | at_blue, 0, mosaic)
    if method == "bilinear":
        green = _filtered_plane(green, _CROSS)
        base = np.zeros_like(mosaic)
    else:
        green = base = np.where(at_red | at_blue, _green_along_edges(mosaic), mosaic)
    colours = [base + _filtered_plane(np.where(mask, mosaic - base, 0), _SQUARE) for mask in (at_red, at_blue)]
    return np.stack([colours[0], green, colours[1]], -1).astype(np.float32)


def _green_along_edges(mosaic: Plane) -> Plane:
    """Green where the sensor sees red or blue, interpolated along the direction of less change (Hamilton and Adams)."""
    values, changes = [], []
    for axis in (0, 1):
        padded = np.pad(mosaic, [(2, 2) if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
        before2, before, here, after, after2 = (np.take(padded, np.arange(i, i + mosaic.shape[axis]), axis) for i in range(5))
        bend = 2 * here - before2 - after2
        values.append((before + after) / 2 + bend / 4)
        changes.append(np.abs(before - after) + np.abs(bend))
    mean = (values[0] + values[1]) / 2
    return np.asarray(np.where(changes[0] < changes[1], values[0], np.where(changes[1] < changes[0], values[1], mean)), np.float32)


def _malvar(mosaic: Plane, at_red: Mask, at_blue: Mask, red_row: Mask) -> Picture:
    """Linear interpolation with a correction by the colour that was sampled (Malvar, He and Cutler)."""
    green = np.where(at_red | at_blue, _filtered_plane(mosaic, _GREEN), mosaic)
    beside, above, across = (_filtered_plane(mosaic, kernel) for kernel in (_BESIDE, _BESIDE.T, _ACROSS))
    red = np.where(at_red, mosaic, np.where(at_blue, across, np.where(red_row, beside, above)))
    blue = np.where(at_blue, mosaic, np.where(at_red, across, np.where(red_row, above, beside)))
    return np.stack([red, green, blue], -1).astype(np.float32)


def _filtered_plane(x: Plane, kernel: NDArray[np.float32]) -> Plane:
    """x filtered by an odd square kernel, mirrored at the border. Same shape."""
    margin = len(kernel) // 2
    padded = np.pad(x, margin, mode="reflect")
    height, width = x.shape
    out = np.zeros_like(x)
    for (row, column), weight in np.ndenumerate(kernel):
        if weight:
            out += weight * padded[row : row + height, column : column + width]
    return out


LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # BT.601


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

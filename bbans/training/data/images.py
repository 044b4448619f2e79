"""Sets of images of one size: read, divided, binarised.

What is held out depends on the images alone, not on names or on how they are spread over files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bbans.errors import TrainingError, UnsupportedImageError
from bbans.images.picture import MAX_PIXELS
from bbans.images.pillow import open_any
from bbans.sets.arrays import binary_unit, image_shape, is_array, read_array
from bbans.training.data.crops import Pixels
from bbans.training.data.photos import DEEP, HELD_OUT, picture_files

Digests = NDArray[np.bytes_]

DIGEST_BYTES = 16
HELD_OUT_IMAGES_MOST = 2000  # at the end each is packed and unpacked
THRESHOLD = 128  # a sample from here on becomes 1


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images (N, H, W, C) uint8 and a hash of each, (N,)."""

    pixels: Pixels
    digests: Digests

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, chosen: NDArray[np.bool_] | slice) -> ImageSet:
        return ImageSet(self.pixels[chosen], self.digests[chosen])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return image_shape(self.pixels)

    @property
    def size(self) -> str:
        """Such as ``28x28x1``."""
        return "x".join(map(str, self.shape))

    @property
    def binary(self) -> bool:
        """Whether all samples are 0 or 1, or all are 0 or 255."""
        return binary_unit(self.pixels) is not None

    def of_bits(self) -> ImageSet:
        """Binary images with samples 0 and 1."""
        return ImageSet((self.pixels > 0).view(np.uint8), self.digests)


def read_images(
    inputs: Sequence[Path],
    *,
    omit: Iterable[Path] = (),
    note: Callable[[str], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> ImageSet:
    """All images of the inputs: arrays in their order, then the pictures of folders in the order of their hashes.

    Args:
        inputs: idx, .npy or .npz files (`bbans.sets.arrays`), picture files, folders of pictures.
        omit: files that are not read.
        note: gets a line for each picture that cannot be decoded.
        check: called before each file; may raise to end the reading.
    Raises: TrainingError when the images are of more than one shape, or there are none; UnsupportedImageError for arrays that
    are no images; OSError.
    """
    parts: list[tuple[Path, ImageSet]] = []
    for path in (path for path in inputs if is_array(path)):
        check()
        parts.append((path, image_set(read_array(path))))
    left_out = {path.resolve() for path in omit}
    pictures: list[tuple[Path, ImageSet]] = []
    for path in picture_files([path for path in inputs if not is_array(path)]):
        check()
        if path.resolve() in left_out:
            continue
        try:
            pictures.append((path, image_set(_decoded(path.read_bytes())[None])))
        except (OSError, UnsupportedImageError) as error:
            note(f"{path}: {getattr(error, 'strerror', None) or error}. It is left out")
    parts += sorted(pictures, key=lambda picture: bytes(picture[1].digests[0]))
    if not parts:
        raise TrainingError(f"{', '.join(map(str, inputs))}: no images")
    for path, part in parts:
        if part.shape != parts[0][1].shape:
            sizes = f"{part.size}, but {parts[0][0]} of {parts[0][1].size}"
            raise TrainingError(f"{path} is of {sizes}: a model of this family is for images of one size")
    sets = [part for _, part in parts]
    return ImageSet(np.concatenate([part.pixels for part in sets]), np.concatenate([part.digests for part in sets]))


def image_set(images: NDArray[np.uint8] | NDArray[np.bool_]) -> ImageSet:
    """The images (N, H, W) or (N, H, W, C) as a set."""
    pixels = np.ascontiguousarray(images).view(np.uint8)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    digests = [hashlib.blake2b(image.data, digest_size=DIGEST_BYTES).digest() for image in pixels.reshape(len(pixels), -1)]
    return ImageSet(pixels, np.array(digests, f"S{DIGEST_BYTES}"))


def hold_out_images(images: ImageSet, share: float = HELD_OUT) -> tuple[ImageSet, ImageSet]:
    """Images to train on and images to measure with: a share of them, HELD_OUT_IMAGES_MOST at most, by their hashes.

    Equal images stay together. Where all are equal none is held out.
    """
    different = np.unique(images.digests)
    count = min(max(1, round(share * len(different))), HELD_OUT_IMAGES_MOST, len(different) - 1)
    chosen = np.isin(images.digests, different[:count])
    return images[~chosen], images[chosen]


def without_images(images: ImageSet, others: ImageSet) -> ImageSet:
    """The images that are not among the others."""
    return images[~np.isin(images.digests, others.digests)]


def fingerprint_of(*sets: ImageSet) -> str:
    """A hash of all images in their order, and of how they are divided into sets."""
    return hashlib.blake2b(b"/".join(images.digests.tobytes() for images in sets), digest_size=DIGEST_BYTES).hexdigest()


def binarise(pixels: Pixels, how: str, rng: np.random.Generator) -> Pixels:
    """8-bit samples as 0 or 1: ``sampled`` is 1 with probability sample / 255, ``threshold`` where the sample is 128 or more."""
    if how == "threshold":
        return (pixels >= THRESHOLD).astype(np.uint8)
    return (rng.integers(0, 255, pixels.shape, np.uint8) < pixels).astype(np.uint8)


def _decoded(data: bytes) -> Pixels:
    """The pixels (H, W, C), C = 1 for gray pictures and 3 for all others; alpha is dropped. Raises: UnsupportedImageError."""
    with open_any(data, MAX_PIXELS) as image:
        if image.mode.startswith(DEEP):
            raise UnsupportedImageError("more than 8 bits per sample")
        pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)

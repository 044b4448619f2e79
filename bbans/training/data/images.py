"""Sets of images of one size: read from arrays and folders, binarised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bbans.errors import TrainingError
from bbans.sets.arrays import binary_unit, image_shape, is_array, read_byte_array
from bbans.training.callbacks import Callbacks
from bbans.training.data.archived import archived_array, is_archived
from bbans.training.data.pictures import DIGEST_BYTES, Digests, Pixels, digest, read_files

HELD_OUT_MOST = 2000  # at the end each is packed and unpacked
THRESHOLD = 128  # a sample from here on becomes 1


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images (N, H, W, C) uint8 and a hash of each, (N,). A `PictureSet`."""

    pixels: Pixels
    digests: Digests

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, chosen: NDArray[np.bool_] | slice) -> ImageSet:
        return ImageSet(self.pixels[chosen], self.digests[chosen])

    @property
    def signature(self) -> bytes:
        return self.digests.tobytes()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return image_shape(self.pixels)

    @property
    def size(self) -> str:
        """Such as `28x28x1`."""
        return "x".join(map(str, self.shape))

    @property
    def binary(self) -> bool:
        """Whether all samples are 0 or 1, or all are 0 or 255."""
        return binary_unit(self.pixels) is not None

    def as_bits(self) -> ImageSet:
        """Binary images with samples 0 and 1."""
        return ImageSet((self.pixels > 0).view(np.uint8), self.digests)


def read_images(inputs: Sequence[Path], *, omit: Iterable[Path] = (), callbacks: Callbacks | None = None) -> ImageSet:
    """All images of the inputs: arrays in their order, then the pictures of folders in the order of their hashes.

    Args:
        inputs: idx, .npy or .npz files (`bbans.sets.arrays`), archives and sets, picture files, folders of pictures.
        omit: files that are not read.
    Raises: TrainingError when the images are of more than one shape, or there are none; UnsupportedImageError for arrays that
    are no images; OSError; Stopped.
    """
    callbacks = callbacks or Callbacks()
    parts: list[tuple[Path, ImageSet]] = []
    for path in filter(is_array, inputs):
        callbacks.check()
        parts.append((path, image_set(read_byte_array(path))))
    for path in filter(is_archived, inputs):
        callbacks.check()
        array = archived_array(path)
        if array is not None:
            parts.append((path, image_set(array)))
    arrays = {path for path, _ in parts}
    folders = [path for path in inputs if path not in arrays]
    files = read_files(folders, omit=omit, keep_gray=True, callbacks=callbacks)
    pictures = [(path, image_set(pixels[None])) for path, _, pixels in files]
    parts += sorted(pictures, key=lambda picture: picture[1].signature)
    if not parts:
        raise TrainingError(f"{', '.join(map(str, inputs))}: no images")
    first, sample = parts[0]
    for path, part in parts:
        if part.shape != sample.shape:
            sizes = f"{part.size}, but {first} of {sample.size}"
            raise TrainingError(f"{path} is of {sizes}: a model of this family is for images of one size")
    sets = [part for _, part in parts]
    return ImageSet(np.concatenate([part.pixels for part in sets]), np.concatenate([part.digests for part in sets]))


def image_set(images: NDArray[np.uint8] | NDArray[np.bool_]) -> ImageSet:
    """The images (N, H, W) or (N, H, W, C) as a set."""
    pixels = np.ascontiguousarray(images).view(np.uint8)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    digests = [digest(image.data) for image in pixels.reshape(len(pixels), -1)]
    return ImageSet(pixels, np.array(digests, f"S{DIGEST_BYTES}"))


def binarise(pixels: Pixels, how: str, rng: np.random.Generator) -> Pixels:
    """8-bit samples as 0 or 1: `sampled` is 1 with probability sample / 255, `threshold` where the sample is 128 or more."""
    if how == "threshold":
        return (pixels >= THRESHOLD).astype(np.uint8)
    return (rng.integers(0, 255, pixels.shape, np.uint8) < pixels).astype(np.uint8)

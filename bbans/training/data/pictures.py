"""What photos and sets of images share: the files of a folder, and which pictures are held out of the training.

What is held out, and a run's fingerprint, follow from the contents alone: folders and files may be moved or renamed between two
sessions of a run.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bbans.errors import TrainingError, UnsupportedImageError
from bbans.images.picture import MAX_PIXELS
from bbans.images.pillow import open_any
from bbans.training.callbacks import Callbacks
from bbans.training.data.archived import archived_array, archived_files, is_archived

Pixels = NDArray[np.uint8]
Digests = NDArray[np.bytes_]

SUFFIXES = (".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg")
DEEP = ("I", "F")  # Pillow's modes of more than 8 bits a sample: it would clip them, not scale them
DIGEST_BYTES = 16
HELD_OUT = 0.05  # share of the pictures that measure a run when its user names no others


class PictureSet(Protocol):
    """Pictures, and what tells them apart."""

    @property
    def digests(self) -> Digests:
        """A hash of each, (N,)."""

    @property
    def signature(self) -> bytes:
        """All digests, in the form that the fingerprints of checkpoints have always had."""

    def __len__(self) -> int: ...

    def __getitem__(self: Set, chosen: NDArray[np.bool_], /) -> Set:
        """Some of them, by a mask (N,)."""


Set = TypeVar("Set", bound=PictureSet)


def digest(data: bytes | memoryview) -> bytes:
    """The hash that tells a picture from others."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def read_files(
    folders: Sequence[Path],
    *,
    omit: Iterable[Path] = (),
    keep_gray: bool = False,
    callbacks: Callbacks,
) -> Iterator[tuple[Path, bytes, Pixels]]:
    """The picture files below the folders: path, bytes, pixels (H, W, C). Alpha is dropped.

    Args:
        omit: files that are not read.
        keep_gray: gray pictures have C = 1; else they become R = G = B.
        callbacks: get a note for each file that cannot be decoded, which is left out.
    Raises: FileNotFoundError when a folder is not there; Stopped.
    """
    for number, (path, total, read) in enumerate(_found(folders, {path.resolve() for path in omit})):
        callbacks.check()
        callbacks.progress("reading pictures", number, total)
        try:
            data = read()
            pixels = _colours(data, keep_gray) if isinstance(data, np.ndarray) else _decode(data, keep_gray)
        except (OSError, UnsupportedImageError) as error:
            callbacks.note(f"{path}: {getattr(error, 'strerror', None) or error}. It is left out")
            continue
        yield path, data.tobytes() if isinstance(data, np.ndarray) else data, pixels


def _found(inputs: Sequence[Path], left_out: set[Path]) -> Iterator[tuple[Path, int, Callable[[], bytes | Pixels]]]:
    """Each picture, how many are known of, and what reads its file or its pixels: of folders, then of archives."""
    archives = [path for path in inputs if is_archived(path)]
    paths = [path for path in picture_files([path for path in inputs if path not in archives]) if path.resolve() not in left_out]
    for path in paths:
        yield path, len(paths), path.read_bytes
    count = len(paths)
    for archive in archives:
        array = archived_array(archive)
        for number, image in enumerate(() if array is None else array):
            yield archive / str(number), count + number + 1, partial(np.asarray, image.view(np.uint8))
        for name, data in archived_files(archive) if array is None else ():
            if Path(name).suffix.lower() in SUFFIXES:
                count += 1
                yield archive / name, count, partial(bytes, data)


def picture_files(folders: Sequence[Path]) -> list[Path]:
    """The pictures below the folders by their suffixes; a file is taken as it is. Raises: FileNotFoundError."""
    paths: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            if not folder.exists():
                raise FileNotFoundError(errno.ENOENT, f"{folder}: {os.strerror(errno.ENOENT)}")
            paths.add(folder)
        paths |= {path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()}
    return sorted(paths)


def divide(pictures: Set, valid: Set | None, most: int, note: Callable[[str], None]) -> tuple[Set, Set]:
    """Pictures to train on, and pictures to measure with: `valid`, or at most so many of the pictures, held out.

    Raises: TrainingError when nothing is left to train on.
    """
    if valid is None:
        training, held_out = hold_out(pictures, most)
        note(
            f"{len(held_out)} of {len(pictures)} pictures are held out to measure with, by their hashes"
            if len(held_out)
            else "a single picture cannot be split: nothing is held out to measure with"
        )
        return training, held_out
    training = without(pictures, valid)
    if not len(training):
        raise TrainingError("all pictures are validation pictures: nothing is left to train on")
    if len(training) < len(pictures):
        note(f"{len(pictures) - len(training)} of {len(pictures)} pictures are validation pictures too: not trained on")
    return training, valid


def hold_out(pictures: Set, most: int, share: float = HELD_OUT) -> tuple[Set, Set]:
    """Pictures to train on and pictures to measure with: a share of them, but at least one, and at most so many.

    Hashes are as good as random, so those that come first in their order are a fair sample. Equal pictures stay together, and
    where all are equal none is held out.
    """
    different = np.unique(pictures.digests)
    count = min(max(1, round(share * len(different))), most, len(different) - 1)
    chosen = np.isin(pictures.digests, different[:count])
    return pictures[~chosen], pictures[chosen]


def without(pictures: Set, others: Set) -> Set:
    """The pictures that are not among the others."""
    return pictures[~np.isin(pictures.digests, others.digests)]


def fingerprint(*sets: PictureSet) -> str:
    """A hash of all pictures in their order, and of how they are divided into sets."""
    return digest(b"/".join(pictures.signature for pictures in sets)).hex()


def _decode(data: bytes, keep_gray: bool) -> Pixels:
    """The pixels (H, W, C). Raises: UnsupportedImageError."""
    with open_any(data, MAX_PIXELS) as image:
        if image.mode.startswith(DEEP):
            raise UnsupportedImageError("more than 8 bits per sample")
        pixels = np.asarray(image.convert("L" if keep_gray and image.mode in ("1", "L") else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def _colours(pixels: Pixels, keep_gray: bool) -> Pixels:
    """The pixels (H, W, C) of an image of an array. Raises: UnsupportedImageError: other than 1 or 3 channels."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] not in (1, 3):
        raise UnsupportedImageError(f"images of {pixels.shape[2]} channels")
    return pixels if keep_gray or pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)

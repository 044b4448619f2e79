"""Picture files, decoded once, and which of them are held out of the training.

Order and split depend on the files' contents alone: a folder may be moved or renamed between two sessions of a run.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bbans.errors import TrainingError, UnsupportedImageError
from bbans.images.picture import MAX_PIXELS
from bbans.images.pillow import open_any
from bbans.training.data.crops import Pixels

SUFFIXES = (".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg")
DEEP = ("I", "F")  # Pillow's modes of more than 8 bits a sample: it would clip them, not scale them

HELD_OUT = 0.05  # share of the pictures that measure a run when its user names no others
HELD_OUT_MOST = 32  # at the end each is compressed and decompressed whole, some seconds a piece


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture file: where it is, the hash of its bytes, its pixels (H, W, 3)."""

    path: Path
    digest: str
    pixels: Pixels


def read_photos(
    folders: Sequence[Path],
    smallest: int,
    *,
    omit: Iterable[Path] = (),
    note: Callable[[str], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> list[Photo]:
    """All pictures below the folders as RGB, in the order of their hashes, each content once.

    Args:
        smallest: pictures with a side under it are left out.
        omit: files that are not read.
        note: gets a line for each file that cannot be decoded, and one for the small ones.
        check: called before each file; may raise to end the reading.
    Raises: TrainingError when nothing is left; OSError when a folder is not there.
    """
    found: dict[str, Photo] = {}
    seen: set[str] = set()
    small = unreadable = 0
    left_out = {path.resolve() for path in omit}
    for path in picture_files(folders):
        check()
        if path.resolve() in left_out:
            continue
        try:
            data = path.read_bytes()
            digest = hashlib.blake2b(data, digest_size=16).hexdigest()
            if digest in seen:
                continue
            seen.add(digest)
            pixels = _decoded(data)
        except (OSError, UnsupportedImageError) as error:
            note(f"{path}: {getattr(error, 'strerror', None) or error}. It is left out")
            unreadable += 1
            continue
        if min(pixels.shape[:2]) >= smallest:
            found[digest] = Photo(path, digest, pixels)
        else:
            small += 1
    if not found:
        where = ", ".join(map(str, folders))
        raise TrainingError(
            f"{where}: no picture of at least {smallest} x {smallest} pixels ({small} smaller ones, {unreadable} unreadable)"
        )
    if small:
        note(f"left out for a side of less than {smallest} pixels: {small} of {small + len(found)} pictures")
    return [found[digest] for digest in sorted(found)]


def hold_out(photos: Sequence[Photo], share: float = HELD_OUT) -> tuple[list[Photo], list[Photo]]:
    """Pictures to train on and pictures to measure with: a share of them, but at least one, and HELD_OUT_MOST at most.

    Hashes are as good as random, so the first ones are a fair sample. One picture alone cannot be split: none is held out.
    """
    ordered = sorted(photos, key=lambda photo: photo.digest)
    count = min(max(1, round(share * len(ordered))), HELD_OUT_MOST, len(ordered) - 1)
    return ordered[count:], ordered[:count]


def without(photos: Sequence[Photo], others: Sequence[Photo]) -> list[Photo]:
    """The photos that are not among the others."""
    digests = {photo.digest for photo in others}
    return [photo for photo in photos if photo.digest not in digests]


def fingerprint(*sets: Sequence[Photo]) -> str:
    """A hash of all contents in their order, and of how they are divided into sets."""
    return hashlib.blake2b(
        "/".join(",".join(photo.digest for photo in photos) for photos in sets).encode(), digest_size=16
    ).hexdigest()


def picture_files(folders: Sequence[Path]) -> list[Path]:
    """The pictures below the folders by their suffixes; a file is taken as it is. Raises: FileNotFoundError."""
    found: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            if not folder.exists():
                raise FileNotFoundError(errno.ENOENT, f"{folder}: {os.strerror(errno.ENOENT)}")
            found.add(folder)
        found |= {path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()}
    return sorted(found)


def _decoded(data: bytes) -> Pixels:
    """The pixels (H, W, 3); alpha is dropped, gray becomes R = G = B. Raises: UnsupportedImageError."""
    with open_any(data, MAX_PIXELS) as image:
        if image.mode.startswith(DEEP):
            raise UnsupportedImageError("more than 8 bits per sample")
        return np.asarray(image.convert("RGB"))

"""Photos: picture files of any size, decoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bbans.errors import TrainingError
from bbans.training.callbacks import Callbacks
from bbans.training.data.pictures import Digests, Pixels, digest, read_files

HELD_OUT_MOST = 32  # at the end each is compressed and decompressed whole, some seconds a piece


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture file: where it is, the hash of its bytes in hexadecimal digits, its pixels (H, W, 3)."""

    path: Path
    digest: str
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """Photos, each content once. A `PictureSet`."""

    photos: tuple[Photo, ...] = ()

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> PhotoSet:
        return PhotoSet(tuple(photo for photo, wanted in zip(self.photos, chosen, strict=True) if wanted))

    @property
    def digests(self) -> Digests:
        return np.array([photo.digest for photo in self.photos], "S32")

    @property
    def signature(self) -> bytes:
        return ",".join(photo.digest for photo in self.photos).encode()

    @property
    def pixels(self) -> list[Pixels]:
        return [photo.pixels for photo in self.photos]


def read_photos(
    folders: Sequence[Path], smallest: int, *, omit: Iterable[Path] = (), callbacks: Callbacks | None = None
) -> PhotoSet:
    """All pictures below the folders as RGB, in the order of their hashes, each content once.

    Args:
        smallest: pictures with a side under it are left out.
        omit: files that are not read.
    Raises: TrainingError when nothing is left; FileNotFoundError when a folder is not there; Stopped.
    """
    callbacks = callbacks or Callbacks()
    photos: dict[str, Photo] = {}
    small: set[str] = set()
    for path, data, pixels in read_files(folders, omit=omit, callbacks=callbacks):
        key = digest(data).hex()
        if min(pixels.shape[:2]) < smallest:
            small.add(key)
        elif key not in photos:
            photos[key] = Photo(path, key, pixels)
    if not photos:
        where = ", ".join(map(str, folders))
        raise TrainingError(f"{where}: no picture of at least {smallest} x {smallest} pixels ({len(small)} are smaller)")
    if small:
        total = len(small) + len(photos)
        callbacks.note(f"left out for a side of less than {smallest} pixels: {len(small)} of {total} pictures")
    return PhotoSet(tuple(photos[key] for key in sorted(photos)))

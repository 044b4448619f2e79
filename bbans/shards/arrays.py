"""Arrays of images on the disk or by URL, read some rows at a time: .npy by its pages, Zarr by its chunks, others whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from bbans.errors import UnsupportedImageError
from bbans.sets.arrays import NPY, Images, fault_of_images, is_array, read_array, split_key
from bbans.storage import Folder, is_url

ZARR_FILES = ("zarr.json", ".zarray")
"""What the folder of a Zarr array holds: of version 3, of version 2."""


@dataclass(frozen=True)
class Rows:
    """An array (N, H, W) or (N, H, W, C) of uint8, uint16 or bool that is somewhere else.

    `step`: shards begin at multiples of so many rows, as far as they are larger. `stamp` changes with the array.
    """

    shape: tuple[int, ...]
    dtype: str
    step: int
    stamp: str
    load: Callable[[int, int], Any]

    @property
    def row_bytes(self) -> int:
        """Of one image."""
        return int(np.prod(self.shape[1:])) * np.dtype(self.dtype).itemsize

    def read(self, start: int, stop: int) -> Images:
        """Images from `start` to before `stop`, C-contiguous."""
        return cast(Images, np.ascontiguousarray(self.load(start, stop)))


def is_rows(url: str) -> bool:
    """Whether there is an array that `open_rows` opens. Raises: OSError."""
    if is_url(url):
        return any(name in ZARR_FILES for name in Folder(url).names())
    path = Path(url)
    return any((path / name).is_file() for name in ZARR_FILES) if path.is_dir() else is_array(url)


@lru_cache(maxsize=4)  # a worker packs many shards of one array
def open_rows(url: str) -> Rows:
    """The array of a file or of a Zarr store. Raises: UnsupportedImageError: it holds no images. OSError."""
    path, key = split_key(url)
    if is_url(url) or path.is_dir():
        return _open_zarr(url)
    status = path.stat()
    stamp = f"{status.st_size} {status.st_mtime_ns} {key}"
    with open(path, "rb") as file:
        mapped = key is None and file.read(len(NPY)) == NPY
    array: Any = None
    if mapped:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise UnsupportedImageError(f"{url}: {error}") from None
    if array is None or not array.flags.c_contiguous:
        array = read_array(url)
    return rows_of(array, url, 1, stamp)


def rows_of(array: Any, name: str, step: int, stamp: str) -> Rows:
    """The rows of what has `shape`, `dtype` and slices, as numpy, Zarr and Dask have. Raises: UnsupportedImageError."""
    shape = tuple(map(int, array.shape))
    fault = fault_of_images(np.dtype(array.dtype), shape)
    if fault:
        raise UnsupportedImageError(f"{name}: {fault}")
    return Rows(shape, str(array.dtype), step, stamp, lambda start, stop: array[start:stop])


def spans(rows: Rows, shard_bytes: int, shard_images: int) -> list[tuple[int, int]]:
    """(start, stop) of the rows of each shard: at most so many bytes and images, and whole chunks of the array where they fit."""
    most = max(1, min(shard_images, shard_bytes // rows.row_bytes))
    size = most - most % rows.step if most >= rows.step else most
    return [(start, min(start + size, rows.shape[0])) for start in range(0, rows.shape[0], size)]


def _open_zarr(url: str) -> Rows:
    try:
        import zarr
    except ImportError:
        raise UnsupportedImageError(f"{url}: Zarr arrays need zarr: pip install 'bbans[zarr]'") from None
    try:
        array = zarr.open_array(url, mode="r")
    except (ValueError, FileNotFoundError) as error:
        raise UnsupportedImageError(f"{url}: not a Zarr array: {' '.join(str(error).split())}") from None
    listed = "\n".join(f"{entry.name} {entry.size} {entry.stamp}" for entry in Folder(url).find())
    return rows_of(array, url, int(array.chunks[0]), hashlib.blake2b(listed.encode(), digest_size=16).hexdigest())

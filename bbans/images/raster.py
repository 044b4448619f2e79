"""Files that hold their samples as they are: a few bytes, rows of samples, a few bytes. They come back byte for byte.

::

    file = before | rows | after                       row = samples of the pixels, padding of zeros
    metadata = u8 order | u8 padding | varint length of before | before | after           b"" for a plain header

Samples of fewer than 8 bits are packed, the first in the highest bits, and rows are filled up to whole bytes. Those of a TGA may be
packets of runs (`bbans.images.runs`), if they are the packets that are made of them here. A function for each
format says where a file has its rows (`Raster`). What is before and after them, such as sizes, a palette or tags, is only carried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats.wire import ByteReader, pack_varint
from bbans.images import runs
from bbans.images.pillow import check_size
from bbans.images.rows import Bytes, Samples, pack, row_bytes, unpack

BOTTOM_UP = 1
"""Of an order: the bottom row is first."""
REVERSED = 2
"""Of an order: blue, green, red, and then alpha."""
LITTLE_ENDIAN = 4
"""Of an order: samples of 16 bits have their low byte first."""
RUNS = 8
"""Of an order: rows are packets of runs."""

_MAX_PADDING = 3

MAX_AROUND_BYTES = 1 << 12
"""A file may have so many bytes around its rows, and a quarter of these. Else it is more than a picture, and kept as it is."""


@dataclass(frozen=True)
class Raster:
    """Where a file has its rows, and how they are laid out."""

    height: int
    width: int
    channels: int
    bit_depth: int
    start: int
    """Where the first row begins."""
    order: int = 0
    padding: int = 0
    """Zeros after each row."""

    @property
    def row_bytes(self) -> int:
        """The size of a row with its padding."""
        return row_bytes(self.width, self.channels, self.bit_depth) + self.padding

    @property
    def end(self) -> int:
        """Where the last row ends, if they are no packets."""
        return self.start + self.height * self.row_bytes


Locate: TypeAlias = Callable[[bytes], Raster]
"""The raster in a file of some format; raises UnsupportedImageError where it is broken, or its samples are not plain rows."""

Plain: TypeAlias = Callable[[tuple[int, ...], int], tuple[int, bytes]]
"""(order, header) of the plainest file of samples (H, W, C) and some bit depth."""


def read(format: str, data: bytes, locate: Locate, plain: Plain | None, max_pixels: int) -> tuple[Samples, int, bytes]:
    """Samples (H, W, C), their bits and metadata of a file. Inverse: `write`.

    Raises:
        UnsupportedImageError: as `locate`; cut short; or with more around its rows than metadata should be.
    """
    raster = locate(data)
    check_size(raster.width, raster.height, max_pixels)
    if raster.order & RUNS:
        rows, end = runs.decode(data, raster.start, (raster.height, raster.width, raster.channels))
        if runs.encode(rows, raster.channels) != data[raster.start : end]:
            raise UnsupportedImageError(f"{format} with other packets is not supported (its bytes would be lost)")
    else:
        end = raster.end
        if len(data) < end:
            raise UnsupportedImageError(f"the {format} is cut short ({len(data)} of {end} bytes)")
        rows = np.frombuffer(data, np.uint8, end - raster.start, raster.start).reshape(raster.height, raster.row_bytes)
    around = len(data) - (end - raster.start)
    if around > MAX_AROUND_BYTES + (end - raster.start) // 4:
        raise UnsupportedImageError(f"{format} with {around} bytes beside its picture is not supported")
    samples = _samples(rows, raster)
    if (raster.padding or raster.row_bytes * 8 != raster.width * raster.channels * raster.bit_depth) and (
        _rows(samples, raster) != rows
    ).any():
        raise UnsupportedImageError(f"{format} is not supported (bits between its rows would be lost)")
    before, after = data[: raster.start], data[end:]
    if plain and not after and not raster.padding and (raster.order, before) == plain(samples.shape, raster.bit_depth):
        return samples, raster.bit_depth, b""
    metadata = bytes([raster.order, raster.padding]) + pack_varint(len(before)) + before + after
    return samples, raster.bit_depth, metadata


def write(samples: Samples, metadata: bytes, bit_depth: int, locate: Locate, plain: Plain | None) -> bytes:
    """The file of `samples` (H, W, C): the inverse of `read`, byte for byte.

    Raises:
        CorruptDataError: the metadata is not what such a file has around its rows.
    """
    height, width, channels = samples.shape
    if metadata:
        reader = ByteReader(metadata, "metadata")
        order, padding, length = reader.byte(), reader.byte(), reader.varint()
        before, after = reader.take(length), reader.take(len(metadata) - reader.position)
    elif plain:
        (order, before), after, padding = plain(samples.shape, bit_depth), b"", 0
    else:
        raise CorruptDataError("the metadata is missing")
    raster = Raster(height, width, channels, bit_depth, len(before), order, padding)
    if padding > (0 if order & RUNS else _MAX_PADDING) or (order & RUNS and bit_depth != 8) or int(samples.max()) >> bit_depth:
        raise CorruptDataError("the metadata is of another picture, or damaged")
    rows = _rows(samples, raster)
    file = b"".join([before, runs.encode(rows, channels) if order & RUNS else rows.data, after])
    try:
        found = locate(file)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the metadata is not that of such a file: {error}") from error
    if found != raster:
        raise CorruptDataError("the metadata is that of another picture")
    return file


def _samples(rows: Bytes, raster: Raster) -> Samples:
    """The samples (H, W, C) of rows (H, B). Inverse: `_rows`."""
    packed = rows[:, : raster.row_bytes - raster.padding]
    if raster.order & LITTLE_ENDIAN and raster.bit_depth == 16:
        packed = _swapped(packed)
    samples = unpack(packed, raster.width, raster.channels, raster.bit_depth)
    arranged: Samples = _arranged(samples, raster).copy()
    return arranged


def _rows(samples: Samples, raster: Raster) -> Bytes:
    """The rows (H, B) of samples (H, W, C). Inverse: `_samples`."""
    arranged: Samples = np.ascontiguousarray(_arranged(samples, raster))  # type: ignore[assignment]
    packed = pack(arranged, raster.bit_depth)
    if raster.order & LITTLE_ENDIAN and raster.bit_depth == 16:
        packed = _swapped(packed)
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, raster.padding))) if raster.padding else packed)


def _arranged(samples: Samples, raster: Raster) -> Samples:
    """Samples in the order of the file from those of a picture, and the inverse."""
    if raster.order & BOTTOM_UP:
        samples = samples[::-1]
    return samples[:, :, [2, 1, 0, 3][: raster.channels]] if raster.order & REVERSED and raster.channels >= 3 else samples


def _swapped(packed: Bytes) -> Bytes:
    return packed.reshape(len(packed), -1, 2)[:, :, ::-1].reshape(len(packed), -1)

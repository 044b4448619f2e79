"""Samples of any PNG <-> the rows of its stream.

::

    samples (H, W, C) --pack--> packed rows (H, B), uint8 --filter_rows--> for each row its filter, then B bytes

Source: Portable Network Graphics (PNG) Specification (Third Edition), W3C: 7.2 (scanlines), 9 (filtering), 12.7 (filter selection).

>>> pack(np.array([[[1], [0], [3]]], np.uint8), 2).tolist()
[[76]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bbans._core.rows import FILTERS as FILTERS
from bbans._core.rows import LEAST_RESIDUALS
from bbans._core.rows import filter_rows as filter_piece

Bytes = npt.NDArray[np.uint8]
Samples: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_PIECE_BYTES = 1 << 18


def row_bytes(width: int, channels: int, bit_depth: int) -> int:
    """The size of a packed row."""
    return (width * channels * bit_depth + 7) // 8


def step_bytes(channels: int, bit_depth: int) -> int:
    """How far the pixel at the left is away, for the filters."""
    return max(1, channels * bit_depth // 8)


def pack(samples: Samples, bit_depth: int) -> Bytes:
    """Packed rows (H, B) of samples (H, W, C) of `bit_depth` bits: 1, 2, 4, 8 or 16; the last bits of a row are filled with 0."""
    height = samples.shape[0]
    if bit_depth == 16:
        return samples.astype(">u2").view(np.uint8).reshape(height, -1)
    rows = samples.astype(np.uint8, copy=False).reshape(height, -1)
    if bit_depth == 8:
        return rows
    count = 8 // bit_depth
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % count))).reshape(height, -1, count)
    shifts = np.arange(8 - bit_depth, -1, -bit_depth, dtype=np.uint8)
    packed: Bytes = np.bitwise_or.reduce(padded << shifts, axis=2)
    return packed


def unpack(rows: Bytes, width: int, channels: int, bit_depth: int) -> Samples:
    """Samples (H, W, C) of packed rows (H, B). Inverse: `pack`."""
    shape = (len(rows), width, channels)
    if bit_depth == 16:
        wide: npt.NDArray[np.uint16] = np.ascontiguousarray(rows).view(">u2").astype(np.uint16).reshape(shape)
        return wide
    if bit_depth == 8:
        return rows.reshape(shape)
    shifts = np.arange(8 - bit_depth, -1, -bit_depth, dtype=np.uint8)
    samples: Bytes = rows[:, :, None] >> shifts & np.uint8((1 << bit_depth) - 1)
    return samples.reshape(len(rows), -1)[:, : width * channels].reshape(shape)


def filter_rows(rows: Bytes, step: int, filters: Bytes | int | None = None) -> Bytes:
    """Filtered rows (H, 1 + B) of packed rows (H, B). Arguments: as for `filtered_pieces`."""
    return np.concatenate(list(filtered_pieces(rows, step, filters)))


def filtered_pieces(rows: Bytes, step: int, filters: Bytes | int | None = None) -> Iterator[Bytes]:
    """Filtered rows (N, 1 + B) of packed rows (H, B), some at a time.

    Args:
        step: see `step_bytes`.
        filters: of each row, or one for all; None takes for each row the one with the least sum of absolute residuals.
    """
    height, width = rows.shape
    if filters is None or isinstance(filters, int):
        filters = np.full(height, LEAST_RESIDUALS if filters is None else filters, np.uint8)
    count, above = max(1, _PIECE_BYTES // width), np.zeros(width, np.uint8)
    for top in range(0, height, count):
        piece = np.ascontiguousarray(rows[top : top + count])
        yield filter_piece(piece, step, above, filters[top : top + count])
        above = piece[-1]

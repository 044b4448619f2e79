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

Bytes = npt.NDArray[np.uint8]
Samples: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

FILTERS = 5
"""None, sub, up, average and Paeth."""

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
    count = max(1, _PIECE_BYTES // width)
    for top in range(0, height, count):
        piece = rows[top : top + count]
        above = rows[top - 1 : top - 1 + len(piece)] if top else np.concatenate([np.zeros_like(rows[:1]), piece[:-1]])
        if isinstance(filters, int):
            chosen = np.full(len(piece), filters, np.uint8)
        elif filters is not None:
            chosen = filters[top : top + count]
        else:
            costs = [np.abs(_filtered(piece, above, step, kind).view(np.int8).astype(np.int16)).sum(1) for kind in range(FILTERS)]
            chosen = np.argmin(costs, axis=0).astype(np.uint8)
        out = np.empty((len(piece), 1 + width), np.uint8)
        out[:, 0] = chosen
        for kind in np.unique(chosen):
            of_kind = chosen == kind
            out[:, 1:][of_kind] = _filtered(piece[of_kind], above[of_kind], step, int(kind))
        yield out


def _filtered(rows: Bytes, above: Bytes, step: int, kind: int) -> Bytes:
    """Rows (N, B) by one filter; `above` are the rows above each."""
    if kind == 0:
        return rows
    if kind == 2:
        return rows - above
    a = np.zeros_like(rows)
    a[:, step:] = rows[:, :-step]
    if kind == 1:
        return rows - a
    if kind == 3:
        return rows - ((a.astype(np.uint16) + above) >> 1).astype(np.uint8)
    c = np.zeros_like(rows)
    c[:, step:] = above[:, :-step]
    left, up, corner = a.astype(np.int16), above.astype(np.int16), c.astype(np.int16)
    far_left, far_up = np.abs(up - corner), np.abs(left - corner)
    far_corner = np.abs(left + up - 2 * corner)
    nearest = np.where((far_left <= far_up) & (far_left <= far_corner), a, np.where(far_up <= far_corner, above, c))
    return rows - nearest

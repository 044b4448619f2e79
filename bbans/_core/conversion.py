"""RGB as the luma and chroma that it was converted from. conversion.c has the loops."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bbans._core.library import I32, I64, U8, Integer, Structure, checked, fields, function

Bytes = npt.NDArray[np.uint8]

CHROMA = 511
"""Entries of a table of chroma: of -255 .. 255."""


class ConversionTables(Structure):
    """What a conversion looks up; conversion.c has its twin."""

    FIELDS: ClassVar = {
        **dict.fromkeys(("luma", "red", "green_red", "green_blue", "blue"), I32),
        "inverse": I64,
        "shift": Integer,
    }
    _fields_ = fields(FIELDS)


_find = function("find_sources", U8, Integer, Integer, ctypes.POINTER(ConversionTables), U8, I64, Integer)
_convert = function("convert_sources", U8, Integer, ctypes.POINTER(ConversionTables))


def find_sources(pixels: Bytes, tables: ConversionTables, most: int) -> tuple[Bytes, npt.NDArray[np.int64]] | None:
    """(sources (H, W, 3), numbers of the pixels that have none), or None if these are more than `most`. Inverse: `convert`."""
    height, width, _ = _checked(pixels)
    sources, exceptions = np.empty_like(pixels), np.empty(most, np.int64)
    count = checked(_find(pixels, height, width, ctypes.byref(tables), sources, exceptions, most))
    return None if count > most else (sources, exceptions[:count].copy())


def convert(sources: Bytes, tables: ConversionTables) -> None:
    """Convert sources (H, W, 3) in their place. Inverse: `find_sources`."""
    height, width, _ = _checked(sources)
    checked(_convert(sources, height * width, ctypes.byref(tables)))


def _checked(pixels: Bytes) -> Any:
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels are (H, W, 3), not {pixels.shape}")
    return pixels.shape

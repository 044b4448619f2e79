"""NPY: numpy's file of one array. Of samples (H, W) or (H, W, C) of 8 or 16 bits, C in 1..4, it is a picture.

::

    93 "NUMPY" | version, 2 bytes | header length, u16 (u32 from version 2 on), little-endian | header | elements

The header is a Python literal of dtype, order and shape, filled up with spaces and ended by a line feed.

Source: NEP 1, A Simple File Format for NumPy Arrays.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass

import numpy as np

from bbans.errors import UnsupportedImageError
from bbans.images.raster import LITTLE_ENDIAN, Raster

SIGNATURE = b"\x93NUMPY"

_MAX_HEADER_BYTES = 10_000
"""The limit that numpy has too, for a literal that is evaluated."""


@dataclass(frozen=True)
class Header:
    """The header of an NPY: dtype, shape, whether the first axis varies fastest, and where the elements start."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def is_picture(self) -> bool:
        """Whether its elements are the samples of a picture of 8 or 16 bits, row by row."""
        shaped = len(self.shape) == 2 or (len(self.shape) == 3 and self.shape[2] <= 4)
        return self.dtype.kind == "u" and self.dtype.itemsize <= 2 and shaped and not self.fortran

    @property
    def kind(self) -> str:
        """For a person: `float32 array (5, 7)`."""
        return f"{self.dtype} array {self.shape}"


def parse(data: bytes) -> Header:
    """The header of an NPY, followed by exactly its elements.

    Raises:
        UnsupportedImageError: damaged, cut short, too long, empty, or an array of Python objects.
    """
    header = _parse_header(data)
    if header.dtype.hasobject:
        raise UnsupportedImageError("an array of Python objects is not supported")
    expected = header.start + math.prod(header.shape) * header.dtype.itemsize
    if expected == header.start:
        raise UnsupportedImageError(f"the array is empty: its shape is {header.shape}")
    if len(data) < expected:
        raise UnsupportedImageError(f"the NPY is cut short ({len(data)} of {expected} bytes)")
    if len(data) > expected:
        raise UnsupportedImageError(f"the NPY is damaged: {len(data) - expected} bytes follow after its elements")
    return header


def _parse_header(data: bytes) -> Header:
    """The header alone. Raises: UnsupportedImageError."""
    length_bytes = {1: 2, 2: 4, 3: 4}.get(data[6] if len(data) > 7 and data[:6] == SIGNATURE else 0)
    if length_bytes is None:
        raise UnsupportedImageError("the NPY is damaged: no version 1, 2 or 3 of the format")
    begin = 8 + length_bytes
    start = begin + int.from_bytes(data[8:begin], "little")
    try:
        if not begin < start <= min(len(data), begin + _MAX_HEADER_BYTES):
            raise ValueError
        fields = ast.literal_eval(data[begin:start].decode("utf-8" if data[6] == 3 else "latin-1"))
        if fields.keys() != {"descr", "fortran_order", "shape"}:
            raise ValueError
        shape, fortran = fields["shape"], fields["fortran_order"]
        if type(fortran) is not bool or type(shape) is not tuple or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError
        return Header(np.lib.format.descr_to_dtype(fields["descr"]), shape, fortran, start)
    except (ValueError, SyntaxError, TypeError, AttributeError, KeyError, RecursionError, MemoryError, OverflowError):
        raise UnsupportedImageError("the NPY is damaged: its header cannot be read") from None


def locate(data: bytes) -> Raster:
    """The raster of an array. Raises: UnsupportedImageError: damaged, or an array of other elements, shapes or order."""
    header = parse(data)
    if not header.is_picture:
        raise UnsupportedImageError(f"{header.kind} is not a picture (uint8 and uint16 (H, W) and (H, W, 1) to (H, W, 4) are)")
    height, width, channels = (*header.shape, 1)[:3]
    depth = 8 * header.dtype.itemsize
    return Raster(height, width, channels, depth, header.start, LITTLE_ENDIAN * (depth == 16 and header.dtype == "<u2"))


def plain(shape: tuple[int, ...], bit_depth: int) -> tuple[int, bytes]:
    """The order and the header that numpy writes for samples (H, W, C), of an array (H, W) if C is 1."""
    shape = shape[:2] if shape[2] == 1 else shape
    return (0, plain_header(shape)) if bit_depth == 8 else (LITTLE_ENDIAN, plain_header(shape, "<u2"))


def plain_header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    """The 128 bytes that numpy writes before samples of that shape, (H, W) or (H, W, C)."""
    fields = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    return SIGNATURE + b"\1\0" + (118).to_bytes(2, "little") + fields.encode().ljust(117) + b"\n"

"""BMP, PPM and PGM: a header, then the samples. The metadata is the header, so a file comes back byte for byte.

::

    header | rows of samples                 PPM, PGM: R G B or gray, top row first
                                             BMP:      B G R, padded with zeros to 4 bytes, most often bottom row first

Only 24-bit BMP without compression, and binary PPM and PGM with the maximum 255. A file that is more than its header and
its rows is refused.

Source: Netpbm's ppm(5) and pgm(5); Microsoft's BITMAPFILEHEADER and BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import struct

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images.pillow import check_size

_PNM_HEADER = re.compile(rb"P([56])" + rb"(?:\s|#[^\r\n]*[\r\n])+([0-9]{1,9})" * 3 + rb"\s")

_BMP_HEADER_BYTES = (40, 52, 56, 64, 108, 124)
"""Sizes of the second header: BITMAPINFOHEADER and its successors."""


def read_pnm(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, C) and metadata of a binary PPM (C = 3) or PGM (C = 1).

    Raises:
        UnsupportedImageError: broken, too short or too long for its samples, or a maximum other than 255.
    """
    width, height, channels, maximum, start = _pnm_header(data)
    if maximum != 255:
        raise UnsupportedImageError(f"{_pnm_name(channels)} with the maximum {maximum} is not supported (only 255)")
    check_size(width, height, max_pixels)
    _check_length(_pnm_name(channels), len(data), start + width * height * channels)
    pixels = np.frombuffer(data, dtype=np.uint8, offset=start).reshape(height, width, channels).copy()
    header = data[:start]
    return pixels, b"" if header == _default_pnm_header(pixels) else header


def write_pnm(pixels: npt.NDArray[np.uint8], metadata: bytes) -> bytes:
    """The PPM or PGM file of `pixels` (H, W, C): the inverse of `read_pnm`, byte for byte.

    Raises:
        CorruptDataError: the metadata is not the header of such a file.
    """
    header = metadata or _default_pnm_header(pixels)
    try:
        width, height, channels, maximum, start = _pnm_header(header)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the metadata is not a header: {error}") from error
    if ((height, width, channels), maximum, start) != (pixels.shape, 255, len(header)):
        raise CorruptDataError("the metadata is the header of another picture")
    return header + pixels.tobytes()


def pnm_maximum(data: bytes) -> int:
    """The largest sample that the header of a binary PPM or PGM allows."""
    return _pnm_header(data)[3]


def _pnm_header(data: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, channels, largest sample, and where the samples start."""
    match = _PNM_HEADER.match(data)
    if not match:
        raise UnsupportedImageError("the PPM or PGM is broken: no complete header")
    width, height, maximum = (int(match[i]) for i in (2, 3, 4))
    return width, height, 3 if match[1] == b"6" else 1, maximum, match.end()


def _default_pnm_header(pixels: npt.NDArray[np.uint8]) -> bytes:
    height, width, channels = pixels.shape
    return b"P%d\n%d %d\n255\n" % (6 if channels == 3 else 5, width, height)


def _pnm_name(channels: int) -> str:
    return "PPM" if channels == 3 else "PGM"


def read_bmp(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, 3) and metadata of a 24-bit BMP without compression.

    Raises:
        UnsupportedImageError: broken, another kind of BMP, or too short or too long for its rows.
    """
    width, height, start, bottom_up = _bmp_header(data)
    check_size(width, height, max_pixels)
    row_bytes = -(-width * 3 // 4) * 4
    _check_length("BMP", len(data), start + height * row_bytes)
    rows = np.frombuffer(data, dtype=np.uint8, offset=start).reshape(height, row_bytes)
    if rows[:, width * 3 :].any():
        raise UnsupportedImageError("BMP is not supported (bytes between its rows would be lost)")
    pixels = rows[:: -1 if bottom_up else 1, : width * 3].reshape(height, width, 3)[:, :, ::-1]
    return pixels.copy(), data[:start]


def write_bmp(pixels: npt.NDArray[np.uint8], metadata: bytes) -> bytes:
    """The BMP file of `pixels` (H, W, 3): the inverse of `read_bmp`, byte for byte.

    Raises:
        CorruptDataError: the metadata is not the header of a BMP of that size.
    """
    try:
        width, height, start, bottom_up = _bmp_header(metadata)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the metadata is not a header: {error}") from error
    if (height, width, 3) != pixels.shape or start != len(metadata):
        raise CorruptDataError("the metadata is the header of another picture")
    rows = np.zeros((height, -(-width * 3 // 4) * 4), dtype=np.uint8)
    rows[:: -1 if bottom_up else 1, : width * 3] = pixels[:, :, ::-1].reshape(height, width * 3)
    return metadata + rows.tobytes()


def _bmp_header(data: bytes) -> tuple[int, int, int, bool]:
    """Width, height, where the rows start, and whether the bottom row is first."""
    if len(data) < 54:
        raise UnsupportedImageError("the BMP is cut short in its header")
    start, header_bytes, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if data[:2] != b"BM" or header_bytes not in _BMP_HEADER_BYTES or start < 14 + header_bytes or width < 1:
        raise UnsupportedImageError("BMP with this header is not supported")
    if bits != 24 or compression:
        raise UnsupportedImageError(f"{bits}-bit BMP{' with compression' * bool(compression)} is not supported")
    return width, abs(height), start, height > 0


def _check_length(name: str, size: int, expected: int) -> None:
    if size < expected:
        raise UnsupportedImageError(f"the {name} is cut short ({size} of {expected} bytes)")
    if size > expected:
        raise UnsupportedImageError(f"{name} is not supported ({size - expected} bytes after its end would be lost)")

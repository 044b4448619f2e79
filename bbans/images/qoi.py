"""QOI, the Quite OK Image Format. Its encoders all write the same bytes of a picture: so files come back byte for byte.

::

    "qoif" | width, u32 | height, u32 | channels, 3 or 4 | colour space | operations | end marker        high byte first

The metadata is the colour space, unless that is 0. A file that the specification's own encoder would write otherwise is refused.

Source: Dominic Szablewski, The Quite OK Image Format, version 1.0.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images.pillow import check_size

SIGNATURE = b"qoif"
_HEADER_BYTES = 14
_PIXELS_PER_BYTE = 62
"""The longest run."""


def read(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, 3), or (H, W, 4) with alpha, and metadata of a QOI. Inverse: `write`.

    Raises:
        UnsupportedImageError: broken, cut short, or written by another encoder than that of the specification.
    """
    if len(data) < _HEADER_BYTES:
        raise UnsupportedImageError("the QOI is cut short in its header")
    width, height, channels, space = struct.unpack_from(">IIBB", data, 4)
    check_size(width, height, max_pixels)
    if channels not in (3, 4) or space > 1 or width * height > _PIXELS_PER_BYTE * len(data):
        raise UnsupportedImageError("the QOI is broken or cut short")
    try:
        pixels: npt.NDArray[np.uint8] = _codec("qoi_decode")(data)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedImageError(f"the QOI is broken: {error}") from error
    metadata = bytes([space]) if space else b""
    if pixels.shape != (height, width, channels) or write(pixels, metadata) != data:
        raise UnsupportedImageError("QOI by an encoder of its own is not supported (its bytes would be lost)")
    return pixels, metadata


def write(pixels: npt.NDArray[np.uint8], metadata: bytes) -> bytes:
    """The QOI of `pixels` (H, W, 3 or 4): the inverse of `read`, byte for byte.

    Raises:
        CorruptDataError: the metadata is no colour space.
    """
    if metadata not in (b"", b"\1"):
        raise CorruptDataError("the metadata is not that of a QOI")
    data: bytes = _codec("qoi_encode")(np.ascontiguousarray(pixels))
    return data[: _HEADER_BYTES - 1] + (metadata or b"\0") + data[_HEADER_BYTES:]


def _codec(name: str) -> Any:
    """A function of imagecodecs, which is imported late: few files need it."""
    try:
        import imagecodecs

        return getattr(imagecodecs, name)
    except ImportError as error:
        raise UnsupportedImageError(f"QOI needs the package imagecodecs ({error})") from error

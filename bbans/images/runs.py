"""Rows of pixels as packets, as a TGA has them: runs of one pixel, and pixels as they are.

::

    128 + n - 1 | a pixel           n times that pixel, n in 1..128
          n - 1 | n pixels          those pixels

`encode` makes the packets that Pillow makes: each row by itself, a run wherever two pixels or more are equal, all else as it is.

Source: Truevision TGA File Format Specification 2.0, data types 9 to 11.

>>> row = np.array([[7, 7, 7, 1, 2]], np.uint8)
>>> encode(row, 1).hex(" "), decode(encode(row, 1), 0, (1, 5, 1))[0].tolist()
('82 07 01 01 02', [[7, 7, 7, 1, 2]])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bbans.errors import UnsupportedImageError

Bytes = NDArray[np.uint8]

_LONGEST = 128


def encode(rows: Bytes, channels: int) -> bytes:
    """The packets of rows (H, W * C). Inverse: `decode`."""
    out = bytearray()

    def as_they_are(data: bytes) -> None:
        for at in range(0, len(data), _LONGEST * channels):
            part = data[at : at + _LONGEST * channels]
            out.append(len(part) // channels - 1)
            out.extend(part)

    for row in rows:
        pixels, data = row.reshape(-1, channels), row.tobytes()
        equal = (pixels[1:] == pixels[:-1]).all(1).astype(np.int8)
        edges = np.diff(equal, prepend=0, append=0)
        done = 0
        for start, end in zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) + 1).tolist(), strict=True):
            as_they_are(data[done * channels : start * channels])
            done = end - ((end - start) % _LONGEST == 1)  # a single pixel that is left of a run is none
            for at in range(start, done, _LONGEST):
                out.append(127 + min(done - at, _LONGEST))
                out += data[start * channels : (start + 1) * channels]
        as_they_are(data[done * channels :])
    return bytes(out)


def decode(data: bytes, start: int, shape: tuple[int, int, int]) -> tuple[Bytes, int]:
    """The rows (H, W * C) of the packets from `start` on, and where those end. Inverse: `encode`.

    Raises: UnsupportedImageError: cut short, or a packet goes beyond its row.
    """
    height, width, channels = shape
    out = bytearray()
    for _ in range(height):
        left = width
        while left:
            head = data[start] if start < len(data) else 0
            count, size = (head & 127) + 1, channels * (1 if head & 128 else (head & 127) + 1)
            part, left = data[start + 1 : start + 1 + size], left - count
            if len(part) < size:
                raise UnsupportedImageError("the TGA is cut short in its packets")
            if left < 0:
                raise UnsupportedImageError("TGA with packets across its rows is not supported")
            out += part * count if head & 128 else part
            start += 1 + size
    return np.frombuffer(out, np.uint8).reshape(height, width * channels), start

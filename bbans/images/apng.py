"""Animated PNG: its frames.

::

    acTL | [fcTL] | IDAT+ | { fcTL | fdAT+ }          fcTL: number, size, place;  fdAT: number, then as IDAT

Programs without animations show the picture in the IDATs. It is the first frame if an fcTL comes before it.

Source: Portable Network Graphics (PNG) Specification (Third Edition), W3C, 11.3.6.
"""

from __future__ import annotations

import struct
from functools import partial

from bbans.errors import UnsupportedImageError
from bbans.images.frames import Animation, Frame
from bbans.images.pngfile import PngFile


def parse(png: PngFile) -> Animation:
    """The picture in the IDATs of an animated PNG and its frames, not decoded.

    Raises:
        UnsupportedImageError: frames are missing, out of order or not on the canvas.
    """
    frames = [(png.width, png.height, png.stream)]
    missing = next(int.from_bytes(data[:4], "big") for kind, data in png.before if kind == b"acTL")
    numbered = [chunk for chunk in [*png.before, *png.after] if chunk[0] in (b"fcTL", b"fdAT")]
    for number, (kind, data) in enumerate(numbered):
        if len(data) < (26 if kind == b"fcTL" else 4) or int.from_bytes(data[:4], "big") != number:
            raise UnsupportedImageError("the PNG is broken: its frames are out of order")
        if kind == b"fcTL":
            width, height, left, top = struct.unpack_from(">IIII", data, 4)
            if not width or not height or left + width > png.width or top + height > png.height:
                raise UnsupportedImageError("the PNG is broken: a frame is not on the canvas")
            missing -= 1
            if number or (kind, data) in png.after:
                frames.append((width, height, []))
        elif len(frames) > 1:
            frames[-1][2].append(memoryview(data)[4:])
    if missing:
        raise UnsupportedImageError("the PNG is broken: it does not have as many frames as it says")
    return Animation(png.width, png.height, [Frame(w, h, partial(png.still, w, h, stream)) for w, h, stream in frames])

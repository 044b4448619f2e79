"""GIF: its frames.

::

    header | screen | [palette] | { 21 extension | 2C frame: place, size, [palette], code size, LZW } | 3B        little-endian

The data of extensions and frames are blocks: a length byte, and as many bytes; a length of 0 ends them.

Source: CompuServe, Graphics Interchange Format, Version 89a (1990), 17-26.
"""

from __future__ import annotations

import struct
from functools import partial

from bbans.errors import UnsupportedImageError
from bbans.images.frames import Animation, Frame

SIGNATURES = (b"GIF87a", b"GIF89a")


def parse(data: bytes) -> Animation:
    """The frames of a GIF, not decoded.

    Raises:
        UnsupportedImageError: cut short, or without a frame.
    """
    if len(data) < 13:
        raise UnsupportedImageError("the GIF is cut short in its header")
    view = memoryview(data)
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _palette_bytes(flags)
    palette = flags & 0x87, view[13:at]
    frames: list[Frame] = []
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x21:
            at = _blocks_end(data, at + 2)
        elif data[at] == 0x2C:
            if at + 10 > len(data):
                raise UnsupportedImageError("the GIF is cut short in a frame")
            left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, at + 1)
            start = at + 10 + _palette_bytes(flags)
            own = flags & 0x87, view[at + 10 : start]
            at = _blocks_end(data, start + 1)
            size_flags, colours = own if flags & 0x80 else palette
            screen = struct.pack("<6sHHBBB", SIGNATURES[1], columns, rows, size_flags, 0, 0)
            place = struct.pack("<BHHHHB", 0x2C, 0, 0, columns, rows, flags & 0x40)
            pieces = (screen, colours, place, view[start:at], b"\x3b")
            frames.append(Frame(columns, rows, partial(b"".join, pieces)))
            width, height = max(width, left + columns), max(height, top + rows)
        else:
            at += 1  # decoders skip anything else
    if not frames:
        raise UnsupportedImageError("the GIF has no picture")
    return Animation(width, height, frames)


def _palette_bytes(flags: int) -> int:
    return 6 << (flags & 7) if flags & 0x80 else 0


def _blocks_end(data: bytes, at: int) -> int:
    """Where the blocks that begin at a length byte end."""
    while at < len(data):
        if not data[at]:
            return at + 1
        at += 1 + data[at]
    raise UnsupportedImageError("the GIF is cut short in a frame")

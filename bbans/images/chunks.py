"""The metadata of a PNG or WebP in our files: a list of chunks.

::

    metadata = { length u32 big-endian | type, 4 bytes | data }*       b"" where there are no chunks

They are the chunks of the source, with their bytes and order; an empty chunk stands in the place of the picture.

>>> unpack(pack([(b"gAMA", b"\\0\\0\\xb1\\x8f")], [(b"tEXt", b"Title\\0Sea")], b"IDAT"), b"IDAT")
([(b'gAMA', b'\\x00\\x00\\xb1\\x8f')], [(b'tEXt', b'Title\\x00Sea')])
"""

from __future__ import annotations

import struct

from bbans.errors import CorruptDataError

Chunk = tuple[bytes, bytes]
"""(type, data)"""


def pack(before: list[Chunk], after: list[Chunk], place: bytes) -> bytes:
    """The metadata of the chunks before and after the picture, whose type is `place`. Inverse: `unpack`."""
    if not before and not after:
        return b""
    return b"".join(struct.pack(">I4s", len(data), kind) + data for kind, data in [*before, (place, b""), *after])


def unpack(metadata: bytes, place: bytes) -> tuple[list[Chunk], list[Chunk]]:
    """The chunks before and after the picture. Inverse: `pack`.

    Raises:
        CorruptDataError: the lengths do not add up, or the place of the picture is missing or there twice.
    """
    if not metadata:
        return [], []
    chunks: list[Chunk] = []
    start = 0
    while start < len(metadata):
        if start + 8 > len(metadata):
            raise CorruptDataError("the metadata is cut short")
        length, kind = struct.unpack_from(">I4s", metadata, start)
        if start + 8 + length > len(metadata):
            raise CorruptDataError("the metadata is cut short")
        chunks.append((kind, metadata[start + 8 : start + 8 + length]))
        start += 8 + length
    places = [i for i, (kind, _) in enumerate(chunks) if kind == place]
    if len(places) != 1 or chunks[places[0]][1]:
        raise CorruptDataError("the metadata does not say where the picture goes")
    return chunks[: places[0]], chunks[places[0] + 1 :]

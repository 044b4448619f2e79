"""A list of named chunks as bytes: how the metadata of a PNG or WebP is carried in a file of ours.

::

    metadata = varint chunks before the picture | { type, 4 bytes | varint length | data }*       b"" without any chunk

The chunks are those of the source, in its order and with its bytes, except those that hold the picture.

>>> unpack(pack([(b"gAMA", b"\\0\\0\\xb1\\x8f")], [(b"tEXt", b"Title\\0Sea")]))
([(b'gAMA', b'\\x00\\x00\\xb1\\x8f')], [(b'tEXt', b'Title\\x00Sea')])
"""

from __future__ import annotations

from bbans.errors import CorruptDataError
from bbans.formats.wire import ByteReader, pack_varint

Chunk = tuple[bytes, bytes]
"""(type, data)"""
_TYPE_BYTES = 4


def pack(before: list[Chunk], after: list[Chunk]) -> bytes:
    """Metadata from the chunks before and after the picture. Inverse: `unpack`."""
    if not before and not after:
        return b""
    parts = [pack_varint(len(before))]
    for kind, data in [*before, *after]:
        parts += [kind, pack_varint(len(data)), data]
    return b"".join(parts)


def unpack(metadata: bytes) -> tuple[list[Chunk], list[Chunk]]:
    """The chunks before and after the picture. Inverse: `pack`.

    Raises:
        CorruptDataError: cut short, or fewer chunks than stand before the picture, or none.
    """
    if not metadata:
        return [], []
    reader = ByteReader(metadata, "metadata")
    count = reader.varint()
    chunks: list[Chunk] = []
    while reader.position < len(metadata):
        chunks.append((reader.take(_TYPE_BYTES), reader.take(reader.varint())))
    if not chunks or count > len(chunks):
        raise CorruptDataError(f"metadata: {count} chunks before the picture, {len(chunks)} in all")
    return chunks[:count], chunks[count:]

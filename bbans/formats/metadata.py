"""The metadata section of a file: as it is, or by LZMA where that is smaller.

>>> section = metadata_section(b"to and fro, " * 9)
>>> section.kind.name, metadata_of([section])[:11]
('PACKED_METADATA', b'to and fro,')
"""

from __future__ import annotations

from collections.abc import Sequence

from bbans.errors import CorruptDataError
from bbans.formats import lzma2
from bbans.formats.container import Section, SectionKind
from bbans.formats.wire import ByteReader, pack_varint

MAX_PACKED_BYTES = 1 << 26
"""The most that a packed section may hold; larger metadata is not packed."""


def metadata_section(metadata: bytes) -> Section:
    """The smaller section of some metadata, which is not empty. Inverse: `metadata_of`."""
    packed = pack_varint(len(metadata)) + lzma2.compress(metadata, fitted=True)
    if len(packed) < len(metadata) <= MAX_PACKED_BYTES:
        return Section(SectionKind.PACKED_METADATA, packed)
    return Section(SectionKind.METADATA, metadata)


def metadata_of(sections: Sequence[Section]) -> bytes:
    """The metadata in the sections of a file; empty if there is none. Inverse: `metadata_section`.

    Raises: CorruptDataError: packed metadata is damaged, or claims too much.
    """
    for section in sections:
        if section.kind == SectionKind.METADATA:
            return section.body
        if section.kind == SectionKind.PACKED_METADATA:
            reader = ByteReader(section.body, "metadata")
            size = reader.varint()
            if not 0 < size <= MAX_PACKED_BYTES:
                raise CorruptDataError(f"metadata: {size} bytes, the limit is {MAX_PACKED_BYTES}")
            return lzma2.decompress(reader.take(len(section.body) - reader.position), size)
    return b""
